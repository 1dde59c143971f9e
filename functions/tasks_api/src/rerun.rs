//! `POST /tasks/{task_id}/rerun`: starts a task that has come to its end once more, as a new task with an edited input, from its first step or a
//! later one.
//!
//! The new input is made of the stored one without what was secret in it, by a JSON merge patch (RFC 7396), or is given as a whole. It
//! is checked, and what is secret in it is kept apart, as by a start. The request may be repeated: it starts one task only.

use crate::{
    act::reason,
    error::{ApiError, task_id},
    intake::Intake,
    operator::Operator,
    workflows,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use http_api::{AnswerBy, Cause, CommonError, Fields, Segment};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{convert::Infallible, sync::Arc};
use stepwell::{
    Client, PendingStart, Rerun, RerunRequest, Runtime, StartError, TaskId, Violation, Workflow,
    core::{limits::MAX_CONTEXT_BYTES, record::TaskRecord, state::TaskStatus},
    ports::{Queue, Store, TableError},
};

/// The engine, and what is secret in the inputs of tasks.
pub(crate) struct RerunDesk<I, S, Q, A> {
    pub(crate) intake: I,
    pub(crate) engine: Arc<Client<S, Q, A>>,
}

/// The field that the violations of the new input are shown in, whether it was given or patched.
const INPUT: &str = "input";

/// The status of a rerun of which it is not known whether it was started.
const UNCONFIRMED: &str = "unconfirmed";

/// The answer: the task that the rerun is.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Rerunning {
    success: bool,
    /// The new task.
    task_id: TaskId,
    /// The task that was rerun.
    rerun_of: TaskId,
    /// `pending` after a start; `unconfirmed` if it is not known whether it was started: the same request, sent again, goes on with it.
    status: &'static str,
}

/// How the new input is made.
pub(crate) enum Edit {
    /// Of the stored one, as it is.
    Nothing,
    /// Of the stored one, by this merge patch.
    Patch(Value),
    /// It is this one.
    Whole(Value),
}

impl Edit {
    pub(crate) fn of(fields: &mut Fields) -> Self {
        let (patch, whole) = (fields.json_value("patch"), fields.json_value(INPUT));
        match (patch, whole) {
            (Some(_), Some(_)) => {
                fields.wrong("patch", "cannot be there beside input; give one of them");
                Self::Nothing
            }
            (Some(patch), None) => Self::Patch(patch),
            (None, Some(whole)) => Self::Whole(whole),
            (None, None) => Self::Nothing,
        }
    }

    /// What tells this edit from others.
    fn text(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Patch(patch) => format!("patch {patch}"),
            Self::Whole(whole) => format!("input {whole}"),
        }
    }

    /// Makes the new input of what `stored` reads.
    fn apply(self, stored: impl FnOnce() -> Result<Value, CommonError>) -> Result<Value, CommonError> {
        Ok(match self {
            Self::Nothing => stored()?,
            Self::Patch(patch) => {
                let mut input = stored()?;
                merge_patch(&mut input, patch);
                input
            }
            Self::Whole(whole) => whole,
        })
    }
}

/// Applies a JSON merge patch: an object changes the fields that it names and removes those that it gives as `null`; anything else takes
/// the place of what was there (RFC 7396).
pub fn merge_patch(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(fields.remove(&name)),
            value => merge_patch(fields.entry(name).or_insert(Value::Null), value),
        }
    }
}

/// Makes the new input of a task's, and takes what is secret out of it, as a start does.
///
/// # Errors
/// It does not fit the workflow.
pub(crate) fn edited<I: Intake>(
    intake: &I,
    workflow: &Workflow,
    task: &TaskRecord,
    edit: Edit,
) -> Result<(Value, Option<I::Secret>), ApiError> {
    let stored = || {
        let stored: Result<Value, _> = serde_json::from_str(&task.context);
        let mut stored =
            stored.map_err(|error| CommonError::Broken(format!("the context of task {}: {error}", task.id)))?;
        intake.strip(workflow, &mut stored);
        Ok(stored)
    };
    let mut input = edit.apply(stored)?;
    workflow.validate(&input).map_err(invalid)?;
    let secret = intake.take(workflow, &mut input).map_err(|wrong| invalid(vec![wrong]))?;
    Ok((input, secret))
}

/// Writes a start, and answers with 202 once the new task may be written, whatever else fails.
pub(crate) async fn begun<S: Store, Q: Queue, A: Runtime, B: Serialize>(
    engine: &Client<S, Q, A>,
    answer_by: AnswerBy,
    start: PendingStart,
    answer: impl Fn(&'static str) -> B,
) -> Result<Response, ApiError> {
    let answer = |status| (StatusCode::ACCEPTED, Json(answer(status)));
    let unconfirmed = |why: String| (Extension(Cause(why)), answer(UNCONFIRMED)).into_response();
    match answer_by.bound(engine.write_start(start)).await {
        Some(Ok(_)) => Ok(answer(TaskStatus::Pending.as_str()).into_response()),
        Some(Err(error @ StartError::Unconfirmed { .. })) => Ok(unconfirmed(error.to_string())),
        Some(Err(error)) => Err(not_started(error)),
        None => Ok(unconfirmed("no answer to the start in time".to_owned())),
    }
}

/// The workflow of a task that is to be started once more.
///
/// # Errors
/// This deployment has none of that name.
pub(crate) fn workflow_of(task: &TaskRecord, verb: &str) -> Result<&'static Workflow, ApiError> {
    workflows::of(&task.workflow).ok_or_else(|| {
        let why = format!("Cannot {verb} task: this deployment has no workflow of the name of {}", task.workflow);
        ApiError::Illegal { why, status: None }
    })
}

