//! The writes that are made to a task from outside: by operators, by the watchdog, by the reader of dead letters.

use super::{
    AttemptRecord, DynamoTable, FIRST_LOOK, Failure, Listing, Outcome, StepRecord, TableError, TaskRecord,
    error::refused_or_failed,
    expression::{self, Item, n, s, step_key, task_key},
    read,
    write::{ADD_ACTION, FENCE, action_list, as_read, attempt_value, expiry, failure_value, legal, list, listing},
};
use crate::{
    TaskId, Timestamp,
    state::{StepState, TaskEvent, TaskStatus},
    table::{Action, AsRead, Diversion},
};
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use std::collections::BTreeSet;

/// An update of one item, with its condition.
struct Write {
    update: String,
    condition: String,
    values: Item,
}

impl Write {
    /// A step goes from where it was read to be to an end that no worker has brought about.
    fn ends_step(step: &StepRecord, to: StepState, at: Timestamp) -> Result<Self, TableError> {
        let (condition, mut values) = as_read(step, at);
        let mut update = "SET #state = :to, #finished_at = :at, #attempt = if_not_exists(#attempt, :zero), \
                          #expires_at = if_not_exists(#expires_at, :expires_at)"
            .to_owned();
        values.extend(expression::values([
            ("to", s(to.as_str())),
            ("at", n(at.as_millis())),
            ("zero", n(0)),
            ("expires_at", expiry(at)),
        ]));
        if step.state == StepState::InProgress
            && let Some(attempt) = step.open_attempt()
        {
            let lost = AttemptRecord { outcome: Outcome::Lost, finished_at: step.lease_until, ..attempt };
            update.push_str(", #attempts = list_append(if_not_exists(#attempts, :none), :lost)");
            values.extend(expression::values([("none", list([])), ("lost", list([attempt_value(&lost)?]))]));
        }
        Ok(Self { update, condition: condition.to_owned(), values })
    }

    fn set(mut self, name: &str, value: AttributeValue) -> Self {
        self.update.push_str(&format!(", #{name} = :{name}"));
        self.values.extend(expression::values([(name, value)]));
        self
    }

    fn list_at(self, task: TaskId, at: (Listing, Timestamp)) -> Self {
        listing(task, at.0, at.1).into_iter().fold(self, |write, (name, value)| write.set(name, value))
    }

    fn and(mut self, more: &str) -> Self {
        self.update.push_str(more);
        self
    }

    /// An event of the task, with its entry in the audit trail.
    fn of_task(event: TaskEvent, to: TaskStatus, action: &Action) -> Result<Self, TableError> {
        let (condition, mut values) = legal(event, to);
        values.extend(expression::values([
            ("to", s(to.as_str())),
            ("no_actions", list([])),
            ("action", action_list(action)?),
        ]));
        Ok(Self { update: format!("SET #status = :to{ADD_ACTION}"), condition, values })
    }

    /// Only where the failed steps are still those that were read.
    fn while_failed(mut self, task: &TaskRecord) -> Self {
        if task.failed_steps.is_empty() {
            self.condition.push_str(" AND attribute_not_exists(#failed_steps)");
        } else {
            self.condition.push_str(" AND #failed_steps = :failed_steps");
            let failed = task.failed_steps.iter().cloned().collect();
            self.values.extend(expression::values([("failed_steps", AttributeValue::Ss(failed))]));
        }
        self
    }

    /// These steps are failed ones no more.
    fn without_failed(mut self, steps: impl IntoIterator<Item = String>) -> Self {
        self.update.push_str(" DELETE #failed_steps :mended");
        self.values.extend(expression::values([("mended", AttributeValue::Ss(steps.into_iter().collect()))]));
        self
    }
}

impl DynamoTable {
    fn part(&self, key: Item, write: Write) -> Result<TransactWriteItem, TableError> {
        self.transact(key, &write.update, &write.condition, write.values)
    }

