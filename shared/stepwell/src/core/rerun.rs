//! The rules of a rerun, as pure functions of the task's items and the time: nothing of the task may run any more, and what it did must not
//! be done twice. [`reserve_rerun`](super::task::reserve_rerun) makes sure that it stays so.
//!
//! A rerun begins with the first steps, or [keeps the results](kept) of those before a later one. Of a workflow with compensations nothing is kept: two
//! tasks would stand on what one of them may undo.

use super::{
    record::{KeptResult, RETENTION, RerunAs, StepRecord},
    snapshot::TaskSnapshot,
};
use crate::core::{
    id::TaskId,
    limits::MAX_KEPT_BYTES,
    state::{End, StepState, TaskState, TaskStatus},
    timestamp::Timestamp,
};
use std::collections::BTreeSet;

/// The reason why a task is not rerun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRerun {
    /// The task has not come to its end, or to one after which what it did still stands.
    #[error("it is in {} status{}", .0.as_str(), remedy(*.0))]
    Status(TaskStatus),
    /// The task is complete, and the request does not say `again`.
    #[error(
        "it is complete, and all that it has done stands, so a rerun does it once more. Whoever wants that has to say so"
    )]
    Complete,
    /// Somebody has cancelled the task, and the request does not say `again`.
    #[error("its customer or an operator has cancelled it. Whoever wants it all the same has to say so")]
    Unwanted,
    /// This step or compensation may still run.
    #[error("step `{step}` is {state}, so it may still run; wait for its end")]
    MayStillRun {
        /// The step.
        step: String,
        /// Its state.
        state: StepState,
    },
    /// This optional step of a complete task has failed, and may still be redriven or resolved.
    #[error("its optional step `{0}` has failed, and may still be redriven; redrive or resolve it first")]
    MayBeRedriven(String),
    /// This compensation has failed for good, and the request does not say `again`.
    #[error(
        "its compensation `{0}` has failed, so what that had to undo may stand, and a rerun may do it once more. Whoever wants that has to say so"
    )]
    NotUndone(String),
    /// This step was attempted and has no compensation, and the request does not say `again`.
    #[error(
        "its step `{0}` was attempted and has no compensation, so what it did may stand, and a rerun may do it once more. Whoever wants that has to say so"
    )]
    NoCompensation(String),
    /// The task was rerun before. This is its rerun or, if that was rerun as well, the last one.
    #[error("it was rerun before; the last rerun is {0}; look at that task")]
    Before(TaskId),
    /// Another request has reserved this id since the task was read.
    #[error("another request reruns it at this moment, as {}; look at that task", .0.task)]
    UnderWay(RerunAs),
    /// The rerun is to begin at a step that the workflow does not have.
    #[error("its workflow has no step `{0}` to begin at")]
    NoStep(String),
    /// The workflow has compensations, by which one of two tasks might undo what both stand on.
    #[error(
        "its workflow has compensations, such as `{0}`, and two tasks would stand on what one of them may undo; rerun it without a step to begin at"
    )]
    HasCompensations(String),
    /// The steps of the workflow, or what is secret in their results, are not those of the task.
    #[error("its workflow has other steps or secrets now than those of {0}; rerun it without a step to begin at")]
    Changed(String),
    /// The step comes before the one at which the rerun is to begin, and is not done.
    #[error("a rerun from `{from}` keeps the result of `{step}`, which is {state} and has none; begin at that step")]
    NotDone {
        /// The step at which the rerun is to begin.
        from: String,
        /// The step before it.
        step: String,
        /// Its state.
        state: StepState,
    },
    /// The result of a step that would be kept does not fit the type that the step has now.
    #[error(
        "a rerun from `{from}` keeps the result of `{step}`, which does not fit the step's type any more at `{path}`; begin at that step"
    )]
    OtherType {
        /// The step at which the rerun is to begin.
        from: String,
        /// The step whose result would be kept.
        step: String,
        /// Where it does not fit, as a JSON pointer into the result. What is there may be a secret.
        path: String,
    },
    /// The results of the steps before the one at which the rerun is to begin have more bytes than one write takes.
    #[error(
        "the results that a rerun from `{from}` keeps have {bytes} bytes, and at most {MAX_KEPT_BYTES} are kept; begin at an earlier step"
    )]
    TooMuchToKeep {
        /// The step at which the rerun is to begin.
        from: String,
        /// The bytes of the results.
        bytes: usize,
    },
    /// The task never started, so it has no input.
    #[error("it never started, so it has no input")]
    NeverStarted,
    /// The time for which a task is kept is over, so its rerun may be deleted already.
    #[error(
        "it was kept until {0}, and what was rerun of it may be deleted, so nobody can tell any more whether it was"
    )]
    Expired(Timestamp),
}

