//! The actions of the watchdog and of operators: recovery, compensation, cancellation, redrive.
//!
//! Each consists of single conditional writes and sends, and its process may die after any of them. Everything that
//! such a write has read before is in its condition, or final, so each write is one action. The writes are rules
//! ([`Write`]), and an action is possible exactly when its rule allows it.

use super::{
    scope::{Bug, Scope},
    state::{Effect, ModelState, Set},
    store::{Items, make},
    writes::{Snapshot, Write, is_settled},
};
use stepwell::core::state::{End, StepState, TaskState};

/// Whether the rule allows the write now.
fn may(scope: &Scope, state: &ModelState, write: Write<'_>) -> bool {
    write.is_allowed(&Items { scope, state })
}

/// Whether the watchdog would send this step a message.
pub(super) fn is_due(scope: &Scope, state: &ModelState, step: usize) -> bool {
    let item = state.items[step];
    let overdue = |ready: bool| match item.state {
        StepState::Pending => ready,
        StepState::InProgress | StepState::Retrying => item.over,
        _ => false,
    };
    let done = |other: usize| state.items[other].state.is_done();
    match state.task.state {
        _ if scope.is_compensation(step) => {
            Items { scope, state }.open_compensations().any(|open| open == step) && overdue(true)
        }
        TaskState::Running => {
            let passed = |other: usize| Items { scope, state }.has_passed(other);
            let never_closed = scope.leaves.has(step) && scope.forward().all(passed);
            never_closed || overdue(scope.depends_on[step].iter().all(done))
        }
        TaskState::Completed => scope.optional.has(step) && overdue(true),
        // The task still waits for a redrive before it is compensated.
        TaskState::Failed => may_compensate(scope, state) && overdue(scope.depends_on[step].iter().all(done)),
        _ => false,
    }
}

/// Whether the failed task is due to be compensated.
pub(super) fn may_compensate(scope: &Scope, state: &ModelState) -> bool {
    scope.compensated && may(scope, state, Write::Compensate(End::Error))
}

/// Whether somebody begins to compensate the failed task: without a watchdog only the message of a failed step does.
pub(super) fn may_recover(scope: &Scope, state: &ModelState) -> bool {
    let failed = |step: usize| state.items[step].state == StepState::Error && state.messages(step).next().is_some();
    may_compensate(scope, state) && (scope.watchdog || scope.forward().any(failed))
}

/// Begins to compensate a failed task.
pub(super) fn recover(scope: &Scope, state: &mut ModelState) {
    make(scope, state, Write::Compensate(End::Error));
}

/// Whether compensation may cancel this step: it has not started, or the lease of its worker is over.
pub(super) fn may_close(scope: &Scope, state: &ModelState, step: usize) -> bool {
    may(scope, state, Write::CancelStep(step))
}

/// Cancels a step. The attempt of a dead worker is recorded as lost.
pub(super) fn close(scope: &Scope, state: &mut ModelState, step: usize) {
    make(scope, state, Write::CancelStep(step));
}

/// The write of a cancellation: it compensates the task if its steps have compensations.
fn cancelling(scope: &Scope) -> Write<'static> {
    if scope.compensated { Write::Compensate(End::Cancelled) } else { Write::Cancel }
}

/// Whether an operator may cancel the task.
pub(super) fn may_cancel(scope: &Scope, state: &ModelState) -> bool {
    may(scope, state, cancelling(scope))
}

/// Cancels the task.
pub(super) fn cancel(scope: &Scope, state: &mut ModelState) {
    make(scope, state, cancelling(scope));
}

/// The graph of the compensations to run, each after those that it waits for.
fn graph(scope: &Scope, state: &ModelState) -> Vec<(usize, Vec<usize>)> {
    let items = Items { scope, state };
    let mut sorted: Vec<(usize, Vec<usize>)> = Vec::new();
    loop {
        let is_in = |step: usize| sorted.iter().any(|(other, _)| *other == step);
        let is_next = |step: &usize| !is_in(*step) && items.depends_on(*step).iter().all(is_in);
        let Some(next) = items.to_run().iter().find(is_next) else { return sorted };
        sorted.push((next, items.depends_on(next).iter().collect()));
    }
}