    pub(super) async fn make_restart(
        &self,
        task: &TaskRecord,
        failed_steps: &[&StepRecord],
        action: &Action,
    ) -> Result<AsRead, TableError> {
        let Some(to) = task.after(TaskEvent::Restart) else { return Ok(AsRead::Changed) };
        let names: BTreeSet<String> = failed_steps.iter().map(|step| step.name.clone()).collect();
        if to == TaskStatus::Pending && names != task.failed_steps {
            // A pending task has no failed step in it.
            return Ok(AsRead::Changed);
        }
        let write = Write::of_task(TaskEvent::Restart, to, action)?
            .list_at(task.id, (Listing::ended(to), action.at + FIRST_LOOK))
            .while_failed(task)
            .and(" REMOVE #finished_at")
            .without_failed(names);
        let mut writes = vec![self.part(task_key(task.id), write)?];
        for step in failed_steps {
            let update = "SET #state = :to, #exempt = :all_so_far REMOVE #error, #finished_at";
            let values = expression::values([
                ("held", s(StepState::Error.as_str())),
                ("mine", n(step.attempt)),
                ("to", s(StepState::Pending.as_str())),
                ("all_so_far", n(step.attempt)),
            ]);
            writes.push(self.transact(step_key(task.id, &step.name), update, FENCE, values)?);
        }
        self.transact_as_read(writes).await
    }

    pub(super) async fn make_resolution(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        result: &str,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        let write = Write::ends_step(step, StepState::ResolvedManually, action.at)?.set("result", s(result));
        let write = write.and(" REMOVE #error, #next_retry_at");
        let mut writes = vec![self.part(step_key(task.id, &step.name), write)?];

        let others_failed = task.failed_steps.iter().any(|failed| *failed != step.name);
        let write = if task.status == TaskStatus::Error && others_failed {
            // It stays failed, by the others. What depends on this step goes on; and the others may now be restarted.
            let write = Write::of_task(TaskEvent::Fail, TaskStatus::Error, action)?.while_failed(task);
            write.list_at(task.id, (Listing::Compensating, action.at + FIRST_LOOK))
        } else {
            let Some(to) = task.after(TaskEvent::Mend) else { return Ok(AsRead::Changed) };
            let write = Write::of_task(TaskEvent::Mend, to, action)?.while_failed(task);
            let write = write.list_at(task.id, (Listing::ended(to), action.at + FIRST_LOOK));
            write.and(" REMOVE #finished_at")
        };
        let was_failed = task.failed_steps.contains(&step.name);
        let write = if was_failed { write.without_failed([step.name.clone()]) } else { write };
        writes.push(self.part(task_key(task.id), write)?);
        self.transact_as_read(writes).await
    }

    pub(super) async fn make_giving_up(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        failure: &Failure,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        let write = Write::ends_step(step, StepState::Error, action.at)?;
        let write =
            write.set("error", failure_value(Some(failure))?).and(" REMOVE #owner, #lease_until, #next_retry_at");
        let step_part = self.part(step_key(task.id, &step.name), write)?;
        let task_part = self.fail_task(task, &step.name, action.at, Some(action))?;
        self.transact_as_read(vec![step_part, task_part]).await
    }

    pub(super) async fn make_cancellation(
        &self,
        task: TaskId,
        step: &StepRecord,
        now: Timestamp,
    ) -> Result<AsRead, TableError> {
        let write = Write::ends_step(step, StepState::Cancelled, now)?;
        let Write { update, condition, values } = write.and(" REMOVE #owner, #lease_until, #next_retry_at");
        self.update_as_read(step_key(task, &step.name), &update, &condition, values).await
    }

    pub(super) async fn make_diversion(
        &self,
        task: TaskId,
        to: Diversion,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        let (status, listed) = match to {
            Diversion::Cancel => (TaskStatus::Cancelled, (Listing::Cancelled, action.at)),
            Diversion::Resolve => (TaskStatus::ResolvedManually, (Listing::ResolvedManually, action.at)),
            Diversion::Compensate(_) => (TaskStatus::Compensating, (Listing::Compensating, action.at + FIRST_LOOK)),
        };
        let write = Write::of_task(to.event(), status, action)?.list_at(task, listed);
        let write = match to {
            Diversion::Cancel | Diversion::Resolve => write.set("finished_at", n(action.at.as_millis())),
            Diversion::Compensate(end) => write.set("ends_as", s(TaskStatus::from(end).as_str())),
        };
        let call = self.update(task_key(task), &write.update, Some(&write.condition), write.values);
        let Err(error) = call.send().await else { return Ok(AsRead::Written) };
        let found = read::task(task, refused_or_failed("UpdateItem", error)?)?;
        // Our own write, whose answer was lost on the way and which the SDK has therefore made again.
        let ours = found.is_some_and(|found| found.actions.contains(action));
        Ok(if ours { AsRead::Written } else { AsRead::Changed })
    }
}
