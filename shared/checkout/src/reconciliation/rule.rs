//! The rule: what is wrong with a checkout, as a pure function of all that is recorded of it.

use crate::{CreatedOrder, Payment, PaymentRef, Refund, Release};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};
use stepwell::{
    StepResult, TaskId, Timestamp,
    core::{
        snapshot::TaskSnapshot,
        state::{StepState, TaskState},
    },
};

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The customer is charged, and the task is gone: nobody will finish or compensate the checkout.
    PaidWithoutTask,
    /// The customer is charged, the task has ended, and no order stands.
    PaidWithoutOrder,
    /// An order stands, and no charge for it does.
    OrderWithoutPayment,
    /// The customer is charged and an order stands, although the checkout was compensated or cancelled.
    OrderNotCancelled,
    /// Units are held or taken for a checkout that has no order, and whose task is gone or has ended.
    StockWithoutTask,
    /// The gateway has charged a card, and the shop has no record of the payment: a table was restored from a backup that is
    /// older than the charge, or somebody else uses the gateway's account.
    ChargeWithoutRecord,
    /// The charge was refunded, and the refund has failed since: the shop has the customer's money.
    RefundFailed,
}

impl FindingKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::PaidWithoutTask,
        Self::PaidWithoutOrder,
        Self::OrderWithoutPayment,
        Self::OrderNotCancelled,
        Self::StockWithoutTask,
        Self::ChargeWithoutRecord,
        Self::RefundFailed,
    ];

    /// Whether a finding of this kind can be about this.
    pub const fn is_about(self, id: &Subject) -> bool {
        matches!((self, id), (Self::ChargeWithoutRecord, Subject::Payment(_)))
            || !matches!(self, Self::ChargeWithoutRecord) && matches!(id, Subject::Checkout(_))
    }

    /// The word in reports, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaidWithoutTask => "paid_without_task",
            Self::PaidWithoutOrder => "paid_without_order",
            Self::OrderWithoutPayment => "order_without_payment",
            Self::OrderNotCancelled => "order_not_cancelled",
            Self::StockWithoutTask => "stock_without_task",
            Self::ChargeWithoutRecord => "charge_without_record",
            Self::RefundFailed => "refund_failed",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no kind of finding.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no kind of finding; the kinds are {kinds}", kinds = FindingKind::ALL.map(FindingKind::as_str).join(", "))]
pub struct NotAFindingKind {
    text: String,
}

impl FromStr for FindingKind {
    type Err = NotAFindingKind;

    fn from_str(text: &str) -> Result<Self, NotAFindingKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| NotAFindingKind { text: text.to_owned() })
    }
}

/// What a finding is about. As text it is the one id or the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Subject {
    /// A checkout, by its task or by the id of the task that is gone.
    Checkout(TaskId),
    /// A payment of the gateway that belongs to no checkout that is known.
    Payment(PaymentRef),
}

impl From<&str> for Subject {
    /// A task's id is a checkout's, and any other a payment's.
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Payment(PaymentRef(text.to_owned())), Self::Checkout)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkout(task) => task.fmt(f),
            Self::Payment(PaymentRef(payment)) => f.write_str(payment),
        }
    }
}

/// What is to be done about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Refund the charge. It is certain: the money is the customer's.
    Refund,
    /// Put the units back into stock. It is certain: nobody else will take them.
    Release,
    /// A person has to look.
    Person,
}

impl Remedy {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Release => "release",
            Self::Person => "person",
        }
    }
}

/// Where the money of a checkout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChargeState {
    /// The gateway was never asked to charge, did not charge, or has given all of it back.
    NotCharged,
    /// The customer is charged.
    Charged,
    /// The customer is charged, because the refund has failed.
    RefundFailed,
}

/// Where the task of a checkout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// There is no task.
    Gone,
    /// The task goes on, waits for a person, has just ended, or was written by a newer version. Nothing is judged.
    Open,
    /// The task has ended well; these steps were done by hand.
    Complete(BTreeSet<String>),
    /// The task was compensated, or cancelled before it had any effect; these compensations were done by hand.
    Undone(BTreeSet<String>),
    /// An operator has declared the task done.
    Resolved,
}

