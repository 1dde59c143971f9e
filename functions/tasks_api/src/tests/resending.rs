//! `POST /orders/{order_id}/resend`, over checkouts that the shipped steps run.

use super::*;
use checkout::{EmailAddress, MailError, Order, OrderStatus, Orders, Product, Resend, testing::order};
use std::time::Duration;
use stepwell::{
    Actor, ManualResult,
    core::state::{End, StepState, TaskState},
    retryable,
};
use test_case::test_case;

const MISTYPED: &str = "ann@exampel.com";
const CORRECTED: &str = "ann@example.org";

/// An API beside a shop and its checkouts.
fn shop() -> Api {
    let products: Vec<Product> = serde_json::from_str(include_str!("../../../../infra/products.json")).unwrap();
    let shop = MemoryShop::selling(products);
    let mut harness = Harness::new(checkout::workflow().unwrap());
    macro_rules! host {
        ($name:literal, $($library:tt)+) => {
            harness = harness.with($name, $($library)+::step(&shop).unwrap());
        };
    }
    crate::each_checkout_step!(host);
    Api(Arc::new(harness), shop)
}

impl Api {
    /// A checkout whose e-mail the service refused, complete with a warning. The service takes e-mails again.
    async fn bought_without_email(&self) -> TaskId {
        let refused = MailError::Unknown("MessageRejected".to_owned());
        self.1.set_outage(Outage { mail: Some(refused), ..Outage::default() });
        let id = self.start_checkout().await;
        let ended = self.0.run(id).await.unwrap();
        assert_eq!((&ended.task.state, ended.warnings().len()), (&TaskState::Completed, 1));
        self.1.set_outage(Outage::default());
        assert_eq!(self.1.emails(), []);
        id
    }

    async fn start_checkout(&self) -> TaskId {
        let sample: Value = serde_json::from_str(include_str!("../../../../events/requests/success.json")).unwrap();
        let mut context = sample["checkout"].clone();
        context["customer_info"]["email"] = json!(MISTYPED);
        self.0.start(&context).await.unwrap()
    }

    /// Runs a checkout until this step is in this state.
    async fn until(&self, id: TaskId, step: &str, state: StepState) {
        self.0.run_until(id, |snapshot| snapshot.step(step).is_some_and(|step| step.state == state)).await.unwrap();
    }

    async fn cancel(&self, id: TaskId) {
        self.0.client().cancel(id, &Actor::new("ann", "a test").unwrap()).await.unwrap();
    }

    async fn resend(&self, id: TaskId, email: Option<&str>) -> ApiAnswer {
        self.post(&format!("/orders/{id}/resend"), &json!({"reason": "she called", "email": email}).to_string()).await
    }

    /// The last words of the e-mails' subjects, and their recipients.
    fn told(&self) -> Vec<(String, String)> {
        let word = |subject: &str| subject.rsplit(' ').next().unwrap().to_owned();
        self.1.emails().iter().map(|email| (word(&email.subject), email.to.to_string())).collect()
    }

    fn order(&self, id: TaskId) -> Order {
        self.1.all_orders().into_iter().find(|order| order.order_id == id).unwrap()
    }
}

fn told(word: &str) -> (String, String) {
    (word.to_owned(), CORRECTED.to_owned())
}

#[tokio::test(start_paused = true)]
async fn corrected_address_gets_the_confirmation_and_all_later_emails() {
    let api = shop();
    let id = api.bought_without_email().await;
    let at = api.0.now();
    let answer = api.resend(id, Some(CORRECTED)).await;
    let expected = json!({
        "success": true, "order_id": id, "status": "confirmed", "recipient": CORRECTED,
        "message_id": format!("email-{:053}", 1),
    });
    assert_eq!((answer.status, answer.body()), (200, expected));
    let corrected = Some(CORRECTED.parse().unwrap());
    let recorded =
        Resend { at, who: ARN.to_owned(), why: "she called".to_owned(), corrected, tells: OrderStatus::Confirmed };
    assert_eq!(api.1.resends(id), [recorded]);
    assert_eq!(api.order(id).customer_email.as_deref(), Some(CORRECTED));

    assert_eq!(api.resend(id, None).await.status, 200, "a repeated request sends it again");
    api.cancel(id).await;
    assert_eq!(api.0.run(id).await.unwrap().task.state, TaskState::Compensated(End::Cancelled));
    let answer = api.resend(id, None).await;
    assert_eq!((answer.status, &answer.body()["status"]), (200, &json!("cancelled")), "{}", answer.text);
    let all = ["confirmed", "confirmed", "cancelled", "cancelled"].map(told);
    assert_eq!(api.told(), all);
    let [.., by_the_step, again] = &api.1.emails()[..] else { panic!("the e-mails are counted above") };
    assert_eq!(by_the_step, again);
}

