//! The operators' HTTP API: find tasks, look into one, and bring on its way what does not get there by itself.
//!
//! Each route has a module of its own. Who may come in is in `operator.rs`. What is around all of them is in [`http_api`].

mod act;
mod error;
mod fields;
mod filter;
mod list;
mod operator;
mod redrive_all;
mod show;
#[cfg(test)]
mod tests;

use act::OperatorAction;
use axum::{
    Router,
    extract::State,
    middleware::from_fn,
    routing::{get, post},
};
use std::{sync::Arc, time::Duration};
use stepwell::{
    Client, Runtime,
    ports::{Queue, Store},
};

/// A little less than the function's own timeout in the template, so that a client gets an answer that says something.
const TIME_LIMIT: Duration = Duration::from_secs(27);

/// What a route gets of the engine.
type Engine<S, Q, A> = State<Arc<Client<S, Q, A>>>;

/// The API over this engine.
pub fn router<S, Q, A>(engine: Client<S, Q, A>) -> Router
where
    S: Store + 'static,
    Q: Queue + 'static,
    A: Runtime + 'static,
{
    let routes = Router::new()
        .route("/tasks", get(list::list::<S, Q, A>))
        .route("/tasks/redrive", post(redrive_all::redrive_all::<S, Q, A>))
        // The older names of both routes, which go with version 0.3.
        .route("/tasks/retry", post(redrive_all::redrive_all::<S, Q, A>))
        .route("/tasks/{task_id}", get(show::show::<S, Q, A>))
        .route("/tasks/{task_id}/redrive", act::to_task(OperatorAction::Redrive))
        .route("/tasks/{task_id}/retry", act::to_task(OperatorAction::Redrive))
        .route("/tasks/{task_id}/cancel", act::to_task(OperatorAction::Cancel))
        .route("/tasks/{task_id}/compensate", act::to_task(OperatorAction::Compensate))
        .route("/tasks/{task_id}/resolve", act::to_task(OperatorAction::Resolve))
        .route("/tasks/{task_id}/steps/{step}/resolve", post(act::resolve_step::<S, Q, A>))
        .layer(from_fn(operator::only))
        .with_state(Arc::new(engine));
    http_api::complete(routes, TIME_LIMIT)
}
