use super::{TestShop, line, orders::order};
use crate::{
    Money, OpenRequest, Order, Orders, Stock, Token,
    reconciliation::{FindingKind as Kind, MendOutcome, Reconciliation, ReconciliationReport, Remedy, Scope, Subject},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use stepwell::{Actor, Client, Runtime, System, TaskId, Timestamp, Workflow, testing::Memory};

pub const HOUR: Duration = Duration::from_secs(60 * 60);

/// The system's clock, put forward by some seconds.
#[derive(Clone, Default)]
pub struct ClockAhead(Arc<AtomicU64>);

impl ClockAhead {
    pub fn put_forward(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Relaxed);
    }
}

impl Runtime for ClockAhead {
    fn now(&self) -> Timestamp {
        System.now() + Duration::from_secs(self.0.load(Relaxed))
    }

    fn random(&self) -> f64 {
        0.5
    }

    fn new_task_id(&self) -> TaskId {
        TaskId::new()
    }
}

/// What is wrong in a shop, once two hours have passed.
pub struct Planted<S> {
    pub shop: S,
    pub clock: ClockAhead,
    tasks: Memory<ClockAhead>,
}

impl<S: TestShop> Planted<S> {
    pub async fn new() -> Self {
        let clock = ClockAhead::default();
        Self { shop: S::with(&[(1, "Lamp", 4398, 7, true)]).await, tasks: Memory::new(clock.clone()), clock }
    }

    fn client(&self) -> Client<Memory<ClockAhead>, Memory<ClockAhead>, ClockAhead> {
        Client::new(self.tasks.clone(), self.tasks.clone(), self.clock.clone())
    }

    pub async fn run(&self, mend: bool) -> ReconciliationReport {
        let reconciliation = Reconciliation::new(self.shop.tables().clone(), self.shop.gateway(), self.client());
        let scope = Scope { mend, all_refunds: true, min_age: HOUR, until: self.clock.now() + HOUR };
        reconciliation.run(&scope).await.unwrap()
    }

    async fn charge(&self, task: TaskId, token: &str) {
        let (key, at) = (format!("{task}:process_payment"), self.clock.now());
        let request = OpenRequest { key: &key, amount: Money::from_cents(10_000), currency: "USD", at };
        let (gateway, token) = (self.shop.gateway(), Token::from(token));
        crate::charge(&gateway, self.shop.tables(), &key, Some(&token), &request).await.unwrap();
    }

    async fn refund(&self, task: TaskId) {
        let key = format!("{task}:process_payment");
        crate::refund(&self.shop.gateway(), self.shop.tables(), &key, self.clock.now()).await.unwrap();
    }

    pub async fn hold(&self, task: TaskId) {
        self.shop.hold(&format!("{task}:validate_cart"), &[line(1, "Lamp", 2)]).await.unwrap();
    }

    async fn order(&self, task: TaskId) {
        self.shop.tables().create(Order { order_id: task, ..order() }).await.unwrap();
    }

    /// A task that somebody has declared done.
    async fn resolved_task(&self) -> TaskId {
        let workflow = Workflow::from_yaml(
            "{ name: test, namespace_name: tests, version: 1.0.0, step_templates: [{ name: pay }] }",
        )
        .unwrap();
        let task = self.client().start(&workflow, &serde_json::json!({}), None).await.unwrap().task_id;
        self.client().resolve(task, &Actor::new("alice", "a test").unwrap()).await.unwrap();
        task
    }
}

/// The findings by what they are about.
pub fn found(report: &ReconciliationReport) -> BTreeMap<(Subject, Kind), (Remedy, MendOutcome)> {
    let findings = report.findings.iter();
    findings.map(|finding| ((finding.id.clone(), finding.kind), (finding.remedy, finding.outcome.clone()))).collect()
}