/// Whether the graph of the compensations can be stored: no step is in flight.
pub(super) fn may_order(scope: &Scope, state: &ModelState) -> bool {
    if state.task.compensating() != Some(false) {
        return false;
    }
    if scope.bug == Some(Bug::ClosedInFlight) {
        let in_flight = |step: usize| state.items[step].state == StepState::InProgress;
        return scope.forward().all(|step| is_settled(state.items[step].state) || in_flight(step));
    }
    may(scope, state, Write::OrderCompensations(&graph(scope, state)))
}

/// Stores the graph of the compensations. The messages of its roots are then owed.
pub(super) fn store_order(scope: &Scope, state: &mut ModelState) {
    let graph = graph(scope, state);
    make(scope, state, Write::OrderCompensations(&graph));
    let roots = graph.into_iter().filter(|(_, waits_for)| waits_for.is_empty()).map(|(root, _)| root);
    state.owed = roots.chain(state.owed.iter()).collect();
}

/// Whether all compensations are done, or optional and failed, so that the task can end.
pub(super) fn may_finish_compensation(scope: &Scope, state: &ModelState) -> bool {
    let items = Items { scope, state };
    let not_counted = scope.bug == Some(Bug::OptionalFailureNotCounted);
    let all_done = || items.to_run().iter().all(|step| items.is_done(step));
    may(scope, state, Write::FinishCompensation) && (!not_counted || all_done())
}

/// Ends a task whose compensations are all done.
pub(super) fn finish_compensation(scope: &Scope, state: &mut ModelState) {
    if may_finish_compensation(scope, state) {
        make(scope, state, Write::FinishCompensation);
    }
}

/// Whether the task can be complete again: its compensations have refused before anything was undone.
pub(super) fn may_reinstate(scope: &Scope, state: &ModelState) -> bool {
    may(scope, state, Write::Reinstate)
}

/// Completes the task again. The messages of the steps that the cancellation has closed are then owed.
pub(super) fn reinstate(scope: &Scope, state: &mut ModelState) {
    let closed = scope.forward().filter(|step| state.items[*step].state == StepState::Cancelled);
    state.owed = closed.chain(state.owed.iter()).collect();
    make(scope, state, Write::Reinstate);
}

/// The write of an operator's redrive.
fn redriving(scope: &Scope) -> Write<'static> {
    Write::Redrive { moves_deadline: scope.bug != Some(Bug::RedrivenAfterDeadline) }
}

/// Whether an operator may redrive the task: it has failed, or a compensation has.
pub(super) fn may_redrive(scope: &Scope, state: &ModelState) -> bool {
    redriving(scope).takes_effect(&Items { scope, state })
}

/// Whether nothing but failed compensations is left to run, and what waits for them: an operator has to act.
pub(super) fn needs_operator(scope: &Scope, state: &ModelState) -> bool {
    let open: Set = Items { scope, state }.open_compensations().collect();
    !open.is_empty() && open.iter().all(|step| state.items[step].state == StepState::Error)
}

/// Gives the failed steps a fresh set of attempts. Their messages are then owed. It is one transaction, whose
/// conditions cover all reads.
pub(super) fn redrive(scope: &Scope, state: &mut ModelState) {
    state.owed = Items { scope, state }.failed().chain(state.owed.iter()).collect();
    make(scope, state, redriving(scope));
}

/// Whether an operator may set the step's result: the step is ready, and no worker owns it.
pub(super) fn may_resolve(scope: &Scope, state: &ModelState, step: usize) -> bool {
    may(scope, state, Write::ResolveStep(step))
}

/// Sets a step's result. Its message is then owed, so that its worker dispatches. It is one transaction, whose
/// conditions cover all reads.
pub(super) fn resolve(scope: &Scope, state: &mut ModelState, step: usize) {
    make(scope, state, Write::ResolveStep(step));
    if scope.is_compensation(step) {
        state.effects[step - scope.forward] =
            Effect { refunded: true, voided: true, ..state.effects[step - scope.forward] };
    }
    state.owed = state.owed.with(step);
}

/// Whether a dead letter of the step fails it: the step is ready, and no worker owns it.
pub(super) fn may_dead_letter(scope: &Scope, state: &ModelState, step: usize) -> bool {
    may(scope, state, Write::DeadLetterStep(step))
}

/// Fails the step because its message is a dead letter.
pub(super) fn dead_letter(scope: &Scope, state: &mut ModelState, step: usize) {
    make(scope, state, Write::DeadLetterStep(step));
}
