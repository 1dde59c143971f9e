//! What a worker does: one AWS call, or one run of the handler, at a time. It follows `worker/deliver.rs`,
//! `core/settlement.rs` and `engine.rs` of the engine.

use super::{
    recovery::{finish_undoing, next_in_order},
    scope::{Bug, Scope},
    state::{Asked, At, ClaimRefusal, Message, Outcome, Seen, Set, State, Worker},
    store::{Items, force, make},
    writes::{Fence, Snapshot, Write},
};
use stepwell::core::state::StepState;

/// One call of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Claim the step, or take it over.
    Claim,
    /// Read the task and the dependencies.
    Load,
    /// Put the step back.
    Release,
    /// Read the dependencies once more.
    LookAgain,
    /// Write how the attempt ended.
    Write,
    /// Read which dependents are untouched.
    FindOut,
    /// Note at this dependent that the step is done.
    Arrive(usize),
    /// Send this dependent its message.
    Send(usize),
    /// Note at the task that the step is done.
    ArriveAtTask,
    /// End the task.
    Finish,
    /// Have the message deleted.
    Acknowledge,
}

/// How a handler's run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It has its effect and returns.
    Ok,
    /// It fails before it has had its effect, in a way that may pass.
    Retryable,
    /// It has its effect and fails all the same, in a way that may pass: an answer was lost.
    RetryableAfterEffect,
    /// It fails for good, without an effect.
    Permanent,
}

/// The calls that a worker may make next.
pub(super) fn calls(worker: &Worker) -> Vec<Call> {
    match worker.at {
        At::Idle | At::Running => vec![],
        // They are made side by side. The load first is the worse order: what it finds is older.
        At::Calling(_, None) => vec![Call::Load],
        At::Calling(_, Some(_)) => vec![Call::Claim],
        At::Releasing { .. } => vec![Call::Release],
        At::LookingAgain => vec![Call::LookAgain],
        At::Writing(_) => vec![Call::Write],
        At::FindingOut => vec![Call::FindOut],
        At::HandingOver { arrive, send, .. } => {
            arrive.iter().map(Call::Arrive).chain(send.iter().map(Call::Send)).collect()
        }
        At::ArrivingAtTask => vec![Call::ArriveAtTask],
        At::Finishing => vec![Call::Finish],
        At::Acknowledging => vec![Call::Acknowledge],
    }
}

/// Hands a message to a worker that has none.
pub(super) fn deliver(state: &mut State, index: usize, step: usize, slot: usize) {
    let message = &mut state.queues[step].0[slot];
    let first_of_repeat = *message == Some(Message::Repeat);
    if first_of_repeat {
        *message = Some(Message::Plain);
    }
    state.workers[index] = Worker {
        at: At::Calling(Asked::Claim, None),
        step: u8::try_from(step).unwrap(),
        slot: u8::try_from(slot).ok(),
        first_of_repeat,
        own: false,
        current: false,
    };
}

/// What a load of the task and of what the step waits for finds.
fn look(scope: &Scope, state: &State, step: usize) -> Seen {
    Items { scope, state }.look(step)
}

/// Makes one call of a worker. Where its answer is lost, it has its effect and the worker makes it again; such a call
/// without an effect is none.
pub(super) fn call(scope: &Scope, state: &mut State, index: usize, call: Call, lost: bool) {
    let step = usize::from(state.workers[index].step);
    let at = state.workers[index].at;
    let next = match (call, at) {
        (Call::Claim, At::Calling(asked, seen)) => At::Calling(claim(scope, state, index, asked), seen),
        (Call::Load, At::Calling(asked, None)) => At::Calling(asked, Some(look(scope, state, step))),
        (Call::Release, At::Releasing { look_again }) => {
            release(scope, state, index);
            if look_again { At::LookingAgain } else { At::Acknowledging }
        }
        // Ready by now: the message is given back. Else whoever makes it ready sends another.
        (Call::LookAgain, _) => {
            if look(scope, state, step).ready {
                At::Idle
            } else {
                At::Acknowledging
            }
        }
        (Call::Write, At::Writing(outcome)) => write(scope, state, index, outcome),
        (Call::FindOut, _) => {
            let waiting = wakes(scope, state, step).iter();
            hand_over(
                scope,
                step,
                waiting.filter(|other| state.items[*other].state == StepState::Pending).collect(),
                true,
            )
        }
        (Call::Arrive(other), At::HandingOver { arrive, send, again }) => {
            let ready = arrive_at(scope, state, step, other);
            HandingOver { arrive: arrive.without(other), send: if ready { send.with(other) } else { send }, again }
                .next()
        }
        (Call::Send(other), At::HandingOver { arrive, send, again }) => {
            state.send(other, if again { Message::Repeat } else { Message::Plain });
            HandingOver { arrive, send: send.without(other), again }.next()
        }
        (Call::ArriveAtTask, _) => {
            make(scope, state, Write::RecordLeafArrival(step));
            if state.task.arrived.contains(scope.leaves) { At::Finishing } else { At::Acknowledging }
        }
        (Call::Finish, _) => {
            finish(scope, state, step);
            At::Acknowledging
        }
        (Call::Acknowledge, _) => {
            if let Some(slot) = state.workers[index].slot {
                state.delete(step, slot.into());
            }
            At::Idle
        }
        (call, at) => unreachable!("{call:?} at {at:?}"),
    };
    if lost {
        return;
    }
    go(state, index, next);
    check(scope, state, index);
}

