//! What the customer of a checkout is told: the table of statuses, as one pure function of the task and its steps.
//!
//! | the task | status |
//! |---|---|
//! | runs, waits for a retry, or will be redriven automatically | `processing`, with `retrying` |
//! | nothing happens by itself any more, and money or goods may be affected | `processing`, with `needs_attention` |
//! | failed for good, and nothing was charged | `failed`, with `charged: 0`, and `retry_url` where a retry can help |
//! | failed for good, and something may have been charged | `failed`, with `refund` |
//! | complete, or declared done by an operator | `completed`, with a `retry_url` of the warning where its e-mail may be sent again |
//! | is being cancelled after all steps were done, and the order may have been shipped | `processing` |
//! | cancelled | `cancelled`, with `refund` where something may have been charged |
//! | was not started, and never will be | `not_started` |
//!
//! `failed` is a promise: no charge and no delivery follows by itself, and what was taken is given back. So a task that a
//! snapshot does not show clearly is `processing`.

use checkout::{
    CheckoutRequest, Confirmation, CustomerText, Money, Payment, Refund, ShopCode, customer_text, error_codes,
};
use stepwell::{
    StepResult, Timestamp,
    core::{
        codes::{CodeKind, EngineCode},
        record::{AttemptRecord, StepRecord},
        recovery::{begins_at, is_undeliverable, may_be_refused, redrive_at},
        snapshot::TaskSnapshot,
        state::{End, StepState, TaskState},
    },
};

/// What the customer is told: one row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// The checkout goes on by itself.
    Processing {
        /// The step that failed and is tried again.
        retrying: Option<Retrying<'a>>,
    },
    /// The checkout stands still, and somebody has to decide about money or goods.
    NeedsAttention,
    /// The checkout has failed, and nothing is charged or delivered by itself any more.
    Failed(Failed<'a>),
    /// The order stands.
    Completed {
        /// Whether an operator declared the checkout done.
        by_hand: bool,
    },
    /// Somebody cancelled the checkout.
    Cancelled {
        /// What is given back; `None` if nothing was charged.
        refund: Option<GivenBack>,
    },
    /// The checkout was not started, and never will be.
    NotStarted,
}

/// A step that failed and is tried again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retrying<'a> {
    /// The step.
    pub(crate) step: &'a str,
    /// The code of its last error.
    pub(crate) code: Option<&'a str>,
    /// When it is tried again.
    pub(crate) next_at: Option<Timestamp>,
    /// Whether the customer may have it tried now.
    pub(crate) may_run_now: bool,
}

/// A checkout that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed<'a> {
    /// The steps that failed, in the plan's order.
    pub(crate) steps: Vec<&'a str>,
    /// The error of the first of them.
    pub(crate) error: Option<CustomerError<'a>>,
    /// What is given back; `None` if nothing was charged.
    pub(crate) refund: Option<GivenBack>,
    /// Whether and until when the customer may retry.
    pub(crate) retry: Retry,
}

/// An error as the customer reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CustomerError<'a> {
    /// The code, for programs.
    pub(crate) code: &'a str,
    /// The sentence that the step's author wrote for customers.
    pub(crate) text: CustomerText,
}

/// Whether the customer may retry a failed checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// A retry cannot help, or is not wanted.
    No,
    /// Until compensation begins at this time; `None` if it does not begin by itself.
    Until(Option<Timestamp>),
}

/// What is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenBack {
    /// The amount that was charged, or may have been.
    pub(crate) amount: Money,
    /// How far it is.
    pub(crate) state: RefundState,
}

/// How far a refund is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefundState {
    /// It follows by itself. If it turns out that nothing was charged, nothing is refunded.
    Due,
    /// It is made.
    Made,
    /// A person has to make it, or to mend what it waits for.
    NeedsAPerson,
}

impl RefundState {
    /// The word in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Made => "made",
            Self::NeedsAPerson => "needs_a_person",
        }
    }
}

impl<'a> Standing<'a> {
    /// What the customer of this task is told.
    pub(crate) fn of(snapshot: &'a TaskSnapshot) -> Self {
        use TaskState as S;
        if snapshot.task.never_starts() {
            return Self::NotStarted;
        }
        match snapshot.task.state {
            S::Running => Self::Processing { retrying: waiting(snapshot) },
            S::Failed => failed(snapshot),
            // It may be `completed` again.
            S::Compensating(_) if may_be_refused(snapshot) => {
                let required = |step: &&StepRecord| !snapshot.task.plan.is_optional(&step.name);
                match snapshot.compensations.iter().filter(required).any(failed_for_good) {
                    true => Self::NeedsAttention,
                    false => Self::Processing { retrying: None },
                }
            }
            S::Compensating(end) | S::Compensated(end) => match end {
                End::Error => Self::Failed(Failed::of(snapshot, Retry::No)),
                End::Cancelled => Self::Cancelled { refund: refund(snapshot) },
            },
            S::Cancelled => Self::Cancelled { refund: refund(snapshot) },
            S::Completed => Self::Completed { by_hand: false },
            S::Resolved => Self::Completed { by_hand: true },
        }
    }