pub async fn each_kind_is_found_and_what_is_certain_is_mended_once<S: TestShop>() {
    let planted = Planted::<S>::new().await;
    let [paid, ordered, held, bounced, undone, lost] = std::array::from_fn(|_| TaskId::new());
    let resolved = planted.resolved_task().await;
    planted.charge(paid, "test_success_visa").await;
    planted.charge(resolved, "test_success_visa").await;
    planted.order(ordered).await;
    planted.hold(held).await;
    planted.charge(bounced, "test_success_visa_refundbounce").await;
    planted.refund(bounced).await;
    planted.charge(lost, "test_success_visa").await;
    let lost = planted.shop.lose_record(&format!("{lost}:process_payment")).await;
    // This one is as it should be: nothing was charged, ordered or held, and nothing can be any more.
    planted.refund(undone).await;
    planted.shop.tables().release(&format!("{undone}:validate_cart"), planted.clock.now()).await.unwrap();
    planted.shop.tables().cancel(undone, planted.clock.now()).await.unwrap();

    let young = planted.run(true).await;
    assert_eq!((young.judged, found(&young)), (0, BTreeMap::new()));
    planted.clock.put_forward(2 * HOUR);
    let declined = MendOutcome::Failed("refund failed at the bank".to_owned());
    let [paid, resolved, ordered, held, bounced] = [paid, resolved, ordered, held, bounced].map(Subject::Checkout);
    let expected = |done: MendOutcome, declined: MendOutcome| {
        let [paid, resolved, ordered, held, bounced] = [&paid, &resolved, &ordered, &held, &bounced].map(Clone::clone);
        BTreeMap::from([
            ((Subject::Payment(lost.clone()), Kind::ChargeWithoutRecord), (Remedy::Person, MendOutcome::Listed)),
            ((paid, Kind::PaidWithoutTask), (Remedy::Refund, done.clone())),
            ((resolved, Kind::PaidWithoutOrder), (Remedy::Person, MendOutcome::Listed)),
            ((ordered, Kind::OrderWithoutPayment), (Remedy::Person, MendOutcome::Listed)),
            ((held, Kind::StockWithoutTask), (Remedy::Release, done)),
            ((bounced, Kind::RefundFailed), (Remedy::Refund, declined)),
        ])
    };
    let dry = planted.run(false).await;
    assert_eq!((found(&dry), dry.judged), (expected(MendOutcome::Listed, MendOutcome::Listed), 6));
    assert_eq!(planted.shop.stock(1).await, 5);
    let mended = planted.run(true).await;
    assert_eq!(found(&mended), expected(MendOutcome::Mended, declined.clone()));
    assert_eq!(planted.shop.stock(1).await, 7);
    let mut left = expected(MendOutcome::Listed, declined);
    left.retain(|(id, _), _| *id != paid && *id != held);
    assert_eq!(found(&planted.run(true).await), left);
}

pub async fn settled_finding_is_not_reported_any_more<S: TestShop>() {
    let planted = Planted::<S>::new().await;
    let [one, other, unrecorded] = std::array::from_fn(|_| TaskId::new());
    planted.charge(unrecorded, "test_success_visa").await;
    let payment = planted.shop.lose_record(&format!("{unrecorded}:process_payment")).await;
    planted.order(one).await;
    planted.order(other).await;
    planted.clock.put_forward(2 * HOUR);
    let reconciliation = Reconciliation::new(planted.shop.tables().clone(), planted.shop.gateway(), planted.client());
    for kind in [Kind::PaidWithoutTask, Kind::OrderWithoutPayment, Kind::OrderWithoutPayment] {
        reconciliation
            .acknowledge(Subject::Checkout(one), kind, "alice".to_owned(), "it was a gift".to_owned())
            .await
            .unwrap();
    }
    let (payment, who, why) = (Subject::Payment(payment), "alice".to_owned(), "of another shop".to_owned());
    reconciliation.acknowledge(payment, Kind::ChargeWithoutRecord, who, why).await.unwrap();
    let left: Vec<(Subject, Kind)> = found(&planted.run(false).await).into_keys().collect();
    assert_eq!(left, [(Subject::Checkout(other), Kind::OrderWithoutPayment)]);
}
