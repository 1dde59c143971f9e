//! The timeline of a task: what happened, what it waited for, and why, in the order of time.
//!
//! It is derived from the snapshot: the attempts that the audit trail keeps, the actions from outside, and the gaps between them.

use crate::core::{
    plan::StepPlan,
    record::{Action, AttemptRecord, Outcome, Refusal, StepRecord},
    recovery::redrive_at,
    snapshot::TaskSnapshot,
    state::{StepState, TaskState, TaskStatus},
    timestamp::Timestamp,
};

/// A part of a task's timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Span<'a> {
    /// The step or compensation; `None` for what concerns the whole task.
    pub step: Option<&'a str>,
    /// The begin.
    pub from: Timestamp,
    /// The end; `None` while it lasts. A moment ends when it begins.
    pub until: Option<Timestamp>,
    /// What it is.
    pub what: What<'a>,
}

/// What a part of the timeline is.
#[derive(Clone, Debug, PartialEq)]
pub enum What<'a> {
    /// The start of the task.
    Started,
    /// An attempt.
    Attempt(AttemptRecord),
    /// A wait.
    Wait(Wait),
    /// An action from outside.
    Action(&'a Action),
    /// A compensation refused, and the task was complete again.
    Refusal(&'a Refusal),
    /// The task ended, or failed, with this status.
    Ended(TaskStatus),
}

/// Why a step that could run did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Its message was on its way, or behind others.
    Queue,
    /// For its next attempt.
    Backoff {
        /// The code of what it waits for: the error of the attempt before, or that the breaker of a service is open.
        code: Option<String>,
        /// When the next attempt is due.
        due: Timestamp,
    },
    /// It has failed for good, until somebody redrives it or the engine does.
    Redrive {
        /// When the engine redrives it, if it does and has not yet.
        due: Option<Timestamp>,
    },
    /// For attempts that the audit trail does not keep in full.
    Omitted {
        /// Their number.
        attempts: u32,
    },
}

impl What<'_> {
    /// The order of what begins at the same time.
    const fn rank(&self) -> u8 {
        match self {
            Self::Started => 0,
            Self::Action(_) | Self::Refusal(_) => 1,
            Self::Attempt(_) => 2,
            Self::Wait(_) => 3,
            Self::Ended(_) => 4,
        }
    }
}

/// Makes the timeline of a task. Of what began at the same time, moments and attempts come before the waits after them, and then in the order
/// of the plan.
pub fn timeline(snapshot: &TaskSnapshot) -> Vec<Span<'_>> {
    let task = &snapshot.task;
    let moment = |at: Timestamp, step, what| Span { step, from: at, until: Some(at), what };
    let mut spans = vec![moment(task.created_at, None, What::Started)];
    let planned = task.plan.steps().iter().zip(&snapshot.steps);
    let undoing = task.compensations.iter().flatten().zip(&snapshot.compensations);
    for (plan, record) in planned.chain(undoing) {
        of_step(snapshot, plan, record, &mut spans);
    }
    spans.extend(task.actions.iter().map(|action| moment(action.at, action.step.as_deref(), What::Action(action))));
    spans.extend(task.refusals.iter().map(|refusal| moment(refusal.at, Some(&refusal.step), What::Refusal(refusal))));
    let ended = task.finished_at.filter(|_| !task.state.is_compensating());
    spans.extend(ended.map(|at| moment(at, None, What::Ended(snapshot.status()))));
    spans.sort_by_key(|span| (span.from, span.what.rank()));
    spans
}

/// Adds the attempts of a step, and the waits before, between and after them.
fn of_step<'a>(snapshot: &'a TaskSnapshot, plan: &StepPlan, record: &'a StepRecord, spans: &mut Vec<Span<'a>>) {
    let attempts = record.all_attempts();
    let mut waits = Waits { snapshot, record, spans };
    if let Some(ready) = ready_at(snapshot, plan) {
        match attempts.first() {
            Some(first) => waits.add(ready, Some(first.started_at), Wait::Queue),
            None => waits.lasting(plan, ready, None),
        }
    }
    for pair in attempts.windows(2) {
        if let [before, next] = pair
            && let Some(from) = before.finished_at
        {
            waits.between(before, from, next);
        }
    }
    if let Some(last) = attempts.last()
        && let Some(from) = last.finished_at
    {
        waits.lasting(plan, from, Some(last));
    }
    spans.extend(attempts.into_iter().map(|attempt| Span {
        step: Some(&record.name),
        from: attempt.started_at,
        until: attempt.finished_at,
        what: What::Attempt(attempt),
    }));
}

/// The waits of one step.
struct Waits<'a, 'b> {
    snapshot: &'a TaskSnapshot,
    record: &'a StepRecord,
    spans: &'b mut Vec<Span<'a>>,
}

impl Waits<'_, '_> {
    fn add(&mut self, from: Timestamp, until: Option<Timestamp>, why: Wait) {
        if until.is_none_or(|until| from < until) {
            self.spans.push(Span { step: Some(&self.record.name), from, until, what: What::Wait(why) });
        }
    }

