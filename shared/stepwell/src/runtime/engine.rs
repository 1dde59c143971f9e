//! The base of every part of the engine: a store, its queues, time and randomness.

use crate::{
    core::{
        breaker::Breaker,
        format::NewerFormat,
        id::TaskId,
        index::{IndexEntry, Page},
        item::{Item, Key, attribute},
        message::{Message, Outgoing, StepQueue},
        pause::{self, Pauses, StepPauses, Unknown},
        plan,
        record::{Action, KeyRecord, TaskRecord},
        settlement::{Consequence, Dispatch, Due, Settled, Settlement, dispatch},
        snapshot::{Loaded, TaskSnapshot},
        state::TaskState,
        task,
        timer::{Wait, set_timer},
        timestamp::Timestamp,
        transition::{Applied, Transition},
    },
    ports::{Queue, QueueError, Runtime, Store, TableError},
    runtime::error::EngineError,
};
use futures::future::try_join_all;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The maximum of tries of a compare-and-set. A task does not change so often in between.
const MAX_CAS_RETRIES: u32 = 20;

/// The longest wait before the second try. The wait doubles four times, so all waits together take at most 3 s, a third of
/// the time of an API request.
const FIRST_CAS_WAIT: Duration = Duration::from_millis(10);

/// The result of a transition's consequences, with the time at which the task's recovery goes on if it waits. The next delivery or
/// the watchdog repeats those that failed.
pub(crate) type Followed = Result<Option<Timestamp>, EngineError>;

/// What to do to a task, decided by a snapshot of it.
#[derive(Debug)]
pub(crate) enum Decision<R> {
    /// Carry out this settlement, and return this answer.
    Settle(Settlement, R),
    /// Do nothing, and return this answer.
    Leave(R),
    /// Read again, because the snapshot is inconsistent: it was read during a change.
    ReadAgain,
}

/// A store, its queues, time and randomness. All access to the store goes through it, so that no part of the engine acts on
/// an item of a newer format.
#[derive(Clone, Debug)]
pub(crate) struct Engine<S, Q, A> {
    store: S,
    pub(crate) queue: Q,
    pub(crate) runtime: A,
}

