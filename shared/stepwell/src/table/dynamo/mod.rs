//! [`Table`] on DynamoDB. The writes of a worker are here, those of operators in `intervene`, the index in `index`.

mod error;
mod expression;
mod index;
mod intervene;
mod read;
mod write;

pub(crate) use error::transaction_conflicts;

use super::{
    Action, AsRead, AttemptRecord, Claim, ClaimRequest, Creation, Diversion, FIRST_LOOK, Failure, Fenced,
    KEY_RETENTION, KeyRecord, Lease, Listed, ListedAt, Listing, Loaded, NewTask, Outcome, Page, StepRecord, Table,
    TableError, TaskRecord,
};
use crate::{
    TaskId, Timestamp,
    state::{End, StepState, TaskEvent, TaskStatus},
};
use aws_sdk_dynamodb::{
    Client,
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{
        AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};
use error::{cancelled, failed, refused_or_failed, was_refused};
use expression::{Item, idempotency_key, n, names, partition, s, step_key, task_key, values};
use std::collections::{BTreeSet, HashMap};
use write::{ADD_ACTION, FENCE, action_list, attempt_value, expiry, failure_value, fence_values, legal, list, listing};

/// DynamoDB reads at most 100 items in one batch.
const BATCH: usize = 100;

/// The engine's table in DynamoDB.
#[derive(Clone, Debug)]
pub struct DynamoTable {
    client: Client,
    name: String,
}

impl DynamoTable {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }

    fn update(&self, key: Item, update: &str, condition: Option<&str>, values: Item) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key))
            .update_expression(update)
            .set_condition_expression(condition.map(str::to_owned))
            .set_expression_attribute_names(Some(names(&[update, condition.unwrap_or_default()])))
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// A write in a transaction; the same parts as [`Self::update`].
    fn transact(
        &self,
        key: Item,
        update: &str,
        condition: &str,
        values: Item,
    ) -> Result<TransactWriteItem, TableError> {
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(key))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names(&[update, condition])))
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| failed("TransactWriteItems")(&error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Makes a write that holds only for what was read before.
    async fn update_as_read(
        &self,
        key: Item,
        update: &str,
        condition: &str,
        values: Item,
    ) -> Result<AsRead, TableError> {
        match self.update(key, update, Some(condition), values).send().await {
            Ok(_) => Ok(AsRead::Written),
            Err(error) => refused_or_failed("UpdateItem", error).map(|_| AsRead::Changed),
        }
    }

    /// Makes writes that hold only for what was read before, all of them or none. The SDK's tries of one call carry one
    /// token, by which DynamoDB knows a call again whose answer was lost.
    async fn transact_as_read(&self, writes: Vec<TransactWriteItem>) -> Result<AsRead, TableError> {
        match self.client.transact_write_items().set_transact_items(Some(writes)).send().await {
            Ok(_) => Ok(AsRead::Written),
            Err(error) if cancelled(&error).is_some_and(|reasons| reasons.iter().any(was_refused)) => {
                Ok(AsRead::Changed)
            }
            Err(error) => Err(failed("TransactWriteItems")(&error)),
        }
    }

    /// Makes a write that only the holder of the lease may make.
    async fn fenced(&self, lease: &Lease, to: StepState, update: &str, values: Item) -> Result<Fenced, TableError> {
        let key = step_key(lease.task, &lease.step);
        match self.update(key, update, Some(FENCE), values).send().await {
            Ok(_) => Ok(Fenced::Written),
            Err(error) => fence_answer(lease, to, refused_or_failed("UpdateItem", error)?),
        }
    }

    /// The task's half of [`Table::fail`] and of [`Table::give_up`].
    fn fail_task(
        &self,
        task: &TaskRecord,
        step: &str,
        at: Timestamp,
        action: Option<&Action>,
    ) -> Result<TransactWriteItem, TableError> {
        let is_compensation = task.plan.is_compensation(step);
        let to = if is_compensation { TaskStatus::Compensating } else { TaskStatus::Error };
        let (condition, mut values) = legal(TaskEvent::Fail, to);
        values
            .extend(expression::values([("to", s(to.as_str())), ("step", AttributeValue::Ss(vec![step.to_owned()]))]));
        let mut update = "SET #status = :to".to_owned();
        if !is_compensation {
            update.push_str(", #finished_at = :at, #status_shard = :status_shard, #listed_at = :listed_at");
            values.extend(expression::values([("at", n(at.as_millis()))]));
            values.extend(expression::values(match task.plan.looks_after_failure_in() {
                Some(wait) => listing(task.id, Listing::Compensating, at + wait),
                None => listing(task.id, Listing::Error, at),
            }));
        }
        if let Some(action) = action {
            update.push_str(ADD_ACTION);
            values.extend(expression::values([("no_actions", list([])), ("action", action_list(action)?)]));
        }
        update.push_str(" ADD #failed_steps :step");
        self.transact(task_key(task.id), &update, &condition, values)
    }

    async fn granted(&self, request: &ClaimRequest<'_>, write: UpdateItemFluentBuilder) -> Result<Claim, TableError> {
        match write.return_values(ReturnValue::AllNew).send().await {
            Ok(written) => {
                let record = read::step_record(request.step, written.attributes.unwrap_or_default())?;
                Ok(Claim::Granted(lease(request, &record)))
            }
            Err(error) => {
                let found = read::step_record(request.step, refused_or_failed("UpdateItem", error)?)?;
                // Our own claim, whose answer was lost on the way and which the SDK has therefore made again.
                let ours = found.state == StepState::InProgress && found.owner.as_deref() == Some(request.owner);
                Ok(if ours { Claim::Granted(lease(request, &found)) } else { Claim::Refused(Box::new(found)) })
            }
        }
    }
}

