//! The operators' HTTP API: lists, inspects and repairs workflow tasks, marks orders as shipped, and sends their e-mail
//! again. It also shows the workflows, pauses their steps, and shows how the open tasks stand.
//!
//! Each route has a module of its own. `operator.rs` has the authorization. [`http_api`] has the code around all
//! routes.

mod act;
mod analytics;
mod bulk;
mod copy;
mod cost;
mod error;
mod events;
mod filter;
pub mod handlers;
mod health;
mod intake;
mod list;
#[cfg(test)]
mod openapi;
mod operator;
mod orders;
mod pause;
mod paused;
mod rerun;
mod resend;
mod reveal;
mod ship;
mod show;
#[cfg(test)]
mod tests;
mod workflows;

pub use handlers::result_types;
pub use intake::{Intake, ShopIntake};
pub use rerun::merge_patch;

use act::OperatorAction;
use axum::{
    Router,
    extract::State,
    middleware::from_fn,
    routing::{get, post},
};
use checkout::{Mailer, Orders};
use orders::OrderDesk;
use pause::StepDesk;
use rerun::RerunDesk;
use std::{sync::Arc, time::Duration};
use stepwell::{
    Client, Runtime,
    core::pause::PauseAction,
    ports::{Deliveries, Queue, Store},
};

/// A little less than the function's timeout in the template, so that a slow request gets a proper error answer.
const TIME_LIMIT: Duration = Duration::from_secs(27);

/// The OpenAPI document, which a test writes.
const OPENAPI: &str = include_str!("../openapi.json");

/// The state that axum passes to a route: the engine's client.
type Engine<S, Q, A> = State<Arc<Client<S, Q, A>>>;

/// Makes the API on this engine, the deliveries of its queues, these orders, this mailer and this intake.
pub fn router<S, Q, D, A, O, M, I>(engine: Client<S, Q, A>, deliveries: D, orders: O, mailer: M, intake: I) -> Router
where
    D: Deliveries + 'static,
    I: Intake + 'static,
    O: Orders + 'static,
    M: Mailer + 'static,
    S: Store + 'static,
    Q: Queue + 'static,
    A: Runtime + 'static,
{
    let engine = Arc::new(engine);
    let of_orders = Router::new()
        .route("/orders/{order_id}/ship", post(ship::ship::<O, M, S, Q, A>))
        .route("/orders/{order_id}/resend", post(resend::resend::<O, M, S, Q, A>))
        .with_state(Arc::new(OrderDesk { orders, mailer, engine: engine.clone() }));
    let of_reruns = Router::new()
        .route("/tasks/{task_id}/rerun", post(rerun::rerun::<I, S, Q, A>))
        .route("/tasks/{task_id}/copy", post(copy::copy::<I, S, Q, A>))
        .with_state(Arc::new(RerunDesk { intake, engine: engine.clone() }));
    let of_steps = Router::new()
        .route("/workflows/{workflow}/steps/{step}/pause", pause::to_step(PauseAction::Pause))
        .route("/workflows/{workflow}/steps/{step}/resume", pause::to_step(PauseAction::Resume))
        .with_state(Arc::new(StepDesk { deliveries, engine: engine.clone() }));
    let of_tasks = Router::new()
        .route("/tasks", get(list::list::<S, Q, A>))
        .route("/tasks/bulk", get(bulk::list::<S, Q, A>).post(bulk::start::<S, Q, A>))
        .route("/tasks/bulk/{bulk_id}", get(bulk::show::<S, Q, A>))
        .route("/tasks/bulk/{bulk_id}/results", get(bulk::results::<S, Q, A>))
        .route("/tasks/bulk/{bulk_id}/stop", post(bulk::stop::<S, Q, A>))
        .route("/tasks/{task_id}", get(show::show::<S, Q, A>))
        .route("/tasks/{task_id}/events", get(events::events::<S, Q, A>))
        .route("/tasks/{task_id}/graph", get(show::graph::<S, Q, A>))
        .route("/tasks/{task_id}/reveal", post(reveal::reveal::<S, Q, A>))
        .route("/tasks/{task_id}/redrive", act::to_task(OperatorAction::Redrive))
        .route("/tasks/{task_id}/run-now", act::to_task(OperatorAction::RunNow))
        // The old name. Version 0.3 removes it.
        .route("/tasks/{task_id}/retry", act::to_task(OperatorAction::Redrive))
        .route("/tasks/{task_id}/cancel", act::to_task(OperatorAction::Cancel))
        .route("/tasks/{task_id}/compensate", act::to_task(OperatorAction::Compensate))
        .route("/tasks/{task_id}/resolve", act::to_task(OperatorAction::Resolve))
        .route("/tasks/{task_id}/steps/{step}/resolve", post(act::resolve_step::<S, Q, A>))
        .with_state(engine.clone());
    let of_all = Router::new()
        .route("/analytics", get(analytics::analytics::<S, Q, A>))
        .route("/health/status", get(health::status::<S, Q, A>))
        // Behind API Gateway the first one is the customers' API's.
        .route("/openapi.json", http_api::document(OPENAPI))
        .route("/tasks/openapi.json", http_api::document(OPENAPI))
        .route("/workflows", get(workflows::list::<S, Q, A>))
        .with_state(engine);
    let routes = of_tasks.merge(of_reruns).merge(of_orders).merge(of_steps).merge(of_all);
    http_api::complete(routes.layer(from_fn(operator::require)), TIME_LIMIT)
}

/// Makes the routes by which a supervisor asks whether the program runs, and whether its store answers. They need no operator.
pub fn probes<S, Q, A>(engine: Client<S, Q, A>) -> Router
where
    S: Store + 'static,
    Q: Queue + 'static,
    A: Runtime + 'static,
{
    let probes = Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready::<S, Q, A>))
        .with_state(Arc::new(engine));
    http_api::alone(probes, TIME_LIMIT)
}
