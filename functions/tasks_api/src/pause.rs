//! `POST /workflows/{workflow}/steps/{step}/...`: pauses a step, so that no attempt of it begins, and lets it go on.

use crate::{
    act::reason,
    error::ApiError,
    operator::Operator,
    paused::{PauseView, Pauses},
    workflows,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, request::Parts},
    routing::{MethodRouter, post},
};
use http_api::Fields;
use serde::Serialize;
use std::sync::Arc;
use stepwell::{
    Client, Paused, Runtime, Workflow,
    core::{message::StepQueue, pause::PauseAction},
    ports::{Deliveries, Queue, Store},
};

/// The engine's client, and the deliveries that it stops.
pub(crate) struct StepDesk<D, S, Q, A> {
    pub(crate) deliveries: D,
    pub(crate) engine: Arc<Client<S, Q, A>>,
}

/// The state that axum passes to a route of a step.
type Desk<D, S, Q, A> = Arc<StepDesk<D, S, Q, A>>;

/// How a step stands after the action.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct StepStanding {
    success: bool,
    /// The workflow's name.
    workflow: String,
    step: String,
    /// The pause in force, with all of its reasons; `null` if the step goes on.
    paused: Option<PauseView>,
    /// Whether the step's queue was told. If not, the watchdog tells it within a minute.
    told: bool,
}

/// Makes the route of an action on a step.
pub(crate) fn to_step<D, S, Q, A>(what: PauseAction) -> MethodRouter<Desk<D, S, Q, A>>
where
    D: Deliveries + 'static,
    S: Store + 'static,
    Q: Queue + 'static,
    A: Runtime + 'static,
{
    post(
        move |State(desk): State<Desk<D, S, Q, A>>,
              Extension(operator): Extension<Operator>,
              path: Result<Path<(String, String)>, PathRejection>,
              request: Parts,
              body: Body| async move {
            let queue = queue(path)?;
            let mut fields = Fields::of_body(&request, body).await?;
            let reason = reason(&mut fields);
            let seen = (what == PauseAction::Resume).then(|| fields.text("seen", str::parse)).flatten();
            fields.finish()?;
            let actor = operator.actor(reason)?;
            let StepDesk { deliveries, engine } = &*desk;
            let may_be = is_known(&queue)? || what == PauseAction::Resume && is_paused(engine, &queue).await?;
            may_be.then_some(()).ok_or_else(no_step)?;
            let Paused { pauses, told } = match what {
                PauseAction::Pause => engine.pause(deliveries, &queue, &actor).await?,
                PauseAction::Resume => engine.resume(deliveries, &queue, &actor, seen).await?,
            };
            let paused = PauseView::of(&pauses);
            let StepQueue { workflow, step } = queue;
            let standing = StepStanding { success: true, workflow, step, paused, told };
            Ok::<_, ApiError>((StatusCode::ACCEPTED, Json(standing)))
        },
    )
}

/// The queue of the step in the path.
fn queue(path: Result<Path<(String, String)>, PathRejection>) -> Result<StepQueue, ApiError> {
    let Path((workflow, step)) = path.map_err(|_| no_step())?;
    Ok(StepQueue::new(workflow, step))
}

fn no_step() -> ApiError {
    ApiError::NotFound("There is no such step".to_owned())
}

/// Whether the step is one of this deployment.
fn is_known(queue: &StepQueue) -> Result<bool, ApiError> {
    let of = |workflow: &Workflow| workflow.id().name == queue.workflow && workflow.plan().step(&queue.step).is_some();
    Ok(workflows::all()?.iter().any(of))
}

/// Whether the step is paused, or may be. A deployment may have taken a paused step away, whose pause has to come to an end all the same.
async fn is_paused<S: Store, Q: Queue, A: Runtime>(
    engine: &Client<S, Q, A>,
    queue: &StepQueue,
) -> Result<bool, ApiError> {
    Ok(Pauses::read(engine).await?.may_hold(queue))
}
