//! The transitions that a worker makes: claims, outcomes, arrivals at a join.
//!
//! Only the worker that holds the lease may write an outcome. Its writes are fenced: they are applied only while the step is
//! `in_progress` in the attempt of the lease.

use super::{
    codec::Unreadable,
    format::v1,
    item::{Key, attribute, stored},
    parts::{is_state, lost_attempt, made, millis, rescheduled, stands_in, to_state, waits_until},
    record::{AttemptRecord, Failure, Lease, StepRecord, TaskRecord},
    task,
    timer::unlisted,
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
    /// The caller owns the step until the lease ends.
    Granted(Lease),
    /// The claim is refused, because the step is as in this record.
    Refused(Box<StepRecord>),
}

impl Claim {
    /// Reads the answer to [`claim`] or [`take_over`].
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

/// A request to claim a step.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// The task.
    pub task: TaskId,
    /// The step.
    pub step: &'a str,
    /// The delivery that claims, as `request id/message id`.
    pub owner: &'a str,
    /// The time of the request.
    pub now: Timestamp,
    /// The end of the lease: the deadline of the invocation, after which Lambda has killed the worker.
    pub lease_until: Timestamp,
}

/// The owner of a claim for this message by this invocation. A claim on behalf of a later invocation uses that invocation's
/// owner; the invocation then treats it as its own claim whose answer was lost.
pub fn owner(request_id: &str, message_id: &str) -> String {
    format!("{request_id}/{message_id}")
}

impl ClaimRequest<'_> {
    fn key(&self) -> Key {
        Key::Step(self.task, self.step.to_owned())
    }

    /// The changes of every claim.
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

    /// The lease in this record.
    fn lease(&self, record: &StepRecord) -> Lease {
        Lease {
            task: self.task,
            step: self.step.to_owned(),
            attempt: record.attempt,
            uncounted_attempts: record.uncounted_attempts,
            trail: record.trail(),
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
    changes.extend(unlisted());
    changes.extend(made(request.now));
    Transition::of("claim", request.write(free, changes))
}

/// Takes over a step whose lease has ended, and appends the lost attempt to the audit trail.
pub fn take_over(request: &ClaimRequest<'_>, lost: &StepRecord) -> Transition {
    let ended = stands_in(StepState::InProgress, lost.attempt)
        .and(Condition::Below(attribute::LEASE_UNTIL, request.now.as_millis()));
    let mut changes = request.changes();
    changes.extend(lost_attempt(lost));
    Transition::of("take_over", request.write(ended, changes))
}

/// Releases a step whose worker is known to be dead, and appends the lost attempt to the audit trail. The attempt does not
/// count against `max_attempts`. A backend that runs its workers in the process of its store knows that they are dead; on
/// AWS nothing does.
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

/// A write that only the holder of the lease can make. It ends the lease.
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

/// Releases a step. The attempt does not count against `max_attempts`.
pub fn release(lease: &Lease) -> Transition {
    let changes = [Change::Remove(attribute::STARTED_AT), Change::Add(attribute::UNCOUNTED_ATTEMPTS, 1)];
    Transition::of("release", fenced(lease, StepEvent::Release, StepState::Pending, changes))
}

/// Deletes the item that a claim made for a task that does not exist.
pub fn delete_orphan_claim(lease: &Lease) -> Transition {
    Transition::of("delete_orphan_claim", Write::new(key(lease), held(lease), Effect::Delete))
}

/// Completes a step with this result, JSON as text.
pub fn complete(lease: &Lease, attempt: &AttemptRecord, result: &str) -> Transition {
    let mut changes = vec![
        Change::Set(attribute::RESULT, result.into()),
        millis(attribute::FINISHED_AT, attempt.finished_at.unwrap_or(lease.until)),
    ];
    changes.extend(lease.trail.with(attempt));
    changes.push(Change::Remove(attribute::ERROR));
    Transition::of("complete", fenced(lease, StepEvent::Complete, StepState::Complete, changes))
}

/// Ends a failed attempt, with a retry at `attempt.next_retry_at`. A throttled attempt does not count against
/// `max_attempts`.
pub fn retry_later(lease: &Lease, attempt: &AttemptRecord) -> Transition {
    let mut changes = vec![
        millis(attribute::NEXT_RETRY_AT, attempt.next_retry_at.unwrap_or(lease.until)),
        Change::Set(attribute::ERROR, stored(&attempt.error)),
    ];
    changes.extend(lease.trail.with(attempt));
    changes.extend(attempt.throttled.then_some(Change::Add(attribute::UNCOUNTED_ATTEMPTS, 1)));
    Transition::of("retry_later", fenced(lease, StepEvent::RetryLater, StepState::Retrying, changes))
}

/// Makes the next attempt of a step that waits for its retry due at another time than the one that was read. The number of its
/// attempts stays as it is.
pub fn reschedule(task: TaskId, step: &StepRecord, at: Timestamp) -> Transition {
    Transition::of("reschedule", rescheduled(task, step, at).made_before(waits_until(step, at)))
}

/// Parks a step that is pending, or retrying, as it was read: without an attempt, it waits until this time for this reason.
pub fn park(task: TaskId, step: &StepRecord, reason: &Failure, until: Timestamp, now: Timestamp) -> Transition {
    let waits = |at: Timestamp| Condition::Is(attribute::NEXT_RETRY_AT, at.as_millis().into());
    let condition = step.next_retry_at.map_or(Condition::ALWAYS, waits).and(task::as_read(step, now));
    let mut changes = vec![
        to_state(StepState::Retrying),
        millis(attribute::NEXT_RETRY_AT, until),
        Change::Set(attribute::ERROR, stored(reason)),
        Change::SetIfAbsent(attribute::ATTEMPT, v1::ATTEMPT.into()),
    ];
    changes.extend(unlisted());
    changes.extend(made(now));
    let write = Write::update(Key::Step(task, step.name.clone()), condition, changes).on_step(StepEvent::Park);
    let parked = stands_in(StepState::Retrying, step.attempt).and(waits(until));
    Transition::of("park", write.made_before(parked))
}

/// Fails a step for good, and its task with it, unless the step is optional. If the task was cancelled, resolved or
/// compensated meanwhile, only the step's error is written.
pub fn fail(task: &TaskRecord, lease: &Lease, attempt: &AttemptRecord) -> Transition {
    let at = attempt.finished_at.unwrap_or(lease.until);
    let mut changes = vec![Change::Set(attribute::ERROR, stored(&attempt.error)), millis(attribute::FINISHED_AT, at)];
    changes.extend(lease.trail.with(attempt));
    let step = fenced(lease, StepEvent::Fail, StepState::Error, changes);
    let of_task = task::failed(task, &lease.step, at, None).map(Write::optional);
    Transition { name: "fail", writes: [step].into_iter().chain(of_task).collect() }
}

/// Adds a done dependency to the set of a join. The answer has the whole set.
pub fn record_join_arrival(task: TaskId, step: &str, done: &str, now: Timestamp) -> Transition {
    let changes = [Change::Include(attribute::DONE_DEPS, done.to_owned())].into_iter().chain(made(now)).collect();
    let write = Write::update(Key::Step(task, step.to_owned()), Condition::ALWAYS, changes);
    Transition::of("record_join_arrival", write.answering(Answer::Changed))
}
