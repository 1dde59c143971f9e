//! The port that lists what the shop has recorded, for reconciliation.

use super::rule::{FindingKind, Subject};
use crate::{PaymentRef, StoreError};
use serde::{Deserialize, Serialize};
use stepwell::{TaskId, Timestamp};

/// The port that lists all records of the shop, page by page.
pub trait Ledger: Send + Sync {
    /// Returns the page that begins at `from`, or the first one. Every record that was written well before the first page is
    /// on one of them.
    ///
    /// # Errors
    /// The table gave no answer. A record that cannot be read is [`LedgerEntry::Unreadable`].
    fn page(&self, from: Option<&LedgerCursor>) -> impl Future<Output = Result<LedgerPage, StoreError>> + Send;

    /// Records that somebody has settled a finding, which is not reported any more. A repeated call changes nothing.
    ///
    /// # Errors
    /// The table gave no answer.
    fn acknowledge(&self, settled: &Acknowledgement) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A part of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LedgerPart {
    /// The record of payments, and what was acknowledged.
    #[default]
    Payments,
    /// The reservations.
    Reservations,
    /// The orders.
    Orders,
}

impl LedgerPart {
    /// The part that is listed after this one.
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Payments => Some(Self::Reservations),
            Self::Reservations => Some(Self::Orders),
            Self::Orders => None,
        }
    }
}

/// The start of a page; by default of the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerCursor {
    /// The part.
    pub part: LedgerPart,
    /// The id of the last record of the page before; `None` at the start of the part.
    pub after: Option<String>,
}

/// A page of the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerPage {
    /// The records, in no particular order. There may be more even if there is none on this page.
    pub entries: Vec<LedgerEntry>,
    /// The start of the next page; `None` after the last one.
    pub next: Option<LedgerCursor>,
}

/// One record. A key is an idempotency key of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEntry {
    /// The payment of a checkout.
    Payment {
        /// The key of the charge.
        key: String,
        /// The gateway's payment; `None` if the key was voided before one was recorded.
        payment: Option<PaymentRef>,
        /// When the key was voided.
        voided_at: Option<Timestamp>,
    },
    /// The reservation of a checkout.
    Reservation {
        /// The key of the hold.
        key: String,
        /// Whether its units are out of stock, held or taken. Otherwise they were released.
        stands: bool,
    },
    /// The order of a checkout.
    Order {
        /// The checkout's task.
        task: TaskId,
        /// Whether it stands. Otherwise it was cancelled, or ruled out before it was made.
        stands: bool,
    },
    /// Somebody has settled a finding.
    Acknowledged(Acknowledgement),
    /// A record that cannot be read.
    Unreadable {
        /// Its id.
        id: String,
    },
}

/// A finding that a person has settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// What the finding is about.
    pub of: Subject,
    /// The kind of the finding.
    pub kind: FindingKind,
    /// Who has settled it.
    pub who: String,
    /// What was done, or why nothing has to be.
    pub why: String,
    /// When it was recorded.
    pub at: Timestamp,
}
