//! What a customer was told holds afterwards: random faults, crashes, waits and actions, and a look after each.

use super::*;
use checkout::{Money, Payment, Refund, ShopCode};
use proptest::{prelude::*, test_runner::TestCaseError};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use stepwell::{
    Actor, Context, Step, StepContext, StepError, Timestamp,
    testing::{CrashAt, StepFault},
};

/// The gateway's books for the one key of the checkout.
#[derive(Clone, Debug, Default)]
struct Till(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    charged: bool,
    voided: bool,
}

impl Till {
    /// Whether the customer's money is with the shop.
    fn holds_money(&self) -> bool {
        let books = self.0.lock().unwrap();
        books.charged && !books.voided
    }
}

struct Charging(Till);

impl Step for Charging {
    type Input = Context<Value>;
    type Output = Payment;

    async fn run(&self, _: Context<Value>, ctx: &StepContext) -> Result<Payment, StepError> {
        let mut books = self.0.0.lock().unwrap();
        if books.voided {
            return Err(StepError::new(ShopCode::PaymentVoid, "void"));
        }
        books.charged = true;
        Ok(Payment {
            payment_id: "pay_1".to_owned(),
            amount_charged: Money::from_cents(10_000),
            currency: "USD".to_owned(),
            payment_method_type: "visa".to_owned(),
            transaction_id: "txn_1".to_owned(),
            processed_at: ctx.started_at,
            simulated: true,
        })
    }
}

struct Refunding(Till);

impl Step for Refunding {
    type Input = Context<Value>;
    type Output = Refund;

