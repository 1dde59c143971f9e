//! The engine's port [`Store`] on DynamoDB. A single write is one `UpdateItem`, `PutItem` or `DeleteItem`; several
//! writes are one `TransactWriteItems`.

mod error;
mod expression;
mod value;

pub(crate) use error::transaction_conflicts;

use crate::error::{call_failed, call_failed_as};
use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    types::{
        AttributeValue, Delete, KeysAndAttributes, Put, ReturnValue, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update,
    },
};
pub use error::was_busy;
use error::{Attempts, cancelled, refused_or_failed, transaction_failed, was_refused};
use expression::Placeholders;
use futures::future::try_join_all;
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    num::NonZeroU8,
};
use stepwell::{
    FailureKind, TaskId,
    core::{
        codec::Unreadable,
        index::{IndexEntry, IndexPosition, Page},
        item::{Item, Key, attribute},
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Answer, Applied, Effect, Rejection, Transition, Write},
    },
    ports::{Store, TableError, settle_first},
};
use value::{AttributeItem, PARTITION_KEY, SORT_KEY, START_SHARD, key};

/// DynamoDB reads at most 100 items in one batch.
const BATCH: usize = 100;

/// The name of the index that lists tasks by status.
const INDEX: &str = "by_status";

/// The name of the index that lists tasks by their ids, and so by their starts. Only a new task is written to it.
const START_INDEX: &str = "by_start";

/// With a refused condition DynamoDB returns the current item, at no extra cost.
const WITH_ITEM: ReturnValuesOnConditionCheckFailure = ReturnValuesOnConditionCheckFailure::AllOld;

/// Sets the table and the condition of a write. It is a macro because the SDK's six builders of writes share these
/// methods but no trait.
macro_rules! guarded {
    ($table:expr, $expressions:expr, $builder:expr) => {
        $builder
            .table_name(&$table.name)
            .set_condition_expression($expressions.condition)
            .set_expression_attribute_names($expressions.names)
            .set_expression_attribute_values($expressions.values)
            .return_values_on_condition_check_failure(WITH_ITEM)
    };
}

/// The engine's table in DynamoDB.
#[derive(Clone, Debug)]
pub struct DynamoTable {
    client: Client,
    name: String,
    start_shards: NonZeroU8,
}

impl DynamoTable {
    /// The usual number of partitions of the index by which the newest tasks are found.
    pub const START_SHARDS: NonZeroU8 = NonZeroU8::new(4).unwrap();

