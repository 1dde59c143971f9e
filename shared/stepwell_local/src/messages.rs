//! The messages: a row each, in the queue of a step or in that of the dead letters.

use crate::{
    error::FileError,
    items::{apply, read},
};
use rusqlite::{Connection, OptionalExtension, params};
use stepwell::{
    TaskId, Timestamp,
    core::{
        item::Key,
        message::{DEAD_LETTERS, Message, Outgoing, QueueName, StepQueue},
        record::StepRecord,
        settlement::Disposition,
        step::{self, ClaimRequest},
    },
    ports::Received,
};

/// The number of deliveries after which a message becomes a dead letter, as in the template for AWS.
pub(crate) const MAX_RECEIVES: u32 = 100;

/// The name of a queue in the table. A name without a slash is that of no step.
pub(crate) fn name(queue: &QueueName) -> String {
    match queue {
        QueueName::Step(StepQueue { workflow, step }) => format!("{workflow}/{step}"),
        other => other.to_string(),
    }
}

/// A delivered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The message, with the receipt handle of this delivery.
    pub message: Received,
    /// The receipt handle of this delivery.
    pub receipt: String,
    /// The end of the delivery: the message is delivered again then, and its worker has to be done.
    pub until: Timestamp,
}

/// How a message is delivered.
#[derive(Clone, Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) queue: &'a QueueName,
    /// A receipt handle that no other delivery has.
    pub(crate) receipt: String,
    pub(crate) now: Timestamp,
    pub(crate) until: Timestamp,
    /// Whether the step is claimed.
    pub(crate) claims: bool,
}

/// Puts a message into the queue of its step. Returns its id.
pub(crate) fn send(tx: &Connection, outgoing: &Outgoing, now: Timestamp) -> Result<i64, FileError> {
    let body = serde_json::to_string(&outgoing.message).map_err(FileError::refused)?;
    put(tx, &name(&outgoing.queue()), &body, now, now + outgoing.delay)
}

/// Puts any text into the queue of this [`name`]. Returns the id of the message.
pub(crate) fn put(tx: &Connection, queue: &str, body: &str, now: Timestamp, due: Timestamp) -> Result<i64, FileError> {
    let mut insert = tx.prepare_cached("INSERT INTO messages (queue, body, sent_at, due) VALUES (?, ?, ?, ?)")?;
    Ok(insert.insert((queue, body, now.as_millis(), due.as_millis()))?)
}

/// Keeps a message that belongs to no step of any task.
pub(crate) fn reject(tx: &Connection, body: &str, reason: &str, now: Timestamp) -> Result<(), FileError> {
    const SQL: &str = "INSERT INTO undeliverable (body, reason, rejected_at) VALUES (?, ?, ?)";
    tx.prepare_cached(SQL)?.execute((body, reason, now.as_millis()))?;
    Ok(())
}

/// The id of the message of this queue that is due first, if one is due.
pub(crate) fn first_due(tx: &Connection, queue: &QueueName, now: Timestamp) -> Result<Option<i64>, FileError> {
    const SQL: &str = "SELECT id FROM messages WHERE queue = ? AND due <= ? ORDER BY due LIMIT 1";
    Ok(tx.prepare_cached(SQL)?.query_row((name(queue), now.as_millis()), |row| row.get(0)).optional()?)
}

/// When the next message of this queue is due, if it has one.
pub(crate) fn next_due(tx: &Connection, queue: &QueueName) -> Result<Option<Timestamp>, FileError> {
    const SQL: &str = "SELECT MIN(due) FROM messages WHERE queue = ?";
    let due: Option<i64> = tx.prepare_cached(SQL)?.query_row([name(queue)], |row| row.get(0))?;
    Ok(due.map(Timestamp::from_millis))
}

