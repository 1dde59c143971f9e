//! The writes that are made to a task from outside.

use super::{Store, TaskItem, error};
use stepwell::{
    TaskId, Timestamp,
    state::{End, StepEvent, StepState, TaskEvent, TaskStatus},
    table::{
        Action, AsRead, AttemptRecord, Diversion, FIRST_LOOK, Failure, Listing, Outcome, StepRecord, TableError,
        TaskRecord,
    },
};

/// The listing of a task that no part of the engine looks after.
fn ended(status: TaskStatus) -> Listing {
    *Listing::of(status).first().expect("every status has a listing")
}

impl Store {
    /// Whether a step stands as it was read, and nobody is at it.
    fn stands(&self, task: TaskId, read: &StepRecord, now: Timestamp) -> bool {
        let found = self.step(task, &read.name);
        let same = found.state == read.state;
        match read.state {
            StepState::Pending => same && (found.attempt == 0 || found.attempt == read.attempt),
            StepState::InProgress => {
                same && found.attempt == read.attempt && found.lease_until.is_some_and(|until| until < now)
            }
            _ => same && found.attempt == read.attempt,
        }
    }

    /// Brings a step that was read so to an end that no worker has brought about.
    fn end_step(
        &mut self,
        task: TaskId,
        read: &StepRecord,
        (event, to): (StepEvent, StepState),
        at: Timestamp,
        change: impl FnOnce(&mut StepRecord),
    ) {
        let before = self.step(task, &read.name);
        let mut after = StepRecord { state: to, finished_at: Some(at), ..before.clone() };
        if read.state == StepState::InProgress {
            let lost = read.all_attempts().pop().filter(|attempt| attempt.outcome == Outcome::InProgress);
            let finished_at = read.lease_until;
            after.attempts.extend(lost.map(|lost| AttemptRecord { outcome: Outcome::Lost, finished_at, ..lost }));
        }
        change(&mut after);
        self.put_step(task, Some(event), &before, after);
    }

    fn record(&self, task: TaskId) -> Option<&TaskRecord> {
        Some(&self.partitions.get(&task)?.task.as_ref()?.record)
    }

    /// The status that the task goes to by this event, as it stands.
    fn after(&self, task: TaskId, event: TaskEvent) -> Option<TaskStatus> {
        self.record(task)?.after(event)
    }

    fn still_failed(&self, read: &TaskRecord) -> bool {
        self.record(read.id).is_some_and(|found| found.failed_steps == read.failed_steps)
    }

    fn act(&mut self, task: TaskId, event: TaskEvent, action: &Action, change: impl FnOnce(&mut TaskItem)) {
        self.put_task(task, Some(event), |item| {
            item.record.actions.push(action.clone());
            change(item);
        });
    }

    pub(super) fn may_fail(&self, task: &TaskRecord, step: &str) -> bool {
        self.after(task.id, TaskEvent::Fail) == Some(failed_by(task, step))
    }

    /// A step, or a compensation, of the task has failed.
    pub(super) fn fail_task(&mut self, task: &TaskRecord, step: &str, at: Timestamp, action: Option<&Action>) {
        let status = failed_by(task, step);
        self.put_task(task.id, Some(TaskEvent::Fail), |item| {
            item.record.status = status;
            item.record.failed_steps.insert(step.to_owned());
            item.record.actions.extend(action.cloned());
            if status == TaskStatus::Error {
                item.record.finished_at = Some(at);
                item.listed = match task.plan.looks_after_failure_in() {
                    Some(wait) => (Listing::Compensating, at + wait),
                    None => (Listing::Error, at),
                };
            }
        });
    }

    pub(super) fn restart(
        &mut self,
        task: &TaskRecord,
        failed: &[&StepRecord],
        action: &Action,
    ) -> Result<AsRead, TableError> {
        let Some(to) = task.after(TaskEvent::Restart) else { return Ok(AsRead::Changed) };
        if to == TaskStatus::Pending && !failed.iter().map(|step| &step.name).eq(&task.failed_steps) {
            return Ok(AsRead::Changed);
        }
        if failed.is_empty() {
            return Err(error("TransactWriteItems", "a set may not be empty"));
        }
        let stand = |step: &&StepRecord| {
            let found = self.step(task.id, &step.name);
            found.state == StepState::Error && found.attempt == step.attempt
        };
        let legal = self.after(task.id, TaskEvent::Restart) == Some(to) && self.still_failed(task);
        if !legal || !failed.iter().all(stand) {
            return Ok(AsRead::Changed);
        }
        for step in failed {
            let before = self.step(task.id, &step.name);
            let after = StepRecord {
                state: StepState::Pending,
                exempt: before.attempt,
                error: None,
                finished_at: None,
                ..before.clone()
            };
            self.put_step(task.id, Some(StepEvent::Restart), &before, after);
        }
        self.act(task.id, TaskEvent::Restart, action, |item| {
            item.record.status = to;
            item.record.finished_at = None;
            item.record.failed_steps.retain(|name| failed.iter().all(|step| step.name != *name));
            item.listed = (ended(to), action.at + FIRST_LOOK);
        });
        Ok(AsRead::Written)
    }