/// Fails if this version may not act on what was read.
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

    /// Reads the task with all of its steps, to show it; `None` if it does not exist.
    pub(crate) async fn shown(&self, task: TaskId) -> Result<Option<TaskSnapshot>, TableError> {
        Ok(TaskSnapshot::new(self.store.load_all(task).await?))
    }

    /// See [`Store::changed`].
    pub(crate) fn changed(&self, task: TaskId) -> impl Future<Output = ()> + Send {
        self.store.changed(task)
    }

    /// Reserves an idempotency key. Returns the record that is stored now: this one, or an earlier one.
    pub(crate) async fn reserve(&self, key: KeyRecord) -> Result<KeyRecord, TableError> {
        let reserved = self.store.apply(&task::reserve_key(&key)).await?;
        Ok(task::reserved_key(key, reserved)?)
    }

    /// Gives an idempotency key this other task. Returns the record that is stored now: if its task was another already, that.
    pub(crate) async fn repoint(&self, key: KeyRecord, to: TaskId, now: Timestamp) -> Result<KeyRecord, TableError> {
        let repointed = self.store.apply(&task::repoint_key(&key, to, now)).await?;
        Ok(task::reserved_key(KeyRecord { task: to, created_at: now, ..key }, repointed)?)
    }

    /// Makes sure that this task never starts, unless it exists.
    pub(crate) async fn rule_out(&self, id: TaskId, workflow: String, action: &Action) -> Result<(), TableError> {
        let created_at = id.made_at().unwrap_or(action.at);
        self.store.apply(&task::rule_out(id, workflow, created_at, action)).await.map(drop)
    }

    /// Whether there is an item with this key, by a read that is eventually consistent.
    pub(crate) async fn exists(&self, key: &Key) -> Result<bool, TableError> {
        Ok(!self.store.read(key).await?.is_empty())
    }

    /// Reads the breaker of a service.
    pub(crate) async fn breaker(&self, service: &str) -> Result<Breaker, TableError> {
        Ok(Breaker::of(&self.store.read(&Key::Breaker(service.to_owned())).await?))
    }

    /// Reads the pauses of all steps that were ever paused, consistently. Each that cannot be read is logged.
    pub(crate) async fn pauses(&self) -> Result<Pauses, TableError> {
        let pauses = Pauses::from_items(self.store.range(&pause::first_key(), pause::MOST_STEPS).await?);
        for StepQueue { workflow, step } in &pauses.unknown {
            tracing::error!(workflow, step, "the pauses of a step cannot be read; it is left as it is");
        }
        Ok(pauses)
    }

    /// Reads the pauses of a step, consistently.
    pub(crate) async fn pauses_of(&self, queue: &StepQueue) -> Result<StepPauses, EngineError> {
        let item = self.store.range(&Key::Pause(queue.clone()), 1).await?.into_iter().next();
        let of_step = |item: &Item| {
            let text = |name| item.get(name).and_then(Value::as_str);
            (text(attribute::WORKFLOW), text(attribute::STEP)) == (Some(&queue.workflow), Some(&queue.step))
        };
        match item.filter(of_step).map(|item| StepPauses::from_item(queue, item)) {
            None => Ok(StepPauses::none(queue)),
            Some(Ok(pauses)) => Ok(pauses),
            Some(Err(Unknown::Newer(newer))) => Err(EngineError::Newer(newer)),
            Some(Err(Unknown::Unreadable(error))) => Err(error.into()),
        }
    }

    /// Reads a page of the index.
    pub(crate) async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.store.list(page).await
    }

    /// Reads items of a partition, from this key on.
    pub(crate) async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        self.store.range(from, limit).await
    }

    /// See [`Store::newest`].
    pub(crate) async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        self.store.newest(before, limit).await
    }

    /// See [`Store::read_all`].
    pub(crate) async fn read_all(
        &self,
        keys: &[Key],
        attributes: &[&'static str],
    ) -> Result<Vec<(Key, Item)>, TableError> {
        self.store.read_all(keys, attributes).await
    }

    /// Reads the task with all of its steps, to act on it; `None` if it does not exist.
    pub(crate) async fn snapshot(&self, task: TaskId) -> Result<Option<TaskSnapshot>, EngineError> {
        let snapshot = self.shown(task).await?;
        acting(snapshot.as_ref().and_then(TaskSnapshot::newer))?;
        Ok(snapshot)
    }

    /// Reads the task and some of its steps, to act on them.
    pub(crate) async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, EngineError> {
        let loaded = self.store.load(task, steps).await?;
        acting(loaded.newer())?;
        Ok(loaded)
    }

    /// Applies a transition.
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

    /// Lets the store carry out a settlement, and carries out the consequences that the store leaves, in the protocol's
    /// order. Returns their result; `None` if the transition was refused, so that there are no consequences. The task is of this workflow.
    pub(crate) async fn settle(
        &self,
        task: TaskId,
        workflow: &str,
        settlement: Settlement,
    ) -> Result<Option<Followed>, EngineError> {
        let left = match self.store.settle(task, settlement).await? {
            Settled::Written { left, completed } => {
                if completed {
                    self.log_completed(task, workflow);
                }
                left
            }
            Settled::Refused(item) => {
                acting(NewerFormat::of(&Key::Task(task), &item).as_ref())?;
                return Ok(None);
            }
        };
        let followed = try_join_all(left.iter().map(|consequence| self.follow(task, workflow, consequence))).await;
        Ok(Some(followed.map(|waits| waits.into_iter().flatten().min())))
    }

    /// Carries out the consequences of a transition that was written before.
    pub(crate) async fn follow_up(&self, task: &TaskRecord, then: Vec<Consequence>) -> Followed {
        let settlement = Settlement::without_transition(then);
        self.settle(task.id, task.workflow_name(), settlement).await?.unwrap_or(Ok(None))
    }

    /// Changes a task with optimistic concurrency: reads it, decides, and writes if nothing has changed since. On a conflict
    /// it starts again. Returns the answer of the decision and the result of the consequences; `None` if conflicts persist.
    pub(crate) async fn settle_as_read<R>(
        &self,
        id: TaskId,
        decide: impl Fn(Option<TaskSnapshot>) -> Decision<R>,
    ) -> Result<Option<(R, Followed)>, EngineError> {
        for tries in 0..MAX_CAS_RETRIES {
            if tries > 0 {
                // Let the other writer finish.
                let wait = FIRST_CAS_WAIT.saturating_mul(1 << (tries - 1).min(4));
                tokio::time::sleep(wait.mul_f64(self.runtime.random())).await;
            }
            let snapshot = self.snapshot(id).await?;
            let workflow = snapshot.as_ref().map_or("", |snapshot| snapshot.task.workflow_name()).to_owned();
            match decide(snapshot) {
                Decision::Leave(answer) => return Ok(Some((answer, Ok(None)))),
                Decision::ReadAgain => {}
                Decision::Settle(settlement, answer) => {
                    if let Some(followed) = self.settle(id, &workflow, settlement).await? {
                        return Ok(Some((answer, followed)));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn follow(&self, task: TaskId, workflow: &str, consequence: &Consequence) -> Followed {
        if let Some(join) = &consequence.join {
            let arrival = self.apply(&join.transition).await?;
            if !arrival.is_written() {
                return Err(task::gone(task).into());
            }
            if !join.is_last(&arrival) {
                return Ok(None);
            }
        }
        match &consequence.due {
            Due::Send(outgoing) => self.queue.send(outgoing).await?,
            Due::Finish => self.finish(task, workflow).await?,
            Due::AdvanceCompensation => return self.recover(task).await,
        }
        Ok(None)
    }

    async fn finish(&self, id: TaskId, workflow: &str) -> Result<(), EngineError> {
        // The time is now, not that of this leaf: another leaf may have been done later, but arrived earlier.
        let finished = self.apply(&task::finish(id, self.now())).await?;
        if finished.is_written() {
            self.log_completed(id, workflow);
        }
        let state = task::state_after_finish(id, finished)?;
        if state != TaskState::Completed {
            tracing::warn!(task_id = %id, status = %state.status(), "the last step is done, but the task had ended before it");
        }
        if state.is_compensating() {
            // Compensation may have waited for this step.
            self.recover(id).await?;
        }
        Ok(())
    }

    /// Logs the completion of a task of this workflow, once for each.
    fn log_completed(&self, task: TaskId, workflow: &str) {
        let task_seconds = task.made_at().map(|made_at| self.now().since(made_at).as_secs_f64());
        tracing::info!(workflow, task_id = %task, task_seconds, "task completed");
    }

    /// Replays the dispatch of a step that is complete, because the worker that completed it may have died before the end of
    /// its dispatch.
    pub(crate) async fn dispatch_again(&self, task: &TaskRecord, step: &str) -> Result<(), EngineError> {
        let now = self.now();
        let dependents = plan::dependents(task.graph_of(step), step);
        let names: BTreeSet<&str> = dependents.map(|dependent| dependent.name.as_str()).collect();
        let found = if !names.is_empty() { self.load(task.id, &names).await?.steps } else { BTreeMap::new() };
        let then = dispatch(task, step, Dispatch::Replay, &found, now);
        self.follow_up(task, then).await.map(drop)
    }

    /// Lets a step get this message at this time: with a delay, or by a timer in the index. Returns whether it will; a step that does not wait until
    /// then gets no timer.
    pub(crate) async fn send_at(&self, outgoing: Outgoing, at: Timestamp) -> Result<bool, EngineError> {
        let wait = at.since(self.now());
        if Wait::of(wait) == Wait::Listed {
            let Message { task_id, step, .. } = &outgoing.message;
            return Ok(self.apply(&set_timer(*task_id, step, at)).await?.is_written());
        }
        self.queue.send(&outgoing.after(wait)).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
