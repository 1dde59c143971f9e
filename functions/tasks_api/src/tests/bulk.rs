//! Retrying all tasks that fit a filter.

use super::{fake::Fake, looking::summary, *};
use stepwell::{By, Filter, core::state::TaskStatus};
use test_case::test_case;

const IDS: [&str; 3] = [
    "018f4e4e-7c1a-7000-8000-000000000001",
    "018f4e4e-7c1a-7000-8000-000000000002",
    "018f4e4e-7c1a-7000-8000-000000000003",
];

fn three() -> Fake {
    let fake = Fake::default();
    fake.state().found = IDS.map(summary).into();
    fake
}

#[test_case(r#"{"reason": "why"}"#; "nothing said")]
#[test_case(r#"{"reason": "why", "dry_run": true}"#; "said")]
#[test_case(r#"{"reason": "why", "dry_run": null, "filter": null, "limit": null, "next": null}"#; "all of it null")]
#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing(body: &str) {
    let fake = three();
    let answer = post(&fake, "/tasks/retry", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let expected = json!({"dry_run": true, "matched": 3, "retried": 0, "refused": [], "tasks": IDS, "next": null});
    assert_eq!(answer.body(), expected);
    assert_eq!(fake.state().retried_by, [None]);
}

#[tokio::test]
async fn what_is_found_is_retried_and_what_is_not_is_told() {
    let fake = three();
    fake.state().next = Some("1700000000007_4".parse().unwrap());
    let body = r#"{"reason": "why", "dry_run": false, "limit": 3, "next": "1700000000007_2",
        "filter": {"status": "error", "failed_step": "process_payment", "error_code": "GATEWAY_DOWN"}}"#;
    let answer = post(&fake, "/tasks/retry", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert!(!answer.text.contains(fake::INTERNALS), "{}", answer.text);
    let refused = json!([
        {"task_id": IDS[2], "error": "Cannot retry task in pending status"},
        {"task_id": IDS[1], "error": "The service is not available right now; please try again"},
    ]);
    let expected = json!({"dry_run": false, "matched": 3, "retried": 1, "refused": refused, "tasks": IDS, "next": "1700000000007_4"});
    assert_eq!(answer.body(), expected);
    let state = fake.state();
    assert_eq!(state.retried_by, [Some(By::new(ARN, "why").unwrap())]);
    let filter = Filter {
        status: Some(TaskStatus::Error),
        failed_step: Some("process_payment".to_owned()),
        error_code: Some("GATEWAY_DOWN".to_owned()),
        ..Filter::default()
    };
    assert_eq!(state.searches, [(filter, Some("1700000000007_2".parse().unwrap()), 3)]);
}

#[tokio::test]
async fn duplicate_key_of_a_filter_is_refused_with_its_path() {
    let fake = three();
    let body = r#"{"reason": "why", "dry_run": false, "filter": {"workflow": "a", "workflow": "b"}}"#;
    let answer = post(&fake, "/tasks/retry", body).await;
    assert_eq!((answer.status, &answer.body()["details"][0]["path"]), (400, &json!("/filter/workflow")));
    assert!(fake.is_untouched());
}

#[test_case(r#"{"dry_run": false}"#, "/reason", "is missing")]
#[test_case(r#"{"reason": "why", "dry_run": 0}"#, "/dry_run", "has to be true or false")]
#[test_case(r#"{"reason": "why", "dryrun": false}"#, "/dryrun", "is not known here")]
#[test_case(r#"{"reason": "why", "limit": 101}"#, "/limit", "has to be a whole number from 1 to 100")]
#[test_case(r#"{"reason": "why", "limit": 1.5}"#, "/limit", "has to be a whole number from 1 to 100"; "half a task")]
#[test_case(r#"{"reason": "why", "next": 2}"#, "/next", "has to be a text")]
#[test_case(r#"{"reason": "why", "filter": []}"#, "/filter", "has to be an object")]
#[test_case(r#"{"reason": "why", "filter": {"status": 5}}"#, "/filter/status", "has to be a text")]
#[test_case(
    r#"{"reason": "why", "filter": {"status": "complete"}}"#,
    "/filter/status",
    "has to be error or compensating"
)]
#[test_case(r#"{"reason": "why", "filter": {"compensated": true}}"#, "/filter/compensated", "has to be false")]
#[test_case(r#"{"reason": "why", "filter": {"older_than": "1y"}}"#, "/filter/older_than", "has to be an age")]
#[test_case(r#"{"reason": "why", "filter": {"limit": 5}}"#, "/filter/limit", "is not known here")]
#[tokio::test]
async fn a_body_that_is_wrong_is_told_where(body: &str, path: &str, message: &str) {
    let fake = three();
    let faults = post(&fake, "/tasks/retry", body).await.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].0 == path && faults[0].1.starts_with(message), "{faults:?}");
    assert!(fake.is_untouched());
}
