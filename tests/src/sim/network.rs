//! The table and the queues as one process sees them: far away.

use super::{
    fault::Fault,
    process::{Kind, Process},
    queue::MemoryQueues,
    table::MemoryTable,
};
use std::{collections::BTreeSet, time::Duration};
use stepwell::{
    TaskId, Timestamp,
    queue::{Message, Queue, QueueError, UNDELIVERABLE},
    state::{End, TaskStatus},
    table::{
        Action, AsRead, AttemptRecord, Claim, ClaimRequest, Creation, Diversion, Failure, Fenced, KeyRecord, Lease,
        Listed, ListedAt, Listing, Loaded, NewTask, Page, StepRecord, Table, TableError, TaskRecord,
    },
};
use uuid::Uuid;

/// A table or a queue, and the process that calls it.
#[derive(Clone, Debug)]
pub(super) struct Remote<T> {
    process: Process,
    there: T,
}

impl<T> Remote<T> {
    /// What is there, as this process reaches it.
    pub(super) fn new(process: &Process, there: T) -> Self {
        Self { process: process.clone(), there }
    }
}

impl Remote<MemoryTable> {
    async fn call<R: std::fmt::Debug>(
        &self,
        kind: Kind,
        what: impl Fn() -> String,
        call: impl AsyncFn() -> Result<R, TableError>,
    ) -> Result<R, TableError> {
        let failed = |cause: &'static str| TableError::Call { operation: "a call", cause: cause.to_owned() };
        self.process.call(kind, what, failed, call).await
    }

    /// DynamoDB reads each item for itself: of two writes between them, either may be seen.
    async fn read(
        &self,
        what: impl Fn() -> String,
        read: impl AsyncFn() -> Result<Loaded, TableError>,
    ) -> Result<Loaded, TableError> {
        let torn = self.process.strikes(Fault::TornRead);
        let read = async || {
            let first = read().await?;
            if !torn {
                return Ok(first);
            }
            self.process.point().await;
            Ok(self.mix(first, read().await?))
        };
        let shown = |loaded: &Loaded| -> String {
            let status = loaded.task.as_ref().map_or("no task", |task| task.status.as_str());
            let steps = loaded.steps.values().map(|step| format!(" {} {}", step.name, step.state));
            status.chars().chain(steps.collect::<String>().chars()).collect()
        };
        let answer = self.call(Kind::Read, &what, async || Ok(Shown(read().await?, shown))).await?;
        Ok(answer.0)
    }

    fn mix(&self, first: Loaded, mut second: Loaded) -> Loaded {
        let fate = self.process.fate();
        for (name, step) in first.steps {
            if fate.one_in(2) {
                second.steps.insert(name, step);
            }
        }
        if fate.one_in(2) {
            second.task = first.task;
        }
        second
    }
}

/// An answer that is too long to be shown in full.
struct Shown<F>(Loaded, F);

impl<F: Fn(&Loaded) -> String> std::fmt::Debug for Shown<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1(&self.0))
    }
}

fn of(verb: &str, lease: &Lease) -> String {
    format!("{verb} {} attempt {}", lease.step, lease.attempt)
}

impl Table for Remote<MemoryTable> {
    async fn create(&self, task: &NewTask<'_>) -> Result<Creation, TableError> {
        self.call(Kind::Write, || "create".to_owned(), async || self.there.create(task).await).await
    }

