//! A worker that dies at a call.

use crate::{
    core::{
        history::Loaded,
        id::TaskId,
        index::{Listed, Page},
        message::Message,
        settlement::{Settled, Settlement},
        transition::{Applied, Transition},
    },
    ports::{Queue, QueueError, Store, TableError},
};
use std::{
    collections::BTreeSet,
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
/// by the port's method (`load`, `load_all`, `send`, `hide`, `reject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Before this call has any effect.
    Before(&'static str),
    /// After this call has had its effect, before its answer arrives.
    After(&'static str),
}

/// Ports, and a death on the way to them. Clones share the death.
#[derive(Clone, Debug)]
pub(super) struct Mortal<P> {
    ports: P,
    doom: Arc<Doom>,
}

#[derive(Debug, Default)]
struct Doom {
    at: Mutex<Option<Death>>,
    dead: AtomicBool,
}

impl<P> Mortal<P> {
    /// These ports, for a worker that dies there, or not at all.
    pub(super) fn new(ports: P, at: Option<Death>) -> Self {
        Self { ports, doom: Arc::new(Doom { at: Mutex::new(at), dead: AtomicBool::new(false) }) }
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

    async fn call<R>(&self, name: &str, call: impl Future<Output = R>) -> R {
        self.pass(|death| matches!(death, Death::Before(at) if at == name)).await;
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

impl<P: Store> Store for Mortal<P> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        self.call(transition.name, self.ports.apply(transition)).await
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        let name = settlement.transition.as_ref().map_or("settle", |transition| transition.name);
        self.call(name, self.ports.settle(task, settlement)).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.call("load", self.ports.load(task, steps)).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.call("load_all", self.ports.load_all(task)).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        self.call("list", self.ports.list(page)).await
    }
}

impl<P: Queue> Queue for Mortal<P> {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        self.call("send", self.ports.send(message)).await
    }

    async fn hide(&self, step: &str, receipt: &str, wait: Duration) -> Result<(), QueueError> {
        self.call("hide", self.ports.hide(step, receipt, wait)).await
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        self.call("reject", self.ports.reject(body, reason)).await
    }
}
