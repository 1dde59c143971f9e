//! The figures that `/workflow_details` gives.

use serde_json::{Value, json};
use stepwell::Timestamp;
use stepwell_tests::{shop::STEPS, stack::Stack};

fn moment(value: &Value) -> Timestamp {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is not a moment"));
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// That a duration is the difference of two moments, to the millisecond.
fn assert_duration(of: &Value, from: &str, to: &str, duration: &str) {
    let expected = moment(&of[to]).since(moment(&of[from])).as_millis();
    assert_eq!(of[duration].as_u64().map(u128::from), Some(expected), "{duration} in {of}");
}

#[tokio::test]
async fn every_step_and_every_attempt_is_there_with_its_times() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, _, details) = stack.api.run(&product.request(1, "test_temp_fail_visa")).await;

    let whole = &details.0;
    assert_eq!(whole["task_id"], task);
    assert!(whole["workflow"].to_string().contains("checkout"), "{}", whole["workflow"]);
    assert_eq!(whole["status"], "complete");
    assert_duration(whole, "started_at", "completed_at", "total_duration_ms");
    assert_eq!(details.states(), STEPS.map(|step| (step, "complete")));

    let mut before: Option<&str> = None;
    let mut earlier = moment(&whole["started_at"]);
    for name in STEPS {
        let step = details.step(name);
        assert_eq!(step["depends_on"], json!(before.into_iter().collect::<Vec<_>>()), "{name}");
        assert!(step["result"].is_object() && step["error"].is_null(), "{step}");

        for (index, attempt) in details.attempts(name).iter().enumerate() {
            assert_eq!(attempt["number"].as_u64().unwrap() - 1, index as u64, "{attempt}");
            assert_duration(attempt, "started_at", "finished_at", "duration_ms");
            assert!(moment(&attempt["started_at"]) >= earlier, "{name} began before its turn: {attempt}");
            earlier = moment(&attempt["finished_at"]);
            if attempt["outcome"] == "retryable_error" {
                assert!(moment(&attempt["next_retry_at"]) > earlier, "{attempt}");
                earlier = moment(&attempt["next_retry_at"]);
            }
        }
        let attempts = details.attempts(name);
        let first = moment(&attempts.first().unwrap()["started_at"]);
        let took = earlier.since(first).as_millis();
        assert_eq!(
            step["duration_ms"].as_u64().map(u128::from),
            Some(took),
            "{name} from first claim to its end: {step}"
        );
        before = Some(name);
    }
    assert!(moment(&whole["completed_at"]) >= earlier);
    assert_eq!(details.outcomes("process_payment"), ["retryable_error", "complete"]);
}

#[tokio::test]
async fn what_has_not_happened_yet_is_told_apart() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (_, status, details) = stack.api.run(&product.request(1, "test_declined_visa")).await;
    assert_eq!(details.0["status"], "error");
    let failed = details.step("process_payment");
    assert_eq!(failed["error"], status["error"]);
    assert!(failed["result"].is_null(), "{failed}");
    for untouched in ["update_inventory", "create_order", "send_confirmation"] {
        let step = details.step(untouched);
        assert_eq!((&step["status"], &step["attempts"]), (&json!("pending"), &json!([])), "{step}");
        assert!(step["result"].is_null() && step["error"].is_null() && step["duration_ms"].is_null(), "{step}");
    }
}