    async fn reserve_key(&self, key: KeyRecord) -> Result<KeyRecord, TableError> {
        // The engine makes up an id that the seed does not know. Here somebody else is always a moment quicker, with the
        // same request and an id of the seed's.
        let key = KeyRecord { task: TaskId::from(Uuid::from_u128(self.process.fate().bits())), ..key };
        self.call(Kind::Write, || "reserve_key".to_owned(), async || self.there.reserve_key(key.clone()).await).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.read(|| "load".to_owned(), async || self.there.load(task, steps).await).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.read(|| "load_all".to_owned(), async || self.there.load_all(task).await).await
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, TableError> {
        self.call(Kind::Write, || format!("claim {}", request.step), async || self.there.claim(request).await).await
    }

    async fn take_over(&self, request: &ClaimRequest<'_>, lost: &StepRecord) -> Result<Claim, TableError> {
        let what = || format!("take_over {} from attempt {}", request.step, lost.attempt);
        self.call(Kind::Write, what, async || self.there.take_over(request, lost).await).await
    }

    async fn release(&self, lease: &Lease) -> Result<Fenced, TableError> {
        self.call(Kind::Write, || of("release", lease), async || self.there.release(lease).await).await
    }

    async fn withdraw(&self, lease: &Lease) -> Result<Fenced, TableError> {
        self.call(Kind::Write, || of("withdraw", lease), async || self.there.withdraw(lease).await).await
    }

    async fn complete(&self, lease: &Lease, attempt: &AttemptRecord, result: &str) -> Result<Fenced, TableError> {
        let call = async || self.there.complete(lease, attempt, result).await;
        self.call(Kind::Write, || of("complete", lease), call).await
    }

    async fn retry_later(&self, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        let call = async || self.there.retry_later(lease, attempt).await;
        self.call(Kind::Write, || of("retry_later", lease), call).await
    }

    async fn fail(&self, task: &TaskRecord, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        let call = async || self.there.fail(task, lease, attempt).await;
        self.call(Kind::Transaction, || of("fail", lease), call).await
    }

    async fn arrive_at_step(
        &self,
        task: TaskId,
        step: &str,
        done: &str,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, TableError> {
        let call = async || self.there.arrive_at_step(task, step, done, now).await;
        self.call(Kind::Write, || format!("arrive_at_step {step} from {done}"), call).await
    }

    async fn arrive_at_task(&self, task: TaskId, done: &str) -> Result<BTreeSet<String>, TableError> {
        let call = async || self.there.arrive_at_task(task, done).await;
        self.call(Kind::Write, || format!("arrive_at_task from {done}"), call).await
    }

    async fn finish(&self, task: TaskId, now: Timestamp) -> Result<TaskStatus, TableError> {
        self.call(Kind::Write, || "finish".to_owned(), async || self.there.finish(task, now).await).await
    }

    async fn restart(&self, task: &TaskRecord, failed: &[&StepRecord], action: &Action) -> Result<AsRead, TableError> {
        let call = async || self.there.restart(task, failed, action).await;
        self.call(Kind::Transaction, || "restart".to_owned(), call).await
    }

    async fn resolve_step(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        result: &str,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        let call = async || self.there.resolve_step(task, step, result, action).await;
        self.call(Kind::Transaction, || format!("resolve_step {}", step.name), call).await
    }

    async fn give_up(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        failure: &Failure,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        let call = async || self.there.give_up(task, step, failure, action).await;
        self.call(Kind::Transaction, || format!("give_up {}", step.name), call).await
    }

    async fn cancel_step(&self, task: TaskId, step: &StepRecord, now: Timestamp) -> Result<AsRead, TableError> {
        let call = async || self.there.cancel_step(task, step, now).await;
        self.call(Kind::Write, || format!("cancel_step {}", step.name), call).await
    }

    async fn divert(&self, task: TaskId, to: Diversion, action: &Action) -> Result<AsRead, TableError> {
        let call = async || self.there.divert(task, to, action).await;
        self.call(Kind::Write, || format!("divert to {to:?}"), call).await
    }

    async fn order_compensations(&self, task: TaskId, order: &[String], now: Timestamp) -> Result<AsRead, TableError> {
        let call = async || self.there.order_compensations(task, order, now).await;
        self.call(Kind::Write, || format!("order_compensations {order:?}"), call).await
    }

    async fn finish_compensation(&self, task: TaskId, end: End, now: Timestamp) -> Result<AsRead, TableError> {
        let call = async || self.there.finish_compensation(task, end, now).await;
        self.call(Kind::Write, || format!("finish_compensation {end:?}"), call).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        // Most parts of the index are empty, and nothing can be learnt from how that is found out.
        if !self.there.lists_any(page.listing, page.shard) {
            return Ok(Vec::new());
        }
        let what = || format!("list {} {}", page.listing.as_str(), page.shard);
        self.call(Kind::Read, what, async || self.there.list(page).await).await
    }

    async fn relist(&self, place: &ListedAt, to: Listing, at: Timestamp) -> Result<AsRead, TableError> {
        let call = async || self.there.relist(place, to, at).await;
        self.call(Kind::Write, || format!("relist from {} to {} at {at}", place.at, to.as_str()), call).await
    }
}

impl Remote<MemoryQueues> {
    async fn call(
        &self,
        operation: &'static str,
        queue: &str,
        call: impl AsyncFn() -> Result<(), QueueError>,
    ) -> Result<(), QueueError> {
        let failed = |cause: &'static str| QueueError { operation, queue: queue.to_owned(), cause: cause.to_owned() };
        self.process.call(Kind::Write, || format!("{operation} {queue}"), failed, call).await
    }
}

impl Queue for Remote<MemoryQueues> {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        self.call("send", &message.step, async || self.there.send(message).await).await
    }

    async fn hide(&self, step: &str, receipt_handle: &str, wait: Duration) -> Result<(), QueueError> {
        self.call("hide", step, async || self.there.hide(step, receipt_handle, wait).await).await
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        self.call("reject", UNDELIVERABLE, async || self.there.reject(body, reason).await).await
    }
}
