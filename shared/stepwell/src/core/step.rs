//! The transitions of a step by its worker: claims, outcomes, arrivals at a join.
//!
//! The worker that holds a lease is the only one that may write an outcome. Its writes are fenced: they hold as long as the
//! step is `in_progress` in the attempt that the lease names.

use super::{
    codec::Unreadable,
    item::{Key, attribute, stored},
    parts::{is_state, lost_attempt, made, millis, stands_in, to_state},
    record::{AttemptRecord, Lease, StepRecord, TaskRecord},
    task,
    transition::{Answer, Applied, Change, Condition, Effect, Transition, Write},
};
use crate::core::{
    id::TaskId,
    state::{StepEvent, StepState},
    timestamp::Timestamp,
};

/// The answer to a claim.
#[derive(Clone, Debug)]
pub enum Claim {
    /// The step is ours until the lease ends.
    Granted(Lease),
    /// It is not; this is what stands there.
    Refused(Box<StepRecord>),
}

impl Claim {
    /// Reads how [`claim`] or [`take_over`] ended.
    ///
    /// # Errors
    /// The step's item cannot be read.
    pub fn read(request: &ClaimRequest<'_>, applied: Applied) -> Result<Self, Unreadable> {
        let record = |item| StepRecord::from_item(request.task, request.step, item);
        Ok(match applied {
            Applied::Written(item) => Self::Granted(request.lease(&record(item)?)),
            Applied::Refused(item) => Self::Refused(Box::new(record(item)?)),
        })
    }
}

/// A wish to run a step.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// The task.
    pub task: TaskId,
    /// The step.
    pub step: &'a str,
    /// Which delivery asks: `request id/message id`.
    pub owner: &'a str,
    /// The moment of asking.
    pub now: Timestamp,
    /// The end of the lease: the invocation's own deadline, past which Lambda has killed the worker.
    pub lease_until: Timestamp,
}

/// The owner of what is claimed for this message by this invocation. Whoever claims on behalf of an invocation that is
/// still to come names it so, and the invocation takes that claim for its own, of which the answer was lost.
pub fn owner(request_id: &str, message_id: &str) -> String {
    format!("{request_id}/{message_id}")
}

impl ClaimRequest<'_> {
    fn key(&self) -> Key {
        Key::Step(self.task, self.step.to_owned())
    }

    /// What every claim changes.
    fn changes(&self) -> Vec<Change> {
        vec![
            Change::Set(attribute::OWNER, self.owner.into()),
            Change::Set(attribute::STARTED_AT, self.now.as_millis().into()),
            Change::Set(attribute::LEASE_UNTIL, self.lease_until.as_millis().into()),
            Change::Add(attribute::ATTEMPT, 1),
        ]
    }

    fn write(&self, condition: Condition, changes: Vec<Change>) -> Write {
        let ours = is_state(StepState::InProgress).and(Condition::Is(attribute::OWNER, self.owner.into()));
        let write = Write::update(self.key(), condition, changes).on_step(StepEvent::Claim);
        write.made_before(ours).answering(Answer::Item)
    }

    /// The lease that stands in this record.
    fn lease(&self, record: &StepRecord) -> Lease {
        Lease {
            task: self.task,
            step: self.step.to_owned(),
            attempt: record.attempt,
            uncounted_attempts: record.uncounted_attempts,
            owner: self.owner.to_owned(),
            started_at: record.started_at.unwrap_or(self.now),
            until: record.lease_until.unwrap_or(self.lease_until),
        }
    }
}

/// Claims a step that is pending, or retrying and due.
pub fn claim(request: &ClaimRequest<'_>) -> Transition {
    let due = is_state(StepState::Retrying).and(Condition::AtMost(attribute::NEXT_RETRY_AT, request.now.as_millis()));
    let free = Condition::Any(vec![Condition::Absent(attribute::STATE), is_state(StepState::Pending), due]);
    let mut changes = request.changes();
    changes.extend([to_state(StepState::InProgress), Change::Remove(attribute::NEXT_RETRY_AT)]);
    changes.extend(made(request.now));
    Transition::of("claim", request.write(free, changes))
}

/// Claims a step whose lease has ended, and enters the lost attempt into the audit trail.
pub fn take_over(request: &ClaimRequest<'_>, lost: &StepRecord) -> Transition {
    let ended = stands_in(StepState::InProgress, lost.attempt)
        .and(Condition::Below(attribute::LEASE_UNTIL, request.now.as_millis()));
    let mut changes = request.changes();
    changes.extend(lost_attempt(lost));
    Transition::of("take_over", request.write(ended, changes))
}