    async fn run(&self, _: Context<Value>, ctx: &StepContext) -> Result<Refund, StepError> {
        let mut books = self.0.0.lock().unwrap();
        books.voided = true;
        let id = books.charged.then(|| "pay_1".to_owned());
        Ok(Refund {
            refund_id: id.clone(),
            payment_id: id,
            amount_refunded: if books.charged { Money::from_cents(10_000) } else { Money::ZERO },
            currency: "USD".to_owned(),
            refunded_at: ctx.started_at,
        })
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Event {
    Wait(u64),
    Retry,
    Cancel,
    OperatorRedrives,
    OperatorCancels,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => prop::sample::select(vec![0, 1, 5, 30, 60, 120, 600, 1_200]).prop_map(Event::Wait),
        2 => Just(Event::Retry),
        1 => Just(Event::Cancel),
        1 => Just(Event::OperatorRedrives),
        1 => Just(Event::OperatorCancels),
    ]
}

/// A step, the kind of its faults, and their number.
fn faults() -> impl Strategy<Value = (&'static str, u8, usize)> {
    let mut steps = steps::all();
    steps.extend(steps::compensations());
    steps.extend(["process_payment"; 6]);
    (prop::sample::select(steps), 0u8..6, prop::sample::select(vec![1, 2, 3, 5, 12, 40]))
}

fn fault(step: &str, kind: u8) -> StepFault {
    let timeout = || StepError::new(ShopCode::GatewayTimeout, "no answer from 10.0.0.7");
    match kind {
        0 => StepFault::Error(timeout()),
        1 => StepFault::ErrorAfterEffect(timeout()),
        2 => StepFault::Panic,
        3 => StepFault::Timeout,
        4 => StepFault::Error(StepError::new(ShopCode::GatewayTemporaryFailure, "503 from 10.0.0.7")),
        _ if step == "process_payment" => StepFault::Error(StepError::new(ShopCode::PaymentDeclined, "10.0.0.7: no")),
        _ => StepFault::Error(StepError::new(ShopCode::ProductNotFound, "10.0.0.7: gone")),
    }
}

/// What the customer was told last, and what has happened since.
#[derive(Debug, Default)]
struct Told {
    status: String,
    held_money: bool,
    somebody_acted: bool,
}

impl Told {
    /// Looks at the status, and checks it against the books and against what was told before.
    async fn look(&mut self, api: &Api, till: &Till, id: TaskId) -> Result<Value, TestCaseError> {
        let body = api.status(id).await;
        let status = body["status"].as_str().unwrap().to_owned();
        prop_assert!(!body.to_string().contains("10.0.0.7"), "an engineer's text: {body}");
        let holds_money = till.holds_money();
        match self.status.as_str() {
            "failed" if !self.somebody_acted => {
                prop_assert_eq!(&status, "failed", "it went on by itself: {}", body);
                prop_assert!(!holds_money || self.held_money, "charged after `failed`: {body}");
            }
            "cancelled" => prop_assert_eq!(&status, "cancelled", "{}", body),
            "completed" if !self.somebody_acted => prop_assert_eq!(&status, "completed", "{}", body),
            _ => {}
        }
        if status == "failed" || status == "cancelled" {
            let refund = &body["refund"];
            prop_assert!(!holds_money || refund.is_object(), "money is kept, and no refund is promised: {body}");
            prop_assert!(refund["state"] != "made" || !holds_money, "no refund was made: {body}");
        }
        if status == "failed" {
            prop_assert_eq!(body["refund"].is_object(), body.get("charged").is_none(), "{}", body);
            let undone_at: Option<Timestamp> = body["retry_until"].as_str().map(|at| at.parse().unwrap());
            let may_retry = body["retry_url"].is_string();
            prop_assert!(may_retry || undone_at.is_none(), "{body}");
        }
        if status == "completed" {
            prop_assert!(holds_money, "an order for nothing: {body}");
        }
        *self = Self { status, held_money: holds_money, somebody_acted: false };
        Ok(body)
    }
}

async fn scenario(
    faults: Vec<(&'static str, u8, usize)>,
    crashes: Vec<(&'static str, bool)>,
    events: Vec<Event>,
) -> Result<(), TestCaseError> {
    let till = Till::default();
    let mut api = Api::new();
    api.harness = api.harness.with("process_payment", Charging(till.clone()));
    api.harness = api.harness.with("refund_payment", Refunding(till.clone()));
    for (step, kind, times) in faults {
        api.harness.fail(step, vec![fault(step, kind); times]);
    }
    for (step, before) in crashes {
        api.harness.crash(step, [if before { CrashAt::Before("complete") } else { CrashAt::After("complete") }]);
    }
    let id = api.started().await;
    let mut told = Told::default();
    let operator = Actor::new("operator", "a test").unwrap();
    for event in events {
        let body = told.look(&api, &till, id).await?;
        match event {
            Event::Wait(seconds) => api.harness.run_for(Duration::from_secs(seconds)).await.unwrap(),
            Event::Retry => {
                let url = body["retry_url"].as_str().or(body["retrying"]["retry_url"].as_str());
                let answer = api.retry(id).await;
                // What was offered works; what was not offered may.
                prop_assert!(url.is_none() || answer.status == 202, "{}: {body}", answer.text);
                told.somebody_acted = answer.status == 202;
            }
            Event::Cancel => {
                let answer = api.cancel(id).await;
                prop_assert!(matches!(answer.status, 202 | 409), "{}", answer.text);
                told.somebody_acted = answer.status == 202;
            }
            Event::OperatorRedrives => told.somebody_acted = api.harness.client().redrive(id, &operator).await.is_ok(),
            Event::OperatorCancels => told.somebody_acted = api.harness.client().cancel(id, &operator).await.is_ok(),
        }
    }
    // And a day later.
    told.look(&api, &till, id).await?;
    api.harness.run_for(Duration::from_secs(86_400)).await.unwrap();
    told.look(&api, &till, id).await?;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn customer_is_told_nothing_that_is_not_kept(
        faults in prop::collection::vec(faults(), 0..5),
        crashes in prop::collection::vec((prop::sample::select(steps::all()), any::<bool>()), 0..3),
        events in prop::collection::vec(event(), 5..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(scenario(faults, crashes, events))?;
    }
}
