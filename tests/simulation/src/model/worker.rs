//! The worker: one AWS call, or one run of the handler, at a time. It follows `worker/deliver.rs`, `core/settlement.rs`
//! and `engine.rs` of the engine.

use super::{
    recovery::{finish_compensation, may_compensate},
    scope::{Bug, Scope},
    state::{
        ClaimProgress, ClaimRefusal, LoadResult, ModelMessage, ModelOutcome, ModelState, Set, Worker, WorkerState,
    },
    store::{Items, force, make},
    writes::{Fence, Snapshot, Write},
};
use stepwell::core::state::StepState;

/// One call of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerCall {
    /// Claim the step, or take it over.
    Claim,
    /// Read the task and the dependencies.
    Load,
    /// Park the step, because the breaker is open.
    Park,
    /// Fail the step without a claim, because the deadline is over and the breaker is open.
    MissDeadline,
    /// Release the claim.
    Release,
    /// Load the dependencies once more.
    Reload,
    /// Write the outcome of the attempt.
    Write,
    /// Read which dependents are untouched.
    FindDependents,
    /// Record at this join that the step is done.
    RecordJoinArrival(usize),
    /// Send this dependent its message.
    Send(usize),
    /// Record at the task that the leaf is done.
    RecordLeafArrival,
    /// End the task.
    Finish,
    /// Acknowledge the message.
    Acknowledge,
}

/// How a run of the handler goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerRun {
    /// It has its effect and succeeds.
    Ok,
    /// It fails with a retryable error before it has had its effect.
    Retryable,
    /// It has its effect and fails with a retryable error all the same: an answer was lost.
    RetryableAfterEffect,
    /// It is throttled, without an effect.
    Throttled,
    /// It fails with a permanent error, without an effect.
    Permanent,
    /// It is a compensation, and refuses to undo its step; unless it has undone it before.
    Refused,
}

/// The calls that a worker may make next.
pub(super) fn calls(scope: &Scope, worker: &Worker) -> Vec<WorkerCall> {
    let claims_first = scope.is_compensation(worker.step.into()) && scope.bug != Some(Bug::CompensationLoadedFirst);
    let breaker = scope.faults.breaker;
    match worker.at {
        WorkerState::Idle | WorkerState::Running => vec![],
        // A compensation loads again after its claim.
        WorkerState::Calling(ClaimProgress::Claim, None) if claims_first && breaker => {
            vec![WorkerCall::Claim, WorkerCall::Load]
        }
        WorkerState::Calling(ClaimProgress::Claim | ClaimProgress::TakeOver, None) if claims_first => {
            vec![WorkerCall::Claim]
        }
        // This load was that of the breaker's check.
        WorkerState::Calling(ClaimProgress::Claim, Some(_)) if claims_first => vec![WorkerCall::Park],
        WorkerState::Calling(ClaimProgress::Claim, Some(seen)) if breaker && seen.is_its_turn() => {
            vec![WorkerCall::Claim, WorkerCall::Park, WorkerCall::MissDeadline]
        }
        // The engine makes both concurrently. The load first is the worse order, because what it finds is older.
        WorkerState::Calling(_, None) => vec![WorkerCall::Load],
        WorkerState::Calling(_, Some(_)) => vec![WorkerCall::Claim],
        WorkerState::Releasing { .. } => vec![WorkerCall::Release],
        WorkerState::Reloading => vec![WorkerCall::Reload],
        WorkerState::Writing(_) => vec![WorkerCall::Write],
        WorkerState::FindingDependents => vec![WorkerCall::FindDependents],
        WorkerState::Dispatching { arrivals, send, .. } => {
            arrivals.iter().map(WorkerCall::RecordJoinArrival).chain(send.iter().map(WorkerCall::Send)).collect()
        }
        WorkerState::RecordingLeafArrival => vec![WorkerCall::RecordLeafArrival],
        WorkerState::Finishing => vec![WorkerCall::Finish],
        WorkerState::Acknowledging => vec![WorkerCall::Acknowledge],
    }
}