#[test_case(MailError::RateLimited, 503, "MAIL_RATE_LIMITED", "in a minute")]
#[test_case(MailError::Unavailable("timeout".to_owned()), 503, "MAIL_SERVICE_UNAVAILABLE", "sent all the same")]
#[test_case(MailError::Unknown("MessageRejected".to_owned()), 502, "MAIL_UNKNOWN_ERROR", "Check the address")]
#[tokio::test(start_paused = true)]
async fn email_that_is_not_sent_is_answered_with_the_reason_and_sent_by_the_next_request(
    error: MailError,
    status: u16,
    code: &str,
    remedy: &str,
) {
    let api = shop();
    let id = api.bought_without_email().await;
    let (log, _guard) = log();
    api.1.set_outage(Outage { mail: Some(error.clone()), ..Outage::default() });
    let answer = api.resend(id, Some(CORRECTED)).await;
    assert_eq!((answer.status, &answer.body()["code"]), (status, &json!(code)), "{}", answer.text);
    let text = answer.body()["error"].as_str().unwrap().to_lowercase();
    assert!(text.contains(&error.to_string().to_lowercase()) && text.contains(&remedy.to_lowercase()), "{text}");
    api.1.set_outage(Outage::default());
    assert!(!log.has("e-mail about an order was sent again"));
    assert_eq!(api.resend(id, None).await.status, 200);
    assert!(log.has("e-mail about an order was sent again"));
    assert_eq!(api.told(), [told("confirmed")], "the address stays corrected");
}

#[tokio::test(start_paused = true)]
async fn invalid_request_changes_nothing() {
    let api = shop();
    let id = api.bought_without_email().await;
    let problem = "A <a@example.org>".parse::<EmailAddress>().unwrap_err();
    api.resend(id, Some("A <a@example.org>")).await.is_violation("/email", &problem.to_string());
    let path = format!("/orders/{id}/resend");
    api.post(&path, r#"{"reason": ""}"#).await.is_violation("/reason", "has to have 1 to 500 characters");
    assert_eq!((api.resend(TaskId::new(), None).await.status, api.1.resends(id), api.told()), (404, vec![], vec![]));
}

/// The e-mail says how much was refunded.
#[tokio::test(start_paused = true)]
async fn order_that_is_being_cancelled_is_told_of_once_its_refund_is_known() {
    let api = shop();
    let id = api.bought_without_email().await;
    api.0.fail("refund_payment", [StepFault::Error(permanent("REFUND_DECLINED", "no"))]);
    api.cancel(id).await;
    for _ in 0..2 {
        let answer = api.resend(id, Some(CORRECTED)).await;
        assert_eq!((answer.status, &answer.body()["status"]), (409, &json!("compensating")), "{}", answer.text);
        api.0.run(id).await.unwrap();
    }
    assert_eq!((api.order(id).status, api.1.resends(id)), (OrderStatus::Cancelled, vec![]));

    let json = r#"{"refund_id": "re_1", "payment_id": "pay_1", "amount_refunded": 12.34, "currency": "USD",
        "refunded_at": "2026-11-26T09:00:00Z"}"#;
    let (by_hand, actor) = (ManualResult { json, attempts_checked: true }, Actor::new("ann", "by transfer").unwrap());
    api.0.client().resolve_step(id, "refund_payment", by_hand, &actor).await.unwrap();
    api.0.run(id).await.unwrap();
    assert_eq!(api.resend(id, Some(CORRECTED)).await.status, 200);
    assert_eq!(api.told(), [("cancelled".to_owned(), MISTYPED.to_owned()), told("cancelled")]);
    assert!(api.1.emails()[1].text.contains("We have refunded 12.34 USD."));
}

/// A step that was not attempted is not compensated, so nobody would tell this customer of a cancellation.
#[tokio::test(start_paused = true)]
async fn confirmation_is_not_sent_again_before_it_was_sent_first() {
    let api = shop();
    api.0.fail("send_confirmation", [StepFault::Error(retryable("MAIL_SERVICE_UNAVAILABLE", "not yet"))]);
    let id = api.start_checkout().await;
    api.until(id, "create_order", StepState::Complete).await;
    assert_eq!(api.snapshot(id).await.step("send_confirmation").unwrap().state, StepState::Pending);
    let answer = api.resend(id, None).await;
    assert_eq!((answer.status, &answer.body()["status"]), (409, &json!("in_progress")), "{}", answer.text);
    api.until(id, "send_confirmation", StepState::Retrying).await;
    assert_eq!(api.resend(id, Some(CORRECTED)).await.status, 200);
    assert_eq!(api.told(), [told("confirmed")]);
}

