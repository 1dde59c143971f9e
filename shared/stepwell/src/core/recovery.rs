//! Recovery: the next action for a failed or compensating task, as a pure function of its items and the time.
//!
//! A compensation undoes the effect of one step. Every step that has been attempted is compensated, whether or not it is
//! known to have succeeded, because an attempt whose answer was lost may have had its effect all the same. So a
//! compensation has to cope with a step that had no effect. It also has to prevent a later effect, because the worker of a
//! lost attempt may only be slow. With a service that takes idempotency keys, it voids the step's key
//! ([`StepContext::idempotency_key_of`](crate::runtime::step::StepContext::idempotency_key_of)).
//!
//! A task that failed because of transient errors may first be **redriven** by the engine, as often as its plan says. The
//! failed steps get a fresh set of attempts, as by an operator's redrive. So may a task of which SQS gave up on a message; if
//! its redrives are used up, it waits for a person. Any other then goes through the stages of compensation:
//!
//! 1. **Begin.** One conditional write sets the task to `compensating`, by an operator or by the engine, as the plan says
//!    ([`Compensate`](crate::core::plan::Compensate)). A failed task may first wait for a redrive. From here on a claimed
//!    step is not run.
//! 2. **Close.** A conditional write cancels each waiting step, so that a worker that has read the task before cannot claim
//!    it any more. A step in flight comes to its end, at the latest with its lease.
//! 3. **Order.** Now it is known which steps were attempted. The graph of their compensations is written to the task: which
//!    compensation waits for which others ([`Plan::compensation_graph`](crate::core::plan::Plan::compensation_graph)).
//! 4. **Run.** The compensations are ordinary steps of this second graph: claimed, leased, retried, dispatched, with every attempt
//!    in the audit trail. A compensation has no last attempt. One that fails with a permanent error needs a person: the
//!    compensations that do not wait for it go on, and the task stays `compensating` until an operator has redriven or
//!    resolved it. An optional compensation has a last attempt, and if it fails, the task ends without it, with a warning.
//! 5. **Finish.** The task ends in `error` or `cancelled` and is closed: nothing starts it again.
//!
//! A task that is complete is cancelled by the same stages. Its compensations may
//! [refuse](crate::runtime::step::ErrorKind::Refused): what was shipped is not called back. If all steps are done, a compensation has
//! refused, and none has undone anything or can, then the task is **reinstated**, complete as before. The refusal stays on
//! record. Whoever cancels the task again has the compensations attempted again.
//!
//! The message of a failed step waits for the redrive or for the begin of the compensation ([`timer`](crate::core::timer)), and the
//! step's worker then does it. Any worker, client or watchdog that finds a task in one of these stages does the next action. Each write is a
//! compare-and-set on what was read, so it does not matter who is first.

use crate::core::{
    codes::EngineCode,
    plan::{CompensationOrder, StepPlan, one_after_another},
    record::{Outcome, StepRecord},
    snapshot::TaskSnapshot,
    state::{End, StepState, TaskState},
    timestamp::Timestamp,
};
use std::{cmp::Reverse, time::Duration};

/// The log message for a compensation that failed for good, when it fails. An alarm looks at the metric of it.
pub const COMPENSATION_FAILED: &str = "compensation failed";

/// The code in the log and in the error of a step whose message SQS gave up on. An alarm looks at the metric of it.
pub const DELIVERY_EXHAUSTED: &str = EngineCode::DeliveryExhausted.as_str();

/// The log message for a compensation that failed for good, at each later inspection by the watchdog.
pub const COMPENSATION_WAITS: &str = "a failed compensation waits for a person";

/// The log message for a compensation that has been tried for [`COMPENSATION_LATE_AFTER`] and goes on, at each inspection by the
/// watchdog. An alarm looks at the metric of it: an error that passes is retried for ever, and one that does not pass would
/// otherwise be told to nobody.
pub const COMPENSATION_LATE: &str = "a compensation has not succeeded for an hour";

/// The time from the first attempt of a compensation after which it is late.
pub const COMPENSATION_LATE_AFTER: Duration = Duration::from_secs(60 * 60);

/// The log message for an optional step or compensation that failed for good. An alarm looks at the metric of it.
pub const OPTIONAL_STEP_FAILED: &str = "optional step failed";