impl Process {
    /// Where a task is, if an end after `before` is too new to be judged.
    pub fn of(snapshot: Option<&TaskSnapshot>, before: Timestamp) -> Self {
        let Some(snapshot) = snapshot else { return Self::Gone };
        if snapshot.newer().is_some() || snapshot.last_event() > before {
            return Self::Open;
        }
        let steps = snapshot.steps.iter().chain(&snapshot.compensations);
        let by_hand = steps.filter(|step| step.state == StepState::ResolvedManually);
        let by_hand = || by_hand.map(|step| step.name.clone()).collect();
        match snapshot.task.state {
            TaskState::Running | TaskState::Failed | TaskState::Compensating(_) => Self::Open,
            TaskState::Completed => Self::Complete(by_hand()),
            TaskState::Cancelled | TaskState::Compensated(_) => Self::Undone(by_hand()),
            TaskState::Resolved => Self::Resolved,
        }
    }
}

/// All that is recorded of one checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckoutRecords {
    /// Where the customer's money is.
    pub charge: ChargeState,
    /// Whether its order stands.
    pub order: bool,
    /// Whether units are held or taken for it.
    pub stock: bool,
    /// Where its task is.
    pub process: Process,
}

/// Finds what is wrong with a checkout, and what is to be done about each finding.
///
/// A step that somebody has done by hand has no record of its own: the order, the charge, the refund or the release was made
/// outside of the shop's tables. So its absence is no finding.
pub fn findings(records: &CheckoutRecords) -> Vec<(FindingKind, Remedy)> {
    use FindingKind as Kind;
    let CheckoutRecords { charge, order, stock, process } = records;
    let by_hand = |step: &str| match process {
        Process::Complete(steps) | Process::Undone(steps) => steps.contains(step),
        Process::Gone | Process::Open | Process::Resolved => false,
    };
    let about_money = match (charge, order, process) {
        (_, _, Process::Open) => return Vec::new(),
        // Somebody has returned the money in another way.
        (ChargeState::RefundFailed, false, Process::Undone(_)) if by_hand(Refund::STEP) => None,
        // Nothing is delivered, so the money is the customer's.
        (ChargeState::RefundFailed, false, Process::Undone(_) | Process::Gone) => {
            Some((Kind::RefundFailed, Remedy::Refund))
        }
        (ChargeState::RefundFailed, _, _) => Some((Kind::RefundFailed, Remedy::Person)),
        (ChargeState::Charged, false, Process::Gone) => Some((Kind::PaidWithoutTask, Remedy::Refund)),
        (ChargeState::Charged, true, Process::Gone) => Some((Kind::PaidWithoutTask, Remedy::Person)),
        (ChargeState::Charged, false, Process::Complete(_)) if by_hand(CreatedOrder::STEP) => None,
        (ChargeState::Charged, false, Process::Undone(_)) if by_hand(Refund::STEP) => None,
        (ChargeState::Charged, false, _) => Some((Kind::PaidWithoutOrder, Remedy::Person)),
        (ChargeState::NotCharged, true, Process::Complete(_)) if by_hand(Payment::STEP) => None,
        (ChargeState::NotCharged, true, _) => Some((Kind::OrderWithoutPayment, Remedy::Person)),
        (ChargeState::Charged, true, Process::Undone(_)) => Some((Kind::OrderNotCancelled, Remedy::Person)),
        (ChargeState::Charged, true, _) | (ChargeState::NotCharged, false, _) => None,
    };
    let about_stock = match process {
        _ if *order || !*stock => None,
        Process::Complete(_) if by_hand(CreatedOrder::STEP) => None,
        Process::Undone(_) if by_hand(Release::STEP) => None,
        Process::Gone | Process::Undone(_) => Some((Kind::StockWithoutTask, Remedy::Release)),
        Process::Complete(_) | Process::Resolved | Process::Open => Some((Kind::StockWithoutTask, Remedy::Person)),
    };
    [about_money, about_stock].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use FindingKind as Kind;
    use test_case::test_case;

    fn steps(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn complete() -> Process {
        Process::Complete(steps(&[]))
    }

    fn undone() -> Process {
        Process::Undone(steps(&[]))
    }

    fn found(charge: ChargeState, order: bool, stock: bool, process: Process) -> Vec<(Kind, Remedy)> {
        findings(&CheckoutRecords { charge, order, stock, process })
    }

    #[test_case(ChargeState::Charged, true, true, complete(); "a checkout that is complete")]
    #[test_case(ChargeState::NotCharged, false, false, undone(); "a checkout that is undone")]
    #[test_case(ChargeState::NotCharged, false, false, Process::Gone; "a checkout that never was")]
    #[test_case(ChargeState::Charged, false, true, Process::Complete(steps(&["create_order"])); "an order by hand")]
    #[test_case(ChargeState::NotCharged, true, true, Process::Complete(steps(&["process_payment"])); "a payment by hand")]
    #[test_case(ChargeState::Charged, false, false, Process::Undone(steps(&["refund_payment"])); "a refund by hand")]
    #[test_case(ChargeState::RefundFailed, false, false, Process::Undone(steps(&["refund_payment"])); "a refund by hand after the bank returned one")]
    #[test_case(ChargeState::NotCharged, false, true, Process::Undone(steps(&["release_stock"])); "units put back by hand")]
    fn nothing_is_found_in(charge: ChargeState, order: bool, stock: bool, process: Process) {
        assert_eq!(found(charge, order, stock, process), []);
    }

    #[test]
    fn nothing_in_flight_is_judged() {
        for charge in [ChargeState::NotCharged, ChargeState::Charged, ChargeState::RefundFailed] {
            for (order, stock) in [(false, false), (false, true), (true, false), (true, true)] {
                assert_eq!(found(charge, order, stock, Process::Open), []);
            }
        }
    }

    #[test_case(ChargeState::Charged, false, false, Process::Gone, &[(Kind::PaidWithoutTask, Remedy::Refund)])]
    #[test_case(ChargeState::Charged, true, true, Process::Gone, &[(Kind::PaidWithoutTask, Remedy::Person)]; "the goods may be on their way")]
    #[test_case(ChargeState::Charged, false, true, Process::Gone, &[(Kind::PaidWithoutTask, Remedy::Refund), (Kind::StockWithoutTask, Remedy::Release)])]
    #[test_case(ChargeState::Charged, false, false, complete(), &[(Kind::PaidWithoutOrder, Remedy::Person)])]
    #[test_case(ChargeState::Charged, false, false, undone(), &[(Kind::PaidWithoutOrder, Remedy::Person)]; "an undone one")]
    #[test_case(ChargeState::Charged, false, false, Process::Resolved, &[(Kind::PaidWithoutOrder, Remedy::Person)]; "a resolved one")]
    #[test_case(ChargeState::NotCharged, true, true, complete(), &[(Kind::OrderWithoutPayment, Remedy::Person)])]
    #[test_case(ChargeState::NotCharged, true, true, Process::Gone, &[(Kind::OrderWithoutPayment, Remedy::Person)]; "without a task")]
    #[test_case(ChargeState::Charged, true, true, undone(), &[(Kind::OrderNotCancelled, Remedy::Person)])]
    #[test_case(ChargeState::NotCharged, false, true, Process::Gone, &[(Kind::StockWithoutTask, Remedy::Release)])]
    #[test_case(ChargeState::NotCharged, false, true, undone(), &[(Kind::StockWithoutTask, Remedy::Release)]; "of an undone one")]
    #[test_case(ChargeState::NotCharged, false, true, complete(), &[(Kind::StockWithoutTask, Remedy::Person)]; "of a complete one")]
    #[test_case(ChargeState::RefundFailed, false, false, undone(), &[(Kind::RefundFailed, Remedy::Refund)])]
    #[test_case(ChargeState::RefundFailed, true, true, complete(), &[(Kind::RefundFailed, Remedy::Person)]; "though the order stands")]
    #[test_case(ChargeState::RefundFailed, false, false, Process::Resolved, &[(Kind::RefundFailed, Remedy::Person)]; "of a resolved task")]
    #[test_case(ChargeState::RefundFailed, false, false, Process::Complete(steps(&["create_order"])), &[(Kind::RefundFailed, Remedy::Person)]; "of an order by hand")]
    #[test_case(ChargeState::RefundFailed, false, false, Process::Gone, &[(Kind::RefundFailed, Remedy::Refund)]; "without a task, too")]
    fn each_kind_is_found(
        charge: ChargeState,
        order: bool,
        stock: bool,
        process: Process,
        expected: &[(Kind, Remedy)],
    ) {
        assert_eq!(found(charge, order, stock, process), expected);
    }

    #[test]
    fn word_of_each_kind_is_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        let error = "paid".parse::<Kind>().unwrap_err().to_string();
        assert!(error.starts_with("`paid` is no kind of finding; the kinds are paid_without_task, "), "{error}");
    }
}
