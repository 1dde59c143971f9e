//! Reconciliation over checkouts that the shipped engine has run, and over what was planted beside them.

use super::{Checkouts, actor};
use checkout::{
    CURRENCY, Charge, ChargesPage, Gateway, GatewayError, Money, OpenRequest, Orders, PaymentRef, PaymentState,
    Reservation, Reversal, Stock, Token,
    reconciliation::{
        FindingKind as Kind, MAX_MENDS, MIN_AGE, MendOutcome, Reconciliation, ReconciliationReport, Remedy, Scope,
        Subject,
    },
    testing::Outage,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use stepwell::{TaskId, Timestamp, core::snapshot::TaskSnapshot};
use stepwell_tests::checkout::request;
use test_case::test_case;

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

impl Checkouts {
    async fn reconcile_as(&self, scope: &Scope) -> ReconciliationReport {
        let (shop, gateway) = (self.shop.clone(), self.shop.clone());
        Reconciliation::new(shop, gateway, self.harness.client()).run(scope).await.unwrap()
    }

    fn scope(&self, mend: bool) -> Scope {
        Scope { mend, all_refunds: true, min_age: MIN_AGE, until: self.harness.now() + HOUR }
    }

    /// Reconciles what has been at rest for two hours.
    async fn reconcile(&self, mend: bool) -> ReconciliationReport {
        self.harness.skip(2 * HOUR).await;
        self.reconcile_as(&self.scope(mend)).await
    }

    /// Runs a checkout until its card is charged, cancels it, and lets it be compensated.
    async fn charge_and_cancel(&self, request: &Value) -> TaskId {
        let task = self.start(request).await;
        let charged = |snapshot: &TaskSnapshot| snapshot.step("process_payment").unwrap().state.is_done();
        self.harness.run_until(task, charged).await.unwrap();
        self.harness.client().cancel(task, &actor()).await.unwrap();
        self.harness.run(task).await.unwrap();
        task
    }

    /// The id of a task that is gone, made at this time.
    fn lost_task(&self) -> TaskId {
        // Another clock's ids would begin at the same number.
        let number = self.harness.now().as_millis() << 16 | 0x7000;
        TaskId::from(uuid::Uuid::from_u64_pair(number.unsigned_abs(), fastrand::u64(..) | 1 << 63))
    }

    /// Charges a card for a task that is gone.
    async fn charge_without_task(&self) -> TaskId {
        let (task, at) = (self.lost_task(), self.harness.now());
        let (key, amount) = (format!("{task}:process_payment"), Money::from_cents(10_000));
        let request = OpenRequest { key: &key, amount, currency: CURRENCY, at };
        let (shop, token) = (&self.shop, Token::from("test_success_visa"));
        checkout::charge(shop, shop, &key, Some(&token), &request).await.unwrap();
        task
    }

    /// Holds units for a task that is gone.
    async fn hold_without_task(&self) -> TaskId {
        let task = self.lost_task();
        let key = format!("{task}:validate_cart");
        self.shop.hold(&key, &Reservation::default(), self.harness.now()).await.unwrap();
        task
    }
}

/// The findings about checkouts, without the payments.
fn found(report: &ReconciliationReport) -> Vec<(TaskId, Kind, Remedy, MendOutcome)> {
    let findings = report.findings.iter();
    findings.map(|finding| (checkout_of(&finding.id), finding.kind, finding.remedy, finding.outcome.clone())).collect()
}

fn checkout_of(id: &Subject) -> TaskId {
    let Subject::Checkout(task) = id else { panic!("{id} is no checkout") };
    *task
}

fn kinds(report: &ReconciliationReport) -> Vec<(Kind, Remedy)> {
    report.findings.iter().map(|finding| (finding.kind, finding.remedy)).collect()
}

#[tokio::test(start_paused = true)]
async fn healthy_shop_has_no_findings() {
    let checkouts = Checkouts::new();
    for name in ["success", "card_declined", "gateway_recovers", "gateway_times_out"] {
        checkouts.run(&request(name)).await;
    }
    checkouts.charge_and_cancel(&request("success")).await;
    let report = checkouts.reconcile(true).await;
    assert_eq!((found(&report), report.judged, report.not_judged, report.unfinished), (vec![], 5, vec![], false));
}

#[tokio::test(start_paused = true)]
async fn nothing_in_flight_is_a_finding() {
    let checkouts = Checkouts::new();
    let task = checkouts.start(&request("success")).await;
    for step in ["validate_cart", "process_payment", "update_inventory", "create_order"] {
        let done = |snapshot: &TaskSnapshot| snapshot.step(step).unwrap().state.is_done();
        checkouts.harness.run_until(task, done).await.unwrap();
        let scope = Scope { min_age: Duration::ZERO, ..checkouts.scope(true) };
        let report = checkouts.reconcile_as(&scope).await;
        assert_eq!((found(&report), report.judged), (vec![], 1), "after {step}");
    }
}

#[tokio::test(start_paused = true)]
async fn charge_and_hold_without_a_task_are_undone_once_they_are_old_enough() {
    let checkouts = Checkouts::new();
    let (paid, held) = (checkouts.charge_without_task().await, checkouts.hold_without_task().await);
    assert_eq!(checkouts.reconcile_as(&checkouts.scope(true)).await.judged, 0, "too young");
    let report = checkouts.reconcile(false).await;
    let expected = |outcome: MendOutcome| {
        let paid = (paid, Kind::PaidWithoutTask, Remedy::Refund, outcome.clone());
        let mut expected = vec![paid, (held, Kind::StockWithoutTask, Remedy::Release, outcome)];
        expected.sort_by_key(|finding| finding.0);
        expected
    };
    assert_eq!(found(&report), expected(MendOutcome::Listed));
    assert_eq!((checkouts.shop.charges().len(), checkouts.shop.holds().len()), (1, 1), "a dry run changes nothing");
    assert_eq!(found(&checkouts.reconcile(true).await), expected(MendOutcome::Mended));
    assert!(checkouts.is_untouched());
    assert_eq!(found(&checkouts.reconcile(true).await), []);
}

#[tokio::test(start_paused = true)]
async fn paid_checkout_whose_order_is_gone_is_left_to_a_person() {
    let checkouts = Checkouts::new();
    let task = checkouts.run(&request("success")).await.task.id;
    checkouts.shop.cancel(task, checkouts.harness.now()).await.unwrap();
    let report = checkouts.reconcile(true).await;
    let left = |kind| (task, kind, Remedy::Person, MendOutcome::Listed);
    assert_eq!(found(&report), [left(Kind::PaidWithoutOrder), left(Kind::StockWithoutTask)]);
    assert_eq!(checkouts.shop.charges().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn order_whose_payment_was_refunded_is_left_to_a_person() {
    let checkouts = Checkouts::new();
    let task = checkouts.run(&request("success")).await.task.id;
    let (shop, key) = (&checkouts.shop, format!("{task}:process_payment"));
    checkout::refund(shop, shop, &key, checkouts.harness.now()).await.unwrap();
    let report = checkouts.reconcile(true).await;
    assert_eq!(found(&report), [(task, Kind::OrderWithoutPayment, Remedy::Person, MendOutcome::Listed)]);
}

#[tokio::test(start_paused = true)]
async fn refund_that_fails_later_is_found_and_tried_again_once_a_day_until_somebody_settles_it() {
    let checkouts = Checkouts::new();
    let mut bounces = request("success");
    bounces["payment_info"]["token"] = json!("test_success_visa_refundbounce");
    let task = checkouts.charge_and_cancel(&bounces).await;
    let mut hours = 0;
    for _ in 0..24 {
        checkouts.harness.skip(HOUR).await;
        let scope = Scope { all_refunds: false, ..checkouts.scope(true) };
        let found = found(&checkouts.reconcile_as(&scope).await);
        if let [(found, kind, remedy, MendOutcome::Failed(why))] = found.as_slice() {
            assert_eq!((*found, *kind, *remedy), (task, Kind::RefundFailed, Remedy::Refund));
            assert_eq!(why, "refund failed at the bank");
            hours += 1;
        }
    }
    assert_eq!(hours, 1, "looked at in one hour of the day");
    assert_eq!(kinds(&checkouts.reconcile(false).await), [(Kind::RefundFailed, Remedy::Refund)], "by hand at any time");
    let reconciliation =
        Reconciliation::new(checkouts.shop.clone(), checkouts.shop.clone(), checkouts.harness.client());
    let (id, who, why) = (Subject::Checkout(task), "alice".to_owned(), "bank transfer".to_owned());
    let settle = || reconciliation.acknowledge(id.clone(), Kind::RefundFailed, who.clone(), why.clone());
    settle().await.unwrap();
    settle().await.unwrap();
    assert_eq!(kinds(&checkouts.reconcile(false).await), []);
}

/// The shop's table is restored from a backup that is older than the gateway's charge.
#[tokio::test(start_paused = true)]
async fn charge_whose_record_is_lost_is_found_until_somebody_settles_it() {
    let checkouts = Checkouts::new();
    let task = checkouts.run(&request("success")).await.task.id;
    checkouts.run(&request("success")).await;
    let before = checkouts.shop.charges();
    checkouts.shop.lose_record(&format!("{task}:process_payment"));
    assert_eq!(kinds(&checkouts.reconcile_as(&checkouts.scope(true)).await), [], "it may be in flight");
    let report = checkouts.reconcile(true).await;
    let without_payment = (Kind::OrderWithoutPayment, Remedy::Person);
    assert_eq!(kinds(&report), [without_payment, (Kind::ChargeWithoutRecord, Remedy::Person)]);
    assert_eq!(checkouts.shop.charges(), before, "nobody knows yet whose it is");

    let (id, who, why) = (report.findings[1].id.clone(), "alice".to_owned(), "of order 7".to_owned());
    assert!(matches!(&id, Subject::Payment(payment) if before.contains_key(payment)), "{id}");
    let reconciliation =
        Reconciliation::new(checkouts.shop.clone(), checkouts.shop.clone(), checkouts.harness.client());
    reconciliation.acknowledge(id, Kind::ChargeWithoutRecord, who, why).await.unwrap();
    assert_eq!(kinds(&checkouts.reconcile(true).await), [without_payment]);
}

#[test_case(MAX_MENDS, MendOutcome::Mended; "as many as a run mends")]
#[test_case(MAX_MENDS + 1, MendOutcome::Withheld; "more, as after the restore of a table")]
#[tokio::test(start_paused = true)]
async fn many_mends_at_a_time_are_left_to_a_person(number: usize, outcome: MendOutcome) {
    let checkouts = Checkouts::new();
    for _ in 0..number {
        checkouts.charge_without_task().await;
    }
    let report = checkouts.reconcile(true).await;
    let outcomes: BTreeSet<String> = report.findings.iter().map(|finding| format!("{:?}", finding.outcome)).collect();
    assert_eq!((report.findings.len(), outcomes), (number, BTreeSet::from([format!("{outcome:?}")])));
    let left = if outcome == MendOutcome::Mended { 0 } else { number };
    assert_eq!(checkouts.shop.charges().len(), left);
}

#[tokio::test(start_paused = true)]
async fn checkout_whose_payment_cannot_be_read_is_not_judged() {
    let checkouts = Checkouts::new();
    let (paid, held) = (checkouts.charge_without_task().await, checkouts.hold_without_task().await);
    checkouts.shop.set_outage(Outage { gateway: Some(GatewayError::Timeout), ..Outage::default() });
    let report = checkouts.reconcile(true).await;
    assert_eq!(found(&report), [(held, Kind::StockWithoutTask, Remedy::Release, MendOutcome::Mended)]);
    let not_judged: Vec<String> = report.not_judged.into_iter().map(|it| it.id).collect();
    assert_eq!((report.judged, not_judged), (1, vec![paid.to_string(), "the gateway's list of charges".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn run_without_time_judges_nothing() {
    let checkouts = Checkouts::new();
    checkouts.charge_without_task().await;
    checkouts.harness.skip(2 * HOUR).await;
    let report = checkouts.reconcile_as(&Scope { until: checkouts.harness.now(), ..checkouts.scope(true) }).await;
    assert_eq!(report, ReconciliationReport { unfinished: true, ..ReconciliationReport::default() });
}

#[tokio::test(start_paused = true)]
async fn checkout_whose_task_may_have_expired_is_not_judged() {
    let checkouts = Checkouts::new();
    checkouts.charge_without_task().await;
    checkouts.harness.skip(90 * 24 * HOUR).await;
    assert_eq!(checkouts.reconcile(true).await.judged, 0);
}

/// A gateway that takes a minute to say what became of a payment.
struct Slow<'a>(&'a Checkouts);

impl Gateway for Slow<'_> {
    async fn open(&self, request: &OpenRequest<'_>) -> Result<PaymentRef, GatewayError> {
        self.0.shop.open(request).await
    }

    async fn confirm(&self, payment: &PaymentRef, token: &Token, at: Timestamp) -> Result<Charge, GatewayError> {
        self.0.shop.confirm(payment, token, at).await
    }

    async fn read(&self, payment: &PaymentRef, at: Timestamp) -> Result<PaymentState, GatewayError> {
        self.0.harness.skip(MINUTE).await;
        self.0.shop.read(payment, at).await
    }

    async fn cancel_or_refund(&self, payment: &PaymentRef, at: Timestamp) -> Result<Reversal, GatewayError> {
        self.0.shop.cancel_or_refund(payment, at).await
    }

    async fn list_charges(&self, since: Timestamp, after: Option<&str>) -> Result<ChargesPage, GatewayError> {
        self.0.shop.list_charges(since, after).await
    }
}

#[tokio::test(start_paused = true)]
async fn runs_with_time_for_a_third_of_the_checkouts_judge_all_of_them_one_after_another() {
    let checkouts = Checkouts::new();
    for _ in 0..9 {
        checkouts.charge_without_task().await;
    }
    checkouts.harness.skip(2 * HOUR).await;
    let reconciliation = Reconciliation::new(checkouts.shop.clone(), Slow(&checkouts), checkouts.harness.client());
    let mut judged = BTreeSet::new();
    for _ in 0..5 {
        let scope = Scope { until: checkouts.harness.now() + 3 * MINUTE, ..checkouts.scope(false) };
        let report = reconciliation.run(&scope).await.unwrap();
        assert_eq!((report.judged, report.unfinished), (3, true));
        judged.extend(found(&report).into_iter().map(|finding| finding.0));
        checkouts.harness.skip(HOUR - 3 * MINUTE).await;
    }
    assert_eq!(judged.len(), 9);
}
