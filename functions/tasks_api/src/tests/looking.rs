//! Finding tasks, and looking into one.

use super::{
    fake::{Fake, NOW},
    *,
};
use stepwell::{
    Cursor, Filter, Summary, Timestamp, Workflow,
    core::{
        history::History,
        plan::Compensate,
        record::{Action, ActionKind, NewTask, StepRecord, TaskRecord},
        state::{End, StepState, TaskState, TaskStatus},
    },
};
use test_case::test_case;

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() - seconds * 1_000)
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn summary(id: &str) -> Summary {
    Summary {
        task_id: id.parse().unwrap(),
        workflow: "ecommerce/checkout@1.0.0".to_owned(),
        status: TaskStatus::Error,
        created_at: NOW,
        failed_steps: ["process_payment".to_owned()].into(),
    }
}

async fn filter(query: &str) -> Filter {
    let fake = Fake::default();
    let answer = get(&fake, &format!("/tasks{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let (filter, ..) = fake.state().searches.pop().unwrap();
    filter
}

#[tokio::test]
async fn the_list_says_what_the_index_says() {
    let fake = Fake::default();
    assert_eq!(get(&fake, "/tasks").await.body(), json!({"tasks": [], "count": 0, "next": null}));
    let next = format!("1700000000007_3_1700000000000_{ID}");
    fake.state().found.push(summary(ID));
    fake.state().next = Some(next.parse().unwrap());
    let task = json!({
        "task_id": ID, "workflow": "ecommerce/checkout@1.0.0", "status": "error",
        "created_at": "2023-11-14T22:13:20.000Z", "failed_steps": ["process_payment"],
        "compensated": false,
    });
    assert_eq!(get(&fake, "/tasks").await.body(), json!({"tasks": [task], "count": 1, "next": next}));
}

#[tokio::test]
async fn the_query_is_the_filter() {
    assert_eq!(filter("").await, Filter::default());
    let query = "?status=compensating&workflow=ecommerce%2Fcheckout%401.0.0&failed_step=process_payment\
                 &error_code=GATEWAY+DOWN&compensated=false&created_from=2023-11-01T00:00:00Z&created_before=2023-11-02T01:00:00%2B01:00";
    let expected = Filter {
        status: Some(TaskStatus::Compensating),
        workflow: Some("ecommerce/checkout@1.0.0".to_owned()),
        failed_step: Some("process_payment".to_owned()),
        error_code: Some("GATEWAY DOWN".to_owned()),
        compensated: Some(false),
        created_from: Some(moment("2023-11-01T00:00:00Z")),
        created_before: Some(moment("2023-11-02T00:00:00Z")),
    };
    assert_eq!(filter(query).await, expected);
}

#[test_case("90s", 90)]
#[test_case("15m", 15 * 60)]
#[test_case("2h", 2 * 3_600)]
#[test_case("3d", 3 * 86_400)]
#[test_case("0m", 0)]
#[tokio::test]
async fn an_age_is_a_moment_before_now(age: &str, seconds: i64) {
    let expected = Filter { created_before: Some(ago(seconds)), ..Filter::default() };
    assert_eq!(filter(&format!("?older_than={age}")).await, expected);
}

#[tokio::test]
async fn of_an_age_and_a_moment_the_earlier_counts() {
    let early = "&created_before=2020-01-01T00:00:00Z";
    assert_eq!(filter(&format!("?older_than=1h{early}")).await.created_before, Some(moment("2020-01-01T00:00:00Z")));
    let late = "&created_before=2030-01-01T00:00:00Z";
    assert_eq!(filter(&format!("?older_than=1h{late}")).await.created_before, Some(ago(3_600)));
}

#[tokio::test]
async fn a_list_goes_on_where_it_stopped() {
    let fake = Fake::default();
    let next = format!("1700000000007_3_1700000000000_{ID}");
    get(&fake, "/tasks").await;
    get(&fake, &format!("/tasks?limit=7&next={next}")).await;
    let pages: Vec<_> = fake.state().searches.drain(..).map(|(_, from, limit)| (from, limit)).collect();
    assert_eq!(pages, [(None, 50), (Some(next.parse::<Cursor>().unwrap()), 7)]);
}

#[test_case("status=broken", "/status", "has to be one of pending, complete, error, compensating")]
#[test_case("status=", "/status", "is empty")]
#[test_case("failed_step=", "/failed_step", "is empty")]
#[test_case("older_than=soon", "/older_than", "has to be an age such as 90s, 15m, 2h or 3d")]
#[test_case("older_than=-5m", "/older_than", "has to be an age"; "an age in the future")]
#[test_case("older_than=%2B5m", "/older_than", "has to be an age"; "a sign")]
#[test_case("older_than=99999999999d", "/older_than", "has to be an age"; "an age beyond counting")]
#[test_case("older_than=5\u{e9}", "/older_than", "has to be an age"; "a unit that is no letter of ours")]
#[test_case("created_from=yesterday", "/created_from", "`yesterday` is not an RFC 3339 moment")]
#[test_case("compensated=maybe", "/compensated", "has to be true or false")]
#[test_case("limit=0", "/limit", "has to be a whole number from 1 to 200")]
#[test_case("limit=201", "/limit", "has to be a whole number from 1 to 200"; "too many")]
#[test_case("limit=many", "/limit", "has to be a whole number from 1 to 200"; "no number")]
#[test_case("next=here", "/next", "`here` is not a `next` that a list has ended with")]
#[test_case("state=error", "/state", "is not known here")]
#[test_case("status=error&status=complete", "/status", "is there more than once")]
#[test_case("a/b~c=1", "/a~1b~0c", "is not known here")]
#[tokio::test]
async fn a_query_that_is_wrong_is_told_where(query: &str, path: &str, message: &str) {
    let fake = Fake::default();
    let answer = get(&fake, &format!("/tasks?{query}")).await;
    let faults = answer.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].0 == path && faults[0].1.starts_with(message), "{faults:?}");
    assert!(fake.is_untouched());
}