/// Delivers a message to an idle worker.
pub(super) fn deliver(state: &mut ModelState, index: usize, step: usize, slot: usize) {
    let message = &mut state.queues[step].0[slot];
    let first_of_repeat = *message == Some(ModelMessage::Repeat);
    if first_of_repeat {
        *message = Some(ModelMessage::Plain);
    }
    state.workers[index] = Worker {
        at: WorkerState::Calling(ClaimProgress::Claim, None),
        step: u8::try_from(step).unwrap(),
        slot: u8::try_from(slot).ok(),
        first_of_repeat,
        own: false,
        current: false,
    };
}

/// The result of loading the task and the step's dependencies.
fn load(scope: &Scope, state: &ModelState, step: usize) -> LoadResult {
    Items { scope, state }.load(step)
}

/// Makes one call of a worker. With `lost` the call takes effect and the worker makes it again; without an effect it is
/// no action.
pub(super) fn call(scope: &Scope, state: &mut ModelState, index: usize, call: WorkerCall, lost: bool) {
    let step = usize::from(state.workers[index].step);
    let at = state.workers[index].at;
    let next = match (call, at) {
        (WorkerCall::Claim, WorkerState::Calling(asked, seen)) => {
            WorkerState::Calling(claim(scope, state, index, asked), seen)
        }
        (WorkerCall::Load, WorkerState::Calling(asked, None)) => {
            let seen = load(scope, state, step);
            if asked == ClaimProgress::Claim
                && scope.is_compensation(step)
                && scope.faults.breaker
                && !seen.is_its_turn()
            {
                // There is nothing to park, and the claim comes before the load that counts.
                return;
            }
            WorkerState::Calling(asked, Some(seen))
        }
        (WorkerCall::Park, _) => {
            park(scope, state, step);
            WorkerState::Idle
        }
        (WorkerCall::MissDeadline, _) => {
            if !miss_deadline(scope, state, step) {
                return;
            }
            if passes(scope, step) {
                dispatch(scope, state, step, Set::default(), false)
            } else {
                after_failure(scope, state)
            }
        }
        (WorkerCall::Release, WorkerState::Releasing { reload }) => {
            release(scope, state, index);
            if reload { WorkerState::Reloading } else { WorkerState::Acknowledging }
        }
        // The step is ready by now: the message becomes visible again. Otherwise the last dependency sends another one.
        (WorkerCall::Reload, _) => {
            if load(scope, state, step).ready {
                WorkerState::Idle
            } else {
                WorkerState::Acknowledging
            }
        }
        (WorkerCall::Write, WorkerState::Writing(outcome)) => write(scope, state, index, outcome),
        (WorkerCall::FindDependents, _) => {
            let waiting = wakes(scope, state, step).iter();
            dispatch(
                scope,
                state,
                step,
                waiting.filter(|other| state.items[*other].state == StepState::Pending).collect(),
                true,
            )
        }
        (WorkerCall::RecordJoinArrival(other), WorkerState::Dispatching { arrivals, send, again }) => {
            let ready = record_join_arrival(scope, state, step, other);
            Dispatching { arrivals: arrivals.without(other), send: if ready { send.with(other) } else { send }, again }
                .next()
        }
        (WorkerCall::Send(other), WorkerState::Dispatching { arrivals, send, again }) => {
            state.send(other, if again { ModelMessage::Repeat } else { ModelMessage::Plain });
            Dispatching { arrivals, send: send.without(other), again }.next()
        }
        (WorkerCall::RecordLeafArrival, _) => {
            make(scope, state, Write::RecordLeafArrival(step));
            let leaves = Items { scope, state }.leaves_beside(step);
            if state.task.arrived.contains(leaves) { WorkerState::Finishing } else { WorkerState::Acknowledging }
        }
        (WorkerCall::Finish, _) => {
            finish(scope, state, step);
            WorkerState::Acknowledging
        }
        (WorkerCall::Acknowledge, _) => {
            if let Some(slot) = state.workers[index].slot {
                state.delete(step, slot.into());
            }
            WorkerState::Idle
        }
        (call, at) => unreachable!("{call:?} at {at:?}"),
    };
    if lost {
        return;
    }
    go(state, index, next);
    check(scope, state, index);
}

