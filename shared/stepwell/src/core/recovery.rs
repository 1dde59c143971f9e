//! Undoing what a task has done: what comes next, as a pure function of its items and the time.
//!
//! A compensation undoes one step. Every step that has been attempted is compensated, whether it is known to have
//! succeeded or not, because an attempt whose answer was lost may have had its effect all the same. So a compensation has
//! to cope with a step that never had an effect, and has to see to it that it never will: the worker of a lost attempt
//! may only be slow. With a service that takes idempotency keys, that is to void the step's key
//! ([`StepContext::idempotency_key_of`](crate::runtime::step::StepContext::idempotency_key_of)).
//!
//! Before all that, a task that failed in a way that may have passed may be **redriven** by itself: its plan says how
//! often. What failed gets a fresh set of attempts, as by an operator's redrive.
//!
//! 1. **Begin.** The task becomes `compensating`, by one conditional write: by an operator, or by itself as its plan says
//!    ([`Compensate`](crate::core::plan::Compensate)). A failed task may wait for a redrive first. From here on no step that is
//!    claimed is run.
//! 2. **Close.** Each step that waits is cancelled by a conditional write, so that a worker which has read the task before
//!    cannot claim it any more. A step that is in flight comes to its end; its end is that of its lease at the latest.
//! 3. **Order.** Now it is known what has been attempted, and in which order it came to its end. The compensations run in
//!    the reverse order, and no step is undone before those that depended on it. The order is written to the task.
//! 4. **Run.** They are ordinary steps: claimed, leased, retried, with every attempt in the audit trail. Each sends the
//!    message of the next. One that fails for good leaves the task `compensating`, for an operator to redrive or resolve.
//! 5. **Finish.** The task goes to its end, `error` or `cancelled`, and is closed: nothing starts it again.
//!
//! Whoever finds a task in one of these stages does what comes next, be it a worker, the client or the watchdog. Each
//! write holds only for what was read, so it does not matter who is first.

use crate::core::{
    plan::StepPlan,
    record::{Action, ActionKind, Outcome, StepRecord},
    snapshot::TaskSnapshot,
    state::{End, StepState, TaskState},
    timestamp::Timestamp,
};
use std::cmp::Reverse;

/// Who did what nobody asked for, in the audit trail.
pub(crate) const ITSELF: &str = "stepwell";

/// What stands in the log where a compensation has failed for good. The template's alarm looks for these words.
pub const COMPENSATION_FAILED: &str = "compensation failed";

/// What comes next for a task that is to be compensated.
#[derive(Clone, Debug, PartialEq)]
pub enum NextAction<'a> {
    /// Nothing: it is not to be compensated, or has been.
    Nothing,
    /// It has failed, and stays open to a redrive until then.
    Wait(Timestamp),
    /// It has failed in a way that may have passed, and these steps get a fresh set of attempts.
    Redrive(Vec<&'a StepRecord>),
    /// It has failed, and its time is over.
    Begin,
    /// These steps have to be cancelled.
    Close(Vec<&'a StepRecord>),
    /// Steps are in flight, until then at the latest.
    InFlight(Timestamp),
    /// The order is known.
    Order(Vec<String>),
    /// This compensation is the next that is not done.
    Run(&'a StepRecord),
    /// All is undone.
    Finish(End),
}

/// What comes next.
pub fn next_action(snapshot: &TaskSnapshot, now: Timestamp) -> NextAction<'_> {
    let task = &snapshot.task;
    match task.state {
        TaskState::Failed => {
            match redrive_at(snapshot) {
                Some(at) if at > now => return NextAction::Wait(at),
                Some(_) => return NextAction::Redrive(snapshot.failed_steps()),
                None => {}
            }
            match begins_at(snapshot) {
                Some(at) if at > now => NextAction::Wait(at),
                Some(_) => NextAction::Begin,
                None => NextAction::Nothing,
            }
        }
        TaskState::Compensating(end) if task.compensations.is_some() => {
            let open = snapshot.compensations.iter().find(|compensation| !compensation.state.is_done());
            open.map_or(NextAction::Finish(end), NextAction::Run)
        }
        TaskState::Compensating(_) => close(snapshot, now),
        TaskState::Running
        | TaskState::Completed
        | TaskState::Cancelled
        | TaskState::Resolved
        | TaskState::Compensated(_) => NextAction::Nothing,
    }
}

/// When a failed task is redriven by itself: where the plan has a redrive left, the last attempt of everything that failed
/// did so in a way that may pass, and the audit trail has room for what comes of it. The watchdog does it, so it can be a
/// minute later. Of a task that needs a newer version only that one can say.
pub fn redrive_at(snapshot: &TaskSnapshot) -> Option<Timestamp> {
    let task = &snapshot.task;
    if task.state != TaskState::Failed || snapshot.newer().is_some() {
        return None;
    }
    let by_itself = |action: &&Action| action.what == ActionKind::Redrive && action.who == ITSELF;
    let so_far = u32::try_from(task.actions.iter().filter(by_itself).count()).ok()?;
    let wait = task.plan.redrives_after(so_far)?;
    let may_pass = |step: &StepRecord| {
        let last = step.attempts.last().map(|attempt| attempt.outcome);
        matches!(last, Some(Outcome::RetryableError | Outcome::Lost))
    };
    let failed = snapshot.failed_steps();
    let fits = snapshot.full_trail(&failed).is_none();
    let all = failed.len() == task.failed_steps.len() && failed.into_iter().all(may_pass);
    task.finished_at.filter(|_| all && fits).map(|failed_at| failed_at + wait)
}

/// When a failed task is undone by itself, unless somebody redrives it before; not while it is still redriven by itself.
/// The watchdog does it, so it can be a minute later. Of a task that needs a newer version only that one can say.
pub fn begins_at(snapshot: &TaskSnapshot) -> Option<Timestamp> {
    let task = &snapshot.task;
    if task.state != TaskState::Failed || snapshot.newer().is_some() || redrive_at(snapshot).is_some() {
        return None;
    }
    let wait = task.plan.compensates_failure_after()?;
    Some(task.finished_at.unwrap_or(task.created_at) + wait)
}

fn close(snapshot: &TaskSnapshot, now: Timestamp) -> NextAction<'_> {
    let in_flight = |step: &&StepRecord| step.state == StepState::InProgress;
    let over = |step: &StepRecord| step.lease_until.is_none_or(|until| until < now);
    let waiting = |step: &&StepRecord| {
        matches!(step.state, StepState::Pending | StepState::Retrying) || (in_flight(step) && over(step))
    };
    let open: Vec<&StepRecord> = snapshot.steps.iter().filter(waiting).collect();
    if !open.is_empty() {
        return NextAction::Close(open);
    }
    let leases = snapshot.steps.iter().filter(in_flight).filter_map(|step| step.lease_until);
    leases.max().map_or_else(|| NextAction::Order(order(snapshot)), NextAction::InFlight)
}

