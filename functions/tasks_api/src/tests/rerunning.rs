//! Reruns of checkouts: a new card, a checked input, and one new task.

use super::*;
use checkout::CardTokens;
use stepwell::{FailureKind, core::record::ActionKind};
use test_case::test_case;

const NEW_CARD: &str = r#"{"reason": "another card", "patch": {"payment_info": {"token": "test_success_amex"}}}"#;

/// A checkout that was cancelled and is compensated. Its stored context has its card's token, as an old version has left it there.
async fn undone() -> (Api, TaskId) {
    let api = Api::with(checkout::workflow().unwrap());
    let id = api.failed("process_payment").await;
    assert_eq!(api.act(id, "compensate").await.status, 202);
    api.0.run(id).await.unwrap();
    assert!(api.snapshot(id).await.task.context.contains("test_success_visa"));
    (api, id)
}

impl Api {
    async fn rerun(&self, id: TaskId, body: &str) -> ApiAnswer {
        self.post(&format!("/tasks/{id}/rerun"), body).await
    }

    async fn kept_token(&self, id: TaskId) -> Option<String> {
        let token = self.1.kept(id, self.0.now()).await.unwrap();
        token.map(|token| token.reveal().to_owned())
    }
}

fn new_task(answer: &ApiAnswer) -> TaskId {
    answer.body()["task_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn rerun_is_a_new_checkout_with_a_new_card_and_a_repeated_request_finds_it() {
    let (api, id) = undone().await;
    let answer = api.rerun(id, NEW_CARD).await;
    let new = new_task(&answer);
    let expected = |status: &str| json!({"success": true, "task_id": new, "rerun_of": id, "status": status});
    assert_eq!((answer.status, answer.body()), (202, expected("pending")));

    let rerun = api.snapshot(new).await.task;
    let context: Value = serde_json::from_str(&rerun.context).unwrap();
    assert_eq!(context["customer_info"], json!({"email": "ann@example.com", "name": "Ann"}), "of the old one");
    assert!(context["payment_info"]["token"].as_str().unwrap().starts_with("kept_"), "{context}");
    assert_eq!((api.kept_token(new).await.as_deref(), api.kept_token(id).await), (Some("test_success_amex"), None));

    assert_eq!(api.show(id).await["rerun_as"], json!({"task_id": new, "started": true}));
    assert_eq!(api.show(new).await["rerun_of"], json!(id));
    let trail = api.trail(id).await;
    let entry = trail.last().unwrap();
    assert_eq!((entry.what, entry.who.as_str(), entry.rerun_as), (ActionKind::Rerun, ARN, Some(new)));
    assert_eq!(entry.why, "another card");

    api.0.run(new).await.unwrap();
    let again = api.rerun(id, NEW_CARD).await;
    assert_eq!((again.status, again.body()), (200, expected("complete")));
    let other = api.rerun(id, r#"{"reason": "why", "patch": {"payment_info": {"token": "test_success_mc"}}}"#).await;
    let error = format!("Cannot rerun task: it was rerun before; the last rerun is {new}; look at that task");
    assert_eq!((other.status, &other.body()["error"]), (409, &json!(error)));
}

#[test_case(r#"{"reason": "w"}"#, "/input/payment_info", "\"token\" is a required property"; "no edit")]
#[test_case(r#"{"reason": "w", "patch": {"priority": "express"}}"#, "/input/payment_info", "\"token\""; "no card in the patch")]
#[test_case(r#"{"reason": "w", "patch": {"payment_info": {"token": "kept_0"}}}"#, "/input/payment_info/token", "is what a task shows"; "a fingerprint")]
#[test_case(r#"{"reason": "w", "patch": {"payment_info": {"token": "4111111111111111"}}}"#, "/input/payment_info/token", "value does not match"; "the number of a card")]
#[test_case(r#"{"reason": "w", "input": {}}"#, "/input", "\"cart_items\""; "an empty input")]
#[test_case(r#"{"reason": "w", "patch": {}, "input": {}}"#, "/patch", "cannot be there beside input"; "both")]
#[test_case(r#"{"reason": "w", "again": "maybe"}"#, "/again", "has to be true or false"; "no flag")]
#[test_case(r#"{"patch": {}}"#, "/reason", "is missing"; "no reason")]
#[tokio::test(start_paused = true)]
async fn input_that_no_checkout_takes_is_refused_with_the_path_and_reserves_nothing(
    body: &str,
    path: &str,
    message: &str,
) {
    let (api, id) = undone().await;
    let answer = api.rerun(id, body).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    let found = answer.body()["details"].clone();
    let wanted =
        |violation: &Value| violation["path"] == path && violation["message"].as_str().unwrap().starts_with(message);
    assert!(found.as_array().unwrap().iter().any(wanted), "{found}");
    assert!(!answer.text.contains("4111"), "{}", answer.text);
    assert_eq!(api.snapshot(id).await.task.rerun_as, None);
}

#[tokio::test(start_paused = true)]
async fn input_given_as_a_whole_takes_the_place_of_the_old_one() {
    let (api, id) = undone().await;
    let input = json!({
        "cart_items": [{"product_id": 2, "quantity": 3}],
        "payment_info": {"token": "test_success_mc", "amount": 2},
        "customer_info": {"email": "bob@example.com", "name": "Bob"},
    });
    let answer = api.rerun(id, &json!({"reason": "w", "input": input}).to_string()).await;
    let new = new_task(&answer);
    let context: Value = serde_json::from_str(&api.snapshot(new).await.task.context).unwrap();
    assert_eq!(context["cart_items"], input["cart_items"]);
    assert_eq!(api.kept_token(new).await.as_deref(), Some("test_success_mc"));
    let found = api.get("/tasks?key=email:bob@example.com").await.body();
    assert_eq!(found["tasks"][0]["task_id"], json!(new), "it is found by its own keys");
}

#[tokio::test(start_paused = true)]
async fn complete_checkout_is_rerun_only_again() {
    let api = Api::with(checkout::workflow().unwrap());
    let id = api.started().await;
    api.0.run(id).await.unwrap();
    let refused = api.rerun(id, NEW_CARD).await;
    let error = "Cannot rerun task: it is complete, and all that it has done stands, so a rerun does it once more. Whoever wants that has \
                 to say so: send the request again with `\"again\": true`";
    assert_eq!(
        (refused.status, &refused.body()["error"], &refused.body()["status"]),
        (409, &json!(error), &json!("complete"))
    );
    let body = NEW_CARD.replace('{', "{\"again\": true, ").replace(": {\"again\": true, ", ": {");
    assert_eq!(api.rerun(id, &body).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn checkout_that_may_be_paid_yet_is_not_rerun() {
    let api = Api::with(checkout::workflow().unwrap());
    let id = api.failed("process_payment").await;
    let refused = api.rerun(id, NEW_CARD).await;
    let error = "Cannot rerun task: it is in error status, so it may still be redriven; redrive it, or cancel or compensate it first";
    assert_eq!(
        (refused.status, &refused.body()["error"], &refused.body()["status"]),
        (409, &json!(error), &json!("error"))
    );
    let unknown = api.post(&format!("/tasks/{UNKNOWN}/rerun"), NEW_CARD).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test(start_paused = true)]
async fn task_of_an_unknown_workflow_is_not_rerun() {
    let api = Api::new();
    let id = api.failed("pay").await;
    api.0.run(id).await.unwrap();
    let refused = api.rerun(id, NEW_CARD).await;
    let error = "Cannot rerun task: this deployment has no workflow of the name of tests/test@1.0.0";
    assert_eq!((refused.status, &refused.body()["error"]), (409, &json!(error)));
}

/// The start is refused by the store, or its answer is lost. The new card is that of the task that runs in the end.
#[test_case(FailureKind::Throttled, 503; "nothing was written")]
#[test_case(FailureKind::Unavailable, 202; "it is not known")]
#[tokio::test(start_paused = true)]
async fn rerun_that_broke_off_is_completed_by_the_next_request(kind: FailureKind, status: u16) {
    let (api, id) = undone().await;
    api.0.fail_call("create", [kind]);
    let broken_off = api.rerun(id, NEW_CARD).await;
    assert_eq!(broken_off.status, status, "{}", broken_off.text);
    if status == 202 {
        assert_eq!(broken_off.body()["status"], "unconfirmed");
    }
    assert_eq!(api.show(id).await["rerun_as"]["started"], false);
    let answer = api.rerun(id, NEW_CARD).await;
    let new = new_task(&answer);
    assert_eq!(api.snapshot(id).await.task.rerun_as.map(|rerun| rerun.task), Some(new));
    assert_eq!(api.kept_token(new).await.as_deref(), Some("test_success_amex"));
    let tasks = api.0.memory().store.tasks();
    let mut started = 0;
    for task in tasks {
        started += usize::from(api.snapshot(task).await.task.rerun_of.is_some());
    }
    assert_eq!(started, 1);
}

#[tokio::test(start_paused = true)]
async fn rerun_whose_card_cannot_be_kept_starts_nothing() {
    let (api, id) = undone().await;
    let tables = Some(StoreError::Failed("InternalServerError".to_owned()));
    api.1.set_outage(Outage { tables, ..Outage::default() });
    assert_eq!(api.rerun(id, NEW_CARD).await.status, 503);
    api.1.set_outage(Outage::default());
    let new = new_task(&api.rerun(id, NEW_CARD).await);
    assert_eq!(api.snapshot(id).await.task.rerun_as.map(|rerun| rerun.task), Some(new));
    assert_eq!(api.kept_token(new).await.as_deref(), Some("test_success_amex"));
}