/// The two sets of an unfinished dispatch.
struct Dispatching {
    arrivals: Set,
    send: Set,
    again: bool,
}

impl Dispatching {
    fn next(self) -> WorkerState {
        let Self { arrivals, send, again } = self;
        if arrivals.is_empty() && send.is_empty() {
            WorkerState::Acknowledging
        } else {
            WorkerState::Dispatching { arrivals, send, again }
        }
    }
}

fn go(state: &mut ModelState, index: usize, at: WorkerState) {
    let worker = &mut state.workers[index];
    worker.at = at;
    match at {
        WorkerState::Idle => *worker = Worker::default(),
        // The attempt is over, so its fencing token is not needed any more.
        WorkerState::FindingDependents
        | WorkerState::Dispatching { .. }
        | WorkerState::RecordingLeafArrival
        | WorkerState::Finishing
        | WorkerState::Acknowledging
        | WorkerState::Reloading => {
            worker.own = false;
            worker.current = false;
            worker.first_of_repeat = false;
        }
        WorkerState::Calling(..) | WorkerState::Releasing { .. } | WorkerState::Running | WorkerState::Writing(_) => {}
    }
}

/// The fence of the worker's write: whether its attempt, or the one that it takes over, is the step's last.
fn fence(worker: &Worker) -> Fence {
    if worker.current { Fence::Current } else { Fence::Stale }
}

fn claim(scope: &Scope, state: &mut ModelState, index: usize, asked: ClaimProgress) -> ClaimProgress {
    let worker = state.workers[index];
    let Worker { own, current, .. } = worker;
    let step = usize::from(worker.step);
    let write = match asked {
        ClaimProgress::Claim => Write::Claim(step),
        // The fencing token of a take-over is the number of the lost attempt.
        _ => Write::TakeOver(step, if own { Fence::Stale } else { fence(&worker) }),
    };
    let wrong_way = scope.bug == Some(Bug::LeaseComparisonInverted);
    let (item, over) = (state.items[step], state.items[step].over != wrong_way);
    let granted = if wrong_way && asked == ClaimProgress::TakeOver {
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
        return ClaimProgress::Granted;
    }
    match item.state {
        // Its own claim, whose answer was lost.
        StepState::InProgress if own && current => ClaimProgress::Granted,
        StepState::InProgress if asked == ClaimProgress::Claim && over => {
            state.workers[index].own = false;
            state.workers[index].current = true;
            ClaimProgress::TakeOver
        }
        StepState::InProgress | StepState::Retrying | StepState::Pending => ClaimProgress::Refused(ClaimRefusal::Busy),
        StepState::Complete | StepState::ResolvedManually => ClaimProgress::Refused(ClaimRefusal::Done),
        StepState::Error if passes(scope, step) => ClaimProgress::Refused(ClaimRefusal::Passed),
        StepState::Error | StepState::Cancelled => ClaimProgress::Refused(ClaimRefusal::Ended),
    }
}

/// Parks the step, if it is still due. Otherwise somebody else has changed it since the load.
fn park(scope: &Scope, state: &mut ModelState, step: usize) {
    let item = state.items[step];
    if item.state == StepState::Pending || item.over {
        make(scope, state, Write::Park(step));
    }
}

/// Fails the step without a claim. Answers whether it did: not if the deadline is not over, or the step was attempted.
fn miss_deadline(scope: &Scope, state: &mut ModelState, step: usize) -> bool {
    let write = Write::MissDeadline(step);
    let in_flight = state.items[step].state == StepState::InProgress && Items { scope, state }.overdue().has(step);
    if in_flight && scope.bug == Some(Bug::DeadlineMissedInFlight) {
        force(scope, state, write);
        return true;
    }
    make(scope, state, write)
}