/// The violations of the new input, in the body.
fn invalid(found: Vec<Violation>) -> ApiError {
    CommonError::Invalid(http_api::violations_below(&http_api::pointer("", INPUT), found)).into()
}

/// Reruns a task.
pub(crate) async fn rerun<I: Intake, S: Store, Q: Queue, A: Runtime>(
    State(desk): State<Arc<RerunDesk<I, S, Q, A>>>,
    Extension(answer_by): Extension<AnswerBy>,
    Extension(operator): Extension<Operator>,
    segment: Segment,
    request: Parts,
    body: Body,
) -> Result<Response, ApiError> {
    operator.check_start(&request)?;
    let RerunDesk { intake, engine } = &*desk;
    let id = task_id(segment)?;
    let mut fields = Fields::of_body(&request, body).await?;
    let edit = Edit::of(&mut fields);
    let again = fields.flag("again").unwrap_or(false);
    let from = fields.text("from", |name| Ok::<_, Infallible>(name.to_owned()));
    let reason = reason(&mut fields);
    fields.finish()?;
    let actor = operator.actor(reason)?;

    let request = RerunRequest::new(&edit.text(), again);
    let request = match from {
        Some(from) => request.beginning_at(from),
        None => request,
    };
    let task = match engine.find_rerun(id, &request).await? {
        Rerun::Next(task) => task,
        Rerun::Made(new) => return Ok(made(engine, id, new).await?),
    };
    let workflow = workflow_of(&task, "rerun")?;
    let (input, secret) = edited(intake, workflow, &task, edit)?;
    let start = engine.prepare_start(workflow, &input, None).await.map_err(not_started)?;
    let start = match engine.reserve_rerun(&task, &request, start, &actor).await? {
        Rerun::Next(start) => start,
        Rerun::Made(new) => return Ok(made(engine, id, new).await?),
    };
    let new = start.task_id();
    tracing::info!(task_id = %id, rerun_as = %new, who = actor.who(), why = actor.why(), "a task is rerun");
    // Under an id that no other request uses, and before its task is written, whose steps look for it.
    if let Some(secret) = secret {
        intake.keep(new, &secret, engine.now()).await?;
    }
    begun(engine, answer_by, start, |status| Rerunning { success: true, task_id: new, rerun_of: id, status }).await
}

/// The answer to a request that was made before, and has started this task.
async fn made<S: Store, Q: Queue, A: Runtime>(
    engine: &Client<S, Q, A>,
    of: TaskId,
    new: TaskId,
) -> Result<Response, TableError> {
    let status = engine.snapshot(new).await?.map_or(TaskStatus::Pending, |made| made.status()).as_str();
    let answer = Rerunning { success: true, task_id: new, rerun_of: of, status };
    Ok((StatusCode::OK, Json(answer)).into_response())
}

/// The answer for a start that has certainly written no task.
pub(crate) fn not_started(error: StartError) -> ApiError {
    match error {
        StartError::Invalid(found) => invalid(found),
        StartError::TooLarge { .. } => CommonError::TooLarge(MAX_CONTEXT_BYTES).into(),
        StartError::NotWritten(error) => error.into(),
        StartError::RuledOut { .. } => {
            let why = "Another request has taken the place of this one, which has started nothing; look at the task"
                .to_owned();
            ApiError::Illegal { why, status: None }
        }
        StartError::Newer(newer) => ApiError::Newer(newer),
        StartError::KeyUsed { .. } => CommonError::KeyUsed.into(),
        // What is not known is answered with 202.
        StartError::Unconfirmed { .. } => CommonError::Broken(error.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use test_case::test_case;

    /// The examples of RFC 7396, appendix A.
    #[test_case(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}))]
    #[test_case(json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"}))]
    #[test_case(json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"}))]
    #[test_case(json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"}))]
    #[test_case(json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]}))]
    #[test_case(json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}}))]
    #[test_case(json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]}))]
    #[test_case(json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"]))]
    #[test_case(json!({"a": "foo"}), json!("bar"), json!("bar"))]
    #[test_case(json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1}))]
    #[test_case(json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"}))]
    #[test_case(json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}}))]
    fn merge_patch_changes_what_it_names(mut target: Value, patch: Value, expected: Value) {
        merge_patch(&mut target, patch);
        assert_eq!(target, expected);
    }
}
