//! `POST /tasks/{task_id}/copy`: starts a task like another one, with an edited input.
//!
//! Unlike a rerun it leaves the other task as it is, in whatever state that is, and may be asked for any number of times. So the request needs an
//! idempotency key: repeated with the same one, it starts one task only.

use crate::intake::Intake;
use crate::{
    act::reason,
    error::{ApiError, no_task, task_id},
    operator::Operator,
    rerun::{Edit, RerunDesk, begun, edited, not_started, workflow_of},
};
use axum::{Extension, body::Body, extract::State, http::request::Parts, response::Response};
use http_api::{AnswerBy, CommonError, Correlation, Fields, Segment};
use serde::Serialize;
use std::sync::Arc;
use stepwell::{
    Runtime, TaskId,
    ports::{Queue, Store},
};

/// The answer: the new task.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Copying {
    success: bool,
    /// The new task.
    task_id: TaskId,
    /// The task whose input it has.
    copy_of: TaskId,
    /// `pending` after a start; `unconfirmed` if it is not known whether it was started: the same request, sent again, goes on with it.
    status: &'static str,
}

/// Starts a task like another one.
pub(crate) async fn copy<I: Intake, S: Store, Q: Queue, A: Runtime>(
    State(desk): State<Arc<RerunDesk<I, S, Q, A>>>,
    Extension(answer_by): Extension<AnswerBy>,
    Extension(operator): Extension<Operator>,
    Correlation(correlation_id): Correlation,
    segment: Segment,
    request: Parts,
    body: Body,
) -> Result<Response, ApiError> {
    operator.check_start(&request)?;
    let RerunDesk { intake, engine } = &*desk;
    let id = task_id(segment)?;
    let key = http_api::idempotency_key(&request.headers, Some(operator.name()))?;
    let key = key.ok_or_else(|| {
        CommonError::BadKey("it is missing, and without it a repeated request would start two tasks".to_owned())
    })?;
    let mut fields = Fields::of_body(&request, body).await?;
    let edit = Edit::of(&mut fields);
    let reason = reason(&mut fields);
    fields.finish()?;
    let actor = operator.actor(reason)?;

    let task = engine.snapshot(id).await?.ok_or_else(no_task)?.task;
    let workflow = workflow_of(&task, "copy")?;
    let (input, secret) = edited(intake, workflow, &task, edit)?;
    let start = engine.prepare_start(workflow, &input, Some(&key)).await.map_err(not_started)?;
    let (start, now) = (start.correlated(correlation_id), engine.now());
    let new = start.task_id();
    if !start.is_written() {
        tracing::info!(task_id = %new, copy_of = %id, who = actor.who(), why = actor.why(), "a task is copied");
    }
    // Before the task is written, so that its steps find it. A request that is repeated later must not bring it back.
    if let Some(secret) = secret.filter(|_| !start.is_written()) {
        intake.keep(new, &secret, now).await?;
    }
    begun(engine, answer_by, start, |status| Copying { success: true, task_id: new, copy_of: id, status }).await
}