    pub(super) fn resolve_step(
        &mut self,
        task: &TaskRecord,
        step: &StepRecord,
        result: &str,
        action: &Action,
    ) -> AsRead {
        let others_failed = task.failed_steps.iter().any(|failed| *failed != step.name);
        let event = match task.status {
            TaskStatus::Error if others_failed => TaskEvent::Fail,
            _ => TaskEvent::Mend,
        };
        let to = task.after(event);
        if to.is_none()
            || self.after(task.id, event) != to
            || !self.still_failed(task)
            || !self.stands(task.id, step, action.at)
        {
            return AsRead::Changed;
        }
        self.end_step(task.id, step, (StepEvent::Resolve, StepState::ResolvedManually), action.at, |after| {
            after.result = Some(result.to_owned());
            after.error = None;
            after.next_retry_at = None;
        });
        self.act(task.id, event, action, |item| {
            item.record.failed_steps.remove(&step.name);
            item.listed = (Listing::Compensating, action.at + FIRST_LOOK);
            if let (TaskEvent::Mend, Some(to)) = (event, to) {
                item.record.status = to;
                item.record.finished_at = None;
                item.listed.0 = ended(to);
            }
        });
        AsRead::Written
    }

    pub(super) fn give_up(
        &mut self,
        task: &TaskRecord,
        step: &StepRecord,
        failure: &Failure,
        action: &Action,
    ) -> AsRead {
        if !self.stands(task.id, step, action.at) || !self.may_fail(task, &step.name) {
            return AsRead::Changed;
        }
        self.end_step(task.id, step, (StepEvent::GiveUp, StepState::Error), action.at, |after| {
            after.error = Some(failure.clone());
            leave(after);
        });
        self.fail_task(task, &step.name, action.at, Some(action));
        AsRead::Written
    }

    pub(super) fn cancel_step(&mut self, task: TaskId, step: &StepRecord, now: Timestamp) -> AsRead {
        if !self.stands(task, step, now) {
            return AsRead::Changed;
        }
        self.end_step(task, step, (StepEvent::Cancel, StepState::Cancelled), now, leave);
        AsRead::Written
    }

    pub(super) fn divert(&mut self, task: TaskId, to: Diversion, action: &Action) -> AsRead {
        let event = to.event();
        let (status, listed) = match to {
            Diversion::Cancel => (TaskStatus::Cancelled, (Listing::Cancelled, action.at)),
            Diversion::Resolve => (TaskStatus::ResolvedManually, (Listing::ResolvedManually, action.at)),
            Diversion::Compensate(_) => (TaskStatus::Compensating, (Listing::Compensating, action.at + FIRST_LOOK)),
        };
        if self.after(task, event) != Some(status) {
            let ours = self.record(task).is_some_and(|found| found.actions.contains(action));
            return if ours { AsRead::Written } else { AsRead::Changed };
        }
        self.act(task, event, action, |item| {
            item.record.status = status;
            item.listed = listed;
            match to {
                Diversion::Cancel | Diversion::Resolve => item.record.finished_at = Some(action.at),
                Diversion::Compensate(end) => item.record.ends_as = Some(end),
            }
        });
        AsRead::Written
    }

    pub(super) fn order_compensations(&mut self, task: TaskId, order: &[String], now: Timestamp) -> AsRead {
        match self.task(task) {
            Some(item) if item.record.status == TaskStatus::Compensating && item.record.compensations.is_none() => {
                self.change_task(task, |item| {
                    item.record.compensations = Some(order.to_vec());
                    item.listed = (Listing::Compensating, now + FIRST_LOOK);
                });
                AsRead::Written
            }
            _ => AsRead::Changed,
        }
    }

    pub(super) fn finish_compensation(&mut self, task: TaskId, end: End, now: Timestamp) -> AsRead {
        let event = TaskEvent::Compensated(end);
        let to = TaskStatus::from(end);
        let ready = self.record(task).is_some_and(|found| found.ends_as == Some(end) && found.compensations.is_some());
        if !ready || self.after(task, event) != Some(to) {
            return AsRead::Changed;
        }
        self.put_task(task, Some(event), |item| {
            item.record.status = to;
            item.record.finished_at = Some(now);
            item.listed = (ended(to), now);
        });
        AsRead::Written
    }
}

/// Nobody is at the step any more.
fn leave(step: &mut StepRecord) {
    step.owner = None;
    step.lease_until = None;
    step.next_retry_at = None;
}

/// The status of a task of which this step, or this compensation, has failed.
fn failed_by(task: &TaskRecord, step: &str) -> TaskStatus {
    let undoes = task.plan.step(step).is_some_and(|step| step.undoes.is_some());
    if undoes { TaskStatus::Compensating } else { TaskStatus::Error }
}
