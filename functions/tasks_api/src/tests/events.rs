//! A task as server-sent events.

use super::*;
use stepwell::{Actor, core::state::End};
use tokio::time::Instant;

/// An event: its id and its data.
#[derive(Debug)]
struct Event {
    id: String,
    task: Value,
}

impl Api {
    /// What is answered to who has seen the event of this id last.
    async fn events(&self, id: TaskId, query: &str, seen: Option<&str>) -> ApiAnswer {
        let request = Request::builder().uri(format!("/tasks/{id}/events{query}"));
        let request = seen.into_iter().fold(request, |request, seen| request.header("last-event-id", seen));
        self.send(Some(ARN), request.body(Body::empty()).unwrap()).await
    }
}

impl ApiAnswer {
    /// The events of an answer, read as a browser reads them.
    fn events(&self) -> Vec<Event> {
        assert_eq!((self.status, &self.headers["content-type"]), (200, &"text/event-stream".parse().unwrap()));
        let blocks = self.text.split_terminator("\n\n").filter(|block| block.contains("data: "));
        let event = |block: &str| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
            Event { id: field("id: "), task: serde_json::from_str(&field("data: ")).unwrap() }
        };
        blocks.map(event).collect()
    }
}

/// Tells who has seen this event the next one.
async fn next(api: &Api, id: TaskId, seen: &Event) -> Event {
    api.events(id, "", Some(&seen.id)).await.events().remove(0)
}

#[tokio::test(start_paused = true)]
async fn change_is_told_once_and_while_it_is_waited_for() {
    let api = Api::new();
    let id = api.started().await;
    let started = api.events(id, "", None).await.events().remove(0);
    assert_eq!(started.task, api.show(id).await);
    api.0.run_until(id, |snapshot| snapshot.step("pay").is_some_and(|step| step.state.is_done())).await.unwrap();
    let paid = next(&api, id, &started).await;
    assert_eq!((&paid.task["status"], &paid.task["steps"][0]["status"]), (&json!("in_progress"), &json!("complete")));

    let (asked_at, told) = (Instant::now(), next(&api, id, &paid));
    let later = async {
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        api.0.run(id).await.unwrap();
    };
    let (told, ()) = tokio::join!(told, later);
    assert_eq!(told.task["status"], "complete");
    assert!((10..=12).contains(&asked_at.elapsed().as_secs()), "{:?}", asked_at.elapsed());
    assert_eq!(api.events(id, "", Some(&told.id)).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn result_of_several_lines_is_told_whole() {
    let api = Api::new();
    let id = api.failed("ship").await;
    let body = "{\"reason\": \"by hand\", \"attempts_checked\": true, \"result\": {\n  \"parcel\":\r\n 17}}";
    assert_eq!(api.post(&format!("/tasks/{id}/steps/ship/resolve"), body).await.status, 202);
    let answer = api.events(id, "", None).await;
    let data: Vec<&str> = answer.text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(serde_json::from_str::<Value>(&data.join("\n")).unwrap(), api.show(id).await);
    let fields = answer.text.lines().filter(|line| !line.is_empty());
    assert!(
        fields.clone().all(|line| ["retry: ", "id: ", "data: "].iter().any(|name| line.starts_with(name))),
        "{}",
        answer.text
    );
}

#[tokio::test(start_paused = true)]
async fn wait_without_a_change_ends_without_an_event() {
    let api = Api::new();
    let id = api.failed("pay").await;
    let seen = api.events(id, "", None).await.events().remove(0).id;
    for (query, seconds) in [("?wait=0", 0), ("?wait=3", 3), ("", 25)] {
        let asked_at = Instant::now();
        assert!(api.events(id, query, Some(&seen)).await.events().is_empty());
        assert_eq!(asked_at.elapsed().as_secs(), seconds, "{query}");
    }
    // Whoever has seen something else is told at once.
    let asked_at = Instant::now();
    assert_eq!(api.events(id, "", Some("0")).await.events()[0].id, seen);
    assert_eq!(asked_at.elapsed().as_secs(), 0);
}

/// Whoever has seen the task as it is now waits, or is told that nothing follows.
#[tokio::test(start_paused = true)]
async fn last_event_is_the_one_after_which_nothing_follows() {
    let status = async |api: &Api, id| {
        let seen = api.events(id, "?wait=0", None).await.events().remove(0).id;
        api.events(id, "?wait=0", Some(&seen)).await.status
    };
    let ann = Actor::new("ann", "why").unwrap();

    let api = Api::new();
    let running = api.started().await;
    assert_eq!(status(&api, running).await, 200, "it runs");
    api.0.run(running).await.unwrap();
    assert_eq!(status(&api, running).await, 204, "it is complete");

    let failed = api.failed("ship").await;
    assert_eq!(status(&api, failed).await, 200, "it is going to be compensated");
    api.0.client().redrive(failed, &ann).await.unwrap();
    assert_eq!(status(&api, failed).await, 200, "it was redriven");
    api.0.run(failed).await.unwrap();

    api.0.fail("refund", [StepFault::Error(permanent("NO", "no"))]);
    let stuck = api.failed("ship").await;
    api.0.client().compensate(stuck, &ann).await.unwrap();
    assert_eq!(status(&api, stuck).await, 200, "it is being compensated");
    api.0.run_until(stuck, |snapshot| snapshot.step("refund").is_some_and(|step| step.error.is_some())).await.unwrap();
    assert_eq!(status(&api, stuck).await, 204, "it waits for a person");
    api.0.client().redrive(stuck, &ann).await.unwrap();
    assert_eq!(status(&api, stuck).await, 200, "a person has helped");
    api.0.run(stuck).await.unwrap();
    assert_eq!(api.snapshot(stuck).await.task.state.ends_as(), Some(End::Error));
    assert_eq!(status(&api, stuck).await, 204, "it is compensated");
}

#[tokio::test(start_paused = true)]
async fn invalid_wait_is_refused() {
    let api = Api::new();
    let id = api.started().await;
    api.events(id, "?wait=26", None).await.is_violation("/wait", "has to be one whole number of seconds");
}
