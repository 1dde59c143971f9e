//! The engine's ports with injected faults: failures, concurrent actions, and crashes of the caller.

use crate::{
    core::{
        id::TaskId,
        index::{IndexEntry, Page},
        item::{Item, Key},
        message::{Outgoing, QueueName, StepQueue},
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Transition},
    },
    ports::{CallError, Deliveries, FailureKind, Queue, QueueError, Store, TableError},
};
use futures::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

/// The call at which a worker or a client crashes. The name of a call is that of its transition (`claim`, `complete`,
/// `record_join_arrival`) or of the port's method (`load`, `load_all`, `read`, `list`, `range`, `send`, `hide`, `reject`, `deliver`; `settle` without
/// a transition). Alternatively a call is identified by its number, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashAt<Call = &'static str> {
    /// Before this call has any effect.
    Before(Call),
    /// After this call has had its effect, before its answer arrives.
    After(Call),
}

/// Takes the first planned fault for this step or this call.
pub(super) fn take<T>(planned: &mut BTreeMap<String, VecDeque<T>>, at: &str) -> Option<T> {
    planned.get_mut(at)?.pop_front()
}

pub(super) fn plan<T>(planned: &mut BTreeMap<String, VecDeque<T>>, at: &str, what: impl IntoIterator<Item = T>) {
    planned.entry(at.to_owned()).or_default().extend(what);
}

/// Ports with injected faults. Clones share the crash.
///
/// Each call yields to the other tasks first, so the calls of workers that are polled concurrently interleave.
#[derive(Clone, Debug)]
pub struct CrashablePorts<P> {
    ports: P,
    /// `None` for a caller that does not crash, and whose calls are not counted.
    crash: Option<Arc<Crash>>,
    calls: Calls,
}

#[derive(Debug)]
struct Crash {
    at: Option<CrashAt>,
    crashed: AtomicBool,
}

/// The planned faults of the calls. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Planned>>);

#[derive(Default)]
struct Planned {
    made: usize,
    crash: Option<CrashAt<usize>>,
    crashes: usize,
    failures: BTreeMap<String, VecDeque<FailureKind>>,
    meanwhile: BTreeMap<String, VecDeque<BoxFuture<'static, ()>>>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

impl Calls {
    fn planned(&self) -> MutexGuard<'_, Planned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts calls from 0 from now on, and crashes the caller of this one.
    pub(super) fn crash_at(&self, crash: CrashAt<usize>) {
        let mut planned = self.planned();
        (planned.made, planned.crash) = (0, Some(crash));
    }

    /// The number of crashes so far.
    pub(super) fn crashes(&self) -> usize {
        self.planned().crashes
    }

    /// Plans failures of the next calls with this name. They have no effect.
    pub(super) fn fail(&self, call: &str, kinds: impl IntoIterator<Item = FailureKind>) {
        plan(&mut self.planned().failures, call, kinds);
    }

    /// Plans an action right before the next call with this name has its effect.
    pub(super) fn meanwhile(&self, call: &str, what: impl Future<Output = ()> + Send + 'static) {
        plan(&mut self.planned().meanwhile, call, [Box::pin(what) as BoxFuture<'static, ()>]);
    }

    fn take_failure(&self, call: &str) -> Option<FailureKind> {
        take(&mut self.planned().failures, call)
    }

    fn take_meanwhile(&self, call: &str) -> Option<BoxFuture<'static, ()>> {
        take(&mut self.planned().meanwhile, call)
    }

    /// The number of the next call.
    fn next(&self) -> usize {
        let mut planned = self.planned();
        planned.made += 1;
        planned.made - 1
    }
}

impl<P> CrashablePorts<P> {
    /// Ports of a caller that may crash at `at`, or at a call that is counted together with those of other callers.
    pub(super) fn new(ports: P, at: Option<CrashAt>, calls: Calls) -> Self {
        Self { ports, crash: Some(Arc::new(Crash { at, crashed: AtomicBool::new(false) })), calls }
    }

    /// Ports of a caller that does not crash.
    pub(super) fn uncrashable(ports: P, calls: Calls) -> Self {
        Self { ports, crash: None, calls }
    }

