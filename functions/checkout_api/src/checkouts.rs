//! The checkouts: tasks of one workflow, started and followed through the engine's client.

use crate::{brakes::Brakes, error::ApiError, standing::Standing};
use axum::extract::State;
use checkout::{CARD_TOKEN_KEPT_FOR, CardTokens, StoreError, Token};
use http_api::{TaskKeys, Wait};
use std::{sync::Arc, time::Duration};
use stepwell::{
    Actor, Client, IdempotencyKey, Runtime, TaskId, Workflow,
    core::{backlog::Overload, record::RETENTION, snapshot::TaskSnapshot},
    ports::{Queue, Store, TableError},
    runtime::{backlog::BacklogView, breaker::ServiceBreaker},
};

/// How long a checkout without a task is unconfirmed, from the time in its id. A write that was under way when its answer got
/// lost has ended long before.
const UNCONFIRMED_FOR: Duration = Duration::from_secs(60);

/// How long a service may be out before new checkouts are refused. Those that have begun by then wait for it.
pub const OUT_FOR: Duration = Duration::from_secs(60);

/// The engine's client, the checkout's workflow, and the actors of customers' actions.
pub(crate) struct Checkouts<T, Q, A> {
    pub(crate) workflow: Workflow,
    pub(crate) engine: Client<T, Q, A>,
    /// The breakers of the services that every checkout needs.
    pub(crate) services: Vec<ServiceBreaker>,
    /// How long the steps of checkouts wait in their queues.
    pub(crate) backlog: BacklogView,
    /// The keys of the checkouts.
    pub(crate) keys: TaskKeys,
    /// The actor in the audit trail for a customer's retry.
    pub(crate) retries: Actor,
    /// The actor in the audit trail for a customer's cancellation.
    pub(crate) cancellations: Actor,
    /// The actor in the audit trail of a checkout that a customer's question ruled out.
    pub(crate) settlements: Actor,
}

/// The state that axum passes to a route.
pub(crate) type Shared<T, Q, A> = State<Arc<Checkouts<T, Q, A>>>;

/// The checkouts, the store of the tokens of their cards, and the brakes for those who give cards.
pub(crate) struct Paying<T, Q, A, C> {
    pub(crate) checkouts: Arc<Checkouts<T, Q, A>>,
    pub(crate) tokens: Arc<C>,
    pub(crate) brakes: Brakes<C>,
}

/// The state that axum passes to a route which takes a card.
pub(crate) type SharedPaying<T, Q, A, C> = State<Arc<Paying<T, Q, A, C>>>;

impl<T: Store, Q: Queue, A: Runtime, C: CardTokens> Paying<T, Q, A, C> {
    /// Keeps the token of a checkout's card for its payment.
    pub(crate) async fn keep(&self, id: TaskId, token: &Token) -> Result<(), StoreError> {
        self.tokens.keep(id, token, self.checkouts.engine.now() + CARD_TOKEN_KEPT_FOR).await
    }
}

impl<T: Store, Q: Queue, A: Runtime> Checkouts<T, Q, A> {
    /// Refuses a new checkout that could not be completed soon: a service that it needs has been out for [`OUT_FOR`], or its steps would
    /// wait in their queues for more than half of its time. Nothing is written then. A request that was made before is answered as ever.
    pub(crate) async fn check_capacity(&self, key: Option<&IdempotencyKey>) -> Result<(), ApiError> {
        let Some(refusal) = self.refusal().await else { return Ok(()) };
        // If that cannot be read, the start itself will tell.
        let was_made = match key {
            Some(key) => self.engine.has_start(&self.workflow, key).await.unwrap_or(true),
            None => false,
        };
        if was_made { Ok(()) } else { Err(refusal) }
    }

    /// Why no checkout is begun now.
    async fn refusal(&self) -> Option<ApiError> {
        for service in &self.services {
            let out_since = self.engine.out_since(service).await;
            if let Some(since) = out_since.filter(|since| *since + OUT_FOR <= self.engine.now()) {
                return Some(ApiError::ServiceOut(format!("{} has been out since {since}", service.service())));
            }
        }
        let Overload { wait, time } = self.engine.overload(&self.backlog, &self.workflow).await?;
        let (wait, time) = (wait.as_secs(), time.as_secs());
        Some(ApiError::Overloaded(format!(
            "a checkout's steps wait in their queues for {wait} s, and it has {time} s in all"
        )))
    }

    /// Loads the checkout with this id.
    pub(crate) async fn find(&self, id: TaskId) -> Result<TaskSnapshot, ApiError> {
        self.engine.snapshot(id).await?.ok_or(ApiError::NotFound)
    }

    /// Loads the checkout with this id once it has ended or the wait is over; `None` if there is none by then.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn follow(&self, id: TaskId, wait: Wait) -> Result<Option<TaskSnapshot>, TableError> {
        wait.poll(
            || self.engine.snapshot(id),
            || self.engine.changed(id),
            |found| match found {
                Some(snapshot) => Standing::of(snapshot).has_ended(),
                None => !self.may_be_under_way(id),
            },
        )
        .await
    }

    /// Loads the checkout with this id like [`follow`](Self::follow). If it is not there and cannot be under way any more, it is
    /// ruled out. The id has to be one that this API has made, as its key shows.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn settle(&self, id: TaskId, wait: Wait) -> Result<Option<TaskSnapshot>, TableError> {
        let found = self.follow(id, wait).await?;
        let now = self.engine.now();
        let is_recent = id.made_at().is_some_and(|made_at| made_at < now && now < made_at + RETENTION);
        if found.is_some() || self.may_be_under_way(id) || !is_recent {
            return Ok(found);
        }
        self.engine.rule_out(&self.workflow, id, &self.settlements).await
    }

    /// Whether the task of this id, which is not there, may still be on its way into the table.
    pub(crate) fn may_be_under_way(&self, id: TaskId) -> bool {
        let now = self.engine.now();
        // The clock of the function that made the id may be ahead of this one.
        id.made_at().is_some_and(|made_at| made_at < now + UNCONFIRMED_FOR && now < made_at + UNCONFIRMED_FOR)
    }
}
