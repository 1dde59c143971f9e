//! What every part of the engine works with: a store, the queues, time and chance.

use crate::{
    core::{
        format::NewerFormat,
        id::TaskId,
        index::{IndexEntry, Page},
        item::Key,
        message::Outgoing,
        record::{KeyRecord, TaskRecord},
        settlement::{Consequence, Dispatch, Due, Settled, Settlement, dispatch},
        snapshot::{Loaded, TaskSnapshot},
        state::TaskState,
        task,
        timestamp::Timestamp,
        transition::{Applied, Transition},
    },
    ports::{Queue, QueueError, Runtime, Store, TableError},
    runtime::error::EngineError,
};
use futures::future::try_join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How often a write that holds only for what was read is tried again: more often than a task can change in between.
const MAX_CAS_RETRIES: u32 = 20;

/// How long to wait at most before the first of these tries. The wait doubles four times, so all of them take 3 s at most,
/// a third of what an API's request has.
const FIRST_CAS_WAIT: Duration = Duration::from_millis(10);

/// How what follows from a transition went. Where it failed, the next delivery or the watchdog makes it.
pub(crate) type Followed = Result<(), EngineError>;

/// What is to be done to a task, as it was read.
#[derive(Debug)]
pub(crate) enum Decision<R> {
    /// This, and then the answer is given.
    Settle(Settlement, R),
    /// Nothing; the answer is given at once.
    Leave(R),
    /// It was read in the middle of a change.
    ReadAgain,
}

/// A store, its queues, a clock. Whoever acts goes through it to the store, so that none acts on an item of a newer format.
#[derive(Clone, Debug)]
pub(crate) struct Engine<S, Q, A> {
    store: S,
    pub(crate) queue: Q,
    pub(crate) runtime: A,
}

/// What says that nobody may act on this, where that is so.
fn acting(newer: Option<&NewerFormat>) -> Result<(), EngineError> {
    newer.map_or(Ok(()), |newer| Err(EngineError::Newer(newer.clone())))
}

impl<S: Store, Q: Queue, A: Runtime> Engine<S, Q, A> {
    pub(crate) const fn new(store: S, queue: Q, runtime: A) -> Self {
        Self { store, queue, runtime }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.runtime.now()
    }

    /// The task with all of its steps, to be shown; `None` where there is no such task.
    pub(crate) async fn shown(&self, task: TaskId) -> Result<Option<TaskSnapshot>, TableError> {
        Ok(TaskSnapshot::new(self.store.load_all(task).await?))
    }

    /// Some steps of a task, to be shown.
    pub(crate) async fn shown_steps(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.store.load(task, steps).await
    }

    /// Reserves an idempotency key. Answers with the one that stands now, to be shown.
    pub(crate) async fn reserve(&self, key: KeyRecord) -> Result<KeyRecord, TableError> {
        let reserved = self.store.apply(&task::reserve_key(&key)).await?;
        Ok(task::reserved_key(key, reserved)?)
    }

