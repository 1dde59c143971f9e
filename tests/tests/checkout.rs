//! The checkout's main scenarios: its handlers over a shop in memory, run by the shipped engine in virtual time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

use checkout::{
    GatewayError, OrderStatus, Orders, ProductId, Shipping, StoreError,
    testing::{MemoryShop, Outage, steps},
};
use serde_json::{Value, json};
use std::time::Duration;
use stepwell::{
    Actor, ManualResult, StartError, StepError, TaskId,
    core::{
        snapshot::TaskSnapshot,
        state::{End, StepState, TaskState},
    },
    permanent, retryable,
    testing::{CrashAt, Harness, HarnessError, StepFault},
    throttled,
};
use stepwell_tests::checkout::{harness, products, request};
use test_case::test_case;

#[path = "checkout/reconciliation.rs"]
mod reconciliation;

const LAMP: ProductId = ProductId(4);
const ORGANIZER: ProductId = ProductId(1);

/// A shop, and the harness that runs its checkouts.
struct Checkouts {
    shop: MemoryShop,
    harness: Harness,
}

impl Checkouts {
    fn new() -> Self {
        let shop = MemoryShop::selling(products());
        let harness = harness(&shop);
        Self { shop, harness }
    }

    async fn start(&self, request: &Value) -> TaskId {
        self.harness.start(request).await.unwrap()
    }

    /// Runs a checkout until nothing more happens without an operator.
    async fn run(&self, request: &Value) -> TaskSnapshot {
        self.harness.run(self.start(request).await).await.unwrap()
    }

    /// Whether the shop is as before its first checkout.
    fn is_untouched(&self) -> bool {
        let stock = products().iter().all(|product| self.shop.stock_of(product.id) == product.stock);
        let orders = self.shop.all_orders();
        let none_stands = orders.iter().all(|order| order.status == OrderStatus::Cancelled);
        stock && none_stands && self.shop.charges().is_empty() && self.shop.reservations().is_empty()
    }

    /// The subjects of all e-mails, without the numbers of the orders.
    fn told(&self) -> Vec<String> {
        let about = |subject: &str| subject.rsplit(' ').next().unwrap().to_owned();
        self.shop.emails().iter().map(|email| about(&email.subject)).collect()
    }

    /// Asserts that the shop has one charge, one reservation, one order and one e-mail.
    fn assert_sold_once(&self) {
        let numbers = (self.shop.charges().len(), self.shop.reservations().len(), self.shop.all_orders().len());
        assert_eq!((numbers, self.shop.emails().len()), ((1, 1, 1), 1));
    }
}

fn actor() -> Actor {
    Actor::new("somebody", "a test").unwrap()
}

/// The compensations that were planned, in order.
fn compensated(snapshot: &TaskSnapshot) -> Vec<&str> {
    snapshot.compensations.iter().map(|compensation| compensation.name.as_str()).collect()
}

/// The failed step's state, its error code, and the number of its attempts.
fn failure<'a>(snapshot: &'a TaskSnapshot, step: &str) -> (&'a str, usize) {
    let record = snapshot.step(step).unwrap();
    (&record.error.as_ref().unwrap().code, record.attempts.len())
}

#[tokio::test(start_paused = true)]
async fn good_request_is_charged_reserved_ordered_and_confirmed_once() {
    let checkouts = Checkouts::new();
    let snapshot = checkouts.run(&request("success")).await;
    assert_eq!(snapshot.task.state, TaskState::Completed);
    assert!(snapshot.steps.iter().all(|step| step.attempts.len() == 1));
    checkouts.assert_sold_once();
    assert_eq!(checkouts.shop.charges().values().next().unwrap().amount.to_string(), "100.00");
    assert_eq!(checkouts.shop.stock_of(ORGANIZER), 98);
}

