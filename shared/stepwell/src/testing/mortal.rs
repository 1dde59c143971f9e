//! The engine's ports, and what comes in the way of its calls: a failure, somebody else, the caller's death.

use crate::{
    core::{
        history::Loaded,
        id::TaskId,
        index::{Listed, Page},
        message::{Message, UNDELIVERABLE},
        settlement::{Settled, Settlement},
        transition::{Applied, Transition},
    },
    ports::{CallError, FailureKind, Queue, QueueError, Store, TableError},
};
use futures::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

/// Where in its delivery a worker dies. A call is named by its transition (`claim`, `complete`, `record_join_arrival`) or
/// by the port's method (`load`, `load_all`, `list`, `send`, `hide`, `reject`; `settle` without a transition).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Before this call has any effect.
    Before(&'static str),
    /// After this call has had its effect, before its answer arrives.
    After(&'static str),
}

/// Takes the first that is meant for this step, or this call.
pub(super) fn take<T>(planned: &Mutex<BTreeMap<String, VecDeque<T>>>, at: &str) -> Option<T> {
    planned.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at)?.pop_front()
}

pub(super) fn plan<T>(planned: &Mutex<BTreeMap<String, VecDeque<T>>>, at: &str, what: impl IntoIterator<Item = T>) {
    planned.lock().unwrap_or_else(PoisonError::into_inner).entry(at.to_owned()).or_default().extend(what);
}

/// What the next calls of each name meet, whoever makes them. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Troubles(Arc<Planned>);

#[derive(Default)]
struct Planned {
    failures: Mutex<BTreeMap<String, VecDeque<FailureKind>>>,
    meanwhile: Mutex<BTreeMap<String, VecDeque<BoxFuture<'static, ()>>>>,
}

impl Troubles {
    pub(super) fn fail(&self, call: &str, kinds: impl IntoIterator<Item = FailureKind>) {
        plan(&self.0.failures, call, kinds);
    }

    pub(super) fn meanwhile(&self, call: &str, what: impl Future<Output = ()> + Send + 'static) {
        plan(&self.0.meanwhile, call, [Box::pin(what) as BoxFuture<'static, ()>]);
    }
}

impl fmt::Debug for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Troubles").finish_non_exhaustive()
    }
}

/// Ports, and what comes in the way of the calls to them. Clones share the death.
#[derive(Clone, Debug)]
pub(crate) struct Mortal<P> {
    ports: P,
    troubles: Troubles,
    doom: Arc<Doom>,
}

#[derive(Debug, Default)]
struct Doom {
    at: Mutex<Option<Death>>,
    dead: AtomicBool,
}

impl<P> Mortal<P> {
    /// These ports, for somebody who dies there, or not at all.
    pub(super) fn new(ports: P, troubles: Troubles, at: Option<Death>) -> Self {
        Self { ports, troubles, doom: Arc::new(Doom { at: Mutex::new(at), dead: AtomicBool::new(false) }) }
    }

    /// What the worker does, until it is done or dead: `None`.
    pub(super) async fn live<R>(&self, life: impl Future<Output = R>) -> Option<R> {
        let mut life = pin!(life);
        poll_fn(|context| match life.as_mut().poll(context) {
            _ if self.doom.dead.load(SeqCst) => Poll::Ready(None),
            answer => answer.map(Some),
        })
        .await
    }

    async fn call<R, E>(
        &self,
        name: &'static str,
        failed: impl FnOnce(CallError) -> E,
        call: impl Future<Output = Result<R, E>>,
    ) -> Result<R, E> {
        self.pass(|death| matches!(death, Death::Before(at) if at == name)).await;
        if let Some(meanwhile) = take(&self.troubles.0.meanwhile, name) {
            meanwhile.await;
        }
        if let Some(kind) = take(&self.troubles.0.failures, name) {
            return Err(failed(CallError::new(name, kind, "as the test wants it")));
        }
        let answer = call.await;
        self.pass(|death| matches!(death, Death::After(at) if at == name)).await;
        answer
    }

    async fn pass(&self, is_here: impl Fn(Death) -> bool) {
        let dies = self.doom.at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(is_here);
        if dies {
            self.doom.dead.store(true, SeqCst);
            pending::<()>().await;
        }
    }
}

impl<P: Store> Mortal<P> {
    /// Reads a task. What others do meanwhile comes between the reading of its steps and its own.
    async fn read(
        &self,
        name: &'static str,
        task: TaskId,
        read: impl Future<Output = Result<Loaded, TableError>>,
    ) -> Result<Loaded, TableError> {
        let meanwhile = take(&self.troubles.0.meanwhile, name);
        let read = self.call(name, TableError::from, read).await?;
        let Some(meanwhile) = meanwhile else { return Ok(read) };
        meanwhile.await;
        Ok(Loaded { task: self.ports.load(task, &BTreeSet::new()).await?.task, ..read })
    }
}

impl<P: Store> Store for Mortal<P> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        self.call(transition.name, TableError::from, self.ports.apply(transition)).await
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        let name = settlement.transition.as_ref().map_or("settle", |transition| transition.name);
        self.call(name, TableError::from, self.ports.settle(task, settlement)).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.read("load", task, self.ports.load(task, steps)).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.read("load_all", task, self.ports.load_all(task)).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        self.call("list", TableError::from, self.ports.list(page)).await
    }
}

impl<P: Queue> Queue for Mortal<P> {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        self.call("send", |error| QueueError::new(&message.step, error), self.ports.send(message)).await
    }

    async fn hide(&self, step: &str, receipt: &str, wait: Duration) -> Result<(), QueueError> {
        self.call("hide", |error| QueueError::new(step, error), self.ports.hide(step, receipt, wait)).await
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        self.call("reject", |error| QueueError::new(UNDELIVERABLE, error), self.ports.reject(body, reason)).await
    }
}