/// Whether the step's failure counts as its arrival at the end of the task, or of its compensation.
fn passes(scope: &Scope, step: usize) -> bool {
    scope.optional.has(step) && scope.bug != Some(Bug::OptionalFailureNotCounted)
}

/// Decides the next call once both claim and load are answered.
fn check(scope: &Scope, state: &mut ModelState, index: usize) {
    let worker = state.workers[index];
    let WorkerState::Calling(asked, Some(seen)) = worker.at else { return };
    let step = usize::from(worker.step);
    let next = match asked {
        ClaimProgress::Claim | ClaimProgress::TakeOver => return,
        ClaimProgress::Refused(ClaimRefusal::Busy) => WorkerState::Idle,
        ClaimProgress::Refused(ClaimRefusal::Ended) => after_failure(scope, state),
        ClaimProgress::Refused(ClaimRefusal::Passed) => dispatch(scope, state, step, Set::default(), true),
        ClaimProgress::Refused(ClaimRefusal::Done) if worker.first_of_repeat => WorkerState::Acknowledging,
        ClaimProgress::Refused(ClaimRefusal::Done) if wakes(scope, state, step).is_empty() => {
            dispatch(scope, state, step, Set::default(), true)
        }
        ClaimProgress::Refused(ClaimRefusal::Done) => WorkerState::FindingDependents,
        ClaimProgress::Granted if !seen.open && scope.bug != Some(Bug::StatusNotChecked) => {
            WorkerState::Releasing { reload: false }
        }
        ClaimProgress::Granted if !seen.ready && scope.bug != Some(Bug::MessageTrusted) => {
            WorkerState::Releasing { reload: true }
        }
        ClaimProgress::Granted
            if Items { scope, state }.overdue().has(step) && scope.bug != Some(Bug::DeadlineNotChecked) =>
        {
            WorkerState::Writing(ModelOutcome::Fail)
        }
        ClaimProgress::Granted if waits_for_sibling(scope, state, step) => WorkerState::Releasing { reload: false },
        ClaimProgress::Granted if !Items { scope, state }.allows_attempt(step, state.items[step].counted) => {
            WorkerState::Writing(ModelOutcome::Fail)
        }
        ClaimProgress::Granted => {
            state.violations.after_end |= !seen.open;
            state.violations.too_early |= !load(scope, state, step).ready;
            state.violations.too_early |= !seen.ready;
            state.violations.after_deadline |= Items { scope, state }.overdue().has(step);
            WorkerState::Running
        }
    };
    go(state, index, next);
}

/// Whether another compensation that failed keeps this one from running, by a bug.
fn waits_for_sibling(scope: &Scope, state: &ModelState, step: usize) -> bool {
    let failed = || Items { scope, state }.failed().next().is_some();
    scope.bug == Some(Bug::SiblingWaits) && scope.is_compensation(step) && failed()
}

/// Runs the handler of a worker.
pub(super) fn run(scope: &Scope, state: &mut ModelState, index: usize, run: HandlerRun) {
    let step = usize::from(state.workers[index].step);
    let works =
        if matches!(run, HandlerRun::Ok | HandlerRun::RetryableAfterEffect) { apply(scope, state, step) } else { true };
    let has_acted = scope.is_compensation(step) && state.effects[step - scope.forward].voided;
    let attempts_left = Items { scope, state }.allows_attempt(step, state.items[step].counted + 1);
    let outcome = match run {
        HandlerRun::Ok if works => ModelOutcome::Complete,
        HandlerRun::Retryable | HandlerRun::RetryableAfterEffect if attempts_left => ModelOutcome::RetryLater,
        // The model has no time. What is throttled after its time is the run with a retryable error.
        HandlerRun::Throttled => ModelOutcome::RetryThrottled,
        HandlerRun::Refused if has_acted => ModelOutcome::Complete,
        HandlerRun::Refused => ModelOutcome::Refuse,
        _ => ModelOutcome::Fail,
    };
    go(state, index, WorkerState::Writing(outcome));
}