    /// Ports of a caller that crashes at the call with this number.
    pub fn crashing_at(ports: P, at: CrashAt<usize>) -> Self {
        let calls = Calls::default();
        calls.crash_at(at);
        Self::new(ports, None, calls)
    }

    /// The number of calls so far.
    pub fn calls(&self) -> usize {
        self.calls.planned().made
    }

    /// Polls the caller's future until it is done. Returns `None` if the caller crashes.
    pub async fn run_until_crash<R>(&self, run: impl Future<Output = R>) -> Option<R> {
        let mut run = pin!(run);
        poll_fn(|context| match run.as_mut().poll(context) {
            _ if self.crash.as_ref().is_some_and(|crash| crash.crashed.load(SeqCst)) => Poll::Ready(None),
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
        tokio::task::yield_now().await;
        let number = self.crash.as_ref().map(|_| self.calls.next());
        self.pass(CrashAt::Before(name), number.map(CrashAt::Before)).await;
        let meanwhile = self.calls.take_meanwhile(name);
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        if let Some(kind) = self.calls.take_failure(name) {
            return Err(failed(CallError::new(name, kind, "as the test wants it")));
        }
        let answer = call.await;
        self.pass(CrashAt::After(name), number.map(CrashAt::After)).await;
        answer
    }

    async fn pass(&self, named: CrashAt<&str>, numbered: Option<CrashAt<usize>>) {
        let Some(crash) = &self.crash else { return };
        let dies = {
            let mut planned = self.calls.planned();
            let dies = crash.at == Some(named) || planned.crash.take_if(|crash| Some(*crash) == numbered).is_some();
            planned.crashes += usize::from(dies);
            dies
        };
        if dies {
            crash.crashed.store(true, SeqCst);
            pending::<()>().await;
        }
    }
}

impl<P: Store> CrashablePorts<P> {
    /// Reads a task. A planned action comes between the read of its steps and the read of its own item.
    async fn read_task(
        &self,
        name: &'static str,
        task: TaskId,
        read: impl Future<Output = Result<Loaded, TableError>>,
    ) -> Result<Loaded, TableError> {
        let meanwhile = self.calls.take_meanwhile(name);
        let read = self.call(name, TableError::from, read).await?;
        let Some(meanwhile) = meanwhile else { return Ok(read) };
        meanwhile.await;
        Ok(Loaded { task: self.ports.load(task, &BTreeSet::new()).await?.task, ..read })
    }
}

impl<P: Store> Store for CrashablePorts<P> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        self.call(transition.name, TableError::from, self.ports.apply(transition)).await
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        let name = settlement.transition.as_ref().map_or("settle", |transition| transition.name);
        self.call(name, TableError::from, self.ports.settle(task, settlement)).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.read_task("load", task, self.ports.load(task, steps)).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.read_task("load_all", task, self.ports.load_all(task)).await
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        self.call("read", TableError::from, self.ports.read(key)).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.call("list", TableError::from, self.ports.list(page)).await
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        self.call("range", TableError::from, self.ports.range(from, limit)).await
    }

    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        self.call("newest", TableError::from, self.ports.newest(before, limit)).await
    }

    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        self.call("read_all", TableError::from, self.ports.read_all(keys, attributes)).await
    }
}

impl<P: Queue> Queue for CrashablePorts<P> {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        self.call("send", |error| QueueError::new(outgoing.queue(), error), self.ports.send(outgoing)).await
    }

    async fn hide(&self, queue: &QueueName, receipt: &str, wait: Duration) -> Result<(), QueueError> {
        self.call("hide", |error| QueueError::new(queue.clone(), error), self.ports.hide(queue, receipt, wait)).await
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        let failed = |error| QueueError::new(QueueName::Undeliverable, error);
        self.call("reject", failed, self.ports.reject(body, reason)).await
    }
}

impl<P: Deliveries> Deliveries for CrashablePorts<P> {
    async fn deliver(&self, queue: &StepQueue, on: bool) -> Result<(), QueueError> {
        let failed = |error| QueueError::new(queue.clone(), error);
        self.call("deliver", failed, self.ports.deliver(queue, on)).await
    }
}
