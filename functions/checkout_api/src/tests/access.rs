//! What the key of a checkout opens, and what nobody sees without it.

use super::*;
use test_case::test_case;

#[tokio::test(start_paused = true)]
async fn answer_to_a_start_opens_the_checkout_by_its_url_and_by_its_key() {
    let api = Api::new();
    let answer = api.checkout(good().to_string()).await;
    let body = answer.body();
    let (id, key) = (body["task_id"].as_str().unwrap(), body["task_key"].as_str().unwrap());
    let url = body["checkout_url"].as_str().unwrap();
    assert_eq!((url, answer.header("Location")), (format!("/order_status/{id}?key={key}").as_str(), url));
    assert!(api.as_a_stranger("GET", url).await.body()["progress"].is_object());
    let by_header = Request::get(format!("/order_status/{id}")).header("X-Task-Key", key);
    assert!(api.send_as_it_is(by_header, &[], "").await.body()["progress"].is_object());
}

#[tokio::test(start_paused = true)]
async fn start_that_is_sent_again_answers_with_the_same_key() {
    let api = Api::new();
    let [first, again] = [api.with_key("k", good().to_string()).await, api.with_key("k", good().to_string()).await];
    assert_eq!(first.body()["task_key"], again.body()["task_key"]);
}

#[test_case("GET", "/workflow_details")]
#[test_case("GET", "/orders")]
#[test_case("POST", "/retry_checkout")]
#[test_case("POST", "/cancel_checkout")]
#[tokio::test(start_paused = true)]
async fn without_the_key_a_checkout_is_as_if_it_were_not_there(method: &str, path: &str) {
    let api = Api::new();
    let (id, other) = (api.started().await, api.started().await);
    let unknown = api.as_a_stranger(method, &format!("{path}/{UNKNOWN}")).await;
    for key in [String::new(), "?key=".to_owned(), format!("?key={}", key(&other))] {
        let answer = api.as_a_stranger(method, &format!("{path}/{id}{key}")).await;
        assert_eq!((answer.status, &answer.text), (404, &unknown.text), "{key}");
    }
    // Nothing was retried or cancelled.
    assert_eq!(api.status(id).await["status"], "processing");
}

#[tokio::test(start_paused = true)]
async fn without_the_key_only_the_word_of_the_status_is_shown() {
    let api = Api::new();
    let id = api.started().await;
    let shown = api.as_a_stranger("GET", &format!("/order_status/{id}")).await.body();
    assert_eq!(shown, json!({"status": "processing", "task_id": id}));
    assert_eq!(api.as_a_stranger("GET", &format!("/order_status/{UNKNOWN}")).await.status, 404);
}