/// Whatever stands behind the question mark, it is answered, and nothing panics.
#[tokio::test]
async fn a_nasty_query_is_refused_and_no_more() {
    let long = format!("a={}", "\"".repeat(100_000));
    let many = "x=1&".repeat(50_000);
    let deep = format!("status={}", "[".repeat(50_000));
    for query in [
        "a=\"<x y>&%",
        "%",
        "%%%",
        "%zz=%",
        "=",
        "==",
        "&&&=",
        "?",
        "#",
        "a=\u{0}",
        "\u{1}=\u{7f}",
        "%00=%00",
        "%ff=%fe",
        "\u{e9}=\u{1f980}",
        "a=b\r\nX-Evil: 1",
        "status[]=error",
        "status=error%00",
        "{}",
        "\\",
        "limit=1e3",
        "limit=\"5",
        "next=1_2_3_4",
        "next=_",
        "next=99999999999999999999",
        "older_than=m",
        &long,
        &many,
        &deep,
    ] {
        let fake = Fake::default();
        let answer = get(&fake, &format!("/tasks?{query}")).await;
        let shown: String = query.chars().take(40).collect();
        assert_eq!(answer.status, 422, "{shown:?}: {}", answer.text);
        assert!(fake.is_untouched(), "{shown:?}");
        assert!(answer.body()["details"].as_array().unwrap().len() <= 20, "{shown:?}");
    }
    for query in ["", "&", "&&"] {
        assert_eq!(get(&Fake::default(), &format!("/tasks?{query}")).await.status, 200, "{query:?}");
    }
}

#[tokio::test]
async fn every_fault_is_told_at_once() {
    let answer = get(&Fake::default(), "/tasks?status=x&limit=0&older_than=x&colour=red").await;
    let mut paths: Vec<String> = answer.faults().into_iter().map(|(path, _)| path).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/colour", "/limit", "/older_than", "/status"]);
}