    /// A part of the index.
    pub(crate) async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.store.list(page).await
    }

    /// The task with all of its steps, to be acted on; `None` where there is no such task.
    pub(crate) async fn snapshot(&self, task: TaskId) -> Result<Option<TaskSnapshot>, EngineError> {
        let snapshot = self.shown(task).await?;
        acting(snapshot.as_ref().and_then(TaskSnapshot::newer))?;
        Ok(snapshot)
    }

    /// The task and some of its steps, to be acted on.
    pub(crate) async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, EngineError> {
        let loaded = self.store.load(task, steps).await?;
        acting(loaded.newer())?;
        Ok(loaded)
    }

    /// Makes a transition.
    pub(crate) async fn apply(&self, transition: &Transition) -> Result<Applied, EngineError> {
        let applied = self.store.apply(transition).await?;
        if let (Applied::Refused(item), Some(write)) = (&applied, transition.writes.first()) {
            acting(NewerFormat::of(&write.key, item).as_ref())?;
        }
        Ok(applied)
    }

    pub(crate) async fn send_all(&self, messages: &[Outgoing]) -> Result<(), QueueError> {
        try_join_all(messages.iter().map(|message| self.queue.send(message))).await.map(drop)
    }

    /// Has the store carry a settlement out, and does what it leaves in the protocol's order. Answers with how that went;
    /// `None` where it was refused, and nothing has followed.
    pub(crate) async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Option<Followed>, EngineError> {
        let left = match self.store.settle(task, settlement).await? {
            Settled::Written(left) => left,
            Settled::Refused(item) => {
                acting(NewerFormat::of(&Key::Task(task), &item).as_ref())?;
                return Ok(None);
            }
        };
        let followed = try_join_all(left.iter().map(|consequence| self.follow(task, consequence))).await;
        Ok(Some(followed.map(drop)))
    }

    /// Makes what follows from something that was written before.
    pub(crate) async fn follow_up(&self, task: TaskId, then: Vec<Consequence>) -> Result<(), EngineError> {
        self.settle(task, Settlement::without_transition(then)).await?.unwrap_or(Ok(()))
    }

    /// Decides what to do to a task by how it stands, and does it. Decides once more where something has changed in between.
    /// Answers with what was decided, and with how what follows from it went; `None` where the task keeps changing.
    pub(crate) async fn settle_as_read<R>(
        &self,
        id: TaskId,
        decide: impl Fn(Option<TaskSnapshot>) -> Decision<R>,
    ) -> Result<Option<(R, Followed)>, EngineError> {
        for tries in 0..MAX_CAS_RETRIES {
            if tries > 0 {
                // Whoever else is changing the task has time to finish.
                let wait = FIRST_CAS_WAIT.saturating_mul(1 << (tries - 1).min(4));
                tokio::time::sleep(wait.mul_f64(self.runtime.random())).await;
            }
            match decide(self.snapshot(id).await?) {
                Decision::Leave(answer) => return Ok(Some((answer, Ok(())))),
                Decision::ReadAgain => {}
                Decision::Settle(settlement, answer) => {
                    if let Some(followed) = self.settle(id, settlement).await? {
                        return Ok(Some((answer, followed)));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn follow(&self, task: TaskId, consequence: &Consequence) -> Result<(), EngineError> {
        if let Some(join) = &consequence.join {
            let arrival = self.apply(&join.transition).await?;
            if !arrival.is_written() {
                return Err(task::gone(task).into());
            }
            if !join.is_last(&arrival) {
                return Ok(());
            }
        }
        match &consequence.due {
            Due::Send(outgoing) => Ok(self.queue.send(outgoing).await?),
            Due::Finish => self.finish(task).await,
            Due::AdvanceCompensation => self.recover(task).await,
        }
    }

    async fn finish(&self, id: TaskId) -> Result<(), EngineError> {
        // Now, and not when the leaf was done: another one may have been done after it, and arrived before it.
        let finished = self.apply(&task::finish(id, self.now())).await?;
        let state = task::state_after_finish(id, finished)?;
        if state != TaskState::Completed {
            tracing::warn!(task_id = %id, status = %state.status(), "the last step is done, but the task had ended before it");
        }
        if state.is_compensating() {
            // It may have waited for this step.
            self.recover(id).await?;
        }
        Ok(())
    }

    /// Dispatches once more from a step that is complete: whoever completed it may have died before they had.
    pub(crate) async fn dispatch_again(&self, task: &TaskRecord, step: &str) -> Result<(), EngineError> {
        let now = self.now();
        let names: BTreeSet<&str> = task.plan.dependents(step).map(|dependent| dependent.name.as_str()).collect();
        let waits = !names.is_empty() && !task.plan.is_compensation(step);
        let found = if waits { self.load(task.id, &names).await?.steps } else { BTreeMap::new() };
        let then = dispatch(task, step, Dispatch::Replay, &found, now);
        self.follow_up(task.id, then).await
    }
}

#[cfg(test)]
mod tests;
