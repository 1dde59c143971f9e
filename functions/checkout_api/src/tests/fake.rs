//! A backend in memory: the real engine's client over its store in memory and a list of messages.

use crate::backend::Backend;
use checkout::{Order, Product, StoreError as ShopError};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use stepwell::{
    ActionError, By, CallError, Client, FailureKind, IdempotencyKey, StartError, Started, System, TaskId, Workflow,
    core::{
        codec::Unreadable,
        history::{History, Loaded},
        index::{Listed, Page},
        message::Message,
        settlement::{Settled, Settlement},
        transition::{Applied, Transition},
    },
    ports::{Queue, QueueError, Store, TableError, settle_first},
    testing::MemoryStore,
};

/// What there is, and what is broken. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Fake {
    pub(super) store: MemoryStore,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) sent: Vec<Message>,
    pub(super) orders: Vec<Order>,
    pub(super) products: Vec<Product>,
    pub(super) outage: Option<Outage>,
}

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    Table,
    /// The function may not read the table.
    Rights,
    Queue,
    Unreadable,
}

/// Words of an outage that no client may read.
pub(super) const INTERNALS: &str = "arn:aws:dynamodb:eu-central-1:123456789012:table/stepwell-dev-tasks";

impl Fake {
    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn client(&self) -> Client<Self, Self, System> {
        Client::new(self.clone(), self.clone(), System)
    }

    fn table(&self) -> Result<(), TableError> {
        let outage = self.state().outage;
        match outage {
            Some(Outage::Table) => Err(CallError::new("Query", FailureKind::Throttled, INTERNALS).into()),
            Some(Outage::Rights) => Err(CallError::new("Query", FailureKind::Refused, INTERNALS).into()),
            Some(Outage::Unreadable) => {
                Err(Unreadable { key: INTERNALS.to_owned(), cause: INTERNALS.to_owned() }.into())
            }
            Some(Outage::Queue) | None => Ok(()),
        }
    }

    fn store(&self) -> Result<(), ShopError> {
        self.table().map_err(|error| match error {
            TableError::Call(error) => ShopError::Failed(error.to_string()),
            TableError::Unreadable(Unreadable { cause, .. }) => ShopError::Unreadable(cause),
        })
    }
}

fn workflow() -> &'static Workflow {
    static WORKFLOW: std::sync::OnceLock<Workflow> = std::sync::OnceLock::new();
    WORKFLOW.get_or_init(|| checkout::workflow().unwrap())
}

impl Backend for Fake {
    async fn start(&self, request: &Value, key: Option<&IdempotencyKey>) -> Result<Started, StartError> {
        self.client().start(workflow(), request, key).await
    }

    async fn history(&self, id: TaskId) -> Result<Option<History>, TableError> {
        self.client().history(id).await
    }

    async fn retry(&self, id: TaskId) -> Result<History, ActionError> {
        self.client().retry(id, &By::new("customer", "a test").unwrap()).await
    }

    async fn order(&self, id: &str) -> Result<Option<Order>, ShopError> {
        self.store()?;
        Ok(self.state().orders.iter().find(|order| order.order_id.to_string() == id).cloned())
    }

    async fn products(&self) -> Result<Vec<Product>, ShopError> {
        self.store()?;
        Ok(self.state().products.clone())
    }
}

impl Queue for Fake {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        let mut state = self.state();
        if state.outage == Some(Outage::Queue) {
            let error = CallError::new("SendMessage", FailureKind::Unavailable, INTERNALS);
            return Err(QueueError::new(&message.step, error));
        }
        state.sent.push(message.clone());
        Ok(())
    }

    async fn hide(&self, _: &str, _: &str, _: Duration) -> Result<(), QueueError> {
        unreachable!("a worker's")
    }

    async fn reject(&self, _: &str, _: &str) -> Result<(), QueueError> {
        unreachable!("a worker's")
    }
}

impl Store for Fake {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        self.table()?;
        self.store.apply(transition).await
    }

    async fn settle(&self, _task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        settle_first(self, settlement).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.table()?;
        self.store.load(task, steps).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.table()?;
        self.store.load_all(task).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        self.store.list(page).await
    }
}
