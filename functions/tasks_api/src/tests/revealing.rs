use super::*;

/// A checkout that has failed. Its stored input has its card's token, as an old version has left it there.
async fn failed_checkout() -> (Api, TaskId) {
    let api = Api::with(checkout::workflow().unwrap());
    let id = api.failed("process_payment").await;
    (api, id)
}

impl Api {
    async fn reveal(&self, id: impl std::fmt::Display) -> ApiAnswer {
        self.post(&format!("/tasks/{id}/reveal"), "").await
    }
}

#[tokio::test(start_paused = true)]
async fn revealed_input_has_personal_data_but_no_secrets_and_each_look_is_logged() {
    let (api, id) = failed_checkout().await;
    let (log, _guard) = log();
    let answer = api.reveal(id).await;
    let input = json!({
        "cart_items": [{"product_id": 1, "quantity": 1}],
        "payment_info": {"token": "***", "amount": 1},
        "customer_info": {"email": "ann@example.com", "name": "Ann"},
    });
    let workflow = "ecommerce/checkout@1.0.0";
    let expected = json!({"task_id": id, "workflow": workflow, "input": input, "hidden": ["/payment_info/token"]});
    assert_eq!((answer.status, answer.body()), (200, expected));
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(log.has(&format!("the input of a task was shown task_id={id} who=\"{ARN}\"")), "{}", log.text());
    assert!(!log.has("ann@example.com") && !log.has("test_success_visa"), "{}", log.text());
    assert_eq!(api.trail(id).await, [], "a look is not done to the task");
    assert!(!api.show(id).await.to_string().contains("ann@example.com"), "all else shows nothing of it");
}

#[tokio::test(start_paused = true)]
async fn input_is_not_revealed_of_an_unknown_task_or_workflow() {
    let (api, _) = failed_checkout().await;
    let unknown = api.reveal(UNKNOWN).await;
    assert_eq!((unknown.status, &unknown.body()["error"]), (404, &json!("There is no such task")));
    let other = Api::new();
    let id = other.failed("pay").await;
    let refused = other.reveal(id).await;
    assert_eq!(refused.status, 409);
    assert!(
        refused.body()["error"].as_str().unwrap().contains("no workflow of the name of tests/test"),
        "{}",
        refused.text
    );
}

/// Such as one whose request came by another route of API Gateway than that of inputs.
#[tokio::test(start_paused = true)]
async fn caller_who_may_act_is_shown_no_input_without_that_right() {
    let (api, id) = failed_checkout().await;
    let caller = Caller { name: ARN.to_owned(), rights: Rights::Act };
    let request = Request::post(format!("/tasks/{id}/reveal")).extension(caller).body(Body::empty()).unwrap();
    let answer = api.send(None, request).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains("may not see inputs"), "{}", answer.text);
}
