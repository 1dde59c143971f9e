//! Who else has a hand in a task: watchdog, unwinding, operators.
//!
//! Each is taken apart into its single conditional writes and sends, any of which may be the last before it dies. What
//! such a write has read before is all in its condition, or cannot change any more, so a step of it is one action.

use super::{
    scope::{Bug, Scope},
    state::{Effect, Set, State},
    worker::{fail_task, look, shift},
};
use stepwell::core::state::{End, StepEvent, StepState, TaskEvent, TaskState};

/// The compensations of a task, in the order in which they run: of every step that was attempted at all, the last ones
/// first.
pub(super) fn order<'a>(scope: &'a Scope, state: &'a State) -> impl Iterator<Item = usize> + 'a {
    let attempted = scope.forward().rev().filter(|step| state.items[*step].attempted);
    attempted.filter(|_| scope.compensated).map(|step| step + scope.forward)
}

/// The compensation after this one.
pub(super) fn next_in_order(scope: &Scope, state: &State, step: usize) -> Option<usize> {
    order(scope, state).skip_while(|other| *other != step).nth(1)
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
            let open = order(scope, state).find(|other| !done(*other));
            state.task.compensating() == Some(true) && open == Some(step) && overdue(true)
        }
        TaskState::Running => {
            let never_closed = scope.last_steps.has(step) && scope.forward().all(done);
            never_closed || overdue(scope.depends_on[step].iter().all(done))
        }
        // While it waits for a retry before it is compensated.
        TaskState::Failed => may_unwind(scope, state) && overdue(scope.depends_on[step].iter().all(done)),
        _ => false,
    }
}

/// Whether the failed task is due to be compensated.
pub(super) fn may_unwind(scope: &Scope, state: &State) -> bool {
    scope.compensated && state.task.state == TaskState::Failed
}

/// Whether the unwinding closes this step next: it has not started, or whoever was at it is gone.
pub(super) fn may_close(scope: &Scope, state: &State, step: usize) -> bool {
    let item = state.items[step];
    let idle = match item.state {
        StepState::Pending | StepState::Retrying => true,
        StepState::InProgress => item.over,
        _ => false,
    };
    state.task.compensating() == Some(false) && !scope.is_compensation(step) && idle
}

/// Closes a step. An attempt that was lost is recorded so.
pub(super) fn close(state: &mut State, step: usize) {
    shift(state, step, StepEvent::Cancel);
    state.items[step].over = false;
}

/// Begins to undo what the task has done.
pub(super) fn unwind(state: &mut State, ends_as: End) {
    divert(state, TaskEvent::Compensate(ends_as));
}

/// Cancels the task: what it has done is undone, if its steps have compensations.
pub(super) fn cancel(scope: &Scope, state: &mut State) {
    if scope.compensated { unwind(state, End::Cancelled) } else { divert(state, TaskEvent::Cancel) }
}

fn divert(state: &mut State, event: TaskEvent) {
    match state.task.state.on(event) {
        Some(to) => state.task.state = to,
        None => state.wrongs.illegal_move = true,
    }
}

/// Whether the order of the compensations can be stored: nothing is in flight.
pub(super) fn may_order(scope: &Scope, state: &State) -> bool {
    let settled = |step: usize| {
        let state = state.items[step].state;
        Scope::is_settled(state) || scope.bug == Some(Bug::ClosedInFlight) && state == StepState::InProgress
    };
    state.task.compensating() == Some(false) && scope.forward().all(settled)
}

/// Stores the order; the first message is to be sent.
pub(super) fn store_order(scope: &Scope, state: &mut State) {
    state.task.ordered = true;
    let first = order(scope, state).next();
    state.owed = first.into_iter().chain(state.owed.iter()).collect();
}

/// Whether all is undone, so that the task can come to its end.
pub(super) fn may_finish_undoing(scope: &Scope, state: &State) -> bool {
    state.task.compensating() == Some(true) && order(scope, state).all(|step| state.items[step].state.is_done())
}

/// Ends a task whose compensations are all done.
pub(super) fn finish_undoing(scope: &Scope, state: &mut State) {
    if may_finish_undoing(scope, state) {
        divert(state, TaskEvent::Compensated);
    }
}

/// Whether an operator may cancel the task.
pub(super) fn may_cancel(state: &State) -> bool {
    state.task.state.on(TaskEvent::Cancel).is_some()
}

/// The steps that a retry would start again.
fn failed(scope: &Scope, state: &State) -> Set {
    let undoing = state.task.compensating().is_some();
    let steps = scope.steps().filter(|step| scope.is_compensation(*step) == undoing);
    steps.filter(|step| state.items[*step].state == StepState::Error).collect()
}

/// Whether an operator may retry the task: it has failed, or its compensation has.
pub(super) fn may_retry(scope: &Scope, state: &State) -> bool {
    state.task.state.on(TaskEvent::Restart).is_some() && !failed(scope, state).is_empty()
}

/// Whether a compensation has failed for good, so that a person has to see to it.
pub(super) fn needs_hands(scope: &Scope, state: &State) -> bool {
    state.task.compensating() == Some(true) && !failed(scope, state).is_empty()
}

/// Gives what failed a fresh set of attempts; its messages are to be sent. One transaction, whose conditions are all
/// that was read.
pub(super) fn retry(scope: &Scope, state: &mut State) {
    for step in failed(scope, state).iter() {
        shift(state, step, StepEvent::Restart);
        state.items[step].counted = 0;
        state.owed = state.owed.with(step);
    }
    divert(state, TaskEvent::Restart);
}

/// Whether an operator may put a result in the place of the step's: it is its turn, and nobody is at it.
pub(super) fn may_resolve(scope: &Scope, state: &State, step: usize) -> bool {
    look(scope, state, step).is_its_turn() && state.items[step].state.on(StepEvent::Resolve).is_some()
}

/// The step is done by hand; its message is to be sent, so that its worker hands over. One transaction, whose conditions
/// are all that was read.
pub(super) fn resolve(scope: &Scope, state: &mut State, step: usize) {
    shift(state, step, StepEvent::Resolve);
    let item = &mut state.items[step];
    item.results = (item.results + 1).min(2);
    // It counts among what is to be undone.
    item.attempted = true;
    item.over = false;
    if scope.is_compensation(step) {
        state.effects[step - scope.forward] =
            Effect { refunded: true, voided: true, ..state.effects[step - scope.forward] };
    }
    if failed(scope, state).is_empty() {
        divert(state, TaskEvent::Mend);
    }
    state.owed = state.owed.with(step);
}

/// Whether a message of the step that SQS gives up on means anything: it is the step's turn, and nobody is at it.
pub(super) fn may_give_up(scope: &Scope, state: &State, step: usize) -> bool {
    let item = state.items[step];
    let idle = match item.state {
        StepState::InProgress => item.over,
        state => state.on(StepEvent::GiveUp).is_some(),
    };
    look(scope, state, step).is_its_turn() && idle
}

/// The step fails, because its message does not come any more.
pub(super) fn give_up(scope: &Scope, state: &mut State, step: usize) {
    shift(state, step, StepEvent::GiveUp);
    state.items[step].over = false;
    fail_task(scope, state, step);
}