/// The results that the rerun of this task keeps, if it begins at `from`: those of the done steps that are not `from`, do not wait for it, and wait for
/// such steps only. The others run.
///
/// # Errors
/// The workflow has compensations or no step `from`, a step that `from` waits for is not done, or the results are too large.
pub fn kept(snapshot: &TaskSnapshot, from: &str) -> Result<Vec<KeptResult>, NotRerun> {
    let plan = &snapshot.task.plan;
    if let Some(compensation) = plan.compensations().first() {
        return Err(NotRerun::HasCompensations(compensation.name.clone()));
    }
    let before = plan.ancestors(plan.step(from).ok_or_else(|| NotRerun::NoStep(from.to_owned()))?);
    let (mut kept, mut names) = (Vec::new(), BTreeSet::new());
    for (step, record) in plan.steps().iter().zip(&snapshot.steps) {
        let name = step.name.as_str();
        // A step that waits for `from`, or for one that runs, waits for one that is not kept.
        if name == from || !step.depends_on.iter().all(|dependency| names.contains(dependency.as_str())) {
            continue;
        }
        match record.result.as_ref().filter(|_| record.state.is_done()) {
            Some(result) => {
                kept.push(KeptResult { step: name.to_owned(), result: result.clone() });
                names.insert(name);
            }
            None if before.contains(name) => {
                return Err(NotRerun::NotDone { from: from.to_owned(), step: name.to_owned(), state: record.state });
            }
            None => {}
        }
    }
    let bytes = kept.iter().map(|kept| kept.result.len()).sum();
    if bytes > MAX_KEPT_BYTES {
        return Err(NotRerun::TooMuchToKeep { from: from.to_owned(), bytes });
    }
    Ok(kept)
}

impl NotRerun {
    /// Whether the same request is granted with `again`, as far as this reason goes.
    pub const fn asks_for_again(&self) -> bool {
        matches!(self, Self::Complete | Self::Unwanted | Self::NotUndone(_) | Self::NoCompensation(_))
    }
}

/// What to do with a task that is in this status.
const fn remedy(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Pending | TaskStatus::InProgress => {
            ", so it goes on by itself; wait for its end, or cancel it first"
        }
        TaskStatus::Error => ", so it may still be redriven; redrive it, or cancel or compensate it first",
        TaskStatus::Compensating => "; wait for the end of its compensation",
        TaskStatus::Cancelled => ", but not compensated, so what it has done stands; compensate it first",
        TaskStatus::ResolvedManually => ", so somebody has taken it over, and what it has done stands",
        TaskStatus::Complete | TaskStatus::Compensated(_) => "",
    }
}

/// Whether a task may be rerun, but for earlier reruns of it: `again` also if what it did stands or may stand, or nobody wants it. The rerun begins
/// at the step `from`, or at the first one.
///
/// # Errors
/// It may not.
pub fn check(snapshot: &TaskSnapshot, again: bool, from: Option<&str>, now: Timestamp) -> Result<(), NotRerun> {
    let task = &snapshot.task;
    if task.never_starts() {
        return Err(NotRerun::NeverStarted);
    }
    // A rerun is kept for longer than its task, so before this time none is missing because it was deleted.
    let kept_until = task.created_at + RETENTION;
    if kept_until <= now {
        return Err(NotRerun::Expired(kept_until));
    }
    match task.state {
        TaskState::Compensated(End::Error) => {}
        TaskState::Completed | TaskState::Compensated(End::Cancelled) if again => {}
        TaskState::Compensated(End::Cancelled) => return Err(NotRerun::Unwanted),
        TaskState::Completed => return Err(NotRerun::Complete),
        TaskState::Running
        | TaskState::Failed
        | TaskState::Compensating(_)
        | TaskState::Cancelled
        | TaskState::Resolved => return Err(NotRerun::Status(snapshot.status())),
    }
    if let Some(step) = snapshot.may_still_run() {
        return Err(NotRerun::MayStillRun { step: step.name.clone(), state: step.state });
    }
    if let Some(step) = snapshot.failed_steps().first().filter(|_| task.state == TaskState::Completed) {
        return Err(NotRerun::MayBeRedriven(step.name.clone()));
    }
    let kept = from.map(|from| kept(snapshot, from)).transpose()?.unwrap_or_default();
    let not_undone = snapshot.compensations.iter().find(|compensation| !compensation.state.is_done());
    let is_undone = |step: &StepRecord| task.plan.compensation_of(&step.name).is_some();
    let is_kept = |step: &StepRecord| kept.iter().any(|kept| kept.step == step.name);
    let stands = |step: &&StepRecord| step.may_have_had_an_effect() && !is_undone(step) && !is_kept(step);
    let never_undone = snapshot.steps.iter().find(stands);
    match (not_undone, never_undone) {
        _ if again => Ok(()),
        (Some(compensation), _) => Err(NotRerun::NotUndone(compensation.name.clone())),
        (None, Some(step)) => Err(NotRerun::NoCompensation(step.name.clone())),
        (None, None) => Ok(()),
    }
}