/// A refused fence, told apart: it may have been refused because the first try of this very write took effect and
/// only its answer was lost.
fn fence_answer(lease: &Lease, to: StepState, found: Item) -> Result<Fenced, TableError> {
    let found = read::step_record(&lease.step, found)?;
    let written = found.state == to && found.attempt == lease.attempt;
    Ok(if written { Fenced::Written } else { Fenced::Superseded })
}

fn lease(request: &ClaimRequest<'_>, record: &StepRecord) -> Lease {
    Lease {
        task: request.task,
        step: request.step.to_owned(),
        attempt: record.attempt,
        exempt: record.exempt,
        owner: request.owner.to_owned(),
        started_at: record.started_at.unwrap_or(request.now),
        until: record.lease_until.unwrap_or(request.lease_until),
    }
}

impl Table for DynamoTable {
    async fn create(&self, task: &NewTask<'_>) -> Result<Creation, TableError> {
        let plan = serde_json::to_string(task.plan).map_err(|error| failed("PutItem")(&error))?;
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(task_key(task.id)))
            .item("workflow", s(&task.workflow))
            .item("status", s(TaskStatus::Pending.as_str()))
            .item("context", s(task.context))
            .item("plan", s(plan))
            .item("created_at", n(task.created_at.as_millis()))
            .item("expires_at", expiry(task.created_at))
            .condition_expression("attribute_not_exists(pk)");
        let listing = listing(task.id, Listing::Pending, task.created_at + FIRST_LOOK);
        let put = listing.into_iter().fold(put, |put, (name, value)| put.item(name, value));
        match put.send().await {
            Ok(_) => Ok(Creation::Created),
            Err(error) => refused_or_failed("PutItem", error).map(|_| Creation::AlreadyThere),
        }
    }

    async fn reserve_key(&self, key: KeyRecord) -> Result<KeyRecord, TableError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(idempotency_key(&key)))
            .item("task_id", s(key.task.to_string()))
            .item("request_hash", s(&key.request_hash))
            .item("created_at", n(key.created_at.as_millis()))
            .item("expires_at", n((key.created_at + KEY_RETENTION).as_seconds()))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(key),
            Err(error) => read::key_record(key, refused_or_failed("PutItem", error)?),
        }
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        let untouched = steps.iter().map(|&name| (name.to_owned(), StepRecord::untouched(name)));
        let mut loaded = Loaded { task: None, steps: untouched.collect() };
        let mut waiting: Vec<Item> = steps.iter().map(|step| step_key(task, step)).collect();
        waiting.push(task_key(task));
        // DynamoDB may leave keys for the next call, as long as it does at least one of them.
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(BATCH));
            let keys = KeysAndAttributes::builder().set_keys(Some(waiting)).consistent_read(true).build();
            let keys = keys.map_err(|error| failed("BatchGetItem")(&error))?;
            let answer = self.client.batch_get_item().request_items(&self.name, keys).send().await;
            let answer = answer.map_err(|error| failed("BatchGetItem")(&error))?;
            for item in answer.responses.into_iter().flat_map(HashMap::into_values).flatten() {
                read::sort_in(&mut loaded, task, item)?;
            }
            waiting = answer.unprocessed_keys.into_iter().flat_map(HashMap::into_values).flat_map(|k| k.keys).collect();
            waiting.extend(rest);
        }
        Ok(loaded)
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        let mut loaded = Loaded::default();
        let mut pages = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(partition(task)))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = pages.next().await {
            read::sort_in(&mut loaded, task, item.map_err(|error| failed("Query")(&error))?)?;
        }
        Ok(loaded)
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, TableError> {
        let update = "SET #state = :to, #owner = :owner, #started_at = :now, #lease_until = :until, \
                      #expires_at = if_not_exists(#expires_at, :expires_at) REMOVE #next_retry_at ADD #attempt :one";
        let condition = "attribute_not_exists(#state) OR #state = :pending \
                         OR (#state = :retrying AND #next_retry_at <= :now)";
        let values = values([
            ("to", s(StepState::InProgress.as_str())),
            ("pending", s(StepState::Pending.as_str())),
            ("retrying", s(StepState::Retrying.as_str())),
            ("owner", s(request.owner)),
            ("now", n(request.now.as_millis())),
            ("until", n(request.lease_until.as_millis())),
            ("expires_at", expiry(request.now)),
            ("one", n(1)),
        ]);
        self.granted(request, self.update(step_key(request.task, request.step), update, Some(condition), values)).await
    }

    async fn take_over(&self, request: &ClaimRequest<'_>, lost: &StepRecord) -> Result<Claim, TableError> {
        let update = "SET #owner = :owner, #started_at = :now, #lease_until = :until, \
                      #attempts = list_append(if_not_exists(#attempts, :none), :lost) ADD #attempt :one";
        let condition = "#state = :held AND #attempt = :dead AND #lease_until < :now";
        let entry = lost.open_attempt().map(|attempt| AttemptRecord {
            outcome: Outcome::Lost,
            finished_at: lost.lease_until,
            ..attempt
        });
        let values = values([
            ("held", s(StepState::InProgress.as_str())),
            ("dead", n(lost.attempt)),
            ("owner", s(request.owner)),
            ("now", n(request.now.as_millis())),
            ("until", n(request.lease_until.as_millis())),
            ("none", list([])),
            ("lost", list(entry.as_ref().map(attempt_value).transpose()?)),
            ("one", n(1)),
        ]);
        self.granted(request, self.update(step_key(request.task, request.step), update, Some(condition), values)).await
    }

    async fn release(&self, lease: &Lease) -> Result<Fenced, TableError> {
        let update = "SET #state = :to REMOVE #owner, #started_at, #lease_until ADD #exempt :one";
        let values = fence_values(lease, StepState::Pending, [("one", n(1))]);
        self.fenced(lease, StepState::Pending, update, values).await
    }

    async fn withdraw(&self, lease: &Lease) -> Result<Fenced, TableError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(step_key(lease.task, &lease.step)))
            .condition_expression(FENCE)
            .set_expression_attribute_names(Some(names(&[FENCE])))
            .expression_attribute_values(":held", s(StepState::InProgress.as_str()))
            .expression_attribute_values(":mine", n(lease.attempt));
        match delete.send().await {
            Ok(_) => Ok(Fenced::Written),
            Err(error) => refused_or_failed("DeleteItem", error).map(|_| Fenced::Superseded),
        }
    }

    async fn complete(&self, lease: &Lease, attempt: &AttemptRecord, result: &str) -> Result<Fenced, TableError> {
        let update = "SET #state = :to, #result = :result, #finished_at = :at, \
                      #attempts = list_append(if_not_exists(#attempts, :none), :attempt) \
                      REMOVE #owner, #lease_until, #error";
        let values = fence_values(
            lease,
            StepState::Complete,
            [
                ("result", s(result)),
                ("at", n(attempt.finished_at.unwrap_or(lease.until).as_millis())),
                ("none", list([])),
                ("attempt", list([attempt_value(attempt)?])),
            ],
        );
        self.fenced(lease, StepState::Complete, update, values).await
    }

    async fn retry_later(&self, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        let update = "SET #state = :to, #next_retry_at = :due, #error = :error, \
                      #attempts = list_append(if_not_exists(#attempts, :none), :attempt) REMOVE #owner, #lease_until";
        let values = fence_values(
            lease,
            StepState::Retrying,
            [
                ("due", n(attempt.next_retry_at.unwrap_or(lease.until).as_millis())),
                ("error", failure_value(attempt.error.as_ref())?),
                ("none", list([])),
                ("attempt", list([attempt_value(attempt)?])),
            ],
        );
        self.fenced(lease, StepState::Retrying, update, values).await
    }

    async fn fail(&self, task: &TaskRecord, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        let at = attempt.finished_at.unwrap_or(lease.until);
        let update = "SET #state = :to, #error = :error, #finished_at = :at, \
                      #attempts = list_append(if_not_exists(#attempts, :none), :attempt) REMOVE #owner, #lease_until";
        let step_values = fence_values(
            lease,
            StepState::Error,
            [
                ("error", failure_value(attempt.error.as_ref())?),
                ("at", n(at.as_millis())),
                ("none", list([])),
                ("attempt", list([attempt_value(attempt)?])),
            ],
        );
        let step = self.transact(step_key(lease.task, &lease.step), update, FENCE, step_values.clone())?;
        let call = self.client.transact_write_items().transact_items(step);
        let call = call.transact_items(self.fail_task(task, &lease.step, at, None)?).send().await;
        let Err(error) = call else { return Ok(Fenced::Written) };
        match cancelled(&error) {
            Some([step, ..]) if was_refused(step) => {
                fence_answer(lease, StepState::Error, step.item().cloned().unwrap_or_default())
            }
            // The task has been brought out of its course meanwhile; the step's error is kept all the same.
            Some([_, task, ..]) if was_refused(task) => self.fenced(lease, StepState::Error, update, step_values).await,
            _ => Err(failed("TransactWriteItems")(&error)),
        }
    }

    async fn arrive_at_step(
        &self,
        task: TaskId,
        step: &str,
        done: &str,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, TableError> {
        let update = "SET #expires_at = if_not_exists(#expires_at, :expires_at) ADD #done_deps :done";
        let values = values([("expires_at", expiry(now)), ("done", AttributeValue::Ss(vec![done.to_owned()]))]);
        let call = self.update(step_key(task, step), update, None, values).return_values(ReturnValue::UpdatedNew);
        let written = call.send().await.map_err(|error| failed("UpdateItem")(&error))?;
        Ok(read::set(written.attributes, "done_deps"))
    }

    async fn arrive_at_task(&self, task: TaskId, done: &str) -> Result<BTreeSet<String>, TableError> {
        let values = values([("done", AttributeValue::Ss(vec![done.to_owned()]))]);
        let call = self.update(task_key(task), "ADD #done_deps :done", Some("attribute_exists(#status)"), values);
        let written = call.return_values(ReturnValue::UpdatedNew).send().await;
        Ok(read::set(written.map_err(|error| failed("UpdateItem")(&error))?.attributes, "done_deps"))
    }

    async fn finish(&self, task: TaskId, now: Timestamp) -> Result<TaskStatus, TableError> {
        let update = "SET #status = :to, #finished_at = :at, #status_shard = :status_shard, #listed_at = :listed_at";
        let (condition, mut values) = legal(TaskEvent::Finish, TaskStatus::Complete);
        values.extend(expression::values(listing(task, Listing::Complete, now)));
        values.extend(expression::values([("to", s(TaskStatus::Complete.as_str())), ("at", n(now.as_millis()))]));
        match self.update(task_key(task), update, Some(&condition), values).send().await {
            Ok(_) => Ok(TaskStatus::Complete),
            Err(error) => {
                let mut found = Loaded::default();
                read::sort_in(&mut found, task, refused_or_failed("UpdateItem", error)?)?;
                found.task.map(|task| task.status).ok_or_else(|| TableError::Unreadable {
                    key: partition(task),
                    cause: "the task is gone".to_owned(),
                })
            }
        }
    }

    async fn restart(&self, task: &TaskRecord, failed: &[&StepRecord], action: &Action) -> Result<AsRead, TableError> {
        self.make_restart(task, failed, action).await
    }

    async fn resolve_step(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        result: &str,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        self.make_resolution(task, step, result, action).await
    }

    async fn give_up(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        failure: &Failure,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        self.make_giving_up(task, step, failure, action).await
    }

    async fn cancel_step(&self, task: TaskId, step: &StepRecord, now: Timestamp) -> Result<AsRead, TableError> {
        self.make_cancellation(task, step, now).await
    }

    async fn divert(&self, task: TaskId, to: Diversion, action: &Action) -> Result<AsRead, TableError> {
        self.make_diversion(task, to, action).await
    }

    async fn order_compensations(&self, task: TaskId, order: &[String], now: Timestamp) -> Result<AsRead, TableError> {
        let update = "SET #compensations = :order, #status_shard = :status_shard, #listed_at = :listed_at";
        let condition = "#status = :compensating AND attribute_not_exists(#compensations)";
        let mut values = expression::values(listing(task, Listing::Compensating, now + FIRST_LOOK));
        values.extend(expression::values([
            ("compensating", s(TaskStatus::Compensating.as_str())),
            ("order", list(order.iter().map(s))),
        ]));
        self.update_as_read(task_key(task), update, condition, values).await
    }

    async fn finish_compensation(&self, task: TaskId, end: End, now: Timestamp) -> Result<AsRead, TableError> {
        let to = TaskStatus::from(end);
        let update = "SET #status = :to, #finished_at = :at, #status_shard = :status_shard, #listed_at = :listed_at";
        let (legal, mut values) = legal(TaskEvent::Compensated(end), to);
        let condition = format!("({legal}) AND #ends_as = :to AND attribute_exists(#compensations)");
        values.extend(expression::values(listing(task, Listing::ended(to), now)));
        values.extend(expression::values([("to", s(to.as_str())), ("at", n(now.as_millis()))]));
        self.update_as_read(task_key(task), update, &condition, values).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        self.read_index(page).await
    }

    async fn relist(&self, place: &ListedAt, to: Listing, at: Timestamp) -> Result<AsRead, TableError> {
        self.move_in_index(place, to, at).await
    }
}
