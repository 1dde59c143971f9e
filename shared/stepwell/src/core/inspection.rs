//! Inspection: what is overdue in a task, as a pure function of its items and the time.
//!
//! A message to a step repairs whatever is missing, because the step's worker reads from the store what to do: run the step,
//! take it over from a dead worker, or repeat a dispatch that broke off. A duplicate message does no harm.

use crate::core::{
    index::OVERDUE_AFTER,
    message::Outgoing,
    pause::PausedSteps,
    plan::StepPlan,
    record::StepRecord,
    recovery::{self, NextAction},
    snapshot::TaskSnapshot,
    state::{StepState, TaskState},
    timestamp::Timestamp,
};
use std::time::Duration;

/// The longest time between two inspections of a waiting task.
pub const MAX_INSPECTION_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The result of an inspection of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The messages that are overdue, and so may be lost.
    pub send: Vec<Outgoing>,
    /// The steps that are due, and wait because they are paused.
    pub paused: Vec<String>,
    /// Whether recovery has an action to do: a redrive, or a stage of compensation.
    pub recover: bool,
    /// The time of the next inspection; `None` if the engine has nothing more to do.
    pub next: Option<Timestamp>,
}

/// Inspects a task.
///
/// The longer the task has been quiet, the longer the time to the next inspection, from [`OVERDUE_AFTER`] to
/// [`MAX_INSPECTION_INTERVAL`]. So a step whose queue has a backlog of hours does not get a message each minute.
pub fn inspect(snapshot: &TaskSnapshot, now: Timestamp) -> Inspection {
    inspect_paused(snapshot, &PausedSteps::default(), now)
}

/// Inspects a task whose steps may be paused. A message to a paused step is never overdue: another one would only wait beside it. What was lost meanwhile is
/// found by the first inspection after the pause, so at most as long after it as the task has been quiet, and at most
/// [`MAX_INSPECTION_INTERVAL`].
pub fn inspect_paused(snapshot: &TaskSnapshot, held: &PausedSteps, now: Timestamp) -> Inspection {
    let pause = now.since(snapshot.last_event()).clamp(OVERDUE_AFTER, MAX_INSPECTION_INTERVAL);
    let mut found = Findings { snapshot, held, now, send: Vec::new(), paused: Vec::new(), recover: false, wait: None };
    found.inspect();
    let Findings { send, paused, recover, wait, .. } = found;
    // Do not inspect again and again because one step is just about to be overdue.
    let wait = wait.map(|wait| wait.max(now + OVERDUE_AFTER));
    let acted = recover || !send.is_empty() || !paused.is_empty();
    let again = (acted || (wait.is_none() && is_open(snapshot))).then(|| now + pause);
    let next = [again, wait].into_iter().flatten().min();
    Inspection { send, paused, recover, next }
}

/// Whether the watchdog has to go on inspecting it.
fn is_open(snapshot: &TaskSnapshot) -> bool {
    matches!(snapshot.task.state, TaskState::Running | TaskState::Compensating(_))
}

/// Whether nothing follows by itself: no step runs or is due, no recovery is, and neither will be until somebody acts. A task that a newer version
/// wrote is at rest once it is closed, because before that only such a version knows.
pub fn is_at_rest(snapshot: &TaskSnapshot, now: Timestamp) -> bool {
    if snapshot.newer().is_some() && (is_open(snapshot) || snapshot.task.state == TaskState::Failed) {
        return false;
    }
    let open = snapshot.open_compensations();
    let needs_a_person = !open.is_empty() && open.iter().all(|step| step.state == StepState::Error);
    let Inspection { send, recover, next, .. } = inspect(snapshot, now);
    let nothing_due = send.is_empty() && (next.is_none() || needs_a_person);
    nothing_due && !recover && snapshot.leased_at(now).next().is_none()
}

/// The findings of an inspection so far.
struct Findings<'a> {
    snapshot: &'a TaskSnapshot,
    held: &'a PausedSteps,
    now: Timestamp,
    send: Vec<Outgoing>,
    paused: Vec<String>,
    recover: bool,
    /// The earliest moment at which something that is not overdue would be.
    wait: Option<Timestamp>,
}

