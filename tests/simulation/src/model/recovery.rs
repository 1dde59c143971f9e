//! Who else has a hand in a task: watchdog, unwinding, operators.
//!
//! Each is taken apart into its single conditional writes and sends, any of which may be the last before it dies. What
//! such a write has read before is all in its condition, or cannot change any more, so a step of it is one action. The
//! writes themselves are rules ([`Write`]): what may happen is what they allow.

use super::{
    scope::{Bug, Scope},
    state::{Effect, State},
    store::{Items, make},
    writes::{Snapshot, Write, is_settled},
};
use stepwell::core::state::{End, StepState, TaskState};

/// Whether the rule allows the write, now.
fn may(scope: &Scope, state: &State, write: Write<'_>) -> bool {
    write.is_allowed(&Items { scope, state })
}

/// The compensation after this one.
pub(super) fn next_in_order(scope: &Scope, state: &State, step: usize) -> Option<usize> {
    Items { scope, state }.order().skip_while(|other| *other != step).nth(1)
}

/// What the watchdog would send a message to.
pub(super) fn is_due(scope: &Scope, state: &State, step: usize) -> bool {
    let item = state.items[step];
    let overdue = |ready: bool| match item.state {
        StepState::Pending => ready,
        StepState::InProgress | StepState::Retrying => item.over,
        _ => false,
    };
    let done = |other: usize| state.items[other].state.is_done();
    match state.task.state {
        _ if scope.is_compensation(step) => {
            let open = Items { scope, state }.order().find(|other| !done(*other));
            state.task.compensating() == Some(true) && open == Some(step) && overdue(true)
        }
        TaskState::Running => {
            let never_closed = scope.leaves.has(step) && scope.forward().all(done);
            never_closed || overdue(scope.depends_on[step].iter().all(done))
        }
        // While it waits for a redrive before it is compensated.
        TaskState::Failed => may_unwind(scope, state) && overdue(scope.depends_on[step].iter().all(done)),
        _ => false,
    }
}

/// Whether the failed task is due to be compensated.
pub(super) fn may_unwind(scope: &Scope, state: &State) -> bool {
    scope.compensated && may(scope, state, Write::Compensate(End::Error))
}

/// Begins to undo what the task has done.
pub(super) fn recover(scope: &Scope, state: &mut State) {
    make(scope, state, Write::Compensate(End::Error));
}

/// Whether the unwinding closes this step next: it has not started, or whoever was at it is gone.
pub(super) fn may_close(scope: &Scope, state: &State, step: usize) -> bool {
    may(scope, state, Write::CancelStep(step))
}

/// Closes a step. An attempt that was lost is recorded so.
pub(super) fn close(scope: &Scope, state: &mut State, step: usize) {
    make(scope, state, Write::CancelStep(step));
}

/// Cancelling: what the task has done is undone, if its steps have compensations.
fn cancelling(scope: &Scope) -> Write<'static> {
    if scope.compensated { Write::Compensate(End::Cancelled) } else { Write::Cancel }
}

/// Whether an operator may cancel the task.
pub(super) fn may_cancel(scope: &Scope, state: &State) -> bool {
    may(scope, state, cancelling(scope))
}

/// Cancels the task.
pub(super) fn cancel(scope: &Scope, state: &mut State) {
    make(scope, state, cancelling(scope));
}

/// The compensations in their order.
fn order(scope: &Scope, state: &State) -> Vec<usize> {
    Items { scope, state }.order().collect()
}

/// Whether the order of the compensations can be stored: nothing is in flight.
pub(super) fn may_order(scope: &Scope, state: &State) -> bool {
    if state.task.compensating() != Some(false) {
        return false;
    }
    if scope.bug == Some(Bug::ClosedInFlight) {
        let in_flight = |step: usize| state.items[step].state == StepState::InProgress;
        return scope.forward().all(|step| is_settled(state.items[step].state) || in_flight(step));
    }
    may(scope, state, Write::OrderCompensations(&order(scope, state)))
}

/// Stores the order; the first message is to be sent.
pub(super) fn store_order(scope: &Scope, state: &mut State) {
    let order = order(scope, state);
    make(scope, state, Write::OrderCompensations(&order));
    state.owed = order.into_iter().take(1).chain(state.owed.iter()).collect();
}

/// Whether all is undone, so that the task can come to its end.
pub(super) fn may_finish_undoing(scope: &Scope, state: &State) -> bool {
    may(scope, state, Write::FinishCompensation)
}

/// Ends a task whose compensations are all done.
pub(super) fn finish_undoing(scope: &Scope, state: &mut State) {
    if may_finish_undoing(scope, state) {
        make(scope, state, Write::FinishCompensation);
    }
}

/// Whether an operator may retry the task: it has failed, or its compensation has.
pub(super) fn may_retry(scope: &Scope, state: &State) -> bool {
    may(scope, state, Write::Redrive)
}

/// Whether a compensation has failed for good, so that a person has to see to it.
pub(super) fn needs_hands(scope: &Scope, state: &State) -> bool {
    state.task.compensating() == Some(true) && Items { scope, state }.failed().next().is_some()
}

/// Gives what failed a fresh set of attempts; its messages are to be sent. One transaction, whose conditions are all
/// that was read.
pub(super) fn retry(scope: &Scope, state: &mut State) {
    state.owed = Items { scope, state }.failed().chain(state.owed.iter()).collect();
    make(scope, state, Write::Redrive);
}

/// Whether an operator may put a result in the place of the step's: it is its turn, and nobody is at it.
pub(super) fn may_resolve(scope: &Scope, state: &State, step: usize) -> bool {
    may(scope, state, Write::ResolveStep(step))
}

/// The step is done by hand; its message is to be sent, so that its worker hands over. One transaction, whose conditions
/// are all that was read.
pub(super) fn resolve(scope: &Scope, state: &mut State, step: usize) {
    make(scope, state, Write::ResolveStep(step));
    if scope.is_compensation(step) {
        state.effects[step - scope.forward] =
            Effect { refunded: true, voided: true, ..state.effects[step - scope.forward] };
    }
    state.owed = state.owed.with(step);
}

/// Whether a message of the step that SQS gives up on means anything: it is the step's turn, and nobody is at it.
pub(super) fn may_give_up(scope: &Scope, state: &State, step: usize) -> bool {
    may(scope, state, Write::DeadLetterStep(step))
}

/// The step fails, because its message does not come any more.
pub(super) fn give_up(scope: &Scope, state: &mut State, step: usize) {
    make(scope, state, Write::DeadLetterStep(step));
}