    /// The word of the status.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Processing { .. } | Self::NeedsAttention => "processing",
            Self::Failed(_) => "failed",
            Self::Completed { .. } => "completed",
            Self::Cancelled { .. } => "cancelled",
            Self::NotStarted => "not_started",
        }
    }

    /// Whether the customer can be told how the checkout has ended.
    pub(crate) const fn has_ended(&self) -> bool {
        !matches!(self, Self::Processing { .. } | Self::NeedsAttention)
    }
}

/// Whether a compensation has failed for good, and has not refused: then somebody has to look after it.
fn failed_for_good(compensation: &StepRecord) -> bool {
    let refused = compensation.attempts.last().is_some_and(|attempt| attempt.refused);
    compensation.state == StepState::Error && !refused
}

/// Whether the errors of the task let its customer have the failed steps run again.
pub(crate) fn is_retry_offered(snapshot: &TaskSnapshot) -> bool {
    let waiting = snapshot.steps.iter().filter(|step| step.state == StepState::Retrying);
    let codes = failed_steps(snapshot).into_iter().chain(waiting).filter_map(code);
    codes.into_iter().all(|code| customer_text(code).retry)
}

/// Whether the customer of a complete order may have its confirmation sent again: it could not be sent for a reason that may pass, and nothing
/// else is missing.
pub(crate) fn may_resend(snapshot: &TaskSnapshot) -> bool {
    let missing = snapshot.to_redrive();
    let is_confirmation = |step: &&StepRecord| step.name == Confirmation::STEP && step.state == StepState::Error;
    snapshot.task.state == TaskState::Completed
        && !missing.is_empty()
        && missing.iter().all(is_confirmation)
        && !missing.into_iter().filter_map(code).any(is_permanent)
        && snapshot.task.has_room_for_redrive()
        && snapshot.newer().is_none()
}

fn is_permanent(code: &str) -> bool {
    error_codes().any(|known| known.code == code && known.kind == CodeKind::Permanent)
}

/// The step of a running task that waits for its next attempt.
fn waiting(snapshot: &TaskSnapshot) -> Option<Retrying<'_>> {
    let step = snapshot.steps.iter().find(|step| step.state == StepState::Retrying)?;
    let may_run_now = snapshot.newer().is_none() && is_retry_offered(snapshot);
    Some(Retrying { step: &step.name, code: code(step), next_at: step.next_retry_at, may_run_now })
}

/// A task in which a step failed for good, and whose compensation has not begun.
fn failed(snapshot: &TaskSnapshot) -> Standing<'_> {
    let failed = snapshot.failed_steps();
    // The steps are read before the task. Only a whole picture tells whether a redrive follows, and only a version that can
    // read the task knows.
    let whole = failed.len() == snapshot.task.failed_steps.len() && snapshot.newer().is_none();
    let others_go_on = snapshot.task.plan.steps().iter().zip(&snapshot.steps).any(|(plan, step)| match step.state {
        StepState::InProgress | StepState::Retrying => true,
        StepState::Pending => snapshot.is_ready(plan),
        _ => false,
    });
    if !whole || others_go_on {
        return Standing::Processing { retrying: None };
    }
    if let Some(at) = redrive_at(snapshot) {
        let may_run_now = is_retry_offered(snapshot);
        let retrying = failed_steps(snapshot).first().map(|step| Retrying {
            step: &step.name,
            code: code(step),
            next_at: Some(at),
            may_run_now,
        });
        return Standing::Processing { retrying };
    }
    let undone_at = begins_at(snapshot);
    let touched = |step: &StepRecord| {
        let has_effect = step.attempt > 0 || step.state.is_done();
        has_effect && step.name != Payment::STEP && snapshot.task.plan.compensation_of(&step.name).is_some()
    };
    let is_affected = is_undeliverable(snapshot) || may_be_charged(snapshot) || snapshot.steps.iter().any(touched);
    if undone_at.is_none() && is_affected {
        return Standing::NeedsAttention;
    }
    let offered = is_retry_offered(snapshot) && snapshot.task.has_room_for_redrive();
    Standing::Failed(Failed::of(snapshot, if offered { Retry::Until(undone_at) } else { Retry::No }))
}

