//! `checkout_local noop`: serves a workflow of five steps that do nothing, over the same engine, file and host as the shop.

use crate::{
    failure::{Failure, other},
    say,
    serve::{Log, init_logging, until_a_signal},
    server::run,
};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Args;
use http_api::Wait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{io, path::PathBuf, sync::Arc, thread};
use stepwell::{
    Client, Context, ResultOf, Step, StepContext, StepError, StepResult, System, Workflow,
    core::{snapshot::TaskSnapshot, state::TaskStatus},
};
use stepwell_local::{DEFAULT_SLOTS, File, Host, Local, create_folder};
use tokio::sync::oneshot;

const WORKFLOW: &str = include_str!("noop.yaml");

/// The step whose result is that of the task.
const LAST: &str = "send_confirmation";

/// The options of `noop`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder of the data; it is made if it is not there
    #[arg(long, value_name = "FOLDER", default_value = "stepwell-noop")]
    pub(crate) data: PathBuf,
    /// The port on 127.0.0.1; 0 is any free one
    #[arg(long, value_name = "PORT", default_value_t = 8082)]
    pub(crate) port: u16,
    /// The form of the log on stderr; the variable `RUST_LOG` says what is logged
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log: Log,
    /// Stop also at the end of the standard input
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

/// What a step returns: about 200 bytes, as the steps of the engines that this is measured beside.
#[derive(Serialize, Deserialize)]
struct Answer {
    order_id: String,
    step: String,
    status: String,
    reference: String,
    detail: String,
}

fn answer(step: &str, order_id: String) -> Answer {
    Answer {
        step: step.to_owned(),
        status: "ok".to_owned(),
        reference: format!("{step}-{order_id}"),
        detail: "0123456789abcdef".repeat(4),
        order_id,
    }
}

/// The part of the context that the first step reads.
#[derive(Deserialize)]
struct Order {
    order_id: String,
}

/// A step, its result, and the result that it takes.
macro_rules! step {
    ($step:ident, $result:ident, $name:literal, $input:ty, $pattern:pat => $order_id:expr) => {
        struct $step;

        #[derive(Serialize, Deserialize)]
        struct $result(Answer);

        impl StepResult for $result {
            const STEP: &'static str = $name;
        }

        impl Step for $step {
            type Input = $input;
            type Output = $result;

            async fn run(&self, $pattern: $input, _: &StepContext) -> Result<$result, StepError> {
                Ok($result(answer($name, $order_id)))
            }
        }
    };
}

step!(ValidateCart, Validated, "validate_cart", Context<Order>, Context(order) => order.order_id);
step!(ProcessPayment, Paid, "process_payment", ResultOf<Validated>, ResultOf(Validated(cart)) => cart.order_id);
step!(UpdateInventory, Taken, "update_inventory", ResultOf<Paid>, ResultOf(Paid(payment)) => payment.order_id);
step!(CreateOrder, Ordered, "create_order", ResultOf<Taken>, ResultOf(Taken(stock)) => stock.order_id);
step!(SendConfirmation, Told, "send_confirmation", ResultOf<Ordered>, ResultOf(Ordered(order)) => order.order_id);

type Engine = Client<Local<System>, Local<System>, System>;

/// Serves the workflow until a signal.
///
/// # Errors
/// See [`Failure`].
pub(crate) async fn noop(options: Options) -> Result<(), Failure> {
    init_logging(options.log, tracing::Level::INFO, None, None, None);
    let stop = until_a_signal()?;
    create_folder(&options.data).map_err(|source| Failure::Folder { path: options.data.clone(), source })?;
    let file = File::open(&options.data.join("noop.sqlite"), &[stepwell_local::SCHEMA])?;
    let listener = loopback::listen(options.port).await?;
    let address = listener.local_addr().map_err(other)?;
    let workflow = Arc::new(Workflow::from_yaml(WORKFLOW).map_err(other)?);
    let local = Local::new(file, System).await?;
    let engine = Client::new(local.clone(), local.clone(), System);
    let mut host = Host::new(local, System);
    host.step(&workflow, "validate_cart", DEFAULT_SLOTS, ValidateCart);
    host.step(&workflow, "process_payment", DEFAULT_SLOTS, ProcessPayment);
    host.step(&workflow, "update_inventory", DEFAULT_SLOTS, UpdateInventory);
    host.step(&workflow, "create_order", DEFAULT_SLOTS, CreateOrder);
    host.step(&workflow, LAST, DEFAULT_SLOTS, SendConfirmation);
    let router = Router::new().route("/noop", post(start)).with_state((engine, workflow));
    say(format_args!("noop  http://{address}/noop?wait=25"))?;
    let stop = async {
        tokio::select! {
            () = stop => {}
            () = end_of_stdin(), if options.until_stdin_ends => {}
        }
    };
    run(host, [(listener, router)], stop).await
}

/// Returns at the end of the standard input.
async fn end_of_stdin() {
    let (ended, end) = oneshot::channel();
    // A read that blocks a thread of the runtime would keep the process from ending.
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        // The process may be ending already.
        let _ = ended.send(());
    });
    drop(end.await);
}

/// Starts a task. The answer is the result of its last step if it ends in time, and else its id.
async fn start(
    State((engine, workflow)): State<(Engine, Arc<Workflow>)>,
    wait: Wait,
    Json(context): Json<Value>,
) -> Response {
    let failed = |why: String| (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": why }))).into_response();
    let started = match engine.start(&workflow, &context, None).await {
        Ok(started) => started.task_id,
        Err(error) => return failed(error.to_string()),
    };
    let has_ended = |found: &Option<TaskSnapshot>| {
        found.as_ref().is_some_and(|task| matches!(task.status(), TaskStatus::Complete | TaskStatus::Error))
    };
    let found = wait.poll(|| engine.snapshot(started), || engine.changed(started), has_ended).await;
    let result = match &found {
        Ok(Some(task)) => task.step(LAST).and_then(|step| step.result.as_deref()),
        Ok(None) => None,
        Err(error) => return failed(error.to_string()),
    };
    match result.map(serde_json::from_str::<Value>) {
        Some(Ok(result)) => Json(result).into_response(),
        Some(Err(error)) => failed(error.to_string()),
        None => (StatusCode::ACCEPTED, Json(json!({ "task_id": started }))).into_response(),
    }
}