/// Applies the handler's effect at the outside services; `false` where the key is void.
fn apply(scope: &Scope, state: &mut ModelState, step: usize) -> bool {
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

fn release(scope: &Scope, state: &mut ModelState, index: usize) {
    let worker = state.workers[index];
    make(scope, state, Write::Release(worker.step.into(), fence(&worker)));
}

fn write(scope: &Scope, state: &mut ModelState, index: usize, outcome: ModelOutcome) -> WorkerState {
    let worker = state.workers[index];
    let step = usize::from(worker.step);
    let fence = fence(&worker);
    let (write, to) = match outcome {
        ModelOutcome::Complete => (Write::Complete(step, fence), StepState::Complete),
        ModelOutcome::RetryLater => (Write::RetryLater(step, fence), StepState::Retrying),
        ModelOutcome::RetryThrottled => (Write::RetryThrottled(step, fence), StepState::Retrying),
        ModelOutcome::Fail => (Write::Fail(step, fence), StepState::Error),
        ModelOutcome::Refuse => (Write::Refuse(step, fence), StepState::Error),
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
    // A refused write may be this write itself, made before, whose answer was lost.
    if !(written || worker.current && state.items[step].state == to) {
        // A newer attempt owns the step.
        return WorkerState::Idle;
    }
    match outcome {
        ModelOutcome::Complete => {
            if scope.bug == Some(Bug::AcknowledgeBeforeDispatch)
                && let Some(slot) = worker.slot
            {
                state.delete(step, slot.into());
            }
            dispatch(scope, state, step, wakes(scope, state, step), false)
        }
        ModelOutcome::RetryLater | ModelOutcome::RetryThrottled => WorkerState::Idle,
        ModelOutcome::Fail | ModelOutcome::Refuse if passes(scope, step) => {
            dispatch(scope, state, step, Set::default(), false)
        }
        ModelOutcome::Fail | ModelOutcome::Refuse => after_failure(scope, state),
    }
}

/// The message of a failed step waits for the recovery of its task.
fn after_failure(scope: &Scope, state: &ModelState) -> WorkerState {
    let waits = may_compensate(scope, state) && scope.bug != Some(Bug::RecoveryForgotten);
    if waits { WorkerState::Idle } else { WorkerState::Acknowledging }
}

/// The steps that become ready by the completion of this one.
fn wakes(scope: &Scope, state: &ModelState, step: usize) -> Set {
    if scope.is_compensation(step) {
        let items = Items { scope, state };
        return items.to_run().iter().filter(|other| items.depends_on(*other).has(step)).collect();
    }
    scope.dependents[step]
}

fn dispatch(scope: &Scope, state: &ModelState, step: usize, wakes: Set, again: bool) -> WorkerState {
    let items = Items { scope, state };
    let leaves = items.leaves_beside(step);
    if wakes.is_empty() && leaves.has(step) {
        let one_of_several = leaves != Set::default().with(step);
        return if one_of_several { WorkerState::RecordingLeafArrival } else { WorkerState::Finishing };
    }
    let joins = |other: &usize| items.depends_on(*other).iter().count() > 1;
    let arrivals = wakes.iter().filter(joins).collect();
    let send = wakes.iter().filter(|other| !joins(other)).collect();
    Dispatching { arrivals, send, again }.next()
}

/// Records at a join that `step` is done; answers whether all dependencies are.
fn record_join_arrival(scope: &Scope, state: &mut ModelState, step: usize, join: usize) -> bool {
    if scope.bug == Some(Bug::JoinCounted) {
        let arrived = &mut state.items[join].arrived;
        *arrived = Set((arrived.0 + 1).min(7));
        return usize::from(arrived.0) == scope.depends_on[join].iter().count();
    }
    make(scope, state, Write::RecordJoinArrival { join, done: step });
    state.items[join].arrived.contains(Items { scope, state }.depends_on(join))
}

/// Ends the task, where its status allows it.
fn finish(scope: &Scope, state: &mut ModelState, step: usize) {
    if scope.is_compensation(step) {
        finish_compensation(scope, state);
    } else {
        make(scope, state, Write::Finish);
    }
}
