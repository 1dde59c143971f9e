//! `POST /orders/{order_id}/resend`: sends the customer the e-mail about an order again, also to a corrected address.
//!
//! The resend is recorded with the order first, then the e-mail is sent, once. If that fails, or its answer is lost, the operator sends the
//! request again: two e-mails are better than none.

use crate::{
    error::ApiError,
    operator::Operator,
    orders::{self, Desk, OrderDesk, is_settled, no_order},
};
use axum::{Extension, Json, body::Body, extract::State, http::request::Parts};
use checkout::{
    Cancellation, Confirmation, Email, EmailAddress, Mailer, NotAnEmailAddress, Order, OrderStatus, Orders, Refund,
    Resend, ResendError,
};
use http_api::{CommonError, Fields, Segment};
use serde::Serialize;
use stepwell::{
    Runtime, StepResult, TaskId,
    core::{
        record::StepRecord,
        snapshot::TaskSnapshot,
        state::{StepState, TaskState},
    },
    ports::{Queue, Store},
};

/// The answer for an e-mail that was sent.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Resent {
    success: bool,
    order_id: TaskId,
    /// The status that the e-mail tells of: `confirmed` or `cancelled`.
    status: OrderStatus,
    recipient: String,
    message_id: String,
}

/// Sends the e-mail that tells how the order stands: its confirmation, or its cancellation with what was refunded. A corrected
/// address becomes the order's, for all later e-mails about its cancellation, too.
pub(crate) async fn resend<O: Orders, M: Mailer, S: Store, Q: Queue, A: Runtime>(
    State(desk): Desk<O, M, S, Q, A>,
    Extension(operator): Extension<Operator>,
    segment: Segment,
    request: Parts,
    body: Body,
) -> Result<Json<Resent>, ApiError> {
    let order_id = orders::order_id(segment)?;
    let mut fields = Fields::of_body(&request, body).await?;
    let corrected = fields.text("email", str::parse::<EmailAddress>);
    let actor = orders::actor(&operator, fields)?;
    let (who, why) = (actor.who().to_owned(), actor.why().to_owned());
    let OrderDesk { orders, mailer, engine } = &*desk;

    let news = News::of(orders::checkout(engine, order_id).await?.as_ref())?;
    let resend = Resend { at: engine.now(), who, why, corrected, tells: news.status() };
    let order = orders.record_resend(order_id, &resend).await?;
    let email = news.email(recipient(&order)?, order);
    let message_id = mailer.send(&email).await?;
    let (who, why, corrected) = (resend.who, resend.why, resend.corrected.is_some());
    tracing::info!(%order_id, who, why, corrected, "e-mail about an order was sent again");
    let recipient = email.to.to_string();
    Ok(Json(Resent { success: true, order_id, status: news.status(), recipient, message_id }))
}

/// What an e-mail tells of an order.
enum News {
    /// It stands.
    Confirmed,
    /// It was cancelled, and this was given back.
    Cancelled(Refund),
}

impl News {
    /// What the order's checkout knows. Whether the order stands, its own item says when the resend is recorded.
    fn of(checkout: Option<&TaskSnapshot>) -> Result<Self, ApiError> {
        let Some(snapshot) = checkout else { return Ok(Self::Confirmed) };
        let status = snapshot.status().as_str();
        let refused = |why: String| ApiError::Illegal { why, status: Some(status) };
        if let Some(refund) = refund(snapshot) {
            // It has read the order's address before, and would tell the customer at the former one.
            let is_to_come = |step: &StepRecord| {
                step.name == Cancellation::STEP && !step.state.is_done() && step.state != StepState::Error
            };
            if snapshot.compensations.iter().any(is_to_come) {
                let why = "Cannot send the e-mail: the checkout is about to send it itself. Send the request again after that";
                return Err(refused(why.to_owned()));
            }
            return Ok(Self::Cancelled(refund));
        }
        if !is_settled(snapshot) {
            return Err(refused(format!(
                "Cannot send the e-mail: the checkout is {status}, so it is not known yet whether its order stands, or what is \
                 refunded. Send the request again when the refund is complete, or the checkout"
            )));
        }
        // Only who may have a confirmation is told of a cancellation. The step's own attempt makes the checkout tell them. In
        // another state the task is closed: no redrive sends the confirmation, and no cancellation follows it.
        let is_open = matches!(snapshot.task.state, TaskState::Running | TaskState::Completed | TaskState::Cancelled);
        let unattempted = snapshot.step(Confirmation::STEP).filter(|step| is_open && !step.may_have_had_an_effect());
        match unattempted.map(|step| step.state) {
            None => Ok(Self::Confirmed),
            Some(StepState::Error) => Err(refused(format!(
                "Cannot send the e-mail: `{}` was never attempted, so the customer would not be told of a cancellation. Redrive the \
                 task first, then send the request again",
                Confirmation::STEP
            ))),
            Some(_) => Err(refused(
                "The confirmation is about to be sent for the first time. Send the request again after that".to_owned(),
            )),
        }
    }

    fn status(&self) -> OrderStatus {
        match self {
            Self::Confirmed => OrderStatus::Confirmed,
            Self::Cancelled(_) => OrderStatus::Cancelled,
        }
    }

    fn email(&self, to: EmailAddress, order: Order) -> Email {
        match self {
            Self::Confirmed => Email::confirmation(to, &order.into()),
            Self::Cancelled(refund) => Email::cancellation(to, &order.into(), refund),
        }
    }
}

/// The result of the checkout's refund; `None` before it is complete, and if a result given by hand cannot be read.
fn refund(snapshot: &TaskSnapshot) -> Option<Refund> {
    let step = snapshot.step(Refund::STEP).filter(|step| step.state.is_done())?;
    serde_json::from_str(step.result.as_deref()?).ok()
}

/// The order's address. A checkout that its API has started has a valid one.
fn recipient(order: &Order) -> Result<EmailAddress, ApiError> {
    let address = order.customer_email.as_deref().unwrap_or_default();
    address.parse().map_err(|problem: NotAnEmailAddress| give_address(&format!("the order's address {problem}")))
}

fn give_address(problem: &str) -> ApiError {
    CommonError::field("/email", format!("is missing, and {problem}")).into()
}

impl From<ResendError> for ApiError {
    fn from(error: ResendError) -> Self {
        match error {
            ResendError::NotFound => no_order(),
            ResendError::NoAddress => give_address(&error.to_string()),
            ResendError::Status(status) => {
                let why = match status {
                    OrderStatus::Cancelled => {
                        "and it is not known what was refunded: send the request again in a minute; if it is refused again, \
                         tell the customer in another way"
                    }
                    OrderStatus::Confirmed => "though its payment was given back: cancel its checkout first",
                };
                Self::Illegal { why: format!("Cannot send the e-mail: {error}, {why}"), status: Some(status.as_str()) }
            }
            ResendError::TooMany => Self::Illegal { why: error.to_string(), status: None },
            ResendError::Store(error) => error.into(),
        }
    }
}
