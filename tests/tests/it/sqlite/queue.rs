//! The queues: a message is a row.

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

/// How long a delivery may take. A message that is received is hidden for it, and a lease holds for it.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// A message in the hands of this process.
#[derive(Clone, Debug)]
pub(super) struct InHand {
    pub(super) queue: StepQueue,
    pub(super) message: Received,
    /// Names this delivery, and no other.
    pub(super) receipt: String,
    pub(super) until: Timestamp,
}

/// Puts a message into the queue of its step; answers with its id.
pub(super) fn send(tx: &Connection, outgoing: &Outgoing, now: Timestamp) -> Result<i64, Failed> {
    let Outgoing { workflow, message } = outgoing;
    let mut insert = tx.prepare_cached("INSERT INTO messages (workflow, step, body, due) VALUES (?, ?, ?, ?)")?;
    Ok(insert.insert((workflow, &message.step, serde_json::to_string(message)?, now.as_millis()))?)
}

/// Gives a message a new receipt and hides it. With `claims` its step is claimed for that delivery: the worker finds that
/// its claim was made before. Where the claim is refused, the worker finds that too.
pub(super) fn receive(tx: &Connection, id: i64, claims: bool, now: Timestamp) -> Result<InHand, Failed> {
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
    Ok(InHand { queue, message, receipt, until })
}

/// Ends a delivery, and with it its receipt. One that has ended, or that another one came after, has none any more.
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
    /// Puts back what the process before this one had in its hands. It is dead, since the lock on the file is ours, and
    /// whatever it held a lease on it was delivered a message for.
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

    /// The next delivery: one that is in hand already, or of the message that is due first.
    pub(super) fn receive(&self) -> Result<Option<InHand>, Failed> {
        const SQL: &str = "SELECT id FROM messages WHERE due <= ? ORDER BY due, id LIMIT 1";
        let now = self.runtime.now();
        if let Some(received) = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
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

    /// When the next message is due, if there is any. What is undeliverable never is.
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