/// The two sets of a hand-over that is under way.
struct HandingOver {
    arrive: Set,
    send: Set,
    again: bool,
}

impl HandingOver {
    fn next(self) -> At {
        let Self { arrive, send, again } = self;
        if arrive.is_empty() && send.is_empty() { At::Acknowledging } else { At::HandingOver { arrive, send, again } }
    }
}

fn go(state: &mut State, index: usize, at: At) {
    let worker = &mut state.workers[index];
    worker.at = at;
    match at {
        At::Idle => *worker = Worker::default(),
        // What an attempt needs to know of itself is of no use after it.
        At::FindingOut
        | At::HandingOver { .. }
        | At::ArrivingAtTask
        | At::Finishing
        | At::Acknowledging
        | At::LookingAgain => {
            worker.own = false;
            worker.current = false;
            worker.first_of_repeat = false;
        }
        At::Calling(..) | At::Releasing { .. } | At::Running | At::Writing(_) => {}
    }
}

/// What the worker knows of the fence: whether its attempt, or the one that it is to take over, is the step's last.
fn fence(worker: &Worker) -> Fence {
    if worker.current { Fence::Current } else { Fence::Stale }
}

fn claim(scope: &Scope, state: &mut State, index: usize, asked: Asked) -> Asked {
    let worker = state.workers[index];
    let Worker { own, current, .. } = worker;
    let step = usize::from(worker.step);
    let write = match asked {
        Asked::Claim => Write::Claim(step),
        // The fence of a take-over is the number of the attempt that was lost, and not an own one.
        _ => Write::TakeOver(step, if own { Fence::Stale } else { fence(&worker) }),
    };
    let wrong_way = scope.bug == Some(Bug::LeaseComparedTheWrongWay);
    let (item, over) = (state.items[step], state.items[step].over != wrong_way);
    let granted = if wrong_way && asked == Asked::TakeOver {
        let granted = item.state == StepState::InProgress && over && current && !own;
        if granted {
            force(scope, state, write);
        }
        granted
    } else {
        make(scope, state, write)
    };
    if granted {
        state.new_attempt(step);
        state.workers[index].own = true;
        state.workers[index].current = true;
        return Asked::Granted;
    }
    match item.state {
        // Its own claim, whose answer was lost.
        StepState::InProgress if own && current => Asked::Granted,
        StepState::InProgress if asked == Asked::Claim && over => {
            state.workers[index].own = false;
            state.workers[index].current = true;
            Asked::TakeOver
        }
        StepState::InProgress | StepState::Retrying | StepState::Pending => Asked::Refused(ClaimRefusal::Busy),
        StepState::Complete | StepState::ResolvedManually => Asked::Refused(ClaimRefusal::Done),
        StepState::Error | StepState::Cancelled => Asked::Refused(ClaimRefusal::Ended),
    }
}

/// What follows from the answers to claim and load, once both are there.
fn check(scope: &Scope, state: &mut State, index: usize) {
    let worker = state.workers[index];
    let At::Calling(asked, Some(seen)) = worker.at else { return };
    let step = usize::from(worker.step);
    let next = match asked {
        Asked::Claim | Asked::TakeOver => return,
        Asked::Refused(ClaimRefusal::Busy) => At::Idle,
        Asked::Refused(ClaimRefusal::Ended) => At::Acknowledging,
        Asked::Refused(ClaimRefusal::Done) if worker.first_of_repeat => At::Acknowledging,
        Asked::Refused(ClaimRefusal::Done) if wakes(scope, state, step).is_empty() => {
            hand_over(scope, step, Set::default(), true)
        }
        Asked::Refused(ClaimRefusal::Done) => At::FindingOut,
        Asked::Granted if !seen.open && scope.bug != Some(Bug::StatusNotChecked) => At::Releasing { look_again: false },
        Asked::Granted if !seen.ready && scope.bug != Some(Bug::MessageTrusted) => At::Releasing { look_again: true },
        Asked::Granted if state.items[step].counted > scope.max_attempts => At::Writing(Outcome::Fail),
        Asked::Granted => {
            state.wrongs.after_end |= !seen.open;
            state.wrongs.too_early |= !look(scope, state, step).ready && !scope.is_compensation(step);
            state.wrongs.too_early |= !seen.ready;
            At::Running
        }
    };
    go(state, index, next);
}