impl<'a> Failed<'a> {
    fn of(snapshot: &'a TaskSnapshot, retry: Retry) -> Self {
        let failed = failed_steps(snapshot);
        let error = failed.first().and_then(|step| step.error.as_ref());
        let error = error.map(|error| CustomerError { code: &error.code, text: customer_text(&error.code) });
        let steps = failed.iter().map(|step| step.name.as_str()).collect();
        Self { steps, error, refund: refund(snapshot), retry }
    }
}

/// The steps that failed for good and that the order needs. In a snapshot that was read during the failure, the task lists a step that is not yet
/// read as failed.
fn failed_steps(snapshot: &TaskSnapshot) -> Vec<&StepRecord> {
    let listed = |step: &StepRecord| !step.state.is_done() && snapshot.task.failed_steps.contains(&step.name);
    let needed = |step: &&StepRecord| !snapshot.task.plan.is_optional(&step.name);
    snapshot.steps.iter().filter(needed).filter(|step| step.state == StepState::Error || listed(step)).collect()
}

fn code(step: &StepRecord) -> Option<&str> {
    step.error.as_ref().map(|error| error.code.as_str())
}

/// What is given back; `None` if nothing was charged.
fn refund(snapshot: &TaskSnapshot) -> Option<GivenBack> {
    if !may_be_charged(snapshot) {
        return None;
    }
    let charged = charged(snapshot);
    let given_back = |state| Some(GivenBack { amount: charged, state });
    match snapshot.task.state {
        TaskState::Failed if begins_at(snapshot).is_some() => given_back(RefundState::Due),
        TaskState::Compensating(_) if snapshot.task.compensations.is_none() => given_back(RefundState::Due),
        TaskState::Compensating(_) | TaskState::Compensated(_) => {
            let Some(refund) = snapshot.compensations.iter().find(|step| step.name == Refund::STEP) else {
                return given_back(RefundState::NeedsAPerson);
            };
            if refund.state.is_done() {
                // A refund that was made by hand may have any result.
                let made = result::<Refund>(refund).map_or(charged, |refund| refund.amount_refunded);
                return (made > Money::ZERO).then_some(GivenBack { amount: made, state: RefundState::Made });
            }
            given_back(if snapshot.is_held_up(Refund::STEP) { RefundState::NeedsAPerson } else { RefundState::Due })
        }
        _ => given_back(RefundState::NeedsAPerson),
    }
}

/// The errors of a payment attempt that charged nothing for certain.
const CHARGED_NOTHING: [&str; 8] = [
    ShopCode::MissingPaymentToken.as_str(),
    ShopCode::PaymentAmountMismatch.as_str(),
    ShopCode::PaymentDeclined.as_str(),
    ShopCode::PaymentSuspectedFraud.as_str(),
    ShopCode::PaymentVoid.as_str(),
    ShopCode::GatewayRateLimited.as_str(),
    ShopCode::GatewayTemporaryFailure.as_str(),
    EngineCode::DeadlineExceeded.as_str(),
];

/// Whether a charge may stand, or may have stood. One attempt is enough of which it is not known; a card that was declined
/// later says nothing about it.
fn may_be_charged(snapshot: &TaskSnapshot) -> bool {
    let Some(step) = snapshot.step(Payment::STEP) else { return false };
    if step.state.is_done() {
        return result::<Payment>(step).is_none_or(|payment| payment.amount_charged > Money::ZERO);
    }
    let charged_nothing = |code: &str| CHARGED_NOTHING.contains(&code);
    let unknown = |attempt: &AttemptRecord| !attempt.error.as_ref().is_some_and(|error| charged_nothing(&error.code));
    let unknown_omitted = step.omitted_attempts.keys().any(|code| !charged_nothing(code));
    step.state == StepState::InProgress || step.attempts.iter().any(unknown) || unknown_omitted
}

/// The amount that was charged, or may have been: the request's, because no other amount is ever charged.
fn charged(snapshot: &TaskSnapshot) -> Money {
    let paid = snapshot.step(Payment::STEP).and_then(result::<Payment>).map(|payment| payment.amount_charged);
    let asked = || serde_json::from_str::<CheckoutRequest>(&snapshot.task.context).ok()?.payment_info.amount;
    paid.or_else(asked).unwrap_or(Money::ZERO)
}

fn result<R: StepResult>(step: &StepRecord) -> Option<R> {
    step.result.as_deref().and_then(|result| serde_json::from_str(result).ok())
}
