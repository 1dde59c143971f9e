//! A settlement in one transaction.

use super::{
    db::{Failed, Sqlite},
    queue::{dispose, receive, send},
    store::apply,
};
use rusqlite::Connection;
use std::sync::PoisonError;
use stepwell::{
    Runtime, TaskId, Timestamp,
    core::{
        message::Outgoing,
        settlement::{Delivery, Settled, Settlement, Transaction},
        transition::{Applied, Transition},
    },
};

/// The transaction, and the messages that it has sent.
struct Whole<'a> {
    tx: &'a Connection,
    now: Timestamp,
    sent: Vec<i64>,
}

impl Transaction for Whole<'_> {
    type Error = Failed;

    fn apply(&mut self, transition: &Transition) -> Result<Applied, Failed> {
        apply(self.tx, transition)
    }

    fn send(&mut self, outgoing: &Outgoing) -> Result<(), Failed> {
        self.sent.push(send(self.tx, outgoing, self.now)?);
        Ok(())
    }

    fn end(&mut self, delivery: &Delivery) -> Result<(), Failed> {
        dispose(self.tx, &delivery.receipt, delivery.disposition)
    }
}

impl<A: Runtime> Sqlite<A> {
    pub(super) fn settle_at_once(&self, task: TaskId, settlement: Settlement) -> Result<Settled, Failed> {
        let (settled, received) = self.transaction(|tx| {
            if !self.whole {
                let written = settlement.transition.as_ref().map(|transition| apply(tx, transition)).transpose()?;
                let settled = match written {
                    Some(Applied::Refused(item)) => Settled::Refused(item),
                    Some(Applied::Written(_)) | None => Settled::Written(settlement.then),
                };
                return Ok((settled, None));
            }
            let now = self.runtime.now();
            let mut whole = Whole { tx, now, sent: Vec::new() };
            let settled = settlement.carry_out(task, &mut whole, now)?;
            // Whoever settles has a free hand: it goes on with one of the successors.
            let received = whole.sent.first().map(|id| receive(tx, *id, true, now)).transpose()?;
            Ok((settled, received))
        })?;
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).extend(received);
        Ok(settled)
    }
}
