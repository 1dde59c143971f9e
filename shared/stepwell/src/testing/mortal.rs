//! Workers and clients that die at a call.

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
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

/// Where a worker, or a client, dies. A call is named by its transition (`claim`, `complete`, `record_join_arrival`) or by
/// the port's method (`load`, `load_all`, `list`, `send`, `hide`, `reject`); or it has a number, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death<Call = &'static str> {
    /// Before this call has any effect.
    Before(Call),
    /// After this call has had its effect, before its answer arrives.
    After(Call),
}

/// Ports, and a death on the way to them. Clones share the death.
///
/// Whoever uses them lets the others go first at each call. So workers that are polled side by side get into each other's
/// way.
#[derive(Clone, Debug)]
pub struct Mortal<P> {
    ports: P,
    doom: Arc<Doom>,
    calls: Calls,
}

#[derive(Debug)]
struct Doom {
    at: Option<Death>,
    dead: AtomicBool,
}

/// The calls of all that share them, and at which of them there is a death.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    made: usize,
    death: Option<Death<usize>>,
    deaths: usize,
}

impl Calls {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on calls are counted from 0, and whoever makes this one dies there.
    pub(super) fn die_at(&self, death: Death<usize>) {
        let mut counted = self.counted();
        (counted.made, counted.death) = (0, Some(death));
    }

    /// How many have died, here or where it was meant for them.
    pub(super) fn deaths(&self) -> usize {
        self.counted().deaths
    }

    /// The number of the next call.
    fn next(&self) -> usize {
        let mut counted = self.counted();
        counted.made += 1;
        counted.made - 1
    }
}

impl<P> Mortal<P> {
    /// These ports, for one that dies there, or not at all, or at a call that is counted with those of others.
    pub(super) fn new(ports: P, at: Option<Death>, calls: Calls) -> Self {
        Self { ports, doom: Arc::new(Doom { at, dead: AtomicBool::new(false) }), calls }
    }

    /// These ports, for one that dies at the call of this number.
    pub fn dying(ports: P, at: Death<usize>) -> Self {
        let calls = Calls::default();
        calls.die_at(at);
        Self::new(ports, None, calls)
    }

    /// What whoever uses these ports does, until it is done or dead: `None`.
    pub async fn live<R>(&self, life: impl Future<Output = R>) -> Option<R> {
        let mut life = pin!(life);
        poll_fn(|context| match life.as_mut().poll(context) {
            _ if self.doom.dead.load(SeqCst) => Poll::Ready(None),
            answer => answer.map(Some),
        })
        .await
    }

    async fn call<R>(&self, name: &str, call: impl Future<Output = R>) -> R {
        tokio::task::yield_now().await;
        let number = self.calls.next();
        self.pass(Death::Before(name), Death::Before(number)).await;
        let answer = call.await;
        self.pass(Death::After(name), Death::After(number)).await;
        answer
    }

    async fn pass(&self, named: Death<&str>, numbered: Death<usize>) {
        let dies = {
            let mut counted = self.calls.counted();
            let dies = self.doom.at == Some(named) || counted.death.take_if(|death| *death == numbered).is_some();
            counted.deaths += usize::from(dies);
            dies
        };
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
