//! The items: JSON text under their two keys. The core interprets transitions; this module only reads and writes.

use crate::error::FileError;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;
use stepwell::{
    TaskId, Timestamp,
    core::{
        codec::Unreadable,
        index::{IndexEntry, Page},
        item::{Item, Key, attribute},
        snapshot::Loaded,
        transition::{Applied, Rejection, Transition},
    },
};

fn parse(partition: &str, sort: &str, text: &str) -> Result<Item, FileError> {
    let unreadable =
        |error: serde_json::Error| Unreadable { key: format!("{partition} / {sort}"), cause: error.to_string() };
    Ok(serde_json::from_str(text).map_err(unreadable)?)
}

pub(crate) fn read(tx: &Connection, key: &Key) -> Result<Item, FileError> {
    let (partition, sort) = (key.partition(), key.sort());
    let mut select = tx.prepare_cached("SELECT item FROM items WHERE pk = ? AND sk = ?")?;
    let text: Option<String> = select.query_row((&partition, &sort), |row| row.get(0)).optional()?;
    text.map_or(Ok(Item::new()), |text| parse(&partition, &sort, &text))
}

fn put(tx: &Connection, key: &Key, item: &Item) -> Result<(), FileError> {
    if item.is_empty() {
        let mut delete = tx.prepare_cached("DELETE FROM items WHERE pk = ? AND sk = ?")?;
        delete.execute((key.partition(), key.sort()))?;
        return Ok(());
    }
    const SQL: &str =
        "INSERT INTO items (pk, sk, item, status_shard, listed_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (pk, sk) DO UPDATE SET item = ?3, status_shard = ?4, listed_at = ?5, expires_at = ?6";
    let text = serde_json::to_string(item).map_err(FileError::refused)?;
    let of = |name| item.get(name).and_then(serde_json::Value::as_str);
    let expires_at = item.get(attribute::EXPIRES_AT).and_then(serde_json::Value::as_i64);
    let (shard, listed_at) = (of(attribute::STATUS_SHARD), of(attribute::LISTED_AT));
    let mut put = tx.prepare_cached(SQL)?;
    put.execute(params![key.partition(), key.sort(), text, shard, listed_at, expires_at])?;
    Ok(())
}

/// The items that a transition writes, as they are, if all of its conditions hold; otherwise what becomes of it.
fn judge(tx: &Connection, transition: &Transition) -> Result<Result<Vec<Item>, Rejection>, FileError> {
    let items = transition.writes.iter().map(|write| read(tx, &write.key)).collect::<Result<Vec<_>, _>>()?;
    let writes = || transition.writes.iter().zip(&items);
    if writes().all(|(write, item)| write.holds(item)) {
        return Ok(Ok(items));
    }
    let against = writes().map(|(write, item)| (!write.holds(item)).then(|| item.clone()));
    Ok(Err(transition.refused(against)))
}

/// The answer to a transition that writes nothing; `None` if it writes something.
pub(crate) fn refused(tx: &Connection, transition: &Transition) -> Result<Option<Applied>, FileError> {
    match judge(tx, transition)? {
        Ok(_) => Ok(None),
        Err(Rejection::Ended(applied)) => Ok(Some(applied)),
        Err(Rejection::Without(others)) => refused(tx, &others),
    }
}

/// Applies a transition in an open transaction.
pub(crate) fn apply(tx: &Connection, transition: &Transition) -> Result<Applied, FileError> {
    let items = match judge(tx, transition)? {
        Ok(items) => items,
        Err(Rejection::Ended(applied)) => return Ok(applied),
        Err(Rejection::Without(others)) => return apply(tx, &others),
    };
    let mut answer = Item::new();
    for (write, item) in transition.writes.iter().zip(&items) {
        let after = write.effect.apply(item);
        put(tx, &write.key, &after)?;
        answer = write.answer(after);
    }
    Ok(Applied::Written(answer))
}

