//! Reconciliation: payments, orders, reservations and tasks are held against each other.
//!
//! The saga leaves each checkout paid, reserved and ordered, or undone. What breaks that lies outside of it: a table is
//! restored from a backup that is older than the gateway, somebody edits an item, a bank returns a refund days later. A run
//! reads all records of the shop and the list of all tasks, and joins them in memory. Where the records of a checkout do not
//! fit together at first sight, it reads the task and, if a payment is recorded, the gateway. [`findings`] judges.
//!
//! Only what has been at rest for [`MIN_AGE`] is judged, so nothing in flight is called a finding. A task expires after 90
//! days, and then its absence says nothing: so a checkout is judged for [`JUDGED_FOR`] after its start.

mod ledger;
mod rule;

pub use ledger::{Acknowledgement, Ledger, LedgerCursor, LedgerEntry, LedgerPage, LedgerPart};
pub use rule::{ChargeState, CheckoutRecords, FindingKind, NotAFindingKind, Process, Remedy, Subject, findings};

use crate::{Gateway, GatewayError, ListedCharge, PaymentRecords, PaymentRef, PaymentState, Stock, StoreError, refund};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};
use stepwell::{
    Client, Filter, Runtime, TaskId, Timestamp,
    core::{record::RETENTION, state::TaskStatus},
    ports::{Queue, Store, TableError},
};

/// How long a checkout has to be at rest before it is judged. A run takes a quarter of an hour at most, so what it has read
/// first is not changed any more when it judges.
pub const MIN_AGE: Duration = Duration::from_secs(60 * 60);

/// How long after its start a checkout is judged: as long as its task certainly exists, and a day less.
pub const JUDGED_FOR: Duration = RETENTION.saturating_sub(DAY);

/// How long after its refund a payment is looked at, once a day. A bank returns a refund within weeks, if at all.
pub const REFUNDS_WATCHED_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The most mends of one run. More at a time mean that a table was lost or restored, which no rule foresees. Then nothing is
/// mended, and a person decides.
pub const MAX_MENDS: usize = 20;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many tasks are listed at a time.
const TASKS_PAGE: usize = 200;

/// How a report calls the gateway's list of charges.
const CHARGES: &str = "the gateway's list of charges";

/// How a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Whether what is certain is mended.
    pub mend: bool,
    /// Whether all refunds of the last weeks are looked at, and not only those whose hour of the day it is.
    pub all_refunds: bool,
    /// How long a checkout has to be at rest before it is judged, usually [`MIN_AGE`].
    pub min_age: Duration,
    /// The end of the time for the run.
    pub until: Timestamp,
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconciliationReport {
    /// The number of checkouts that were judged.
    pub judged: usize,
    /// What was found.
    pub findings: Vec<Finding>,
    /// The checkouts that could not be judged, because the gateway gave no answer or a record cannot be read.
    pub not_judged: Vec<NotJudged>,
    /// Whether the time was over before all checkouts were judged. Runs of the next hours begin with others.
    pub unfinished: bool,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub id: Subject,
    /// The kind.
    pub kind: FindingKind,
    /// What is to be done.
    pub remedy: Remedy,
    /// The gateway's payment, if one is recorded.
    pub payment: Option<PaymentRef>,
    /// What was done.
    pub outcome: MendOutcome,
}

/// What a run has done about a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "why")]
pub enum MendOutcome {
    /// Nothing: it waits for a person, or for a run that mends.
    Listed,
    /// Nothing, because more than [`MAX_MENDS`] findings would have been mended, or the time was over.
    Withheld,
    /// What was to be done is done.
    Mended,
    /// It was tried and failed, with this error. The next run tries again.
    Failed(String),
}

impl fmt::Display for MendOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed => f.write_str("listed"),
            Self::Withheld => f.write_str("withheld"),
            Self::Mended => f.write_str("mended"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// A checkout that could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotJudged {
    /// The checkout, or the id of the record.
    pub id: String,
    /// The reason.
    pub why: String,
}