#[tokio::test(start_paused = true)]
async fn declined_card_fails_without_retry_and_leaves_nothing_behind() {
    let checkouts = Checkouts::new();
    let snapshot = checkouts.run(&request("card_declined")).await;
    assert_eq!(failure(&snapshot, "process_payment"), ("PAYMENT_DECLINED", 1));
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Error));
    assert!(checkouts.is_untouched());
    assert_eq!(checkouts.told(), [""; 0], "of no order, and so of no cancellation");
}

#[tokio::test(start_paused = true)]
async fn charge_is_retried_until_the_gateway_recovers() {
    let checkouts = Checkouts::new();
    let snapshot = checkouts.run(&request("gateway_recovers")).await;
    assert_eq!(snapshot.task.state, TaskState::Completed);
    assert_eq!(snapshot.step("process_payment").unwrap().attempts.len(), 3);
    checkouts.assert_sold_once();
}

#[tokio::test(start_paused = true)]
async fn permanent_gateway_outage_ends_at_the_deadline_and_is_compensated() {
    let checkouts = Checkouts::new();
    let snapshot = checkouts.run(&request("gateway_times_out")).await;
    // Behind the open breaker its attempts are probes, and last until the deadline.
    assert_eq!(failure(&snapshot, "process_payment"), ("DEADLINE_EXCEEDED", 15));
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Error));
    assert!(checkouts.is_untouched());
}

/// The card is charged, and the stock's table is busy until long after the deadline: no order is made any more.
#[tokio::test(start_paused = true)]
async fn charged_checkout_without_an_order_is_undone_at_its_deadline() {
    let c = Checkouts::new();
    let busy = || StepFault::Error(throttled("TABLE_BUSY", "many want it").retry_after(Duration::from_secs(300)));
    c.harness.fail("update_inventory", std::iter::repeat_with(busy).take(20));
    let task = c.run(&request("success")).await;
    assert_eq!(task.task.state, TaskState::Compensated(End::Error));
    let error = task.step("update_inventory").and_then(|step| step.error.as_ref()).unwrap();
    assert_eq!((error.code.as_str(), c.is_untouched()), ("DEADLINE_EXCEEDED", true));
    let deadline = task.task.deadline_of("create_order").unwrap();
    assert_eq!(task.task.finished_at.unwrap().since(deadline), Duration::ZERO);
    assert_eq!(task.task.deadline_of("send_confirmation"), None, "an order that was made is finished");
}

#[tokio::test(start_paused = true)]
async fn busy_table_costs_no_attempt() {
    let checkouts = Checkouts::new();
    let busy = StoreError::Busy("TransactionConflict".to_owned());
    checkouts.shop.set_outage(Outage { tables: Some(busy), ..Outage::default() });
    let task = checkouts.start(&request("success")).await;
    checkouts.harness.run_for(Duration::from_secs(20 * 60)).await.unwrap();
    checkouts.shop.set_outage(Outage::default());
    let snapshot = checkouts.harness.run(task).await.unwrap();
    let step = snapshot.step("validate_cart").unwrap();
    assert_eq!((snapshot.task.state, step.attempt - step.uncounted_attempts), (TaskState::Completed, 1));
    assert!(step.attempts.len() > 5 && snapshot.task.actions.is_empty(), "no redrive was needed: {step:?}");
    checkouts.assert_sold_once();
}

#[test_case(GatewayError::RateLimited; "under a rate limit")]
#[test_case(GatewayError::Timeout; "while the gateway gives no answer")]
#[test_case(GatewayError::TemporaryFailure; "while the gateway is down")]
#[tokio::test(start_paused = true)]
async fn refund_waits_for_the_gateway_as_long_as_it_takes(error: GatewayError) {
    let checkouts = Checkouts::new();
    let task = checkouts.start(&request("success")).await;
    let charged = |snapshot: &TaskSnapshot| snapshot.step("process_payment").unwrap().state.is_done();
    checkouts.harness.run_until(task, charged).await.unwrap();
    checkouts.harness.client().cancel(task, &actor()).await.unwrap();
    checkouts.shop.set_outage(Outage { gateway: Some(error), ..Outage::default() });
    checkouts.harness.run_for(Duration::from_secs(24 * 60 * 60)).await.unwrap();
    assert_eq!(checkouts.shop.charges().len(), 1, "nothing can be refunded yet");
    checkouts.shop.set_outage(Outage::default());
    let back = checkouts.harness.now();
    let snapshot = checkouts.harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Cancelled));
    assert!(checkouts.is_untouched());
    assert!(checkouts.harness.now().since(back) <= Duration::from_secs(300 + 60), "the backoff's longest wait");
}

