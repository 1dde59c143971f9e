//! The store: an item is JSON text under its two keys. The core interprets transitions; this module only reads and
//! writes.

use super::db::{Failed, Sqlite, table_error};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;
use stepwell::{
    Runtime, TaskId,
    core::{
        index::{IndexEntry, Page},
        item::{Item, Key},
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Rejection, Transition},
    },
    ports::{Store, TableError},
};

pub(super) fn read(tx: &Connection, key: &Key) -> Result<Item, Failed> {
    let mut select = tx.prepare_cached("SELECT item FROM items WHERE pk = ? AND sk = ?")?;
    let text: Option<String> = select.query_row((key.partition(), key.sort()), |row| row.get(0)).optional()?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default())
}

fn put(tx: &Connection, key: &Key, item: &Item) -> Result<(), Failed> {
    if item.is_empty() {
        let mut delete = tx.prepare_cached("DELETE FROM items WHERE pk = ? AND sk = ?")?;
        delete.execute((key.partition(), key.sort()))?;
    } else {
        let mut put = tx.prepare_cached("INSERT OR REPLACE INTO items (pk, sk, item) VALUES (?, ?, ?)")?;
        put.execute((key.partition(), key.sort(), serde_json::to_string(item)?))?;
    }
    Ok(())
}

/// Makes a transition in an open transaction.
pub(super) fn apply(tx: &Connection, transition: &Transition) -> Result<Applied, Failed> {
    let items = transition.writes.iter().map(|write| read(tx, &write.key)).collect::<Result<Vec<_>, _>>()?;
    let writes = || transition.writes.iter().zip(&items);
    if !writes().all(|(write, item)| write.holds(item)) {
        let against = writes().map(|(write, item)| (!write.holds(item)).then(|| item.clone()));
        return match transition.refused(against) {
            Rejection::Ended(applied) => Ok(applied),
            Rejection::Without(others) => apply(tx, &others),
        };
    }
    let mut answer = Item::new();
    for (write, item) in writes() {
        let after = write.effect.apply(item);
        put(tx, &write.key, &after)?;
        answer = write.answer(after);
    }
    Ok(Applied::Written(answer))
}

/// Reads items of a task: all, or those with these sort keys.
fn load(tx: &Connection, task: TaskId, sort_keys: Option<&[String]>, loaded: &mut Loaded) -> Result<(), Failed> {
    const SQL: &str = "SELECT sk, item FROM items
        WHERE pk = ?1 AND (?2 IS NULL OR sk IN (SELECT value FROM json_each(?2)))";
    let sort_keys = sort_keys.map(serde_json::to_string).transpose()?;
    let mut select = tx.prepare_cached(SQL)?;
    let mut rows = select.query(params![Key::partition_of(task), sort_keys])?;
    while let Some(row) = rows.next()? {
        let (sort_key, item): (String, String) = (row.get(0)?, row.get(1)?);
        loaded.insert(task, &sort_key, serde_json::from_str(&item)?)?;
    }
    Ok(())
}

fn list(tx: &Connection, page: &Page<'_>) -> Result<Vec<IndexEntry>, Failed> {
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
        let (partition, sort, item): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let task = partition.strip_prefix("TASK#").unwrap_or_default().parse()?;
        let key = Key::of_task(task, &sort).expect("a task or a step");
        found.push(IndexEntry::from_item(&key, &serde_json::from_str(&item)?)?);
    }
    Ok(found)
}

fn range(tx: &Connection, from: &Key, limit: u16) -> Result<Vec<Item>, Failed> {
    const SQL: &str = "SELECT item FROM items WHERE pk = ?1 AND sk >= ?2 ORDER BY sk LIMIT ?3";
    let mut select = tx.prepare_cached(SQL)?;
    let mut rows = select.query(params![from.partition(), from.sort(), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(serde_json::from_str(&row.get::<_, String>(0)?)?);
    }
    Ok(found)
}

impl<A: Runtime> Store for Sqlite<A> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        self.transaction(|tx| apply(tx, transition)).map_err(table_error(transition.name))
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        self.settle_at_once(task, settlement).map_err(table_error("settle"))
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        let mut loaded = Loaded::untouched(steps.iter().copied());
        let keys = steps.iter().map(|step| Key::Step(task, (*step).to_owned())).chain([Key::Task(task)]);
        let keys: Vec<String> = keys.map(|key| key.sort()).collect();
        self.transaction(|tx| load(tx, task, Some(&keys), &mut loaded)).map_err(table_error("load"))?;
        Ok(loaded)
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        let mut loaded = Loaded::default();
        self.transaction(|tx| load(tx, task, None, &mut loaded)).map_err(table_error("load_all"))?;
        Ok(loaded)
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        self.transaction(|tx| read(tx, key)).map_err(table_error("read"))
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.transaction(|tx| list(tx, page)).map_err(table_error("list"))
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        self.transaction(|tx| range(tx, from, limit)).map_err(table_error("range"))
    }
}
