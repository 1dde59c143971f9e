//! `GET /order_status/{task_id}`: shows the status of a checkout to its customer. [`Standing`] decides what they are told; this
//! module writes it as JSON.

use crate::{
    access::Named,
    checkouts::Shared,
    error::ApiError,
    standing::{CustomerError, Failed, GivenBack, Retry, Retrying, Standing, may_resend},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use checkout::{Confirmation, CreatedOrder, Money, customer_text};
use http_api::{TaskKeys, Wait};
use serde::Serialize;
use stepwell::{
    Runtime, StepResult, TaskId, Timestamp,
    core::{
        record::Refusal,
        snapshot::{Progress, TaskSnapshot},
        state::StepState,
    },
    ports::{Queue, Store},
};

/// The status of a checkout of which it is not known whether it was started.
pub(crate) const UNCONFIRMED: &str = "unconfirmed";

/// What its customer reads.
pub(crate) const ASK_AGAIN: &str = "We do not know yet whether your order was started. Please do not pay again: \
    ask this checkout's status in a moment.";

/// What the customer of a checkout reads that was not started.
pub(crate) const NOT_STARTED: &str = "Your order was not started, and nothing was charged. You can order again.";

/// Shows the status of the checkout; without its key the word of the status alone, and at once. With a `wait` the answer comes
/// when the checkout has ended or the time is over. The first request that finds no checkout a minute after its id was made
/// rules out that it starts later.
pub(crate) async fn status<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    Named { id: task_id, with_key }: Named,
    wait: Wait,
) -> Result<Response, ApiError> {
    let found = match with_key {
        true => checkouts.settle(task_id, wait).await?,
        // Strangers could write a task for each id that they invent, or keep functions waiting.
        false => checkouts.engine.snapshot(task_id).await?,
    };
    match found {
        Some(snapshot) if with_key => {
            let rerun = checkouts.engine.last_rerun(&snapshot.task).await?;
            Ok(Json(OrderStatus::of(&snapshot, rerun, &checkouts.keys)).into_response())
        }
        Some(snapshot) => {
            let status = Standing::of(&snapshot).word();
            Ok(Json(StatusWord { status, task_id }).into_response())
        }
        None if checkouts.may_be_under_way(task_id) => {
            let body = Unconfirmed { status: UNCONFIRMED, task_id, message: ASK_AGAIN };
            Ok(Json(body).into_response())
        }
        None => Err(ApiError::NotFound),
    }
}

/// The answer to somebody without the key.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct StatusWord {
    status: &'static str,
    task_id: TaskId,
}

/// The answer for an id without a task, which may still be written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Unconfirmed {
    status: &'static str,
    task_id: TaskId,
    message: &'static str,
}

/// The answer for a task.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "CheckoutStatus"))]
pub(crate) struct OrderStatus<'a> {
    pub(crate) status: &'static str,
    task_id: TaskId,
    #[serde(flatten)]
    pub(crate) body: Outcome<'a>,
}

/// What an answer says of a task beside its status.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Outcome<'a> {
    #[serde(flatten)]
    body: Body<'a>,
    /// The checkout that this one was made once more as.
    #[serde(skip_serializing_if = "Option::is_none")]
    rerun_as: Option<RerunBody>,
}

/// The rerun of a checkout. Whoever may see the one may see the other.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RerunBody {
    task_id: TaskId,
    /// Opens it, as the `task_key` that the answer to a start gives.
    task_key: String,
    checkout_url: String,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
enum Body<'a> {
    Processing(ProcessingBody<'a>),
    Failed(FailedBody<'a>),
    Completed(CompletedBody<'a>),
    Cancelled(CancelledBody<'a>),
    NotStarted(NotStartedBody),
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ProcessingBody<'a> {
    /// The first step that is not complete; `null` in the moment between the last step's end and the task's.
    current_step: Option<&'a str>,
    progress: Percentage,
    #[serde(skip_serializing_if = "Option::is_none")]
    retrying: Option<RetryingBody<'a>>,
    /// `true` if somebody has to decide before it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs_attention: Option<bool>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Percentage {
    completed: usize,
    total: usize,
    percentage: usize,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RetryingBody<'a> {
    step: &'a str,
    code: Option<&'a str>,
    next_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_url: Option<String>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FailedBody<'a> {
    failed_step: Option<&'a str>,
    failed_steps: Vec<&'a str>,
    error: Option<ErrorText<'a>>,
    /// 0, if nothing was charged; missing where there is a refund.
    #[serde(skip_serializing_if = "Option::is_none")]
    charged: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund: Option<RefundBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_url: Option<String>,
    /// When compensation begins, and `retry_url` ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compensations: Vec<Compensation<'a>>,
}

/// An error as the customer reads it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ErrorText<'a> {
    code: &'a str,
    message: &'static str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RefundBody {
    amount: Money,
    #[cfg_attr(test, schemars(extend("enum" = ["due", "made", "needs_a_person"])))]
    state: &'static str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CancelledBody<'a> {
    progress: Percentage,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund: Option<RefundBody>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compensations: Vec<Compensation<'a>>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NotStartedBody {
    message: &'static str,
}

/// The status of a compensation. They are listed in the order in which they run.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Compensation<'a> {
    step: &'a str,
    status: StepState,
}

/// A checkout that was resolved by hand may have no order.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CompletedBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_amount: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_url: Option<String>,
    /// `true` if an operator declared the checkout done.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_manually: Option<bool>,
    /// What the order stands without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<OrderWarning<'a>>,
    /// Why the order was not cancelled, if somebody has asked for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation_refused: Option<RefusalText<'a>>,
}

/// The last refusal of a cancellation, as the customer reads it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RefusalText<'a> {
    at: Timestamp,
    #[serde(flatten)]
    error: ErrorText<'a>,
}