/// A request for the last two units of a product.
fn last_units() -> Value {
    let mut last = request("success");
    last["cart_items"] = json!([{ "product_id": 6, "quantity": 2 }]);
    last["payment_info"]["amount"] = json!(143.24);
    last
}

#[tokio::test(start_paused = true)]
async fn second_buyer_of_the_last_units_is_refused_once_and_never_charged() {
    let checkouts = Checkouts::new();
    checkouts.harness.fail("process_payment", [StepFault::Error(retryable("BUSY", "held up"))]);
    let first = checkouts.start(&last_units()).await;
    let held_up = |snapshot: &TaskSnapshot| snapshot.step("process_payment").unwrap().state == StepState::Retrying;
    checkouts.harness.run_until(first, held_up).await.unwrap();
    assert_eq!(checkouts.shop.holds().len(), 1);

    let second = checkouts.run(&last_units()).await;
    assert_eq!(failure(&second, "validate_cart"), ("INSUFFICIENT_STOCK", 1), "neither retried nor redriven");
    assert_eq!(second.step("process_payment").unwrap().state, StepState::Cancelled);
    assert_eq!(second.task.state, TaskState::Compensated(End::Error));
    assert_eq!(compensated(&second), steps::compensations_of(&["validate_cart"]));

    assert_eq!(checkouts.harness.run(first).await.unwrap().task.state, TaskState::Completed);
    checkouts.assert_sold_once();
    assert!(checkouts.shop.holds().is_empty(), "what is paid is taken");
}

#[tokio::test(start_paused = true)]
async fn units_of_a_declined_card_are_sold_to_the_next_buyer() {
    let checkouts = Checkouts::new();
    let mut declined = last_units();
    declined["payment_info"]["token"] = json!("test_declined_visa");
    let snapshot = checkouts.run(&declined).await;
    assert_eq!(failure(&snapshot, "process_payment"), ("PAYMENT_DECLINED", 1));
    assert_eq!(compensated(&snapshot), steps::compensations_of(&steps::up_to("process_payment")));
    assert!(checkouts.is_untouched());
    assert_eq!(checkouts.run(&last_units()).await.task.state, TaskState::Completed);
}

#[tokio::test(start_paused = true)]
async fn lost_answer_of_the_hold_on_the_last_units_is_recognized() {
    let checkouts = Checkouts::new();
    checkouts.harness.fail("validate_cart", [StepFault::ErrorAfterEffect(retryable("UNKNOWN", "no answer came"))]);
    let snapshot = checkouts.run(&last_units()).await;
    assert_eq!(snapshot.task.state, TaskState::Completed, "its own hold is no lack of stock");
    checkouts.assert_sold_once();
}

#[tokio::test(start_paused = true)]
async fn changed_price_stops_the_checkout_before_the_charge() {
    let checkouts = Checkouts::new();
    let snapshot = checkouts.run(&request("price_mismatch")).await;
    assert_eq!(failure(&snapshot, "validate_cart").1, 1);
    assert_eq!(snapshot.step("process_payment").unwrap().state, StepState::Cancelled);
    assert_eq!(compensated(&snapshot), steps::compensations_of(&["validate_cart"]));
    assert!(checkouts.is_untouched());
}

