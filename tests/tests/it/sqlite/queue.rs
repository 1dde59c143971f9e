//! The queues: each message is a row.

use super::{
    db::{Failed, Sqlite},
    store::{apply, read},
};
use rusqlite::{Connection, OptionalExtension};
use std::{sync::PoisonError, time::Duration};
use stepwell::{
    CallError, FailureKind, Runtime, Timestamp,
    core::{
        item::Key,
        message::{Message, Outgoing, QueueName, StepQueue},
        record::StepRecord,
        settlement::Disposition,
        step::{self, ClaimRequest},
    },
    ports::{Queue, QueueError, Received},
};
use stepwell_tests::events::message;

/// The visibility timeout of a delivery, and the length of a lease.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// A message that this process holds.
#[derive(Clone, Debug)]
pub(super) struct HeldMessage {
    pub(super) queue: StepQueue,
    pub(super) message: Received,
    /// The receipt handle of this delivery.
    pub(super) receipt: String,
    pub(super) until: Timestamp,
}

/// Puts a message into the queue of its step; answers with its id.
pub(super) fn send(tx: &Connection, outgoing: &Outgoing, now: Timestamp) -> Result<i64, Failed> {
    let Outgoing { workflow, message, delay } = outgoing;
    let mut insert = tx.prepare_cached("INSERT INTO messages (workflow, step, body, due) VALUES (?, ?, ?, ?)")?;
    Ok(insert.insert((workflow, &message.step, serde_json::to_string(message)?, (now + *delay).as_millis()))?)
}

/// Delivers a message: gives it a new receipt handle and hides it. With `claims` the step is also claimed for that
/// delivery: the worker finds that its claim was made before, or that it was refused.
pub(super) fn receive(tx: &Connection, id: i64, claims: bool, now: Timestamp) -> Result<HeldMessage, Failed> {
    const SQL: &str = "UPDATE messages SET receives = receives + 1, receipt = id || '.' || (receives + 1), due = ?2
        WHERE id = ?1 RETURNING workflow, step, body, receipt, receives";
    let until = now + LEASE;
    let mut update = tx.prepare_cached(SQL)?;
    let row = |row: &rusqlite::Row<'_>| {
        Ok((StepQueue { workflow: row.get(0)?, step: row.get(1)? }, row.get(2)?, row.get(3)?, row.get(4)?))
    };
    let (queue, body, receipt, receives): (StepQueue, String, String, u32) =
        update.query_row((id, until.as_millis()), row)?;
    let (id, receipt_handle) = (id.to_string(), Some(receipt.clone()));
    let message = Received { receipt: receipt_handle, receives: Some(receives), ..message(&id, &body) };
    if let Ok(Message { task_id, step, .. }) = serde_json::from_str(&body)
        && claims
        && step == queue.step
    {
        let owner = step::owner(&receipt, &id);
        let request = ClaimRequest { task: task_id, step: &step, owner: &owner, now, lease_until: until };
        apply(tx, &step::claim(&request))?;
    }
    Ok(HeldMessage { queue, message, receipt, until })
}

/// Ends a delivery, and with it its receipt handle. A delivery that has ended, or was followed by another one, has
/// none.
pub(super) fn dispose(tx: &Connection, receipt: &str, disposition: Disposition) -> Result<(), Failed> {
    let mut select = tx.prepare_cached("SELECT id FROM messages WHERE receipt = ?")?;
    let Some(id) = select.query_row([receipt], |row| row.get::<_, i64>(0)).optional()? else { return Ok(()) };
    match disposition {
        Disposition::Acknowledge => tx.prepare_cached("DELETE FROM messages WHERE id = ?")?.execute([id])?,
        Disposition::GiveBack { until } => {
            let mut update = tx.prepare_cached("UPDATE messages SET receipt = NULL, due = ? WHERE id = ?")?;
            update.execute((until.as_millis(), id))?
        }
    };
    Ok(())
}

impl<A: Runtime> Sqlite<A> {
    /// Releases the messages that the previous process held. That process is dead, because the file's lock is ours, and
    /// for each of its leases it held a message.
    pub(super) fn take_back(&self) -> Result<(), Failed> {
        const SQL: &str = "SELECT receipt, body FROM messages WHERE receipt IS NOT NULL";
        let until = self.runtime.now();
        self.transaction(|tx| {
            let mut select = tx.prepare(SQL)?;
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let held: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
            for (receipt, body) in held {
                if let Ok(Message { task_id, step, .. }) = serde_json::from_str(&body) {
                    let item = read(tx, &Key::Step(task_id, step.clone()))?;
                    apply(tx, &step::abandon(task_id, &StepRecord::from_item(task_id, &step, item)?, until))?;
                }
                dispose(tx, &receipt, Disposition::GiveBack { until })?;
            }
            Ok(())
        })
    }

    /// The next delivery: a message that is held already, or the message that is due first.
    pub(super) fn receive(&self) -> Result<Option<HeldMessage>, Failed> {
        const SQL: &str = "SELECT id FROM messages WHERE due <= ? ORDER BY due, id LIMIT 1";
        let now = self.runtime.now();
        if let Some(received) = self.held.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
            && received.until > now
        {
            return Ok(Some(received));
        }
        self.transaction(|tx| {
            let due = tx.prepare_cached(SQL)?.query_row([now.as_millis()], |row| row.get(0)).optional()?;
            due.map(|id| receive(tx, id, self.whole, now)).transpose()
        })
    }

    pub(super) fn acknowledge(&self, receipt: &str) -> Result<(), Failed> {
        self.transaction(|tx| dispose(tx, receipt, Disposition::Acknowledge))
    }

    /// When the next message is due, if there is any. Undeliverable messages never are.
    pub(super) fn next_due(&self) -> Result<Option<Timestamp>, Failed> {
        const SQL: &str = "SELECT MIN(due) FROM messages WHERE reason IS NULL";
        self.transaction(|tx| Ok(tx.query_row(SQL, [], |row| row.get(0)).map(|due: Option<i64>| due)?))
            .map(|due| due.map(Timestamp::from_millis))
    }
}

fn queue_error(operation: &'static str, queue: &QueueName) -> impl Fn(Failed) -> QueueError {
    move |error| QueueError::new(queue.clone(), CallError::new(operation, FailureKind::Unavailable, error.to_string()))
}

impl<A: Runtime> Queue for Sqlite<A> {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        let sent = self.transaction(|tx| send(tx, outgoing, self.runtime.now()));
        sent.map(drop).map_err(queue_error("send", &outgoing.queue()))
    }

    async fn hide(&self, queue: &QueueName, receipt_handle: &str, wait: Duration) -> Result<(), QueueError> {
        let give_back = Disposition::GiveBack { until: self.runtime.now() + wait };
        self.transaction(|tx| dispose(tx, receipt_handle, give_back)).map_err(queue_error("hide", queue))
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        const SQL: &str = "INSERT INTO messages (body, due, reason) VALUES (?, ?, ?)";
        let rejected = self.transaction(|tx| Ok(tx.execute(SQL, (body, i64::MAX, reason))?));
        rejected.map(drop).map_err(queue_error("reject", &QueueName::Undeliverable))
    }
}