    /// Makes the store on the table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into(), start_shards: Self::START_SHARDS }
    }

    /// With so many partitions of the index by which the newest tasks are found. DynamoDB takes a thousand starts a second into each, and
    /// a page asks each of them once. The number may grow and never shrink: a task stays in the partition of its start.
    #[must_use]
    pub fn with_start_shards(self, start_shards: NonZeroU8) -> Self {
        Self { start_shards, ..self }
    }

    /// Converts a new item and its key to DynamoDB's attributes. Those of a task have its partition in the index of the starts.
    fn whole(&self, of: &Key, item: &Item) -> AttributeItem {
        let attributes = item.iter().map(|(name, value)| (name.clone(), value::attribute_value(name, value)));
        let shard = match of {
            Key::Task(task) => {
                let [.., last] = *task.as_bytes();
                Some((START_SHARD.to_owned(), AttributeValue::S((last % self.start_shards).to_string())))
            }
            _ => None,
        };
        key(of).into_iter().chain(attributes).chain(shard).collect()
    }

    async fn apply_one(&self, write: &Write) -> Result<Applied, TableError> {
        let expressions = Expressions::of(write);
        let attempts = Attempts::default();
        let answer = match &write.effect {
            Effect::Create(item) => {
                let put =
                    guarded!(self, expressions, self.client.put_item()).set_item(Some(self.whole(&write.key, item)));
                let put = put.customize().interceptor(attempts.clone()).send().await;
                put.map(|_| None).map_err(|error| refused_or_failed("PutItem", &attempts, error))
            }
            Effect::Change(_) => {
                let update = self.client.update_item().set_update_expression(expressions.update);
                let update = guarded!(self, expressions, update).set_key(Some(key(&write.key)));
                let update = update.return_values(match write.answer {
                    Answer::Nothing => ReturnValue::None,
                    Answer::Changed => ReturnValue::UpdatedNew,
                    Answer::Item => ReturnValue::AllNew,
                });
                let update = update.customize().interceptor(attempts.clone()).send().await;
                let written = update.map(|written| written.attributes);
                written.map_err(|error| refused_or_failed("UpdateItem", &attempts, error))
            }
            Effect::Delete => {
                let delete = guarded!(self, expressions, self.client.delete_item()).set_key(Some(key(&write.key)));
                let delete = delete.customize().interceptor(attempts.clone()).send().await;
                delete.map(|_| None).map_err(|error| refused_or_failed("DeleteItem", &attempts, error))
            }
        };
        match answer {
            Ok(attributes) => Ok(Applied::Written(value::item(attributes.unwrap_or_default()))),
            Err(refused) => Ok(write.refused(value::item(refused?))),
        }
    }

    /// Writes a transaction. The SDK's attempts share one client token, so DynamoDB does not apply a repeated attempt
    /// twice.
    async fn apply_all(&self, transition: &Transition) -> Result<Rejection, TableError> {
        let writes = transition.writes.iter().map(|write| self.part(write)).collect::<Result<_, _>>()?;
        let attempts = Attempts::default();
        let call = self.client.transact_write_items().set_transact_items(Some(writes));
        let call = call.customize().interceptor(attempts.clone()).send().await;
        let Err(error) = call else { return Ok(Rejection::Ended(Applied::Written(Item::new()))) };
        match cancelled(&error) {
            Some(reasons) if reasons.iter().any(was_refused) && reasons.len() == transition.writes.len() => {
                let against = reasons
                    .iter()
                    .map(|reason| was_refused(reason).then(|| value::item(reason.item().cloned().unwrap_or_default())));
                Ok(transition.refused(against))
            }
            _ => Err(transaction_failed(&attempts, error).into()),
        }
    }

    /// Reads the items with these keys, consistently, in no particular order: whole, or only these attributes of them.
    async fn batch_get(
        &self,
        mut waiting: Vec<AttributeItem>,
        only: Option<&[&str]>,
    ) -> Result<Vec<AttributeItem>, TableError> {
        let (mut found, mut placeholders) = (Vec::new(), Placeholders::default());
        let projection = only.map(|names| placeholders.names(names));
        let (names, _) = placeholders.into_maps();
        // DynamoDB may leave keys unprocessed, but it processes at least one of them.
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(BATCH));
            let keys = KeysAndAttributes::builder().set_keys(Some(waiting)).consistent_read(true);
            let keys = keys.set_projection_expression(projection.clone()).set_expression_attribute_names(names.clone());
            let keys = keys.build();
            let keys = keys.map_err(|error| not_a_call("BatchGetItem", error))?;
            let answer = self.client.batch_get_item().request_items(&self.name, keys).send().await;
            let answer = answer.map_err(|error| call_failed("BatchGetItem", error))?;
            found.extend(answer.responses.into_iter().flat_map(HashMap::into_values).flatten());
            waiting = answer.unprocessed_keys.into_iter().flat_map(HashMap::into_values).flat_map(|k| k.keys).collect();
            waiting.extend(rest);
        }
        Ok(found)
    }

    /// Reads the newest tasks before this one in one partition of the index.
    async fn newest_of(&self, shard: u8, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        let condition = "start_shard = :shard AND pk < :before";
        let query =
            self.client.query().table_name(&self.name).index_name(START_INDEX).key_condition_expression(condition);
        let query = query.expression_attribute_values(":shard", AttributeValue::S(shard.to_string()));
        let query = query.expression_attribute_values(":before", AttributeValue::S(Key::partition_of(before)));
        let mut items = query.scan_index_forward(false).limit(limit.into()).into_paginator().items().send();
        let mut found = Vec::new();
        while found.len() < usize::from(limit)
            && let Some(item) = items.next().await
        {
            let item = item.map_err(|error| call_failed("Query", error))?;
            found.extend(Key::task_of(text(&item, PARTITION_KEY)));
        }
        Ok(found)
    }

    /// Makes one write of a transaction.
    fn part(&self, write: &Write) -> Result<TransactWriteItem, TableError> {
        let expressions = Expressions::of(write);
        let part = TransactWriteItem::builder();
        let part = match &write.effect {
            Effect::Create(item) => {
                let put = guarded!(self, expressions, Put::builder()).set_item(Some(self.whole(&write.key, item)));
                put.build().map(|put| part.put(put))
            }
            Effect::Change(_) => {
                let update = Update::builder().set_update_expression(expressions.update);
                let update = guarded!(self, expressions, update).set_key(Some(key(&write.key)));
                update.build().map(|update| part.update(update))
            }
            Effect::Delete => {
                let delete = guarded!(self, expressions, Delete::builder()).set_key(Some(key(&write.key)));
                delete.build().map(|delete| part.delete(delete))
            }
        };
        part.map(|part| part.build()).map_err(|error| not_a_call("TransactWriteItems", error))
    }
}