#[tokio::test(start_paused = true)]
async fn lost_answers_before_the_email_charge_and_reserve_once() {
    let checkouts = Checkouts::new();
    let lost = || [StepFault::ErrorAfterEffect(retryable("UNKNOWN", "no answer came"))];
    let steps = steps::before("send_confirmation");
    steps.iter().for_each(|step| checkouts.harness.fail(step, lost()));
    let snapshot = checkouts.run(&request("success")).await;
    assert_eq!(snapshot.task.state, TaskState::Completed);
    assert!(steps.iter().all(|step| snapshot.step(step).unwrap().attempts.len() == 2));
    checkouts.assert_sold_once();
}

#[tokio::test(start_paused = true)]
async fn paid_order_stands_without_its_email_until_a_redrive_sends_it() {
    let checkouts = Checkouts::new();
    let refused = || StepFault::Error(retryable("MAIL_UNKNOWN_ERROR", "the e-mail service did not take the e-mail"));
    checkouts.harness.fail("send_confirmation", vec![refused(); 5]);
    let started = checkouts.harness.now();
    let task = checkouts.start(&request("success")).await;
    let snapshot = checkouts.harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Completed);
    assert_eq!(failure(&snapshot, "send_confirmation"), ("MAIL_UNKNOWN_ERROR", 5));
    assert!(
        checkouts.harness.now().since(started) >= Duration::from_secs(10 * 60),
        "an outage of minutes is waited out"
    );
    let named = |snapshot: &TaskSnapshot| snapshot.warnings().iter().map(|one| one.step.to_owned()).collect::<Vec<_>>();
    assert_eq!((named(&snapshot), checkouts.shop.emails().len()), (vec!["send_confirmation".to_owned()], 0));

    checkouts.harness.run_for(Duration::from_secs(24 * 60 * 60)).await.unwrap();
    assert_eq!((checkouts.shop.charges().len(), checkouts.shop.all_orders()[0].status), (1, OrderStatus::Confirmed));
    checkouts.harness.client().redrive(task, &actor()).await.unwrap();
    checkouts
        .harness
        .run_until(task, |snapshot| {
            snapshot.progress().percentage == 100
                && named(snapshot).is_empty()
                && snapshot.step("send_confirmation").unwrap().state == StepState::Complete
        })
        .await
        .unwrap();
    assert_eq!(checkouts.harness.snapshot(task).await.unwrap().task.state, TaskState::Completed);
    checkouts.assert_sold_once();
}

#[tokio::test(start_paused = true)]
async fn worker_death_after_the_charge_is_recovered_and_the_card_is_charged_once() {
    let checkouts = Checkouts::new();
    checkouts.harness.crash("process_payment", [CrashAt::Before("complete"), CrashAt::After("complete")]);
    let task = checkouts.start(&request("success")).await;
    let snapshot = checkouts.harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Completed);
    assert_eq!(snapshot.step("process_payment").unwrap().attempts.len(), 2);
    checkouts.assert_sold_once();
}

#[tokio::test(start_paused = true)]
async fn cancelled_checkout_is_compensated_at_once_and_never_charges_afterwards() {
    let checkouts = Checkouts::new();
    let task = checkouts.start(&request("gateway_rate_limited")).await;
    let waits = |snapshot: &TaskSnapshot| snapshot.step("process_payment").unwrap().state == StepState::Retrying;
    checkouts.harness.run_until(task, waits).await.unwrap();
    checkouts.harness.client().cancel(task, &actor()).await.unwrap();
    let snapshot = checkouts.harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Cancelled));
    assert!(checkouts.is_untouched());
}