/// SQS gave up on the step's message before a worker could claim it.
#[tokio::test(start_paused = true)]
async fn confirmation_that_was_never_attempted_is_not_sent_again_before_a_redrive() {
    let api = shop();
    let id = api.start_checkout().await;
    api.until(id, "create_order", StepState::Complete).await;
    api.0.lose_messages();
    api.0.put_message("dead_letters", json!({"task_id": id, "step": "send_confirmation"}).to_string());
    let ended = api.0.run(id).await.unwrap();
    assert_eq!((ended.task.state, ended.step("send_confirmation").unwrap().attempt), (TaskState::Completed, 0));
    let answer = api.resend(id, Some(CORRECTED)).await;
    assert_eq!((answer.status, &answer.body()["status"]), (409, &json!("complete")), "{}", answer.text);
    assert!(answer.text.contains("Redrive the task first"), "{}", answer.text);
    assert_eq!((api.1.resends(id), api.told()), (vec![], vec![]));

    assert_eq!(api.act(id, "redrive").await.status, 202);
    let answer = api.resend(id, Some(CORRECTED)).await;
    assert!(answer.status == 409 && answer.text.contains("about to be sent"), "{}", answer.text);
    api.0.run(id).await.unwrap();
    assert_eq!(api.resend(id, Some(CORRECTED)).await.status, 200);
    api.cancel(id).await;
    api.0.run(id).await.unwrap();
    let first = ("confirmed".to_owned(), MISTYPED.to_owned());
    assert_eq!(api.told(), [first, told("confirmed"), told("cancelled")]);
}

/// Its step has the former address.
#[tokio::test(start_paused = true)]
async fn cancellation_is_not_sent_again_before_it_was_sent_first() {
    let api = shop();
    let id = api.bought_without_email().await;
    api.0.fail("send_cancellation", [StepFault::Error(retryable("MAIL_SERVICE_UNAVAILABLE", "not yet"))]);
    api.cancel(id).await;
    let due = |snapshot: &TaskSnapshot| snapshot.open_compensations().iter().any(|due| due.name == "send_cancellation");
    api.0.run_until(id, due).await.unwrap();
    for state in [StepState::Pending, StepState::Retrying] {
        api.until(id, "send_cancellation", state).await;
        let answer = api.resend(id, Some(CORRECTED)).await;
        assert_eq!((answer.status, &answer.body()["status"]), (409, &json!("compensating")), "{}", answer.text);
    }
    assert_eq!((api.1.resends(id), api.told()), (vec![], vec![]));
    api.0.run(id).await.unwrap();
    assert_eq!(api.resend(id, Some(CORRECTED)).await.status, 200);
    assert_eq!(api.told(), [("cancelled".to_owned(), MISTYPED.to_owned()), told("cancelled")]);
}

/// An older version may have stored it.
#[tokio::test(start_paused = true)]
async fn invalid_address_of_the_order_is_not_written_to() {
    let (api, id) = (Api::new(), TaskId::new());
    let (log, _guard) = log();
    let invalid = Some("A <a@example.org>".to_owned());
    api.1.create(Order { customer_email: invalid, ..order(id, api.0.now()) }).await.unwrap();
    api.resend(id, None).await.is_violation("/email", "is missing, and the order's address");
    assert!(!log.has("e-mail about an order was sent again") && api.told().is_empty());
    assert_eq!(api.resend(id, Some(CORRECTED)).await.status, 200);
    assert!(log.has("e-mail about an order was sent again"));
}

/// The item of an order is kept for longer than its task.
#[tokio::test(start_paused = true)]
async fn order_without_a_task_is_told_of_while_it_stands() {
    let (api, id) = (Api::new(), TaskId::new());
    api.1.create(order(id, api.0.now())).await.unwrap();
    api.resend(id, None).await.is_violation("/email", "is missing, and the order has no e-mail address");
    for sent in 1..=Resend::MOST {
        assert_eq!((api.resend(id, Some(CORRECTED)).await.status, api.told().len()), (200, sent));
    }
    let answer = api.resend(id, None).await;
    assert_eq!((answer.status, api.told().len()), (409, Resend::MOST), "{}", answer.text);

    let other = TaskId::new();
    api.1.create(order(other, api.0.now())).await.unwrap();
    api.1.cancel(other, api.0.now() + Duration::from_secs(1)).await.unwrap();
    let answer = api.resend(other, Some(CORRECTED)).await;
    assert_eq!((answer.status, &answer.body()["status"]), (409, &json!("cancelled")), "{}", answer.text);
    let remedy = "again in a minute; if it is refused again, tell the customer in another way";
    assert!(answer.text.contains(remedy), "{}", answer.text);
    assert_eq!(api.1.resends(other), []);
}
