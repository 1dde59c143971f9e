//! `POST /tasks/{task_id}/reveal`: shows what a task was started with, which no other request does: it has personal data.
//!
//! It changes nothing and is a `POST` all the same: an AWS policy that lets somebody look allows `GET/*`, and must not let them see this. On a stack it
//! is a route of its own, with a scope of its own. Each look is a line in the log, and no entry in the task's audit trail: that tells what was done to
//! the task, has a limit, and is written by a conditional write that a worker's could meet.

use crate::{
    Engine,
    error::{ApiError, no_task, task_id},
    operator::Operator,
    workflows,
};
use axum::{Extension, Json, extract::State};
use http_api::{Caller, Rights, Segment};
use serde::Serialize;
use serde_json::Value;
use stepwell::{
    Runtime, TaskId,
    ports::{Queue, Store},
};

/// The answer: what a task was started with.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Revealed {
    task_id: TaskId,
    /// The task's workflow: `namespace/name@version`.
    workflow: String,
    /// The input, with every digit of its numbers. What the workflow file declares as `secret` is `***`.
    input: Value,
    /// Where in the input `***` stands in the place of a value, as JSON pointers.
    hidden: Vec<&'static str>,
}

/// Shows the input of a task.
pub(crate) async fn reveal<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    Extension(operator): Extension<Operator>,
    Extension(Caller { rights, .. }): Extension<Caller>,
    segment: Segment,
) -> Result<Json<Revealed>, ApiError> {
    if rights != Rights::All {
        return Err(ApiError::MayNotReveal(operator.name().to_owned()));
    }
    let task = engine.snapshot(task_id(segment)?).await?.ok_or_else(no_task)?.task;
    // What is secret in the input, the file says as it is now: so a declaration holds for the tasks that were started before it.
    let workflow = workflows::of(&task.workflow).ok_or_else(|| {
        let why = format!(
            "Cannot show the input: this deployment has no workflow of the name of {}, and so cannot tell what in it is secret",
            task.workflow
        );
        ApiError::Illegal { why, status: None }
    })?;
    let (input, hidden) = workflow.shown_context(&task.context);
    tracing::info!(task_id = %task.id, who = operator.name(), "the input of a task was shown");
    Ok(Json(Revealed { task_id: task.id, workflow: task.workflow, input, hidden }))
}