#[tokio::test(start_paused = true)]
async fn refund_does_not_wait_for_units_that_cannot_be_put_back() {
    let checkouts = Checkouts::new();
    checkouts.harness.fail("create_order", [StepFault::Error(permanent("ORDER_REFUSED", "never"))]);
    checkouts.harness.fail("release_stock", [StepFault::Error(permanent("NOTHING_TO_RELEASE", "the product is gone"))]);
    let snapshot = checkouts.run(&request("success")).await;
    assert_eq!(snapshot.task.state, TaskState::Compensating(End::Error), "somebody has to look after the units");
    assert_eq!(failure(&snapshot, "release_stock").0, "NOTHING_TO_RELEASE");
    assert_eq!(snapshot.step("refund_payment").unwrap().state, StepState::Complete);
    assert_eq!(checkouts.shop.charges().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn failed_refund_needs_an_operator_and_compensation_continues_after_resolve() {
    let checkouts = Checkouts::new();
    let mut lamps = request("inventory_conflict");
    lamps["payment_info"]["token"] = json!("test_success_visa_norefund");
    let started = checkouts.harness.now();
    let task = checkouts.start(&lamps).await;
    let snapshot = checkouts.harness.run(task).await.unwrap();
    assert_eq!(failure(&snapshot, "validate_cart").0, "INSUFFICIENT_STOCK");
    assert!(checkouts.harness.now().since(started) >= Duration::from_secs(15 * 60), "it waits a quarter of an hour");
    assert!(checkouts.is_untouched(), "nothing had been charged, so nothing is refused");

    checkouts.harness.fail("update_inventory", vec![StepFault::Error(retryable("BUSY", "")); 10]);
    lamps = request("success");
    lamps["payment_info"]["token"] = json!("test_success_visa_norefund");
    let task = checkouts.start(&lamps).await;
    let snapshot = checkouts.harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensating(End::Error));
    assert_eq!(failure(&snapshot, "refund_payment").0, "REFUND_DECLINED");
    assert_eq!(checkouts.shop.charges().len(), 1);
    assert_eq!(checkouts.shop.stock_of(LAMP), 40, "the units do not wait for the money");
    let by_hand = ManualResult { json: "{}", attempts_checked: true };
    checkouts.harness.client().resolve_step(task, "refund_payment", by_hand, &actor()).await.unwrap();
    let snapshot = checkouts.harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Error));
    assert_eq!(checkouts.shop.stock_of(LAMP), 40);
}

/// A pointer that hits no field of its step's result hides nothing.
#[tokio::test(start_paused = true)]
async fn no_shown_result_has_the_customers_address() {
    let checkouts = Checkouts::new();
    let task = checkouts.run(&request("success")).await.task.id;
    checkouts.harness.client().cancel(task, &actor()).await.unwrap();
    let TaskSnapshot { task, steps, compensations, .. } = checkouts.harness.run(task).await.unwrap();
    let mut hidden = Vec::new();
    for step in steps.iter().chain(&compensations) {
        let result = step.result.as_deref().unwrap();
        let shown = task.plan.shown_result(&step.name, result);
        assert!(!shown.contains('@'), "{}: {shown}", step.name);
        if shown.contains("***") {
            assert!(result.contains('@'), "{}: {result}", step.name);
            hidden.push(step.name.as_str());
        }
    }
    hidden.sort_unstable();
    assert_eq!(hidden, ["cancel_order", "create_order", "send_cancellation", "send_confirmation"]);
}

#[tokio::test(start_paused = true)]
async fn complete_order_is_cancelled_and_refunded_until_it_is_shipped() {
    let checkouts = Checkouts::new();
    let task = checkouts.run(&request("success")).await.task.id;
    checkouts.harness.client().cancel(task, &actor()).await.unwrap();
    assert_eq!(checkouts.harness.run(task).await.unwrap().task.state, TaskState::Compensated(End::Cancelled));
    assert!(checkouts.is_untouched());
    assert_eq!(checkouts.told(), ["confirmed", "cancelled"]);
    assert!(checkouts.shop.emails()[1].text.contains("We have refunded 100.00 USD."));

    let checkouts = Checkouts::new();
    let task = checkouts.run(&request("success")).await.task.id;
    let shipping = Shipping { at: checkouts.harness.now(), who: "ann".to_owned(), why: "parcel 17".to_owned() };
    checkouts.shop.ship(task, &shipping).await.unwrap();
    for refusals in 1..=2 {
        checkouts.harness.client().cancel(task, &actor()).await.unwrap();
        let snapshot = checkouts.harness.run(task).await.unwrap();
        assert_eq!(snapshot.task.state, TaskState::Completed);
        assert_eq!(snapshot.task.refusals.len(), refusals);
        assert_eq!(snapshot.task.refusals[0].error.code, "ORDER_SHIPPED");
    }
    checkouts.assert_sold_once();
}