/// The compensations to run: the reverse of the order in which their steps came to their ends, with those first that
/// came to none, and with each step after all that depend on it, whatever the workers' clocks said.
fn order(snapshot: &TaskSnapshot) -> Vec<String> {
    let plan = &snapshot.task.plan;
    let mut waiting: Vec<(&StepPlan, &StepRecord)> = plan.steps().iter().zip(&snapshot.steps).collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let depended_on = |name: &String| waiting.iter().any(|(other, _)| other.depends_on.contains(name));
        let free = waiting.iter().enumerate().filter(|(_, (step, _))| !depended_on(&step.name));
        // Of several with the same moment the one that is later in the plan.
        let latest =
            free.max_by_key(|(place, (_, record))| (Reverse(record.state.is_done()), record.finished_at, *place));
        let Some((place, _)) = latest else { break };
        let (step, record) = waiting.remove(place);
        if record.attempt > 0 || record.state.is_done() {
            order.extend(plan.compensation_of(&step.name).map(|compensation| compensation.name.clone()));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{plan::Compensate, record::AttemptRecord},
        testing::fixtures::{at, snapshot, undo},
    };
    use proptest::prelude::*;

    /// A chain of three, of which the last is not undone.
    fn chain() -> TaskSnapshot {
        let mut snapshot = snapshot(&[&[], &[0], &[1]], &[0, 1]);
        snapshot.task.state = TaskState::Compensating(End::Cancelled);
        snapshot
    }

    fn done(snapshot: &mut TaskSnapshot, step: usize, moment: i64) {
        let step = &mut snapshot.steps[step];
        (step.state, step.attempt, step.finished_at) = (StepState::Complete, 1, Some(at(moment)));
    }

    #[test]
    fn what_waits_is_closed_and_what_runs_is_waited_for() {
        let mut snapshot = chain();
        done(&mut snapshot, 0, 5);
        snapshot.steps[1].state = StepState::InProgress;
        snapshot.steps[1].lease_until = Some(at(30));
        assert!(
            matches!(next_action(&snapshot, at(10)), NextAction::Close(steps) if steps.len() == 1 && steps[0].name == "s2")
        );
        snapshot.steps[2].state = StepState::Cancelled;
        assert_eq!(next_action(&snapshot, at(10)), NextAction::InFlight(at(30)));
        assert_eq!(next_action(&snapshot, at(30)), NextAction::InFlight(at(30)), "a lease holds to its end");
        assert!(
            matches!(next_action(&snapshot, at(31)), NextAction::Close(steps) if steps[0].name == "s1"),
            "its worker is dead"
        );
    }

    #[test]
    fn what_was_attempted_is_undone_in_reverse_and_what_was_not_is_left() {
        let mut snapshot = chain();
        done(&mut snapshot, 0, 5);
        snapshot.steps[1] = StepRecord { state: StepState::Cancelled, attempt: 1, ..snapshot.steps[1].clone() };
        snapshot.steps[2].state = StepState::Cancelled;
        assert_eq!(
            next_action(&snapshot, at(10)),
            NextAction::Order(vec![undo(1), undo(0)]),
            "it may have had its effect"
        );
        snapshot.steps[1].attempt = 0;
        assert_eq!(next_action(&snapshot, at(10)), NextAction::Order(vec![undo(0)]));
    }

    #[test]
    fn one_runs_after_the_other_and_then_the_task_ends() {
        let mut snapshot = chain();
        snapshot.task.compensations = Some(vec![undo(1), undo(0)]);
        snapshot.compensations = [undo(1), undo(0)].iter().map(|name| StepRecord::untouched(name)).collect();
        assert!(matches!(next_action(&snapshot, at(10)), NextAction::Run(step) if step.name == undo(1)));
        snapshot.compensations[0].state = StepState::Error;
        assert!(
            matches!(next_action(&snapshot, at(10)), NextAction::Run(step) if step.name == undo(1)),
            "nothing overtakes it"
        );
        snapshot.compensations[0].state = StepState::ResolvedManually;
        assert!(matches!(next_action(&snapshot, at(10)), NextAction::Run(step) if step.name == undo(0)));
        snapshot.compensations[1].state = StepState::Complete;
        assert_eq!(next_action(&snapshot, at(10)), NextAction::Finish(End::Cancelled));
    }

    #[test]
    fn a_failed_task_waits_as_long_as_its_plan_says() {
        let mut snapshot = chain();
        snapshot.task.state = TaskState::Failed;
        snapshot.task.finished_at = Some(at(10));
        assert_eq!(next_action(&snapshot, at(10)), NextAction::Begin, "not at all");
        snapshot.task.plan = snapshot.task.plan.compensating(Compensate::OnError, 90);
        assert_eq!(next_action(&snapshot, at(99)), NextAction::Wait(at(100)));
        assert_eq!(next_action(&snapshot, at(100)), NextAction::Begin);
        assert_eq!(begins_at(&snapshot), Some(at(100)));
        snapshot.task.state = TaskState::Compensated(End::Error);
        assert_eq!(next_action(&snapshot, at(100)), NextAction::Nothing, "it has been compensated");
        assert_eq!(begins_at(&snapshot), None);
        snapshot.task.state = TaskState::Failed;
        snapshot.task.plan = snapshot.task.plan.compensating(Compensate::OnCancel, 0);
        assert_eq!(next_action(&snapshot, at(100)), NextAction::Nothing);
    }

    #[test]
    fn what_is_redriven_by_itself_is_not_undone_before() {
        for (outcome, undone) in [(Outcome::RetryableError, None), (Outcome::PermanentError, Some(at(100)))] {
            let snapshot = failed(outcome);
            assert_eq!(
                (redrive_at(&snapshot).is_none(), begins_at(&snapshot)),
                (undone.is_some(), undone),
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn what_has_no_room_for_more_attempts_is_not_redriven() {
        let mut snapshot = failed(Outcome::RetryableError);
        let attempts = &mut snapshot.steps[0].attempts;
        let lost = AttemptRecord { outcome: Outcome::Lost, ..attempts[0].clone() };
        attempts.extend(std::iter::repeat_n(lost, 1_000));
        assert_eq!((redrive_at(&snapshot), begins_at(&snapshot)), (None, Some(at(100))));
    }

    /// A task whose first step has failed at 10 s, with two redrives, and compensation after 90 s.
    fn failed(outcome: Outcome) -> TaskSnapshot {
        let mut snapshot = chain();
        snapshot.task.state = TaskState::Failed;
        snapshot.task.finished_at = Some(at(10));
        snapshot.task.failed_steps = ["s0".to_owned()].into();
        snapshot.task.plan = snapshot.task.plan.compensating(Compensate::OnError, 90).redriving(2);
        let step = &mut snapshot.steps[0];
        (step.state, step.attempt, step.started_at, step.owner) =
            (StepState::Error, 1, Some(at(5)), Some("request/message".to_owned()));
        step.attempts = step.open_attempt().map(|attempt| AttemptRecord { outcome, ..attempt }).into_iter().collect();
        snapshot
    }

    fn redriven(snapshot: &mut TaskSnapshot, who: &str) {
        let (who, why) = (who.to_owned(), String::new());
        snapshot.task.actions.push(Action { at: at(10), what: ActionKind::Redrive, step: None, who, why });
    }

    #[test]
    fn what_may_have_passed_is_redriven_as_often_as_the_plan_says_and_then_compensated() {
        for outcome in [Outcome::RetryableError, Outcome::Lost] {
            let mut snapshot = failed(outcome);
            assert_eq!(next_action(&snapshot, at(69)), NextAction::Wait(at(70)));
            assert!(
                matches!(next_action(&snapshot, at(70)), NextAction::Redrive(steps) if steps.len() == 1 && steps[0].name == "s0")
            );
            redriven(&mut snapshot, "somebody");
            assert!(
                matches!(next_action(&snapshot, at(70)), NextAction::Redrive(_)),
                "an operator's redrive takes none away"
            );
            redriven(&mut snapshot, ITSELF);
            assert_eq!(next_action(&snapshot, at(129)), NextAction::Wait(at(130)));
            assert!(matches!(next_action(&snapshot, at(130)), NextAction::Redrive(_)));
            redriven(&mut snapshot, ITSELF);
            assert_eq!(next_action(&snapshot, at(99)), NextAction::Wait(at(100)));
            assert_eq!(next_action(&snapshot, at(100)), NextAction::Begin);
        }
    }

    #[test]
    fn what_will_not_pass_is_not_redriven() {
        let mut snapshot = failed(Outcome::PermanentError);
        assert_eq!(next_action(&snapshot, at(70)), NextAction::Wait(at(100)));
        snapshot = failed(Outcome::RetryableError);
        snapshot.task.failed_steps.insert("s1".to_owned());
        snapshot.steps[1] = StepRecord { name: "s1".to_owned(), ..failed(Outcome::PermanentError).steps[0].clone() };
        assert_eq!(next_action(&snapshot, at(70)), NextAction::Wait(at(100)), "one of two is enough");
    }

    #[test]
    fn what_has_been_compensated_is_not_redriven() {
        let mut snapshot = failed(Outcome::RetryableError);
        (snapshot.task.state, snapshot.task.compensations) = (TaskState::Compensated(End::Error), Some(Vec::new()));
        assert_eq!(next_action(&snapshot, at(1_000)), NextAction::Nothing);
        assert_eq!(redrive_at(&snapshot), None);
    }

    #[test]
    fn a_compensation_waits_for_the_one_before_it() {
        let mut task = chain().task;
        task.compensations = Some(vec![undo(1), undo(0)]);
        let waits_for = |step: usize| task.waits_for(task.plan.step(&undo(step)).unwrap()).unwrap();
        assert_eq!(waits_for(1), [""; 0]);
        assert_eq!(waits_for(0), [undo(1)]);
    }

    #[test]
    fn only_a_failed_task_is_redriven() {
        let mut snapshot = failed(Outcome::RetryableError);
        assert_eq!(redrive_at(&snapshot), Some(at(70)));
        for state in TaskState::ALL.into_iter().filter(|state| *state != TaskState::Failed) {
            snapshot.task.state = state;
            assert_eq!(redrive_at(&snapshot), None, "{state:?}");
        }
    }

    proptest! {
        /// Edges only from lower to higher numbers make an acyclic graph; the workers' clocks say what they like.
        #[test]
        fn no_step_is_undone_before_what_depends_on_it(
            edges in proptest::collection::btree_set((0usize..12, 0usize..12), 0..30),
            ends in proptest::collection::vec(proptest::option::of(0i64..50), 12),
        ) {
            let depends: Vec<Vec<usize>> =
                (0..12).map(|n| edges.iter().filter(|(from, to)| *to == n && from < to).map(|(from, _)| *from).collect()).collect();
            let depends: Vec<&[usize]> = depends.iter().map(Vec::as_slice).collect();
            let mut snapshot = snapshot(&depends, &(0..12).collect::<Vec<_>>());
            for (step, end) in ends.iter().enumerate() {
                if let Some(moment) = end {
                    done(&mut snapshot, step, *moment);
                }
            }
            let order = order(&snapshot);
            let place = |step: usize| order.iter().position(|name| *name == undo(step));
            for step in 0..12 {
                prop_assert_eq!(place(step).is_some(), ends[step].is_some());
                for &dependency in depends[step] {
                    if let (Some(step), Some(dependency)) = (place(step), place(dependency)) {
                        prop_assert!(step < dependency);
                    }
                }
                for other in 0..12 {
                    // Where the graph says nothing at all, the clocks decide.
                    if let (Some(one), Some(two), true) = (place(step), place(other), edges.is_empty()) {
                        prop_assert!(one < two || ends[step] <= ends[other]);
                    }
                }
            }
        }
    }
}
