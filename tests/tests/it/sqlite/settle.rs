//! A settlement in one transaction.

use super::{
    db::{Failed, Sqlite},
    queue::{dispose, receive, send},
    store::apply,
};
use rusqlite::Connection;
use std::sync::PoisonError;
use stepwell::{
    Ambient, TaskId, Timestamp,
    core::{
        settlement::{Consequence, Due, Settled, Settlement},
        task,
    },
};

/// Carries out what follows from a transition. Answers with the messages that it sent, and with what it leaves to the
/// engine: what has to read the whole task, and what was refused.
fn follow(
    tx: &Connection,
    task: TaskId,
    then: Vec<Consequence>,
    now: Timestamp,
) -> Result<(Vec<i64>, Vec<Consequence>), Failed> {
    let (mut sent, mut left) = (Vec::new(), Vec::new());
    for consequence in then {
        if let Some(join) = &consequence.join {
            let arrival = apply(tx, &join.transition)?;
            if !arrival.is_written() {
                left.push(consequence);
                continue;
            }
            if !join.is_last(&arrival) {
                continue;
            }
        }
        match &consequence.due {
            Due::Send(message) => sent.push(send(tx, message, now)?),
            Due::Finish if apply(tx, &task::finish(task, now))?.is_written() => {}
            Due::Finish | Due::AdvanceCompensation => left.push(consequence.due.into()),
        }
    }
    Ok((sent, left))
}

impl<A: Ambient> Sqlite<A> {
    pub(super) fn settle_at_once(&self, task: TaskId, settlement: Settlement) -> Result<Settled, Failed> {
        let (settled, received) = self.transaction(|tx| {
            if let Some(transition) = &settlement.transition
                && !apply(tx, transition)?.is_written()
            {
                return Ok((Settled::Refused, None));
            }
            if !self.whole {
                return Ok((Settled::Written(settlement.then), None));
            }
            let now = self.ambient.now();
            let (sent, left) = follow(tx, task, settlement.then, now)?;
            // Where anything is left, only the message brings it back after a crash.
            if let Some(delivery) = &settlement.delivery
                && left.is_empty()
            {
                dispose(tx, &delivery.receipt, delivery.disposition)?;
            }
            // Whoever settles has a free hand: it goes on with one of the successors.
            let received = sent.first().map(|id| receive(tx, *id, true, now)).transpose()?;
            Ok((Settled::Written(left), received))
        })?;
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).extend(received);
        Ok(settled)
    }
}
