//! Requests that wait for the end of their checkout.

use super::*;
use std::time::Duration;
use stepwell::{core::state::TaskState, permanent, testing::StepFault};
use test_case::test_case;
use tokio::time::Instant;

const START: &str = "/checkout?wait=25";

/// Sends a request, and runs the checkout that it is about meanwhile. Returns the answer and how long it took.
async fn while_it_runs(api: &Api, request: impl Future<Output = ApiAnswer>, task: TaskId) -> (ApiAnswer, Duration) {
    let begun = Instant::now();
    let answered = async { (request.await, begun.elapsed()) };
    let run = async {
        // The worker gets the message once the task is written.
        tokio::time::sleep(Duration::from_millis(1)).await;
        api.harness.run_until(task, |snapshot| snapshot.task.state != TaskState::Running).await.unwrap();
    };
    tokio::join!(answered, run).0
}

/// The id that the first checkout of an API gets.
const FIRST: &str = "018bcfe5-6800-7000-8000-000000000001";

fn first() -> TaskId {
    FIRST.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn start_that_waits_is_answered_with_the_end_of_its_checkout() {
    let api = Api::new();
    let (answer, _) = while_it_runs(&api, api.checkout_at(START, good().to_string()), first()).await;
    let (url, order_url) = (url("/order_status", &FIRST), answer.body()["redirect_url"].clone());
    let ended = json!({
        "success": true, "task_id": FIRST, "task_key": key(&FIRST), "status": "completed", "checkout_url": url,
        "order_id": UNKNOWN, "order_number": "ORD-20231114-0A1B2C3D", "total_amount": exact("100.00"),
        "redirect_url": order_url,
    });
    assert_eq!((answer.status, answer.body()), (202, ended));
}

#[tokio::test(start_paused = true)]
async fn start_that_waits_is_told_why_its_checkout_failed() {
    let api = Api::new();
    api.harness.fail("process_payment", [StepFault::Error(permanent("PAYMENT_DECLINED", "no"))]);
    let (answer, _) = while_it_runs(&api, api.checkout_at(START, good().to_string()), first()).await;
    assert_eq!((answer.status, &answer.body()["status"]), (202, &json!("failed")));
    assert_eq!(answer.body()["error"]["code"], "PAYMENT_DECLINED");
}

/// The checkout does not run at all.
#[test_case(25; "the longest")]
#[test_case(0; "none")]
#[tokio::test(start_paused = true)]
async fn wait_ends_on_time(seconds: u64) {
    let api = Api::new();
    let id = api.started().await;
    let begun = Instant::now();
    let answer = api.get(&format!("/order_status/{id}?wait={seconds}")).await;
    assert_eq!((answer.status, &answer.body()["status"]), (200, &json!("processing")));
    assert_eq!(begun.elapsed().as_secs(), seconds);
}

#[tokio::test(start_paused = true)]
async fn status_is_told_as_soon_as_the_checkout_has_ended() {
    let api = Api::new();
    let id = api.started().await;
    let (answer, took) = while_it_runs(&api, api.get(&format!("/order_status/{id}?wait=25")), id).await;
    assert_eq!(answer.body()["status"], "completed");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// A stranger would keep functions busy.
#[tokio::test(start_paused = true)]
async fn wait_without_the_key_is_answered_at_once() {
    let (api, begun) = (Api::new(), Instant::now());
    let id = api.started().await;
    let answer = api.as_a_stranger("GET", &format!("/order_status/{id}?wait=25")).await;
    assert_eq!((answer.status, &answer.body()["status"], begun.elapsed()), (200, &json!("processing"), Duration::ZERO));
}

#[test_case("wait=26")]
#[test_case("wait=-1")]
#[test_case("wait=1.5")]
#[test_case("wait="; "empty")]
#[test_case("wait=1&wait=2")]
#[tokio::test]
async fn invalid_wait_is_refused_and_nothing_is_started(query: &str) {
    let api = Api::new();
    for answer in [
        api.checkout_at(&format!("/checkout?{query}"), good().to_string()).await,
        api.get(&format!("/order_status/{UNKNOWN}?{query}")).await,
    ] {
        let message = "has to be one whole number of seconds from 0 to 25";
        assert_eq!(answer.refusal(), (422, "Invalid request".to_owned()));
        assert_eq!(answer.body()["details"], json!([{"path": "/wait", "message": message}]));
    }
    assert!(api.is_untouched());
}