/// Runs the handler of a worker.
pub(super) fn run(scope: &Scope, state: &mut State, index: usize, run: Run) {
    let step = usize::from(state.workers[index].step);
    let works = if matches!(run, Run::Ok | Run::RetryableAfterEffect) { apply(scope, state, step) } else { true };
    let attempts_left = state.items[step].counted < scope.max_attempts;
    let outcome = match run {
        Run::Ok if works => Outcome::Complete,
        Run::Retryable | Run::RetryableAfterEffect if attempts_left => Outcome::RetryLater,
        _ => Outcome::Fail,
    };
    go(state, index, At::Writing(outcome));
}

/// What the handler does in the world; `false` where the world will not have it.
fn apply(scope: &Scope, state: &mut State, step: usize) -> bool {
    if scope.is_compensation(step) {
        let effect = &mut state.effects[step - scope.forward];
        effect.refunded |= effect.charged > 0;
        effect.voided = scope.bug != Some(Bug::RefundWithoutVoid);
        return true;
    }
    let effect = &mut state.effects[step];
    if effect.voided {
        return false;
    }
    let again = if scope.bug == Some(Bug::KeyPerAttempt) { effect.charged + 1 } else { 1 };
    effect.charged = again.min(2);
    true
}

fn release(scope: &Scope, state: &mut State, index: usize) {
    let worker = state.workers[index];
    make(scope, state, Write::Release(worker.step.into(), fence(&worker)));
}

fn write(scope: &Scope, state: &mut State, index: usize, outcome: Outcome) -> At {
    let worker = state.workers[index];
    let step = usize::from(worker.step);
    let fence = fence(&worker);
    let (write, to) = match outcome {
        Outcome::Complete => (Write::Complete(step, fence), StepState::Complete),
        Outcome::RetryLater => (Write::RetryLater(step, fence), StepState::Retrying),
        Outcome::Fail => (Write::Fail(step, fence), StepState::Error),
    };
    let task = state.task;
    let written = if scope.bug == Some(Bug::NoFence) {
        force(scope, state, write);
        true
    } else {
        make(scope, state, write)
    };
    if scope.bug == Some(Bug::FailWithoutTask) {
        state.task = task;
    }
    // Where it was refused, it may have been this write itself of which only the answer was lost.
    if !(written || worker.current && state.items[step].state == to) {
        // A newer attempt owns the step.
        return At::Idle;
    }
    match outcome {
        Outcome::Complete => {
            if scope.bug == Some(Bug::AcknowledgeBeforeHandOver)
                && let Some(slot) = worker.slot
            {
                state.delete(step, slot.into());
            }
            hand_over(scope, step, wakes(scope, state, step), false)
        }
        Outcome::RetryLater => At::Idle,
        Outcome::Fail => At::Acknowledging,
    }
}

/// The steps that the completion of this one makes due.
fn wakes(scope: &Scope, state: &State, step: usize) -> Set {
    if scope.is_compensation(step) {
        return next_in_order(scope, state, step).into_iter().collect();
    }
    scope.dependents[step]
}

fn hand_over(scope: &Scope, step: usize, wakes: Set, again: bool) -> At {
    let ends_task = scope.is_compensation(step) || scope.leaves.has(step);
    if wakes.is_empty() && ends_task {
        let one_of_several = !scope.is_compensation(step) && scope.leaves != Set::default().with(step);
        return if one_of_several { At::ArrivingAtTask } else { At::Finishing };
    }
    let joins = |other: &usize| scope.depends_on[*other].iter().count() > 1;
    let arrive = wakes.iter().filter(joins).collect();
    let send = wakes.iter().filter(|other| !joins(other)).collect();
    // After a compensation goes the same message as from whoever else goes on with it.
    HandingOver { arrive, send, again: again && !scope.is_compensation(step) }.next()
}

/// Notes at a join that `step` is done; whether all are.
fn arrive_at(scope: &Scope, state: &mut State, step: usize, join: usize) -> bool {
    if scope.bug == Some(Bug::JoinCounted) {
        let arrived = &mut state.items[join].arrived;
        *arrived = Set((arrived.0 + 1).min(7));
        return usize::from(arrived.0) == scope.depends_on[join].iter().count();
    }
    make(scope, state, Write::RecordJoinArrival { join, done: step });
    state.items[join].arrived.contains(scope.depends_on[join])
}

/// Ends the task, where its status allows it.
fn finish(scope: &Scope, state: &mut State, step: usize) {
    if scope.is_compensation(step) {
        finish_undoing(scope, state);
    } else {
        make(scope, state, Write::Finish);
    }
}