const WORKFLOW: &str = "
name: test
namespace_name: tests
version: 1.0.0
step_templates:
  - name: pay
    compensation: {name: refund}
";

/// A task that was cancelled after it had paid, by an operator with a reason.
fn cancelled() -> History {
    let workflow = Workflow::from_yaml(WORKFLOW).unwrap();
    let context = r#"{"payment_info": {"token": "test_success_visa"}}"#;
    let (id, plan) = (ID.parse().unwrap(), workflow.plan());
    let new = NewTask { id, workflow: workflow.id().to_string(), context, plan, created_at: NOW };
    let mut task = TaskRecord::from(&new);
    task.state = TaskState::Compensating(End::Cancelled);
    task.compensations = Some(vec!["refund".to_owned()]);
    let (who, why) = (ARN.to_owned(), "the customer asked for it".to_owned());
    task.actions.push(Action { at: NOW, what: ActionKind::Cancel, step: None, who, why });
    let result = Some(r#"{"amount": 100.00, "rate": 1e-2}"#.to_owned());
    let pay = StepRecord { state: StepState::Complete, attempt: 1, result, ..StepRecord::untouched("pay") };
    History { task, steps: vec![pay], compensations: vec![StepRecord::untouched("refund")] }
}

#[tokio::test]
async fn a_task_is_shown_with_its_audit_trail_and_without_its_context() {
    let fake = Fake::default();
    fake.state().history = Some(cancelled());
    let answer = get(&fake, &format!("/tasks/{ID}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(!answer.text.contains("test_success_visa") && !answer.text.contains("context"), "{}", answer.text);
    assert!(answer.text.contains(r#""result":{"amount": 100.00, "rate": 1e-2}"#), "to the digit: {}", answer.text);
    let task = answer.body();
    let expected = json!({"task_id": ID, "workflow": "tests/test@1.0.0", "status": "compensating"});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&task[name], value, "{task}");
    }
    assert_eq!((&task["ends_as"], &task["compensated"]), (&json!("cancelled"), &json!(false)));
    assert_eq!((&task["steps"][0]["name"], &task["compensations"][0]["name"]), (&json!("pay"), &json!("refund")));
    let action = json!({
        "at": "2023-11-14T22:13:20.000Z", "what": "cancel", "step": null, "who": ARN, "why": "the customer asked for it",
    });
    assert_eq!(task["actions"], json!([action]));
}

#[tokio::test]
async fn a_failed_task_says_when_it_is_undone_and_one_that_is_being_undone_has_not_ended() {
    let shown = async |history: &History| {
        let fake = Fake::default();
        fake.state().history = Some(history.clone());
        get(&fake, &format!("/tasks/{ID}")).await.body()
    };
    let mut history = cancelled();
    history.task.finished_at = Some(NOW);
    let task = shown(&history).await;
    assert_eq!((&task["completed_at"], &task["compensates_at"]), (&json!(null), &json!(null)), "{task}");
    (history.task.state, history.task.compensations) = (TaskState::Failed, None);
    history.task.plan = history.task.plan.compensating(Compensate::OnError, 60);
    let task = shown(&history).await;
    assert_eq!(task["completed_at"], "2023-11-14T22:13:20.000Z", "{task}");
    assert_eq!((&task["compensates_at"], &task["restarts_at"]), (&json!("2023-11-14T22:14:20.000Z"), &json!(null)));
}

#[tokio::test]
async fn an_unknown_task_is_not_found() {
    let long = "x".repeat(5_000);
    for id in ["018f4e4e-7c1a-7000-8000-0123456789aa", &ID.to_uppercase(), "1", "%00", "a b", "é", "..%2f", &long] {
        let answer = get(&Fake::default(), &format!("/tasks/{id}")).await;
        assert_eq!((answer.status, &answer.body()["error"]), (404, &json!("There is no such task")), "{id}");
    }
}