impl<'a> RefusalText<'a> {
    fn of(Refusal { at, error, .. }: &'a Refusal) -> Self {
        Self { at: *at, error: CustomerError { code: &error.code, text: customer_text(&error.code) }.into() }
    }
}

/// An optional step that failed for good. Its text is for customers; the error is for operators only.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct OrderWarning<'a> {
    step: &'a str,
    message: &'static str,
    /// Has the step run again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_url: Option<String>,
}

impl<'a> OrderWarning<'a> {
    fn of(step: &'a str, snapshot: &TaskSnapshot, keys: &TaskKeys) -> Self {
        let message = match step {
            Confirmation::STEP => "We could not send the confirmation e-mail. Your order stands all the same.",
            _ => "A part of the processing could not be done. Your order stands all the same.",
        };
        let retry_url = (step == Confirmation::STEP && may_resend(snapshot)).then(|| retry_url(snapshot, keys));
        Self { step, message, retry_url }
    }
}

impl<'a> OrderStatus<'a> {
    /// The status of this task, whose [last rerun](stepwell::Client::last_rerun) is `rerun`.
    pub(crate) fn of(snapshot: &'a TaskSnapshot, rerun: Option<TaskId>, keys: &TaskKeys) -> Self {
        let standing = Standing::of(snapshot);
        let status = standing.word();
        let body = match standing {
            Standing::Processing { retrying } => Body::Processing(ProcessingBody::of(snapshot, retrying, keys)),
            Standing::NeedsAttention => Body::Processing(ProcessingBody {
                needs_attention: Some(true),
                ..ProcessingBody::of(snapshot, None, keys)
            }),
            Standing::Failed(failed) => Body::Failed(FailedBody::of(snapshot, failed, keys)),
            Standing::Completed { by_hand } => Body::Completed(CompletedBody::of(snapshot, by_hand, keys)),
            Standing::Cancelled { refund } => Body::Cancelled(CancelledBody {
                progress: snapshot.progress().into(),
                refund: refund.map(RefundBody::from),
                compensations: Compensation::all_of(snapshot),
            }),
            Standing::NotStarted => Body::NotStarted(NotStartedBody { message: NOT_STARTED }),
        };
        let rerun_as = rerun.map(|task_id| RerunBody {
            task_id,
            task_key: keys.key_of(task_id),
            checkout_url: keys.url("/order_status", task_id),
        });
        Self { status, task_id: snapshot.task.id, body: Outcome { body, rerun_as } }
    }
}

impl<'a> ProcessingBody<'a> {
    fn of(snapshot: &'a TaskSnapshot, retrying: Option<Retrying<'a>>, keys: &TaskKeys) -> Self {
        let retrying = retrying.map(|Retrying { step, code, next_at, may_run_now }| {
            let retry_url = may_run_now.then(|| retry_url(snapshot, keys));
            RetryingBody { step, code, next_at, retry_url }
        });
        Self {
            current_step: snapshot.current_step().map(|step| step.name.as_str()),
            progress: snapshot.progress().into(),
            retrying,
            needs_attention: None,
        }
    }
}

fn retry_url(snapshot: &TaskSnapshot, keys: &TaskKeys) -> String {
    keys.url("/retry_checkout", snapshot.task.id)
}

impl From<Progress> for Percentage {
    fn from(Progress { completed, total, percentage }: Progress) -> Self {
        Self { completed, total, percentage }
    }
}

impl From<GivenBack> for RefundBody {
    fn from(GivenBack { amount, state }: GivenBack) -> Self {
        Self { amount, state: state.as_str() }
    }
}

impl<'a> From<CustomerError<'a>> for ErrorText<'a> {
    fn from(CustomerError { code, text }: CustomerError<'a>) -> Self {
        Self { code, message: text.text }
    }
}

impl<'a> FailedBody<'a> {
    fn of(snapshot: &'a TaskSnapshot, Failed { steps, error, refund, retry }: Failed<'a>, keys: &TaskKeys) -> Self {
        let (retry_url, retry_until) = match retry {
            Retry::No => (None, None),
            Retry::Until(until) => (Some(retry_url(snapshot, keys)), until),
        };
        Self {
            failed_step: steps.first().copied(),
            failed_steps: steps,
            error: error.map(ErrorText::from),
            charged: refund.is_none().then_some(Money::ZERO),
            refund: refund.map(RefundBody::from),
            retry_url,
            retry_until,
            compensations: Compensation::all_of(snapshot),
        }
    }
}

impl<'a> Compensation<'a> {
    fn all_of(snapshot: &'a TaskSnapshot) -> Vec<Self> {
        snapshot.compensations.iter().map(|step| Self { step: &step.name, status: step.state }).collect()
    }
}

impl<'a> CompletedBody<'a> {
    fn of(snapshot: &'a TaskSnapshot, by_hand: bool, keys: &TaskKeys) -> Self {
        let result = snapshot.step(CreatedOrder::STEP).and_then(|step| step.result.as_deref());
        let order = result.and_then(|result| serde_json::from_str::<CreatedOrder>(result).ok());
        Self {
            redirect_url: order.as_ref().map(|order| keys.url("/orders", order.order_id)),
            order_id: order.as_ref().map(|order| order.order_id),
            total_amount: order.as_ref().map(|order| order.total_amount),
            order_number: order.map(|order| order.order_number),
            resolved_manually: by_hand.then_some(true),
            warnings: snapshot
                .warnings()
                .iter()
                .map(|warning| OrderWarning::of(warning.step, snapshot, keys))
                .collect(),
            cancellation_refused: snapshot.task.refusals.last().map(RefusalText::of),
        }
    }
}
