//! One process: an invocation of a function, or a client. It has a clock of its own, it can stop for a while, and it can
//! die between any two calls.

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
use uuid::Uuid;

/// A process.
#[derive(Clone, Debug)]
pub(super) struct Process(Arc<State>);

#[derive(Debug)]
struct State {
    scheduler: Arc<Scheduler>,
    name: String,
    version: Version,
    skew_millis: i64,
    mortal: bool,
    dead: Locked<bool>,
    freeze: Locked<Duration>,
}

impl Process {
    /// A process of this name, with a clock that is off by what scheduler wants.
    pub(super) fn new(scheduler: &Arc<Scheduler>, name: String, version: Version) -> Self {
        let skew_millis = scheduler.skew();
        Self(Arc::new(State {
            scheduler: scheduler.clone(),
            name,
            version,
            skew_millis,
            mortal: true,
            dead: Locked::new(false),
            freeze: Locked::default(),
        }))
    }

    /// A process to which nothing happens.
    pub(super) fn untroubled(scheduler: &Arc<Scheduler>, name: String, version: Version) -> Self {
        Self(Arc::new(State {
            scheduler: scheduler.clone(),
            name,
            version,
            skew_millis: 0,
            mortal: false,
            dead: Locked::new(false),
            freeze: Locked::default(),
        }))
    }

    /// Its version.
    pub(super) fn version(&self) -> Version {
        self.0.version
    }

    /// Somewhere on its way it is going to stand still for this long.
    pub(super) fn freeze(&self, time: Duration) {
        self.0.freeze.set(time);
    }

    /// What it goes by.
    pub(super) fn scheduler(&self) -> &Arc<Scheduler> {
        &self.0.scheduler
    }

    /// Whether this fault happens to it here and now.
    pub(super) fn strikes(&self, fault: Fault) -> bool {
        self.0.mortal && self.0.scheduler.strikes(fault)
    }

    /// Enters a line into the trace.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        self.0.scheduler.note(|| format!("{}: {}", self.0.name, line()));
    }

    /// Runs a future until it is done, or until the process dies: `None`.
    pub(super) async fn live<T>(&self, life: impl Future<Output = T>) -> Option<T> {
        let mut life = pin!(life);
        poll_fn(|context| match life.as_mut().poll(context) {
            _ if self.0.dead.get() => Poll::Ready(None),
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// A place between two calls: time passes, and here the process may stop, or die.
    pub(super) async fn point(&self) {
        let scheduler = &self.0.scheduler;
        if self.strikes(Fault::Crash) {
            self.note(|| "DIES".to_owned());
            self.0.dead.set(true);
            pending::<()>().await;
        }
        if !self.0.freeze.get().is_zero() && scheduler.one_in(4) {
            self.note(|| "is frozen".to_owned());
            tokio::time::sleep(self.0.freeze.take()).await;
            self.note(|| "goes on".to_owned());
        }
        if self.strikes(Fault::Stall) {
            self.note(|| "stands still".to_owned());
            scheduler.wait(40_000).await;
        } else if scheduler.one_in(2) {
            scheduler.wait(20).await;
        }
    }

    /// Makes a call, with all that can happen on the way there and back.
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

/// What kind of call it is: what may happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes nothing.
    Read,
    /// It may be made twice: the SDK repeats it when no answer comes.
    Write,
    /// A write that carries a token by which the store knows it again.
    Transaction,
}

impl Runtime for Process {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.scheduler.now().as_millis() + self.0.skew_millis)
    }

    fn random(&self) -> f64 {
        self.0.scheduler.random()
    }

    fn new_task_id(&self) -> TaskId {
        TaskId::from(Uuid::from_u128(self.0.scheduler.bits()))
    }
}