/// Whether a compensation that is not done has been tried for so long that somebody should look at it.
pub fn is_late(compensation: &StepRecord, now: Timestamp) -> bool {
    let first = compensation.attempts.first();
    let open = matches!(compensation.state, StepState::Retrying | StepState::InProgress);
    open && first.is_some_and(|first| first.started_at + COMPENSATION_LATE_AFTER <= now)
}

/// The next action for a failed or compensating task.
#[derive(Clone, Debug, PartialEq)]
pub enum NextAction<'a> {
    /// There is nothing to do: the task is not to be compensated, or has been.
    Nothing,
    /// The task has failed, and the next action is due at this time.
    Wait(Timestamp),
    /// The task has failed because of transient errors, and these steps are to be redriven.
    Redrive(Vec<&'a StepRecord>),
    /// The task has failed, and its compensation is to begin.
    Begin,
    /// These steps are to be cancelled.
    Close(Vec<&'a StepRecord>),
    /// Steps are in flight, until this time at the latest.
    InFlight(Timestamp),
    /// This graph of compensations is to be written.
    Order(Vec<StepPlan>),
    /// The task waits for these compensations, and they wait for no other ones. At least one.
    Run(Vec<&'a StepRecord>),
    /// All compensations are done, or optional and failed, and the task is to end in this way.
    Finish(End),
    /// The compensations have refused before anything was undone, and the task is to be complete again.
    Reinstate,
}

/// Decides the next action for a task.
pub fn next_action(snapshot: &TaskSnapshot, now: Timestamp) -> NextAction<'_> {
    let task = &snapshot.task;
    match task.state {
        TaskState::Failed => {
            match redrive_at(snapshot) {
                Some(at) if at > now => return NextAction::Wait(at),
                Some(_) if !is_overdue(snapshot, now) => {
                    return NextAction::Redrive(snapshot.failed_required_steps());
                }
                // The redrive was due before the deadline, and comes too late.
                Some(_) => {
                    let begins = begins_after_grace(snapshot).is_some();
                    return if begins { NextAction::Begin } else { NextAction::Nothing };
                }
                None => {}
            }
            match begins_at(snapshot) {
                Some(at) if at > now => NextAction::Wait(at),
                Some(_) => NextAction::Begin,
                None => NextAction::Nothing,
            }
        }
        TaskState::Compensating(end) if task.compensations.is_some() => {
            let all_settled = snapshot.compensations.iter().all(|compensation| snapshot.is_settled(compensation));
            match end {
                _ if all_settled => NextAction::Finish(end),
                End::Cancelled if is_refused(snapshot) => NextAction::Reinstate,
                _ => NextAction::Run(snapshot.open_compensations()),
            }
        }
        TaskState::Compensating(_) => close(snapshot, now),
        TaskState::Running
        | TaskState::Completed
        | TaskState::Cancelled
        | TaskState::Resolved
        | TaskState::Compensated(_) => NextAction::Nothing,
    }
}

/// Whether the compensations have refused the cancellation of a task whose steps are all done, before anything was undone. An
/// optional one cannot hold up a cancellation by its refusal.
fn is_refused(snapshot: &TaskSnapshot) -> bool {
    snapshot.failed_compensation().is_some()
        && is_complete(snapshot)
        && snapshot.compensations.iter().all(StepRecord::has_undone_nothing)
}

fn is_complete(snapshot: &TaskSnapshot) -> bool {
    let plan = &snapshot.task.plan;
    snapshot.steps.iter().all(|step| step.state.is_done() || plan.is_optional(&step.name))
}

/// Whether a task is being cancelled whose steps are all done, and no compensation is done yet. So its compensations may still
/// refuse, at the latest after somebody has redriven one that failed, and then it is complete again.
pub fn may_be_refused(snapshot: &TaskSnapshot) -> bool {
    snapshot.task.state == TaskState::Compensating(End::Cancelled)
        && is_complete(snapshot)
        && !snapshot.compensations.iter().any(|step| step.state.is_done())
}

/// The deadline of a failed task, if it holds for a step that has failed: from then on the engine does not redrive the task, and
/// its compensation begins without any grace. `None` for a task that needs a newer reader, because only that version can decide.
pub fn deadline_of_failed(snapshot: &TaskSnapshot) -> Option<Timestamp> {
    let task = &snapshot.task;
    let decides = task.state == TaskState::Failed && snapshot.newer().is_none();
    task.failed_required_steps().find_map(|step| task.deadline_of(step)).filter(|_| decides)
}

/// The time at which the engine redrives a failed task. `None` unless the plan has a redrive left before the deadline, the last
/// attempt of every failed step ended in a transient failure or SQS gave up on its message, and the task's audit trail has room
/// for another action. `None` for a task that needs a newer reader, because only that version can decide.
pub fn redrive_at(snapshot: &TaskSnapshot) -> Option<Timestamp> {
    let task = &snapshot.task;
    if task.state != TaskState::Failed || snapshot.newer().is_some() {
        return None;
    }
    let so_far = u32::try_from(task.actions.iter().filter(|action| action.is_planned_redrive()).count()).ok()?;
    let wait = task.plan.redrive_delay(so_far)?;
    let may_pass = |step: &StepRecord| {
        if is_delivery_exhausted(step) {
            return true;
        }
        let last = step.attempts.last().map(|attempt| attempt.outcome);
        matches!(last, Some(Outcome::RetryableError | Outcome::Lost))
    };
    let failed = snapshot.failed_required_steps();
    let fits = task.has_room_for_redrive();
    let all = failed.len() == task.failed_required_steps().count() && failed.into_iter().all(may_pass);
    let at = task.finished_at.filter(|_| all && fits).map(|failed_at| failed_at + wait)?;
    deadline_of_failed(snapshot).is_none_or(|deadline| at < deadline).then_some(at)
}

/// The steps that the engine will redrive, or is about to. None if no redrive is planned, or it would come after the deadline.
pub(crate) fn planned_redrive(snapshot: &TaskSnapshot, now: Timestamp) -> Vec<&StepRecord> {
    match redrive_at(snapshot) {
        Some(_) if !is_overdue(snapshot, now) => snapshot.failed_required_steps(),
        _ => Vec::new(),
    }
}

/// Whether SQS gave up on the message of this failed step.
fn is_delivery_exhausted(step: &StepRecord) -> bool {
    step.error.as_ref().is_some_and(|error| error.code == DELIVERY_EXHAUSTED)
}

/// Whether a failed task waits for a person: it failed only because SQS gave up on messages, and no redrive is left, or the one
/// that was due has missed the deadline. The cause lies in the deployment or in the account (a function that cannot start, no
/// concurrency), and undoing what customers have paid for does not mend it. So the engine does not compensate the task by itself,
/// not even after its deadline: an operator's redrive gives it a new one.
pub fn is_left_to_a_person(snapshot: &TaskSnapshot, now: Timestamp) -> bool {
    is_undeliverable(snapshot) && redrive_at(snapshot).is_none_or(|_| is_overdue(snapshot, now))
}

/// Whether a task failed only because SQS gave up on messages. Without another redrive by the engine it waits for a person.
pub fn is_undeliverable(snapshot: &TaskSnapshot) -> bool {
    let task = &snapshot.task;
    let failed = snapshot.failed_required_steps();
    let all = !failed.is_empty() && failed.len() == task.failed_required_steps().count();
    task.state == TaskState::Failed
        && snapshot.newer().is_none()
        && all
        && failed.into_iter().all(is_delivery_exhausted)
}

/// Whether the deadline of a failed task is over.
fn is_overdue(snapshot: &TaskSnapshot, now: Timestamp) -> bool {
    deadline_of_failed(snapshot).is_some_and(|deadline| deadline <= now)
}

/// The time at which the engine begins to compensate a failed task, unless somebody redrives it before: at the end of its grace,
/// and at its deadline at the latest. `None` while the engine will still redrive it, for a task that [is left to a
/// person](is_left_to_a_person), and for a task that needs a newer reader, because only that version can decide.
pub fn begins_at(snapshot: &TaskSnapshot) -> Option<Timestamp> {
    begins_after_grace(snapshot).filter(|_| redrive_at(snapshot).is_none())
}

/// The time at which the engine begins to compensate a failed task that it does not redrive.
fn begins_after_grace(snapshot: &TaskSnapshot) -> Option<Timestamp> {
    let task = &snapshot.task;
    if task.state != TaskState::Failed || snapshot.newer().is_some() || is_undeliverable(snapshot) {
        return None;
    }
    let failed_at = task.finished_at.unwrap_or(task.created_at);
    let grace = failed_at + task.plan.compensates_failure_after()?;
    let deadline = deadline_of_failed(snapshot).map(|deadline| deadline.max(failed_at));
    Some(deadline.map_or(grace, |deadline| grace.min(deadline)))
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
    leases.max().map_or_else(|| NextAction::Order(compensations(snapshot)), NextAction::InFlight)
}

/// The graph of the compensations to run: those of the steps that were attempted.
fn compensations(snapshot: &TaskSnapshot) -> Vec<StepPlan> {
    let plan = &snapshot.task.plan;
    match plan.compensation_order() {
        CompensationOrder::Serial => one_after_another(order(snapshot).into_iter().cloned()),
        CompensationOrder::Graph => {
            plan.compensation_graph(|step| snapshot.step(step).is_some_and(StepRecord::may_have_had_an_effect))
        }
    }
}

/// The compensations in the reverse of the order in which their steps ended. Steps that did not end in success come first,
/// and each step comes after its dependents, whatever the workers' clocks said.
fn order(snapshot: &TaskSnapshot) -> Vec<&StepPlan> {
    let plan = &snapshot.task.plan;
    let mut waiting: Vec<(&StepPlan, &StepRecord)> = plan.steps().iter().zip(&snapshot.steps).collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let depended_on = |name: &String| waiting.iter().any(|(other, _)| other.depends_on.contains(name));
        let free = waiting.iter().enumerate().filter(|(_, (step, _))| !depended_on(&step.name));
        // Of several with the same time, the last in the plan comes first.
        let latest =
            free.max_by_key(|(place, (_, record))| (Reverse(record.state.is_done()), record.finished_at, *place));
        let Some((place, _)) = latest else { break };
        let (step, record) = waiting.remove(place);
        if record.may_have_had_an_effect() {
            order.extend(plan.compensation_of(&step.name));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            plan::{Compensate, Deadline},
            record::{Action, ActionKind, AttemptRecord, ENGINE_ACTOR, Failure},
        },
        testing::fixtures::{at, compensation, snapshot, with_optional},
    };
    use proptest::prelude::*;

    /// A chain of three steps, of which the last has no compensation.
    fn chain() -> TaskSnapshot {
        let mut snapshot = snapshot(&[&[], &[0], &[1]], &[0, 1]);
        snapshot.task.state = TaskState::Compensating(End::Cancelled);
        snapshot
    }

    fn done(snapshot: &mut TaskSnapshot, step: usize, moment: i64) {
        let step = &mut snapshot.steps[step];
        (step.state, step.attempt, step.finished_at) = (StepState::Complete, 1, Some(at(moment)));
    }

    /// The graph of these compensations, and what each waits for.
    fn waiting(snapshot: &TaskSnapshot, graph: &[(usize, &[usize])]) -> Vec<StepPlan> {
        let node = |(step, waits_for): &(usize, &[usize])| StepPlan {
            depends_on: waits_for.iter().map(|step| compensation(*step)).collect(),
            ..snapshot.task.plan.step(&compensation(*step)).unwrap().clone()
        };
        graph.iter().map(node).collect()
    }

    /// The snapshot after this graph of compensations was written.
    fn settled(mut snapshot: TaskSnapshot, graph: &[(usize, &[usize])]) -> TaskSnapshot {
        snapshot.task.compensations = Some(waiting(&snapshot, graph));
        snapshot.compensations = graph.iter().map(|(step, _)| StepRecord::untouched(&compensation(*step))).collect();
        snapshot
    }

    fn runs(snapshot: &TaskSnapshot) -> Vec<&str> {
        let NextAction::Run(open) = next_action(snapshot, at(10)) else { panic!("{snapshot:?}") };
        open.into_iter().map(|step| step.name.as_str()).collect()
    }

    #[test]
    fn waiting_steps_are_closed_and_steps_in_flight_are_waited_for() {
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
    fn attempted_steps_are_compensated_in_reverse_and_others_are_not() {
        let mut snapshot = chain();
        done(&mut snapshot, 0, 5);
        snapshot.steps[1] = StepRecord { state: StepState::Cancelled, attempt: 1, ..snapshot.steps[1].clone() };
        snapshot.steps[2].state = StepState::Cancelled;
        assert_eq!(
            next_action(&snapshot, at(10)),
            NextAction::Order(waiting(&snapshot, &[(1, &[]), (0, &[1])])),
            "it may have had its effect"
        );
        snapshot.steps[1].attempt = 0;
        assert_eq!(next_action(&snapshot, at(10)), NextAction::Order(waiting(&snapshot, &[(0, &[])])));
    }

    #[test]
    fn compensation_that_failed_for_good_holds_up_only_those_that_wait_for_it() {
        let mut snapshot =
            settled(snapshot(&[&[], &[], &[], &[0]], &[0, 1, 2, 3]), &[(3, &[]), (2, &[3]), (1, &[3]), (0, &[1])]);
        snapshot.task.state = TaskState::Compensating(End::Cancelled);
        assert_eq!(runs(&snapshot), ["u3"]);
        snapshot.compensations[0].state = StepState::Complete;
        assert_eq!(runs(&snapshot), ["u2", "u1"], "side by side");
        snapshot.compensations[1].state = StepState::Error;
        assert_eq!(runs(&snapshot), ["u2", "u1"], "the failed one needs a person, and its sibling goes on");
        snapshot.compensations[2].state = StepState::Complete;
        assert_eq!(runs(&snapshot), ["u2", "u0"]);
        snapshot.compensations[3].state = StepState::Complete;
        assert_eq!(runs(&snapshot), ["u2"], "the task stays open");
        snapshot.compensations[1].state = StepState::ResolvedManually;
        assert_eq!(next_action(&snapshot, at(10)), NextAction::Finish(End::Cancelled));
    }

    #[test]
    fn compensations_of_independent_steps_run_side_by_side() {
        let mut snapshot = snapshot(&[&[], &[0], &[0]], &[0, 1, 2]);
        snapshot.task.state = TaskState::Compensating(End::Cancelled);
        (0..3).for_each(|step| done(&mut snapshot, step, 5));
        let graph = [(2, &[][..]), (1, &[]), (0, &[1, 2])];
        assert_eq!(next_action(&snapshot, at(10)), NextAction::Order(waiting(&snapshot, &graph)));
    }

    #[test]
    fn compensations_of_a_stored_plan_without_a_graph_run_one_after_another() {
        let mut snapshot = snapshot(&[&[], &[0], &[0]], &[0, 1, 2]);
        let stored = serde_json::to_string(&snapshot.task.plan).unwrap();
        snapshot.task.plan = serde_json::from_str(&stored.replace(r#","g":true"#, "")).unwrap();
        snapshot.task.state = TaskState::Compensating(End::Cancelled);
        [3, 9, 7].into_iter().enumerate().for_each(|(step, moment)| done(&mut snapshot, step, moment));
        let order = [(1, &[][..]), (2, &[1]), (0, &[2])];
        assert_eq!(
            next_action(&snapshot, at(10)),
            NextAction::Order(waiting(&snapshot, &order)),
            "the later one first"
        );
    }

    #[test]
    fn failed_task_waits_for_a_redrive_as_long_as_its_plan_says() {
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
    fn compensation_does_not_begin_while_a_redrive_is_due() {
        for (outcome, compensated) in [(Outcome::RetryableError, None), (Outcome::PermanentError, Some(at(100)))] {
            let snapshot = failed(outcome);
            assert_eq!(
                (redrive_at(&snapshot).is_none(), begins_at(&snapshot)),
                (compensated.is_some(), compensated),
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn optional_step_that_failed_neither_causes_nor_forbids_a_redrive() {
        let mut snapshot = with_optional(failed(Outcome::RetryableError), &["s2"]);
        assert_eq!(redrive_at(&snapshot), Some(at(70)));
        (snapshot.steps[2].state, snapshot.steps[2].attempt) = (StepState::Error, 1);
        snapshot.task.failed_steps.insert("s2".to_owned());
        let names = |steps: Vec<&StepRecord>| steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
        let NextAction::Redrive(steps) = next_action(&snapshot, at(70)) else { panic!("it is due") };
        assert_eq!(names(steps), ["s0"]);
        snapshot.task.state = TaskState::Completed;
        assert_eq!(next_action(&snapshot, at(99)), NextAction::Nothing);
    }

    #[test]
    fn task_without_room_in_its_audit_trail_is_not_redriven() {
        let mut snapshot = failed(Outcome::RetryableError);
        while snapshot.task.has_room_for_redrive() {
            redriven(&mut snapshot, "somebody");
        }
        assert_eq!((redrive_at(&snapshot), begins_at(&snapshot)), (None, Some(at(100))));
    }

    #[test]
    fn task_of_which_sqs_gave_up_on_a_message_is_redriven_and_never_compensated_by_the_engine() {
        let exhausted = |attempts: Vec<AttemptRecord>| {
            let mut snapshot = failed(Outcome::PermanentError);
            snapshot.steps[0].attempts = attempts;
            snapshot.steps[0].error = Some(Failure::new(DELIVERY_EXHAUSTED, "SQS gave up"));
            snapshot
        };
        for attempts in [Vec::new(), failed(Outcome::PermanentError).steps[0].attempts.clone()] {
            let mut snapshot = exhausted(attempts);
            assert_eq!((redrive_at(&snapshot), begins_at(&snapshot)), (Some(at(70)), None));
            assert!(!is_left_to_a_person(&snapshot, at(10)));
            redriven(&mut snapshot, ENGINE_ACTOR);
            redriven(&mut snapshot, ENGINE_ACTOR);
            assert_eq!(next_action(&snapshot, at(1_000_000)), NextAction::Nothing);
            assert!(is_left_to_a_person(&snapshot, at(10)));
            // Another step failed by itself.
            snapshot.task.failed_steps.insert("s1".to_owned());
            snapshot.steps[1] =
                StepRecord { name: "s1".to_owned(), ..failed(Outcome::PermanentError).steps[0].clone() };
            assert_eq!((begins_at(&snapshot), is_left_to_a_person(&snapshot, at(10))), (Some(at(100)), false));
        }
    }

    #[test]
    fn deadline_of_a_failed_task_ends_its_redrives_and_its_grace() {
        let with = |outcome: Outcome, seconds: u32| {
            let mut snapshot = failed(outcome);
            let deadline = Deadline { complete_within_seconds: seconds, point_of_no_return: None };
            snapshot.task.plan = snapshot.task.plan.with_deadline(deadline).unwrap();
            snapshot
        };
        let times = |snapshot: &TaskSnapshot| (redrive_at(snapshot), begins_at(snapshot));
        assert_eq!(times(&with(Outcome::RetryableError, 71)), (Some(at(70)), None));
        assert_eq!(times(&with(Outcome::RetryableError, 70)), (None, Some(at(70))));
        assert_eq!(times(&with(Outcome::PermanentError, 200)), (None, Some(at(100))));
        assert_eq!(times(&with(Outcome::PermanentError, 5)), (None, Some(at(10))), "it failed after the deadline");
        let mut late = with(Outcome::RetryableError, 71);
        assert_eq!(next_action(&late, at(71)), NextAction::Begin, "the redrive was due before, and comes too late");
        late.task.plan = late.task.plan.compensating(Compensate::Manual, 0);
        assert_eq!(next_action(&late, at(71)), NextAction::Nothing);
        let mut missed = with(Outcome::PermanentError, 71);
        missed.steps[0].error = Some(Failure::new(DELIVERY_EXHAUSTED, "SQS gave up"));
        assert_eq!((redrive_at(&missed), is_left_to_a_person(&missed, at(70))), (Some(at(70)), false));
        assert!(is_left_to_a_person(&missed, at(71)), "the redrive was due before, and comes too late");
        assert_eq!(next_action(&missed, at(1_000_000)), NextAction::Nothing, "nor does its deadline compensate it");
    }

    #[test]
    fn deadline_counts_from_the_last_action_of_an_operator() {
        let mut snapshot = failed(Outcome::RetryableError);
        let deadline = Deadline { complete_within_seconds: 30, point_of_no_return: None };
        snapshot.task.plan = snapshot.task.plan.with_deadline(deadline).unwrap();
        assert_eq!(next_action(&snapshot, at(60)), NextAction::Begin);
        snapshot.task.deadline_from = Some(at(50));
        assert_eq!(next_action(&snapshot, at(60)), NextAction::Wait(at(70)), "the redrive");
    }

    /// A task whose first step failed at 10 s, with two redrives, and compensation after 90 s.
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
        snapshot.task.actions.push(Action {
            at: at(10),
            what: ActionKind::Redrive,
            step: None,
            who,
            why,
            bulk: None,
            rerun_as: None,
        });
    }

    #[test]
    fn transient_failure_is_redriven_as_often_as_the_plan_says_and_then_compensated() {
        for outcome in [Outcome::RetryableError, Outcome::Lost] {
            let mut snapshot = failed(outcome);
            assert_eq!(next_action(&snapshot, at(69)), NextAction::Wait(at(70)));
            assert!(
                matches!(next_action(&snapshot, at(70)), NextAction::Redrive(steps) if steps.len() == 1 && steps[0].name == "s0")
            );
            redriven(&mut snapshot, "somebody");
            assert!(
                matches!(next_action(&snapshot, at(70)), NextAction::Redrive(_)),
                "an operator's redrive does not count"
            );
            redriven(&mut snapshot, ENGINE_ACTOR);
            assert_eq!(next_action(&snapshot, at(129)), NextAction::Wait(at(130)));
            assert!(matches!(next_action(&snapshot, at(130)), NextAction::Redrive(_)));
            redriven(&mut snapshot, ENGINE_ACTOR);
            assert_eq!(next_action(&snapshot, at(99)), NextAction::Wait(at(100)));
            assert_eq!(next_action(&snapshot, at(100)), NextAction::Begin);
        }
    }

    #[test]
    fn permanent_failure_is_not_redriven() {
        let mut snapshot = failed(Outcome::PermanentError);
        assert_eq!(next_action(&snapshot, at(70)), NextAction::Wait(at(100)));
        snapshot = failed(Outcome::RetryableError);
        snapshot.task.failed_steps.insert("s1".to_owned());
        snapshot.steps[1] = StepRecord { name: "s1".to_owned(), ..failed(Outcome::PermanentError).steps[0].clone() };
        assert_eq!(next_action(&snapshot, at(70)), NextAction::Wait(at(100)), "one permanent failure of two is enough");
    }

    #[test]
    fn compensated_task_is_not_redriven() {
        let mut snapshot = failed(Outcome::RetryableError);
        (snapshot.task.state, snapshot.task.compensations) = (TaskState::Compensated(End::Error), Some(Vec::new()));
        assert_eq!(next_action(&snapshot, at(1_000)), NextAction::Nothing);
        assert_eq!(redrive_at(&snapshot), None);
    }

    #[test]
    fn compensation_waits_for_the_one_before_it() {
        let task = settled(chain(), &[(1, &[]), (0, &[1])]).task;
        let waits_for = |step: usize| task.waits_for(task.plan.step(&compensation(step)).unwrap()).unwrap();
        assert_eq!(waits_for(1), [""; 0]);
        assert_eq!(waits_for(0), [compensation(1)]);
    }

    #[test]
    fn engine_redrives_failed_tasks_only() {
        let mut snapshot = failed(Outcome::RetryableError);
        assert_eq!(redrive_at(&snapshot), Some(at(70)));
        for state in TaskState::ALL.into_iter().filter(|state| *state != TaskState::Failed) {
            snapshot.task.state = state;
            assert_eq!(redrive_at(&snapshot), None, "{state:?}");
        }
    }

    proptest! {
        /// Edges only from lower to higher numbers make a DAG; the workers' clocks are arbitrary.
        #[test]
        fn no_step_is_compensated_before_its_dependents(
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
            let place = |step: usize| order.iter().position(|undone| undone.name == compensation(step));
            for step in 0..12 {
                prop_assert_eq!(place(step).is_some(), ends[step].is_some());
                for &dependency in depends[step] {
                    if let (Some(step), Some(dependency)) = (place(step), place(dependency)) {
                        prop_assert!(step < dependency);
                    }
                }
                for other in 0..12 {
                    // Without any edges, the clocks decide.
                    if let (Some(one), Some(two), true) = (place(step), place(other), edges.is_empty()) {
                        prop_assert!(one < two || ends[step] <= ends[other]);
                    }
                }
            }
        }
    }
}