/// The expressions of one write.
#[derive(Debug)]
struct Expressions {
    condition: Option<String>,
    update: Option<String>,
    names: Option<HashMap<String, String>>,
    values: Option<AttributeItem>,
}

impl Expressions {
    fn of(write: &Write) -> Self {
        let mut placeholders = Placeholders::default();
        let condition = placeholders.all([&write.condition, &write.guard]);
        let update = match &write.effect {
            Effect::Change(changes) => Some(placeholders.update(changes)),
            Effect::Create(_) | Effect::Delete => None,
        };
        let (names, values) = placeholders.into_maps();
        Self { condition, update, names, values }
    }
}

/// Makes the error for a request that the SDK's builder refuses.
fn not_a_call(operation: &'static str, error: BuildError) -> TableError {
    call_failed_as(operation, FailureKind::Refused, error).into()
}

/// Reads a key attribute.
fn text<'a>(item: &'a AttributeItem, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

/// Makes the exclusive start key for the page after this item.
fn start_after(place: &IndexPosition) -> AttributeItem {
    let mut keys = key(&place.key());
    let index = [(attribute::STATUS_SHARD, place.partition()), (attribute::LISTED_AT, place.at.to_string())];
    keys.extend(index.map(|(name, value)| (name.to_owned(), AttributeValue::S(value))));
    keys
}

/// The key of an item of a task or of a step.
fn key_of(item: &AttributeItem) -> Result<Key, Unreadable> {
    let pk = text(item, PARTITION_KEY);
    let key = Key::task_of(pk).and_then(|task| Key::of_task(task, text(item, SORT_KEY)));
    key.ok_or_else(|| Unreadable { key: pk.to_owned(), cause: "not the key of a task or of a step".to_owned() })
}

fn listed(item: AttributeItem) -> Result<IndexEntry, Unreadable> {
    IndexEntry::from_item(&key_of(&item)?, &value::item(item))
}

/// Reports an entry that cannot be read, so that it is left out.
fn readable(item: AttributeItem) -> Option<IndexEntry> {
    let unreadable = |error: &Unreadable| tracing::error!(%error, "an unreadable entry of the index is left out");
    listed(item).inspect_err(unreadable).ok()
}