/// Reads the task and some of its steps.
pub(crate) fn load(tx: &Connection, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, FileError> {
    let mut loaded = Loaded::untouched(steps.iter().copied());
    let keys = steps.iter().map(|step| Key::Step(task, (*step).to_owned())).chain([Key::Task(task)]);
    for key in keys {
        let item = read(tx, &key)?;
        if !item.is_empty() {
            loaded.insert(task, &key.sort(), item)?;
        }
    }
    Ok(loaded)
}

/// Reads the task and all steps that have an item.
pub(crate) fn load_all(tx: &Connection, task: TaskId) -> Result<Loaded, FileError> {
    let mut loaded = Loaded::default();
    let partition = Key::partition_of(task);
    let mut select = tx.prepare_cached("SELECT sk, item FROM items WHERE pk = ?")?;
    let mut rows = select.query([&partition])?;
    while let Some(row) = rows.next()? {
        let (sort, text): (String, String) = (row.get(0)?, row.get(1)?);
        loaded.insert(task, &sort, parse(&partition, &sort, &text)?)?;
    }
    Ok(loaded)
}

pub(crate) fn list(tx: &Connection, page: &Page<'_>) -> Result<Vec<IndexEntry>, FileError> {
    const SQL: &str = "SELECT pk, sk, item FROM items WHERE status_shard = ?1 AND (?2 IS NULL OR listed_at <= ?2)
        AND (?3 IS NULL OR (listed_at, pk, sk) > (?3, ?4, ?5)) ORDER BY listed_at, pk, sk LIMIT ?6";
    let until = page.until.map(|until| until.to_string());
    let after = page.after.map(|after| (after.at.to_string(), after.key()));
    let (after, after_key) = after.unzip();
    let (after_pk, after_sk) = after_key.map(|key| (key.partition(), key.sort())).unzip();
    let mut select = tx.prepare_cached(SQL)?;
    let partition = page.partition.partition(page.shard);
    let mut rows = select.query(params![partition, until, after, after_pk, after_sk, page.limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (partition, sort, text): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let entry = Key::task_of(&partition)
            .and_then(|task| Key::of_task(task, &sort))
            .map(|key| IndexEntry::from_item(&key, &parse(&partition, &sort, &text)?).map_err(FileError::from));
        match entry {
            Some(Ok(entry)) => found.push(entry),
            Some(Err(error)) => tracing::error!(partition, sort, %error, "an entry of the index is left out"),
            None => tracing::error!(partition, sort, "an entry of the index is of no task: it is left out"),
        }
    }
    Ok(found)
}

pub(crate) fn range(tx: &Connection, from: &Key, limit: u16) -> Result<Vec<Item>, FileError> {
    const SQL: &str = "SELECT sk, item FROM items WHERE pk = ?1 AND sk >= ?2 ORDER BY sk LIMIT ?3";
    let partition = from.partition();
    let mut select = tx.prepare_cached(SQL)?;
    let mut rows = select.query(params![partition, from.sort(), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (sort, text): (String, String) = (row.get(0)?, row.get(1)?);
        found.push(parse(&partition, &sort, &text)?);
    }
    Ok(found)
}

/// The ids of the newest tasks before this one.
pub(crate) fn newest(tx: &Connection, before: TaskId, limit: u16) -> Result<Vec<TaskId>, FileError> {
    const SQL: &str = "SELECT pk FROM items WHERE sk = 'TASK' AND pk < ? ORDER BY pk DESC LIMIT ?";
    let mut select = tx.prepare_cached(SQL)?;
    let mut rows = select.query((Key::partition_of(before), limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let partition: String = row.get(0)?;
        match Key::task_of(&partition) {
            Some(task) => found.push(task),
            None => tracing::error!(partition, "an item is of no task: it is left out"),
        }
    }
    Ok(found)
}

/// Reads these attributes of the items that exist.
pub(crate) fn read_all(tx: &Connection, keys: &[Key], attributes: &[&str]) -> Result<Vec<(Key, Item)>, FileError> {
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let mut item = read(tx, key)?;
        if !item.is_empty() {
            item.retain(|name, _| attributes.contains(&name.as_str()));
            found.push((key.clone(), item));
        }
    }
    Ok(found)
}

/// Deletes at most this many items that have expired. Returns how many it has deleted.
pub(crate) fn delete_expired(tx: &Connection, now: Timestamp, most: u32) -> Result<usize, FileError> {
    const SQL: &str = "DELETE FROM items WHERE rowid IN (SELECT rowid FROM items WHERE expires_at <= ? LIMIT ?)";
    Ok(tx.prepare_cached(SQL)?.execute((now.as_seconds(), most))?)
}