/// Puts a step back whose worker is known to be dead, and enters the lost attempt into the audit trail; it does not count
/// against the limit. Whoever has the workers in one process with its store knows it; on AWS nobody does.
pub fn abandon(task: TaskId, lost: &StepRecord, now: Timestamp) -> Transition {
    let lost_now = StepRecord { lease_until: Some(now), ..lost.clone() };
    let mut changes: Vec<Change> =
        [attribute::OWNER, attribute::LEASE_UNTIL, attribute::STARTED_AT].map(Change::Remove).into();
    changes.extend([to_state(StepState::Pending), Change::Add(attribute::UNCOUNTED_ATTEMPTS, 1)]);
    changes.extend(lost_attempt(&lost_now));
    let key = Key::Step(task, lost.name.clone());
    let write = Write::update(key, stands_in(StepState::InProgress, lost.attempt), changes);
    Transition::of("abandon", write.on_step(StepEvent::Release))
}

/// A write that only the holder of the lease may make. It ends the lease.
fn fenced(lease: &Lease, event: StepEvent, to: StepState, changes: impl IntoIterator<Item = Change>) -> Write {
    let ended = [to_state(to), Change::Remove(attribute::OWNER), Change::Remove(attribute::LEASE_UNTIL)];
    let write = Write::update(key(lease), held(lease), ended.into_iter().chain(changes).collect());
    write.on_step(event).made_before(stands_in(to, lease.attempt))
}

fn key(lease: &Lease) -> Key {
    Key::Step(lease.task, lease.step.clone())
}

fn held(lease: &Lease) -> Condition {
    stands_in(StepState::InProgress, lease.attempt)
}

fn in_trail(attempt: &AttemptRecord) -> Change {
    Change::Append(attribute::ATTEMPTS, stored(attempt))
}

/// Puts a step back; the attempt does not count against the limit.
pub fn release(lease: &Lease) -> Transition {
    let changes = [Change::Remove(attribute::STARTED_AT), Change::Add(attribute::UNCOUNTED_ATTEMPTS, 1)];
    Transition::of("release", fenced(lease, StepEvent::Release, StepState::Pending, changes))
}

/// Takes away the item of a step whose task does not exist.
pub fn delete_orphan_claim(lease: &Lease) -> Transition {
    Transition::of("delete_orphan_claim", Write::new(key(lease), held(lease), Effect::Delete))
}

/// The attempt succeeded with this result, JSON as text.
pub fn complete(lease: &Lease, attempt: &AttemptRecord, result: &str) -> Transition {
    let changes = [
        Change::Set(attribute::RESULT, result.into()),
        millis(attribute::FINISHED_AT, attempt.finished_at.unwrap_or(lease.until)),
        in_trail(attempt),
        Change::Remove(attribute::ERROR),
    ];
    Transition::of("complete", fenced(lease, StepEvent::Complete, StepState::Complete, changes))
}

/// The attempt failed and another follows at `attempt.next_retry_at`.
pub fn retry_later(lease: &Lease, attempt: &AttemptRecord) -> Transition {
    let changes = [
        millis(attribute::NEXT_RETRY_AT, attempt.next_retry_at.unwrap_or(lease.until)),
        Change::Set(attribute::ERROR, stored(&attempt.error)),
        in_trail(attempt),
    ];
    Transition::of("retry_later", fenced(lease, StepEvent::RetryLater, StepState::Retrying, changes))
}

/// The attempt failed for good, and the task with it. Where the task has been brought out of its course meanwhile, the
/// step's error is kept all the same.
pub fn fail(task: &TaskRecord, lease: &Lease, attempt: &AttemptRecord) -> Transition {
    let at = attempt.finished_at.unwrap_or(lease.until);
    let changes =
        [Change::Set(attribute::ERROR, stored(&attempt.error)), millis(attribute::FINISHED_AT, at), in_trail(attempt)];
    let step = fenced(lease, StepEvent::Fail, StepState::Error, changes);
    Transition { name: "fail", writes: vec![step, task::failed(task, &lease.step, at, None).optional()] }
}

/// Notes at a step with several dependencies that one of them is done. Answers with all that are.
pub fn record_join_arrival(task: TaskId, step: &str, done: &str, now: Timestamp) -> Transition {
    let changes = [Change::Include(attribute::DONE_DEPS, done.to_owned())].into_iter().chain(made(now)).collect();
    let write = Write::update(Key::Step(task, step.to_owned()), Condition::ALWAYS, changes);
    Transition::of("record_join_arrival", write.answering(Answer::Changed))
}