impl Store for DynamoTable {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        let mut transition = Cow::Borrowed(transition);
        loop {
            if let [write] = transition.writes.as_slice() {
                return self.apply_one(write).await;
            }
            match self.apply_all(&transition).await? {
                Rejection::Ended(applied) => return Ok(applied),
                Rejection::Without(others) => transition = Cow::Owned(others),
            }
        }
    }

    async fn settle(&self, _task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        settle_first(self, settlement).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        let mut loaded = Loaded::untouched(steps.iter().copied());
        let keys = steps.iter().map(|step| Key::Step(task, (*step).to_owned())).chain([Key::Task(task)]);
        for item in self.batch_get(keys.map(|of| key(&of)).collect(), None).await? {
            let sort_key = text(&item, SORT_KEY).to_owned();
            loaded.insert(task, &sort_key, value::item(item))?;
        }
        Ok(loaded)
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        let mut loaded = Loaded::default();
        let query = self.client.query().table_name(&self.name).key_condition_expression("pk = :pk");
        let query = query.expression_attribute_values(":pk", AttributeValue::S(Key::partition_of(task)));
        let mut items = query.consistent_read(true).into_paginator().items().send();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| call_failed("Query", error))?;
            let sort_key = text(&item, SORT_KEY).to_owned();
            loaded.insert(task, &sort_key, value::item(item))?;
        }
        Ok(loaded)
    }

    /// A query, because every role that reads the table may query it.
    async fn read(&self, of: &Key) -> Result<Item, TableError> {
        let query = self.client.query().table_name(&self.name).key_condition_expression("pk = :pk AND sk = :sk");
        let query = query.expression_attribute_values(":pk", AttributeValue::S(of.partition()));
        let answer = query.expression_attribute_values(":sk", AttributeValue::S(of.sort())).send().await;
        let answer = answer.map_err(|error| call_failed("Query", error))?;
        Ok(answer.items.unwrap_or_default().into_iter().next().map(value::item).unwrap_or_default())
    }

    /// DynamoDB ends a page at 1 MB, so this goes on until the page is full or the shard ends. An entry that cannot be read
    /// is reported and left out, so that it does not hide the others.
    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        let until = page.until.map(|until| AttributeValue::S(until.to_string()));
        let condition = match until {
            Some(_) => "status_shard = :partition AND listed_at <= :until",
            None => "status_shard = :partition",
        };
        let mut values =
            HashMap::from([(":partition".to_owned(), AttributeValue::S(page.partition.partition(page.shard)))]);
        values.extend(until.map(|until| (":until".to_owned(), until)));
        let query = self.client.query().table_name(&self.name).index_name(INDEX).key_condition_expression(condition);
        let query = query.set_expression_attribute_values(Some(values));
        let mut entries = Vec::new();
        let mut start = page.after.map(start_after);
        loop {
            let missing = page.limit.saturating_sub(u16::try_from(entries.len()).unwrap_or(u16::MAX));
            let answer = query.clone().limit(missing.into()).set_exclusive_start_key(start).send().await;
            let answer = answer.map_err(|error| call_failed("Query", error))?;
            entries.extend(answer.items.unwrap_or_default().into_iter().filter_map(readable));
            start = answer.last_evaluated_key;
            if start.is_none() || entries.len() >= usize::from(page.limit) {
                return Ok(entries);
            }
        }
    }

    /// DynamoDB ends a page at 1 MB, so this goes on until there are enough items or the partition ends.
    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        let query = self.client.query().table_name(&self.name).key_condition_expression("pk = :pk AND sk >= :sk");
        let query = query.expression_attribute_values(":pk", AttributeValue::S(from.partition()));
        let query = query.expression_attribute_values(":sk", AttributeValue::S(from.sort()));
        let query = query.consistent_read(true).limit(limit.into()).into_paginator().items();
        let mut items = query.send();
        let mut found = Vec::new();
        while found.len() < usize::from(limit)
            && let Some(item) = items.next().await
        {
            found.push(value::item(item.map_err(|error| call_failed("Query", error))?));
        }
        Ok(found)
    }

    /// Each partition of the index may have all of the newest, so each is asked for so many, beside each other.
    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        let shards = (0..self.start_shards.get()).map(|shard| self.newest_of(shard, before, limit));
        let mut found: Vec<TaskId> = try_join_all(shards).await?.into_iter().flatten().collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.truncate(limit.into());
        Ok(found)
    }

    /// Batches are read beside each other. Nothing but the attributes is asked for.
    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        let only = [&[PARTITION_KEY, SORT_KEY], attributes].concat();
        let batches = keys.chunks(BATCH).map(|keys| self.batch_get(keys.iter().map(key).collect(), Some(&only)));
        let found = try_join_all(batches).await?.into_iter().flatten();
        found.map(|item| Ok((key_of(&item)?, value::item(item)))).collect()
    }
}