/// A confirmation whose answer was lost may have been sent.
#[tokio::test(start_paused = true)]
async fn customer_who_may_have_a_confirmation_is_told_of_the_cancellation_once() {
    let checkouts = Checkouts::new();
    let lost = StepFault::ErrorAfterEffect(retryable("MAIL_SERVICE_UNAVAILABLE", "no answer came"));
    checkouts.harness.fail("send_confirmation", [lost]);
    let task = checkouts.start(&request("success")).await;
    let waits = |snapshot: &TaskSnapshot| snapshot.step("send_confirmation").unwrap().state == StepState::Retrying;
    checkouts.harness.run_until(task, waits).await.unwrap();
    checkouts.harness.client().cancel(task, &actor()).await.unwrap();
    assert_eq!(checkouts.harness.run(task).await.unwrap().task.state, TaskState::Compensated(End::Cancelled));
    assert!(checkouts.is_untouched());
    assert_eq!(checkouts.told(), ["confirmed", "cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn cancellation_before_the_confirmation_is_told_by_the_status_alone() {
    let checkouts = Checkouts::new();
    let task = checkouts.start(&request("success")).await;
    let ordered = |snapshot: &TaskSnapshot| snapshot.step("create_order").unwrap().state.is_done();
    checkouts.harness.run_until(task, ordered).await.unwrap();
    checkouts.harness.client().cancel(task, &actor()).await.unwrap();
    let snapshot = checkouts.harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Cancelled));
    assert!(checkouts.is_untouched());
    assert_eq!((checkouts.told(), compensated(&snapshot).contains(&"send_cancellation")), (Vec::new(), false));
}

#[test_case(permanent("INVALID_EMAIL", "never"), 1; "for good")]
#[test_case(retryable("MAIL_UNKNOWN_ERROR", "the e-mail service did not take the e-mail"), 5; "in every attempt")]
#[tokio::test(start_paused = true)]
async fn refunded_order_is_cancelled_without_an_email_that_is_refused(error: StepError, attempts: usize) {
    let checkouts = Checkouts::new();
    let task = checkouts.run(&request("success")).await.task.id;
    checkouts.harness.fail("send_cancellation", vec![StepFault::Error(error.clone()); attempts]);
    checkouts.harness.client().cancel(task, &actor()).await.unwrap();
    let snapshot = checkouts.harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Cancelled));
    assert!(checkouts.is_untouched());
    assert_eq!(failure(&snapshot, "send_cancellation"), (error.code.as_str(), attempts));
    let warnings: Vec<_> = snapshot.warnings().iter().map(|warning| warning.step).collect();
    assert_eq!((warnings, checkouts.told()), (vec!["send_cancellation"], vec!["confirmed".to_owned()]));
}

/// By the type that the e-mails' steps parse an address with.
#[test_case(json!(null); "none")]
#[test_case(json!(""); "empty")]
#[test_case(json!("nobody"); "no domain")]
#[test_case(json!("A <a@example.org>"); "with a display name")]
#[test_case(json!("zoë@example.org"); "that the e-mail service takes in no spelling")]
#[test_case(json!("a@example.com\r\nBcc: b@example.com"); "with another header")]
#[tokio::test(start_paused = true)]
async fn address_that_no_email_can_go_to_is_refused_before_the_charge(address: Value) {
    let checkouts = Checkouts::new();
    let mut request = request("success");
    request["customer_info"]["email"] = address;
    let HarnessError::Start(StartError::Invalid(violations)) = checkouts.harness.start(&request).await.unwrap_err()
    else {
        panic!("it is refused because of its fields");
    };
    assert_eq!(violations.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["/customer_info/email"]);
    assert!(checkouts.is_untouched());
}