/// Delivers a message: gives it a new receipt handle, and hides it. If the delivery claims, the step is claimed for it in the same
/// transaction: the worker finds that its claim was made before, or that it is refused.
///
/// `None` if the message has been delivered too often: then it is a dead letter.
pub(crate) fn receive(tx: &Connection, id: i64, delivery: &Delivery<'_>) -> Result<Option<Delivered>, FileError> {
    const SQL: &str = "UPDATE messages SET receives = receives + 1, receipt = ?2, due = ?3 WHERE id = ?1
        RETURNING body, receives, sent_at, source";
    let Delivery { queue, receipt, now, until, claims } = delivery;
    let mut update = tx.prepare_cached(SQL)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let (body, receives, sent_at, source): (String, u32, i64, Option<String>) =
        update.query_row((id, receipt, until.as_millis()), row)?;
    if let QueueName::Step(queue) = queue {
        if receives > MAX_RECEIVES {
            bury(tx, id, queue, *now)?;
            return Ok(None);
        }
        let message = serde_json::from_str::<Message>(&body).ok().filter(|message| message.step == queue.step);
        if let Some(Message { task_id, step, .. }) = message.filter(|_| *claims) {
            let owner = step::owner(receipt, &id.to_string());
            let request = ClaimRequest { task: task_id, step: &step, owner: &owner, now: *now, lease_until: *until };
            match apply(tx, &step::claim(&request)) {
                // The worker meets the same item, and tells of it. Here it must not keep all other messages back.
                Ok(_) | Err(FileError::Unreadable(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let message = Received {
        id: id.to_string(),
        body,
        receipt: Some(receipt.clone()),
        receives: Some(receives),
        sent_at: Some(Timestamp::from_millis(sent_at)),
        dead_letter_source: source,
    };
    Ok(Some(Delivered { message, receipt: receipt.clone(), until: *until }))
}

/// Moves a message to the queue of the dead letters.
fn bury(tx: &Connection, id: i64, queue: &StepQueue, now: Timestamp) -> Result<(), FileError> {
    const SQL: &str =
        "UPDATE messages SET queue = ?2, source = ?3, receives = 0, deaths = 0, receipt = NULL, due = ?4 WHERE id = ?1";
    let source = QueueName::from(queue.clone()).to_string();
    tx.prepare_cached(SQL)?.execute((id, DEAD_LETTERS, source, now.as_millis()))?;
    Ok(())
}

/// Ends a delivery, and with it its receipt handle. Returns the queue of a step of which a message was given back. If the message has
/// been delivered again since, nothing happens.
pub(crate) fn end(tx: &Connection, receipt: &str, disposition: Disposition) -> Result<Option<QueueName>, FileError> {
    // A statement that changes nothing would make the transaction one that writes.
    let Some((id, queue)) = held(tx, receipt)? else { return Ok(None) };
    match disposition {
        Disposition::Acknowledge => {
            tx.prepare_cached("DELETE FROM messages WHERE id = ?")?.execute([id])?;
            Ok(None)
        }
        Disposition::GiveBack { until } => {
            let mut update =
                tx.prepare_cached("UPDATE messages SET receipt = NULL, deaths = 0, due = ? WHERE id = ?")?;
            update.execute((until.as_millis(), id))?;
            Ok(queue.split_once('/').map(|(workflow, step)| StepQueue::new(workflow, step).into()))
        }
    }
}

/// Deletes a message, unless it was delivered again since.
pub(crate) fn acknowledge(tx: &Connection, message: &Received) -> Result<(), FileError> {
    if was_last_delivered(tx, message)? {
        tx.prepare_cached("DELETE FROM messages WHERE id = ?")?.execute([&message.id])?;
    }
    Ok(())
}

/// Whether the message is there, and this was its last delivery. It may have been given back since.
pub(crate) fn was_last_delivered(tx: &Connection, message: &Received) -> Result<bool, FileError> {
    const SQL: &str = "SELECT 1 FROM messages WHERE id = ? AND receives = ? AND (receipt = ? OR receipt IS NULL)";
    let Received { id, receives, receipt, .. } = message;
    Ok(tx.prepare_cached(SQL)?.exists((id, receives, receipt))?)
}

/// The id and the queue of the message of this delivery, unless it has ended.
fn held(tx: &Connection, receipt: &str) -> Result<Option<(i64, String)>, FileError> {
    let mut select = tx.prepare_cached("SELECT id, queue FROM messages WHERE receipt = ?")?;
    Ok(select.query_row([receipt], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// The number of processes in a row that may die while they hold a message. Then it may be what they die of, and it becomes a dead
/// letter, of which a person is told. A process that was told to end has not died of it.
const MAX_DEATHS: u32 = 5;

/// Gives back all messages that the last process held. The file's lock proves that it has ended, and `died` says that nobody told it to.
/// It held a message for each of its claims, and these are given back, too: as lost attempts that do not count. Returns their number.
pub(crate) fn take_back(tx: &Connection, died: bool, now: Timestamp) -> Result<usize, FileError> {
    let mut select = tx.prepare("SELECT id, queue, receipt, body, deaths FROM messages WHERE receipt IS NOT NULL")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
    let held: Vec<(i64, String, String, String, u32)> = rows.collect::<Result<_, _>>()?;
    for (id, queue, receipt, body, deaths) in &held {
        if let Ok(Message { task_id, step, .. }) = serde_json::from_str(body) {
            match abandon(tx, task_id, &step, now) {
                Ok(()) => {}
                // It must not keep the process from starting. The worker meets the same item, and tells of it.
                Err(FileError::Unreadable(error)) => tracing::error!(%error, "an attempt could not be given back"),
                Err(error) => return Err(error),
            }
        }
        let deaths = deaths + u32::from(died);
        let queue = queue.split_once('/').map(|(workflow, step)| StepQueue::new(workflow, step));
        match queue.filter(|_| deaths >= MAX_DEATHS) {
            Some(queue) => {
                tracing::error!(
                    step = queue.step,
                    deaths = MAX_DEATHS,
                    "processes died while this step ran: it is given up"
                );
                bury(tx, *id, &queue, now)?;
            }
            None => {
                end(tx, receipt, Disposition::GiveBack { until: now })?;
                tx.prepare_cached("UPDATE messages SET deaths = ? WHERE id = ?")?.execute((deaths, id))?;
            }
        }
    }
    Ok(held.len())
}

fn abandon(tx: &Connection, task: TaskId, step: &str, now: Timestamp) -> Result<(), FileError> {
    let item = read(tx, &Key::Step(task, step.to_owned()))?;
    apply(tx, &step::abandon(task, &StepRecord::from_item(task, step, item)?, now))?;
    Ok(())
}

/// The queues that have messages.
pub(crate) fn names(tx: &Connection) -> Result<Vec<(String, u32)>, FileError> {
    let mut select = tx.prepare("SELECT queue, COUNT(*) FROM messages GROUP BY queue")?;
    let rows = select.query_map(params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