    /// The waits between two attempts, the first of which ended at `from`.
    fn between(&mut self, before: &AttemptRecord, from: Timestamp, next: &AttemptRecord) {
        let until = next.started_at;
        let omitted = next.number.saturating_sub(before.number + 1);
        if omitted > 0 && !self.record.omitted_attempts.is_empty() {
            return self.add(from, Some(until), Wait::Omitted { attempts: omitted });
        }
        let queued = match before.next_retry_at {
            Some(due) => {
                let code = before.error.as_ref().map(|error| error.code.clone());
                self.add(from, Some(due.min(until)), Wait::Backoff { code, due });
                due.min(until)
            }
            None if before.outcome == Outcome::Lost => from,
            None => self.redriven(from, Some(until)),
        };
        self.add(queued, Some(until), Wait::Queue);
    }

    /// What the step waits for now, since `from`, when its last attempt ended or it could run.
    fn lasting(&mut self, plan: &StepPlan, from: Timestamp, last: Option<&AttemptRecord>) {
        match (self.record.state, self.record.next_retry_at) {
            (StepState::Retrying, Some(due)) => {
                let will_retry = last.is_some_and(|last| last.next_retry_at.is_some());
                let from = if will_retry { from } else { self.redriven(from, None) };
                let code = self.record.error.as_ref().map(|error| error.code.clone());
                self.add(from, None, Wait::Backoff { code, due });
            }
            (StepState::Pending, _) if self.snapshot.is_ready(plan) => {
                let from = if last.is_some() { self.redriven(from, None) } else { from };
                self.add(from, None, Wait::Queue);
            }
            (StepState::Error, _) if self.snapshot.task.state == TaskState::Failed => {
                self.add(from, None, Wait::Redrive { due: redrive_at(self.snapshot) });
            }
            _ => {}
        }
    }

    /// Adds the wait of a step that had failed for good, until it was redriven. Answers with the end of that wait, which is the begin where
    /// no redrive is on record.
    fn redriven(&mut self, from: Timestamp, until: Option<Timestamp>) -> Timestamp {
        let about = |action: &&Action| action.step.as_deref().is_none_or(|named| named == self.record.name);
        let redrives = self.snapshot.task.actions.iter().filter(|action| action.what.redrives());
        let mut times = redrives.filter(about).map(|action| action.at);
        let within = |at: &Timestamp| from <= *at && until.is_none_or(|until| *at <= until);
        let Some(at) = times.rfind(within) else { return from };
        self.add(from, Some(at), Wait::Redrive { due: None });
        at
    }
}

/// When everything that a step waits for was done. `None` where something is not, and for a compensation that waits for no other: when the
/// compensation of a task began is not stored.
fn ready_at(snapshot: &TaskSnapshot, plan: &StepPlan) -> Option<Timestamp> {
    if plan.depends_on.is_empty() {
        return plan.compensates.is_none().then_some(snapshot.task.created_at);
    }
    let done = plan.depends_on.iter().map(|name| snapshot.step(name).and_then(|record| record.finished_at));
    done.collect::<Option<Vec<_>>>()?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixtures::{at, snapshot};

    fn attempt(number: u32, started: i64, ended: i64, outcome: Outcome) -> AttemptRecord {
        let step = StepRecord {
            attempt: number,
            started_at: Some(at(started)),
            owner: Some("r/m".to_owned()),
            ..StepRecord::default()
        };
        AttemptRecord { finished_at: Some(at(ended)), outcome, ..step.open_attempt().unwrap() }
    }

    /// The waits of a step without dependencies that was started at second 0.
    fn waits(attempts: Vec<AttemptRecord>, omitted: u32) -> Vec<(Timestamp, Option<Timestamp>, Wait)> {
        let mut of = snapshot(&[&[]], &[]);
        of.task.created_at = at(0);
        of.steps[0].state = StepState::Complete;
        of.steps[0].attempts = attempts;
        of.steps[0].omitted_attempts = (omitted > 0).then(|| ("BUSY".to_owned(), omitted)).into_iter().collect();
        let spans = timeline(&of).into_iter();
        spans
            .filter_map(
                |span| if let What::Wait(wait) = span.what { Some((span.from, span.until, wait)) } else { None },
            )
            .collect()
    }

    #[test]
    fn lost_attempt_is_followed_by_a_wait_in_the_queue() {
        let attempts = vec![attempt(1, 2, 30, Outcome::Lost), attempt(2, 31, 32, Outcome::Complete)];
        assert_eq!(waits(attempts, 0), [(at(0), Some(at(2)), Wait::Queue), (at(30), Some(at(31)), Wait::Queue)]);
    }

    #[test]
    fn attempts_that_are_not_kept_are_one_wait_with_their_number() {
        let attempts = vec![attempt(10, 0, 1, Outcome::RetryableError), attempt(14, 90, 91, Outcome::Complete)];
        assert_eq!(waits(attempts, 3), [(at(1), Some(at(90)), Wait::Omitted { attempts: 3 })]);
    }

    #[test]
    fn attempt_later_than_it_was_due_waited_in_the_queue_meanwhile() {
        let failed = AttemptRecord { next_retry_at: Some(at(60)), ..attempt(1, 0, 1, Outcome::RetryableError) };
        let backoff = Wait::Backoff { code: None, due: at(60) };
        let attempts = vec![failed.clone(), attempt(2, 75, 76, Outcome::Complete)];
        assert_eq!(waits(attempts, 0), [(at(1), Some(at(60)), backoff.clone()), (at(60), Some(at(75)), Wait::Queue)]);
        // Somebody had it run now.
        assert_eq!(waits(vec![failed, attempt(2, 40, 41, Outcome::Complete)], 0), [(at(1), Some(at(40)), backoff)]);
    }
}