/// The reason why a run was not made. Nothing was found and nothing mended.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The shop's tables gave no answer.
    #[error("the shop's records cannot be listed: {0}")]
    Records(#[from] StoreError),
    /// The engine's table gave no answer.
    #[error("the tasks cannot be listed: {0}")]
    Tasks(#[from] TableError),
}

/// What the ledger has.
#[derive(Debug, Default)]
struct Records {
    /// Of each checkout that is judged.
    checkouts: BTreeMap<TaskId, Recorded>,
    /// All payments, also of checkouts that are not judged.
    payments: BTreeSet<PaymentRef>,
    /// The charges without a record that somebody has settled.
    settled: BTreeSet<PaymentRef>,
    /// Whether a record cannot be read.
    unreadable: bool,
}

impl Records {
    /// The checkouts in the order in which they are judged, which begins with another one each hour. The golden ratio spreads the
    /// beginnings evenly. So the checkouts for which one run has no time come first in a later one: if runs have time for a third
    /// of them, five runs judge them all.
    fn in_turn(&self, begun: Timestamp) -> impl Iterator<Item = (&TaskId, &Recorded)> {
        /// The golden ratio's fraction, in 2^64ths.
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let hour = begun.as_seconds().div_euclid(3_600).unsigned_abs();
        let place = (u128::from(hour.wrapping_mul(STEP)) * (self.checkouts.len() as u128)) >> 64;
        let first = usize::try_from(place).unwrap_or_default();
        self.checkouts.iter().skip(first).chain(self.checkouts.iter().take(first))
    }
}

/// What the ledger has of one checkout.
#[derive(Debug, Default)]
struct Recorded {
    payment: Option<RecordedPayment>,
    reservation: Option<String>,
    order: bool,
    unreadable: bool,
    acknowledged: BTreeSet<FindingKind>,
}

#[derive(Debug)]
struct RecordedPayment {
    key: String,
    payment: Option<PaymentRef>,
    voided_at: Option<Timestamp>,
}

/// Holds the shop's records and its gateway against the tasks.
#[derive(Debug)]
pub struct Reconciliation<P, G, S, Q, A> {
    shop: P,
    gateway: G,
    tasks: Client<S, Q, A>,
}

impl<P, G, S, Q, A> Reconciliation<P, G, S, Q, A>
where
    P: Ledger + PaymentRecords + Stock,
    G: Gateway,
    S: Store,
    Q: Queue,
    A: Runtime,
{
    /// A reconciliation of this shop, its gateway and these tasks.
    pub const fn new(shop: P, gateway: G, tasks: Client<S, Q, A>) -> Self {
        Self { shop, gateway, tasks }
    }

    /// Makes a run. If its time is over before all records are read, nothing is judged: what is not there could be on the
    /// next page.
    ///
    /// # Errors
    /// The tables cannot be listed. A checkout that cannot be judged, and a mend that fails, are in the report.
    pub async fn run(&self, scope: &Scope) -> Result<ReconciliationReport, ReconcileError> {
        let begun = self.tasks.now();
        let mut report = ReconciliationReport::default();
        let Some(records) = self.recorded(scope, begun).await? else {
            return Ok(ReconciliationReport { unfinished: true, ..report });
        };
        let Some(listed) = self.listed(scope, begun).await? else {
            return Ok(ReconciliationReport { unfinished: true, ..report });
        };
        let mut to_mend = Vec::new();
        for (task, recorded) in records.in_turn(begun) {
            if self.tasks.now() >= scope.until {
                report.unfinished = true;
                break;
            }
            if recorded.unreadable {
                let why = "a record cannot be read".to_owned();
                report.not_judged.push(NotJudged { id: task.to_string(), why });
                continue;
            }
            report.judged += 1;
            if recorded.is_plain(listed.get(task).copied(), scope, begun, *task) {
                continue;
            }
            match self.judge(*task, recorded, scope, begun).await {
                Ok(found) => to_mend.extend(found.into_iter().map(|finding| (finding, recorded))),
                Err(error) => {
                    report.judged -= 1;
                    report.not_judged.push(NotJudged { id: task.to_string(), why: error });
                }
            }
        }
        // A report is read in the order of the checkouts, wherever the run began.
        to_mend.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
        let certain = to_mend.iter().filter(|(finding, _)| finding.remedy != Remedy::Person).count();
        for (mut finding, recorded) in to_mend {
            if scope.mend && finding.remedy != Remedy::Person {
                // What a run mends it tells at its end, so it must not be broken off before.
                let may = self.tasks.now() < scope.until && certain <= MAX_MENDS;
                finding.outcome = if may { self.mend(&finding, recorded).await } else { MendOutcome::Withheld };
            }
            report.findings.push(finding);
        }
        if records.unreadable {
            let why = "a record cannot be read, and it may be the one of a payment".to_owned();
            report.not_judged.push(NotJudged { id: CHARGES.to_owned(), why });
        } else if !report.unfinished {
            self.find_unrecorded(&records, scope, begun, &mut report).await;
        }
        Ok(report)
    }

    /// Reads all records of the checkouts that are old and young enough; `None` if there was no time for it.
    async fn recorded(&self, scope: &Scope, begun: Timestamp) -> Result<Option<Records>, ReconcileError> {
        let judged = |task: &TaskId| {
            let age = task.made_at().map(|made| begun.since(made));
            age.is_some_and(|age| (scope.min_age..=JUDGED_FOR).contains(&age))
        };
        let mut records = Records::default();
        let mut from = None;
        loop {
            if self.tasks.now() >= scope.until {
                return Ok(None);
            }
            let page = self.shop.page(from.as_ref()).await?;
            for entry in page.entries {
                match &entry {
                    LedgerEntry::Payment { payment: Some(payment), .. } => {
                        records.payments.insert(payment.clone());
                    }
                    LedgerEntry::Acknowledged(Acknowledgement { of: Subject::Payment(payment), .. }) => {
                        records.settled.insert(payment.clone());
                    }
                    LedgerEntry::Unreadable { .. } => records.unreadable = true,
                    _ => {}
                }
                if let Some(task) = entry.task().filter(judged) {
                    records.checkouts.entry(task).or_default().add(entry);
                }
            }
            from = page.next;
            if from.is_none() {
                return Ok(Some(records));
            }
        }
    }

    /// Lists the tasks of these checkouts with their status; `None` if there was no time for it.
    async fn listed(
        &self,
        scope: &Scope,
        begun: Timestamp,
    ) -> Result<Option<BTreeMap<TaskId, TaskStatus>>, ReconcileError> {
        let filter = Filter { created_from: Some(begun.before(RETENTION)), ..Filter::default() };
        let (mut listed, mut from) = (BTreeMap::new(), None);
        loop {
            if self.tasks.now() >= scope.until {
                return Ok(None);
            }
            let page = self.tasks.find(&filter, from.as_ref(), TASKS_PAGE).await?;
            listed.extend(page.tasks.into_iter().map(|task| (task.task_id, task.status)));
            from = page.next;
            if from.is_none() {
                return Ok(Some(listed));
            }
        }
    }

    /// Finds the charges that the gateway has made in the time that is judged and that the shop has no record of. No rule says whose
    /// they are: a person has to look.
    async fn find_unrecorded(
        &self,
        records: &Records,
        scope: &Scope,
        begun: Timestamp,
        report: &mut ReconciliationReport,
    ) {
        let (since, before) = (begun.before(JUDGED_FOR), begun.before(scope.min_age));
        let mut from = None;
        loop {
            if self.tasks.now() >= scope.until {
                report.unfinished = true;
                return;
            }
            let page = match self.gateway.list_charges(since, from.as_deref()).await {
                Ok(page) => page,
                Err(error) => {
                    let why = error.to_string();
                    return report.not_judged.push(NotJudged { id: CHARGES.to_owned(), why });
                }
            };
            let known = |payment: &PaymentRef| records.payments.contains(payment) || records.settled.contains(payment);
            let unknown = page.charges.into_iter().filter(|it| it.charged_at <= before && !known(&it.payment));
            report.findings.extend(unknown.map(|ListedCharge { payment, .. }| Finding {
                id: Subject::Payment(payment.clone()),
                kind: FindingKind::ChargeWithoutRecord,
                remedy: Remedy::Person,
                payment: Some(payment),
                outcome: MendOutcome::Listed,
            }));
            from = page.next;
            if from.is_none() {
                return;
            }
        }
    }

    /// Reads the task and the gateway's payment of a checkout, and judges it.
    async fn judge(
        &self,
        task_id: TaskId,
        recorded: &Recorded,
        scope: &Scope,
        begun: Timestamp,
    ) -> Result<Vec<Finding>, String> {
        let snapshot = self.tasks.snapshot(task_id).await.map_err(|error| error.to_string())?;
        let process = Process::of(snapshot.as_ref(), begun.before(scope.min_age));
        if process == Process::Open {
            return Ok(Vec::new());
        }
        let payment = recorded.payment.as_ref().and_then(|recorded| recorded.payment.clone());
        let charge = match &payment {
            None => ChargeState::NotCharged,
            Some(payment) => self.charge(payment).await.map_err(|error| error.to_string())?,
        };
        let records = CheckoutRecords { charge, order: recorded.order, stock: recorded.reservation.is_some(), process };
        let found = findings(&records).into_iter().filter(|(kind, _)| !recorded.acknowledged.contains(kind));
        let finding = |(kind, remedy)| Finding {
            id: Subject::Checkout(task_id),
            kind,
            remedy,
            payment: payment.clone(),
            outcome: MendOutcome::Listed,
        };
        Ok(found.map(finding).collect())
    }

    async fn charge(&self, payment: &PaymentRef) -> Result<ChargeState, GatewayError> {
        Ok(match self.gateway.read(payment, self.tasks.now()).await? {
            PaymentState::Open | PaymentState::Reversed(_) => ChargeState::NotCharged,
            PaymentState::Paid(_) => ChargeState::Charged,
            PaymentState::RefundFailed(_) => ChargeState::RefundFailed,
        })
    }

    /// Does what is certain, as the compensation would: under the same key, so a repeated call does nothing more.
    async fn mend(&self, finding: &Finding, recorded: &Recorded) -> MendOutcome {
        let now = self.tasks.now();
        let done = match (finding.remedy, &recorded.payment, &recorded.reservation) {
            (Remedy::Refund, Some(payment), _) => {
                let refunded = refund(&self.gateway, &self.shop, &payment.key, now).await;
                refunded.map(drop).map_err(|error| error.to_string())
            }
            (Remedy::Release, _, Some(key)) => {
                self.shop.release(key, now).await.map(drop).map_err(|error| error.to_string())
            }
            (Remedy::Person | Remedy::Refund | Remedy::Release, _, _) => return MendOutcome::Listed,
        };
        done.map_or_else(MendOutcome::Failed, |()| MendOutcome::Mended)
    }

    /// Records that somebody has settled a finding, which is not reported any more.
    ///
    /// # Errors
    /// The table gave no answer.
    pub async fn acknowledge(
        &self,
        id: Subject,
        kind: FindingKind,
        who: String,
        why: String,
    ) -> Result<(), StoreError> {
        self.shop.acknowledge(&Acknowledgement { of: id, kind, who, why, at: self.tasks.now() }).await
    }
}

impl LedgerEntry {
    /// The checkout's task, which is the first part of each key; `None` for the record of something else.
    fn task(&self) -> Option<TaskId> {
        let of_key = |key: &str| key.split_once(':')?.0.parse().ok();
        match self {
            Self::Payment { key, .. } | Self::Reservation { key, .. } => of_key(key),
            Self::Order { task, .. } => Some(*task),
            Self::Acknowledged(Acknowledgement { of: Subject::Checkout(task), .. }) => Some(*task),
            Self::Acknowledged(_) => None,
            Self::Unreadable { id } => of_key(id).or_else(|| id.parse().ok()),
        }
    }
}

impl Recorded {
    fn add(&mut self, entry: LedgerEntry) {
        match entry {
            LedgerEntry::Payment { key, payment, voided_at } => {
                self.payment = Some(RecordedPayment { key, payment, voided_at });
            }
            LedgerEntry::Reservation { key, stands: true } => self.reservation = Some(key),
            LedgerEntry::Order { stands: true, .. } => self.order = true,
            LedgerEntry::Reservation { stands: false, .. } | LedgerEntry::Order { stands: false, .. } => {}
            LedgerEntry::Acknowledged(settled) => {
                self.acknowledged.insert(settled.kind);
            }
            LedgerEntry::Unreadable { .. } => self.unreadable = true,
        }
    }

    /// Whether the records fit together at first sight, so that neither the task nor the gateway has to be read.
    fn is_plain(&self, listed: Option<TaskStatus>, scope: &Scope, begun: Timestamp, task: TaskId) -> bool {
        let payment = self.payment.as_ref();
        let recorded = payment.is_some_and(|payment| payment.payment.is_some());
        match payment.and_then(|payment| payment.voided_at) {
            // Paid and ordered, by a task that says so.
            None if self.order => recorded && self.reservation.is_some() && listed == Some(TaskStatus::Complete),
            None => !recorded && self.reservation.is_none(),
            Some(voided_at) => {
                let watched = voided_at + REFUNDS_WATCHED_FOR > begun;
                let due = recorded && watched && (scope.all_refunds || hour_of(task) == hour(begun));
                !self.order && self.reservation.is_none() && !due
            }
        }
    }
}

/// The hour of the day in which a checkout's refund is looked at: the checkouts are spread over the day.
const fn hour_of(task: TaskId) -> u8 {
    let [.., last] = *task.as_bytes();
    last % 24
}

fn hour(at: Timestamp) -> u8 {
    u8::try_from(at.as_seconds().div_euclid(3_600).rem_euclid(24)).unwrap_or_default()
}
