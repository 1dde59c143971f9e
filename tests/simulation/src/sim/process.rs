//! One process: an invocation of a function, or a client. It has its own clock, it may pause, and it may die between
//! any two calls.

use super::{fault::Fault, scheduler::Scheduler, version::Version};
use crate::locked::Locked;
use std::{
    fmt,
    future::{pending, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use stepwell::{FailureKind, Runtime, TaskId, Timestamp};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

/// A process, or something that runs in one together with others. Its clock is that of the run, but for an error.
#[derive(Clone, Debug)]
pub struct SimulatedProcess(Arc<ProcessState>);

/// The life of a process. All that runs in the process shares it.
#[derive(Debug, Default)]
struct Life {
    is_over: Locked<bool>,
    end: Notify,
}

#[derive(Debug)]
struct ProcessState {
    scheduler: Arc<Scheduler>,
    name: String,
    version: Version,
    skew_millis: i64,
    mortal: bool,
    life: Arc<Life>,
    freeze: Locked<Duration>,
    /// Until when it is frozen. A frozen process does not notice that time passes.
    frozen_until: Locked<Option<Instant>>,
}

impl SimulatedProcess {
    /// A process of this name. The scheduler draws its clock error.
    pub(super) fn new(scheduler: &Arc<Scheduler>, name: String, version: Version) -> Self {
        let skew_millis = scheduler.skew();
        Self(Arc::new(ProcessState {
            scheduler: scheduler.clone(),
            name,
            version,
            skew_millis,
            mortal: true,
            life: Arc::default(),
            freeze: Locked::default(),
            frozen_until: Locked::default(),
        }))
    }

    /// Something of this name that runs in this process: it has the same clock, and dies with it.
    pub(super) fn within(&self, name: String) -> Self {
        let ProcessState { scheduler, version, skew_millis, mortal, life, .. } = &*self.0;
        Self(Arc::new(ProcessState {
            scheduler: scheduler.clone(),
            name,
            version: *version,
            skew_millis: *skew_millis,
            mortal: *mortal,
            life: life.clone(),
            freeze: Locked::default(),
            frozen_until: Locked::default(),
        }))
    }

    /// A process without faults.
    pub(super) fn reliable(scheduler: &Arc<Scheduler>, name: String, version: Version) -> Self {
        Self(Arc::new(ProcessState {
            scheduler: scheduler.clone(),
            name,
            version,
            skew_millis: 0,
            mortal: false,
            life: Arc::default(),
            freeze: Locked::default(),
            frozen_until: Locked::default(),
        }))
    }

    /// Its version.
    pub(super) fn version(&self) -> Version {
        self.0.version
    }

    /// Makes the process pause once for this long, at some later point.
    pub(super) fn freeze(&self, time: Duration) {
        self.0.freeze.set(time);
    }

    /// The run's scheduler.
    pub(super) fn scheduler(&self) -> &Arc<Scheduler> {
        &self.0.scheduler
    }

    /// Whether this fault happens to the process here.
    pub(super) fn strikes(&self, fault: Fault) -> bool {
        self.0.mortal && self.0.scheduler.strikes(fault)
    }

    /// Adds a line to the trace.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        self.0.scheduler.note(|| format!("{}: {}", self.0.name, line()));
    }

    /// Whether it may die, pause, and meet calls that fail.
    pub(super) fn is_mortal(&self) -> bool {
        self.0.mortal
    }

    /// Whether it is dead.
    pub(super) fn is_dead(&self) -> bool {
        self.0.life.is_over.get()
    }

    /// Ends it, with all that runs in it.
    pub(super) fn die(&self) {
        self.note(|| "DIES".to_owned());
        self.0.life.is_over.set(true);
        self.0.life.end.notify_waiters();
    }

    /// Runs a future until it is done; `None` where the process died.
    pub(super) async fn live<T>(&self, life: impl Future<Output = T>) -> Option<T> {
        let (mut life, mut end) = (pin!(life), pin!(self.0.life.end.notified()));
        poll_fn(|context| {
            if end.as_mut().poll(context).is_ready() || self.is_dead() {
                return Poll::Ready(None);
            }
            match life.as_mut().poll(context) {
                _ if self.is_dead() => Poll::Ready(None),
                Poll::Ready(end) => Poll::Ready(Some(end)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// A point between two calls: time passes, and the process may pause or die.
    pub(super) async fn point(&self) {
        let scheduler = &self.0.scheduler;
        if self.strikes(Fault::Crash) {
            self.die();
            pending::<()>().await;
        }
        if !self.0.freeze.get().is_zero() && scheduler.one_in(4) {
            self.note(|| "is frozen".to_owned());
            let until = Instant::now() + self.0.freeze.take();
            self.0.frozen_until.set(Some(until));
            tokio::time::sleep_until(until).await;
            self.note(|| "goes on".to_owned());
        }
        if self.strikes(Fault::Stall) {
            self.note(|| "stands still".to_owned());
            scheduler.wait(40_000).await;
        } else if scheduler.one_in(2) {
            scheduler.wait(20).await;
        }
    }

    /// Makes a call with all its possible faults.
    pub(super) async fn make<R: fmt::Debug, E, F: Future<Output = Result<R, E>>>(
        &self,
        kind: Kind,
        what: impl Fn() -> String,
        failed: impl Fn(FailureKind, &'static str) -> E,
        call: impl Fn() -> F,
    ) -> Result<R, E> {
        self.0.scheduler.call();
        self.point().await;
        if self.strikes(Fault::Throttle) {
            self.note(|| format!("{} -> throttled", what()));
            return Err(failed(FailureKind::Throttled, "the table has too much to do"));
        }
        let mut answer = call().await;
        if kind == Kind::Write && self.strikes(Fault::Repeated) {
            self.note(|| format!("{} took effect, and is made again", what()));
            self.point().await;
            answer = call().await;
        }
        self.note(|| match &answer {
            Ok(answer) => format!("{} -> {answer:?}", what()),
            Err(_) => format!("{} -> refused", what()),
        });
        self.point().await;
        if kind != Kind::Read && answer.is_ok() && self.strikes(Fault::LostAnswer) {
            self.note(|| "the answer is lost".to_owned());
            return Err(failed(FailureKind::Unavailable, "the connection broke before the answer came"));
        }
        answer
    }
}

/// The kind of a call, which decides its possible faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It reads.
    Read,
    /// A write that the SDK repeats when no answer comes.
    Write,
    /// A write with a token, by which the store recognises a repetition.
    Transaction,
}

impl Runtime for SimulatedProcess {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.scheduler.now().as_millis() + self.0.skew_millis)
    }

    /// A frozen process wakes up only when it goes on, and then its call is answered before it looks at its clock.
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
        while let Some(until) = self.0.frozen_until.get().filter(|until| *until >= Instant::now()) {
            tokio::time::sleep_until(until + Duration::from_millis(1)).await;
        }
    }

    fn random(&self) -> f64 {
        self.0.scheduler.random()
    }

    fn new_task_id(&self) -> TaskId {
        TaskId::from(Uuid::from_u128(self.0.scheduler.bits()))
    }
}
