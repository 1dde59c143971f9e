//! `GET /tasks/{task_id}/events`: a task as it changes, as server-sent events.
//!
//! An answer ends with its first event, because a gateway in front of the API passes on no answer that is not whole. The client then asks again, with
//! the event that it has seen last. An event is the whole task as it is by then, and its id is a hash of it: so a client that has lost an answer,
//! or comes late, has the newest state with the next one, and no state is told twice in a row.

use crate::{
    Engine,
    error::{ApiError, no_task, task_id},
    paused::Pauses,
    show::{RerunView, TaskView},
};
use axum::{
    extract::State,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderName},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use http_api::{CommonError, Segment, Wait};
use sha2::{Digest, Sha256};
use std::time::Duration;
use stepwell::{
    Runtime, Timestamp,
    core::{hex::hex, inspection::is_at_rest, snapshot::TaskSnapshot},
    ports::{Queue, Store},
};

/// By which a client says what it has seen last. The specification of server-sent events names it.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// After how many milliseconds a client asks again.
const RETRY_MS: u32 = 100;

/// What is to be told of a task.
struct News {
    id: String,
    json: String,
    /// Whether nothing follows by itself.
    at_rest: bool,
}

impl News {
    fn of(
        snapshot: &TaskSnapshot,
        rerun_as: Option<RerunView>,
        pauses: &Pauses,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        let json = serde_json::to_string(&TaskView::of(snapshot, rerun_as, pauses, now)?);
        let json = json.map_err(|error| CommonError::Broken(format!("a task cannot be written as JSON: {error}")))?;
        Ok(Self { id: hex(Sha256::digest(&json)), json, at_rest: is_at_rest(snapshot, now) })
    }
}

/// Answers with the task as soon as it is another than the one of the header `Last-Event-ID`, or without an event when the wait is over.
/// Once the client has seen a task after which nothing follows by itself, the answer is 204, after which it asks no more.
pub(crate) async fn events<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    segment: Segment,
    request: Parts,
) -> Result<Response, ApiError> {
    let id = task_id(segment)?;
    let wait = Wait::of(&request, Duration::from_secs(Wait::MAX_SECONDS))?;
    let seen = request.headers.get(LAST_EVENT_ID);
    let is_seen = |news: &News| seen.is_some_and(|seen| seen.as_bytes() == news.id.as_bytes());
    // Once: a pause that begins or ends meanwhile is told by the next answer.
    let pauses = Pauses::read(&engine).await?;
    let look = async || {
        let snapshot = engine.snapshot(id).await?.ok_or_else(no_task)?;
        News::of(&snapshot, RerunView::of(&engine, &snapshot).await?, &pauses, engine.now())
    };
    let told = wait.poll(look, || engine.changed(id), |news| !is_seen(news) || news.at_rest).await?;
    let text = match (is_seen(&told), told.at_rest) {
        (true, true) => return Ok(StatusCode::NO_CONTENT.into_response()),
        (true, false) => format!("retry: {RETRY_MS}\n\n"),
        (false, _) => {
            // A result is kept as it was written, with its line breaks. In JSON they stand between its parts only.
            let data: String = told.json.split(['\n', '\r']).map(|line| format!("data: {line}\n")).collect();
            format!("retry: {RETRY_MS}\nid: {}\n{data}\n", told.id)
        }
    };
    Ok(([(CONTENT_TYPE, "text/event-stream")], text).into_response())
}