impl Findings<'_> {
    fn inspect(&mut self) {
        let snapshot = self.snapshot;
        match recovery::next_action(snapshot, self.now) {
            NextAction::Begin
            | NextAction::Redrive(_)
            | NextAction::Close(_)
            | NextAction::Order(_)
            | NextAction::Finish(_)
            | NextAction::Reinstate => self.recover = true,
            NextAction::Wait(until) => {
                self.wait_until(until + OVERDUE_AFTER);
                self.steps();
            }
            NextAction::InFlight(until) => self.wait_until(until + OVERDUE_AFTER),
            NextAction::Run(compensations) => compensations.into_iter().for_each(|step| self.step(step)),
            // In a failed task, branches that do not depend on a failed step go on.
            NextAction::Nothing if snapshot.task.state.lets_steps_run() => self.steps(),
            // The optional steps of a completed task that were redriven. The task waits for none of its steps.
            NextAction::Nothing if snapshot.task.state == TaskState::Completed => self.ready_steps(),
            NextAction::Nothing => {}
        }
    }

    fn ready_steps(&mut self) {
        let snapshot = self.snapshot;
        let plans = snapshot.task.plan.steps().iter();
        plans.zip(&snapshot.steps).filter(|(plan, _)| snapshot.is_ready(plan)).for_each(|(_, step)| self.step(step));
    }

    fn steps(&mut self) {
        let snapshot = self.snapshot;
        self.ready_steps();
        if snapshot.steps.iter().all(|step| snapshot.is_settled(step)) {
            let names: Vec<String> = snapshot.task.plan.leaves().map(|step| step.name.clone()).collect();
            names.iter().for_each(|name| self.expect(name, snapshot.last_event()));
        }
    }

    /// Inspects a step that is ready.
    fn step(&mut self, step: &StepRecord) {
        let due = match step.state {
            StepState::Pending => Some(self.ready_since(&step.name)),
            StepState::InProgress => step.lease_until,
            StepState::Retrying => step.next_retry_at,
            StepState::Complete | StepState::Error | StepState::Cancelled | StepState::ResolvedManually => None,
        };
        if let Some(due) = due {
            self.expect(&step.name, due);
        }
    }

    /// Expects the worker of this step to have acted since `due`.
    fn expect(&mut self, name: &str, due: Timestamp) {
        if due <= self.now && self.held.holds(self.snapshot.task.workflow_name(), name) {
            self.paused.push(name.to_owned());
        } else if due + OVERDUE_AFTER <= self.now {
            self.send.push(self.snapshot.message(name));
        } else {
            self.wait_until(due + OVERDUE_AFTER);
        }
    }

    /// The time since which a step has been ready: that of its last dependency's completion, or of the last action on the
    /// task.
    fn ready_since(&self, name: &str) -> Timestamp {
        let task = &self.snapshot.task;
        let waits_for = task.plan.step(name).and_then(|step: &StepPlan| task.waits_for(step)).unwrap_or_default();
        let done = waits_for.into_iter().filter_map(|name| self.snapshot.step(name)?.finished_at);
        done.chain(task.actions.iter().map(|action| action.at)).fold(task.created_at, Timestamp::max)
    }

    fn wait_until(&mut self, moment: Timestamp) {
        self.wait = Some(self.wait.map_or(moment, |earlier| earlier.min(moment)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            format::NewerFormat,
            message::StepQueue,
            pause::{PauseAction, PauseEntry, StepPauses},
            state::End,
        },
        testing::fixtures::{at, compensation, snapshot, with_optional},
    };
    use proptest::prelude::*;

    const MINUTE: i64 = 60;

    fn sent(inspection: &Inspection) -> Vec<&str> {
        inspection.send.iter().map(|sent| sent.message.step.as_str()).collect()
    }

    fn done(step: &mut StepRecord, moment: i64) {
        (step.state, step.attempt, step.finished_at) = (StepState::Complete, 1, Some(at(moment)));
    }

    #[test]
    fn ready_step_gets_a_message_after_a_minute() {
        let snapshot = snapshot(&[&[], &[0]], &[]);
        let early = inspect(&snapshot, at(MINUTE - 1));
        assert_eq!((sent(&early), early.next), (vec![], Some(at(MINUTE - 1 + MINUTE))));
        let late = inspect(&snapshot, at(MINUTE));
        assert_eq!(sent(&late), ["s0"], "the second one waits for the first");
        assert_eq!(late.next, Some(at(2 * MINUTE)));
    }

    #[test]
    fn paused_step_gets_no_message_and_the_task_is_inspected_again_after_as_long_as_it_was_quiet() {
        let snapshot = snapshot(&[&[], &[]], &[]);
        let workflow = snapshot.task.workflow_name();
        let entry = PauseEntry { at: at(0), what: PauseAction::Pause, who: "ann".to_owned(), why: "a test".to_owned() };
        let paused = StepPauses::none(&StepQueue::new(workflow, "s0")).after(entry).unwrap();
        let held = PausedSteps::of([&paused]);
        for (second, next) in [(MINUTE, 2 * MINUTE), (10 * MINUTE, 20 * MINUTE), (100 * MINUTE, 160 * MINUTE)] {
            let inspection = inspect_paused(&snapshot, &held, at(second));
            assert_eq!((sent(&inspection), inspection.paused.as_slice()), (vec!["s1"], &["s0".to_owned()][..]));
            assert_eq!(inspection.next, Some(at(next)));
        }
        let mut waits = snapshot.clone();
        waits.steps[0].state = StepState::Retrying;
        waits.steps[0].next_retry_at = Some(at(300));
        assert_eq!(inspect_paused(&waits, &held, at(299)).paused, [""; 0], "it waits for its time");
        assert_eq!(inspect_paused(&waits, &held, at(300)).paused, ["s0"]);
    }

    #[test]
    fn join_is_ready_since_its_last_dependency_was_done() {
        let mut snapshot = snapshot(&[&[], &[], &[0, 1]], &[]);
        done(&mut snapshot.steps[0], 10);
        done(&mut snapshot.steps[1], 50);
        assert_eq!(sent(&inspect(&snapshot, at(50 + MINUTE - 1))), [""; 0]);
        let inspection = inspect(&snapshot, at(50 + MINUTE));
        assert_eq!(sent(&inspection), ["s2"]);
        assert_eq!(inspection.send[0].message.load, ["s0", "s1"]);
    }

    #[test]
    fn retry_and_lease_are_overdue_a_minute_after_their_time() {
        let mut snapshot = snapshot(&[&[]], &[]);
        snapshot.steps[0] = StepRecord {
            state: StepState::Retrying,
            attempt: 1,
            started_at: Some(at(1)),
            next_retry_at: Some(at(300)),
            ..snapshot.steps[0].clone()
        };
        let waiting = inspect(&snapshot, at(100));
        assert_eq!((sent(&waiting), waiting.next), (vec![], Some(at(300 + MINUTE))));
        assert_eq!(sent(&inspect(&snapshot, at(300 + MINUTE))), ["s0"]);
        snapshot.steps[0].state = StepState::InProgress;
        snapshot.steps[0].lease_until = Some(at(500));
        assert_eq!(sent(&inspect(&snapshot, at(500 + MINUTE - 1))), [""; 0]);
        assert_eq!(sent(&inspect(&snapshot, at(500 + MINUTE))), ["s0"]);
    }

    #[test]
    fn leaves_get_messages_if_all_steps_are_done_but_the_task_has_not_ended() {
        let mut snapshot = snapshot(&[&[], &[], &[0]], &[]);
        done(&mut snapshot.steps[0], 5);
        done(&mut snapshot.steps[1], 8);
        done(&mut snapshot.steps[2], 7);
        assert_eq!(sent(&inspect(&snapshot, at(8 + MINUTE - 1))), [""; 0]);
        assert_eq!(sent(&inspect(&snapshot, at(8 + MINUTE))), ["s1", "s2"]);
        snapshot.task.state = TaskState::Completed;
        assert_eq!(
            inspect(&snapshot, at(8 + MINUTE)),
            Inspection { send: Vec::new(), paused: Vec::new(), recover: false, next: None }
        );
    }

    #[test]
    fn leaves_get_messages_also_if_an_optional_one_has_failed() {
        let mut snapshot = with_optional(snapshot(&[&[], &[0], &[0]], &[]), &["s1"]);
        done(&mut snapshot.steps[0], 5);
        done(&mut snapshot.steps[2], 7);
        snapshot.steps[1].state = StepState::Error;
        assert_eq!(sent(&inspect(&snapshot, at(7 + MINUTE))), ["s1", "s2"]);
    }

    #[test]
    fn completed_task_is_inspected_while_its_redriven_optional_step_is_open() {
        let mut snapshot = with_optional(snapshot(&[&[], &[0], &[0]], &[]), &["s1"]);
        snapshot.steps.iter_mut().for_each(|step| done(step, 5));
        snapshot.task.state = TaskState::Completed;
        snapshot.steps[1].state = StepState::Pending;
        assert_eq!(sent(&inspect(&snapshot, at(5 + MINUTE))), ["s1"]);
        snapshot.steps[1].state = StepState::Retrying;
        snapshot.steps[1].next_retry_at = Some(at(300));
        let waiting = inspect(&snapshot, at(10));
        assert_eq!((sent(&waiting), waiting.next), (vec![], Some(at(300 + MINUTE))));
        snapshot.steps[1].state = StepState::Error;
        assert_eq!(inspect(&snapshot, at(10 * MINUTE)).next, None);
    }

    #[test]
    fn failed_task_is_inspected_when_its_compensation_is_overdue() {
        let mut snapshot = snapshot(&[&[], &[]], &[0]);
        snapshot.task.state = TaskState::Failed;
        snapshot.task.finished_at = Some(at(10));
        snapshot.task.plan = snapshot.task.plan.compensating(crate::core::plan::Compensate::OnError, 900);
        snapshot.steps[0].state = StepState::Error;
        done(&mut snapshot.steps[1], 5);
        let waiting = inspect(&snapshot, at(100));
        assert_eq!((sent(&waiting), waiting.recover, waiting.next), (vec![], false, Some(at(910 + MINUTE))));
        assert!(inspect(&snapshot, at(910)).recover);
        snapshot.task.plan = snapshot.task.plan.compensating(crate::core::plan::Compensate::Manual, 0);
        assert_eq!(inspect(&snapshot, at(910)).next, None, "the engine has nothing more to do");
    }

    #[test]
    fn step_in_flight_is_inspected_a_minute_after_its_lease() {
        let mut snapshot = snapshot(&[&[]], &[0]);
        snapshot.task.state = TaskState::Compensating(End::Cancelled);
        snapshot.steps[0] =
            StepRecord { state: StepState::InProgress, lease_until: Some(at(500)), ..snapshot.steps[0].clone() };
        assert_eq!(
            inspect(&snapshot, at(100)),
            Inspection { send: Vec::new(), paused: Vec::new(), recover: false, next: Some(at(500 + MINUTE)) }
        );
    }

    #[test]
    fn ended_task_is_not_inspected_again() {
        let mut snapshot = snapshot(&[&[], &[]], &[0]);
        snapshot.steps.iter_mut().for_each(|step| done(step, 5));
        for state in TaskState::ALL {
            snapshot.task.state = state;
            let over = Inspection { send: Vec::new(), paused: Vec::new(), recover: false, next: None };
            let goes_on = state.lets_steps_run() || state.is_compensating();
            assert_eq!(inspect(&snapshot, at(10 * MINUTE)) == over, !goes_on, "{state:?}");
        }
    }

    #[test]
    fn task_is_at_rest_once_nothing_follows_by_itself() {
        let in_flight = |step: &mut StepRecord, until| {
            (step.state, step.lease_until) = (StepState::InProgress, Some(at(until)));
        };
        let rests = |snapshot: &TaskSnapshot| is_at_rest(snapshot, at(1_000));

        let mut failed = snapshot(&[&[], &[]], &[0]);
        done(&mut failed.steps[1], 5);
        assert!(!rests(&failed), "it runs");
        failed.task.state = TaskState::Failed;
        failed.task.finished_at = Some(at(10));
        failed.steps[0].state = StepState::Error;
        failed.task.plan = failed.task.plan.compensating(crate::core::plan::Compensate::Manual, 0);
        assert!(rests(&failed), "only somebody begins its compensation");
        in_flight(&mut failed.steps[1], 900);
        assert!(!rests(&failed), "a worker of another branch has died, and the step is going to be taken over");
        done(&mut failed.steps[1], 5);
        failed.task.plan = failed.task.plan.compensating(crate::core::plan::Compensate::OnError, 2_000);
        assert!(!rests(&failed), "it is going to be compensated");
        failed.task.newer = Some(NewerFormat { partition: "TASK#x".to_owned(), v: 9, needs: 9 });
        failed.task.plan = failed.task.plan.compensating(crate::core::plan::Compensate::Manual, 0);
        assert!(!rests(&failed), "a newer version decides");
        failed.task.state = TaskState::Resolved;
        assert!(rests(&failed), "it is closed, whoever wrote it");

        let mut completed = with_optional(snapshot(&[&[], &[0]], &[]), &["s1"]);
        completed.steps.iter_mut().for_each(|step| done(step, 5));
        completed.task.state = TaskState::Completed;
        assert!(rests(&completed));
        completed.steps[1].state = StepState::Pending;
        assert!(!rests(&completed), "an optional step was redriven");

        let mut cancelled = snapshot(&[&[]], &[]);
        cancelled.task.state = TaskState::Cancelled;
        in_flight(&mut cancelled.steps[0], 1_001);
        assert!(!rests(&cancelled), "a worker has not heard of it");
        in_flight(&mut cancelled.steps[0], 1_000);
        assert!(rests(&cancelled), "that worker is dead");

        let mut stuck = snapshot(&[&[], &[]], &[0, 1]);
        stuck.steps.iter_mut().for_each(|step| done(step, 5));
        stuck.task.state = TaskState::Compensating(End::Cancelled);
        assert!(!rests(&stuck), "its compensations are to be ordered");
        stuck.task.compensations = Some(stuck.task.plan.compensations().to_vec());
        stuck.compensations = [0, 1].map(|step| StepRecord::untouched(&compensation(step))).into();
        done(&mut stuck.compensations[0], 20);
        stuck.compensations[1].state = StepState::Error;
        assert!(rests(&stuck), "it waits for a person");
        in_flight(&mut stuck.compensations[0], 900);
        assert!(!rests(&stuck), "the other compensation is going to be taken over");
    }

    #[test]
    fn task_whose_cancellation_was_refused_is_not_at_rest_before_it_is_complete_again() {
        let mut refused = snapshot(&[&[]], &[0]);
        done(&mut refused.steps[0], 5);
        refused.task.state = TaskState::Compensating(End::Cancelled);
        refused.task.compensations = Some(refused.task.plan.compensations().to_vec());
        let mut compensation = StepRecord::untouched(&compensation(0));
        compensation.state = StepState::Error;
        refused.compensations = vec![compensation];
        assert_eq!(recovery::next_action(&refused, at(9)), NextAction::Reinstate);
        assert!(!is_at_rest(&refused, at(9)));
    }

    #[test]
    fn compensation_gets_messages_like_any_step_and_a_failed_one_waits_for_a_person() {
        let mut snapshot = snapshot(&[&[]], &[0]);
        snapshot.task.state = TaskState::Compensating(End::Error);
        snapshot.task.compensations = Some(snapshot.task.plan.compensations().to_vec());
        snapshot.compensations = vec![StepRecord::untouched(&compensation(0))];
        assert_eq!(sent(&inspect(&snapshot, at(MINUTE))), [compensation(0)]);
        snapshot.compensations[0].state = StepState::Error;
        let stuck = inspect(&snapshot, at(MINUTE));
        assert_eq!((sent(&stuck), stuck.recover), (vec![], false));
        assert_eq!(stuck.next, Some(at(2 * MINUTE)), "the watchdog goes on inspecting it");
        snapshot.compensations[0].state = StepState::Complete;
        assert!(inspect(&snapshot, at(MINUTE)).recover);
    }

    #[test]
    fn task_that_got_a_message_is_inspected_soon_whatever_else_it_waits_for() {
        let mut snapshot = snapshot(&[&[], &[]], &[]);
        snapshot.steps[1] = StepRecord {
            state: StepState::Retrying,
            attempt: 1,
            next_retry_at: Some(at(60 * MINUTE)),
            ..snapshot.steps[1].clone()
        };
        let inspection = inspect(&snapshot, at(2 * MINUTE));
        assert_eq!((sent(&inspection), inspection.next), (vec!["s0"], Some(at(4 * MINUTE))));
    }

    proptest! {
        #[test]
        fn time_to_the_next_inspection_grows_with_the_quiet_time(quiet in 0i64..1_000_000) {
            let snapshot = snapshot(&[&[]], &[]);
            let now = at(quiet);
            let next = inspect(&snapshot, now).next.unwrap();
            let pause = i64::try_from(next.since(now).as_secs()).unwrap();
            prop_assert!((MINUTE..=3_600).contains(&pause), "{pause}");
            prop_assert!(quiet < MINUTE || pause == quiet.min(3_600), "{pause} after {quiet}");
        }
    }
}
