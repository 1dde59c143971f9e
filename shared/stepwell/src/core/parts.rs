//! Conditions and changes that several transitions share.

use super::{
    format::{WRITES, v1},
    item::{Key, attribute},
    record::{AttemptRecord, Outcome, STEP_RETENTION, StepRecord},
    transition::{Change, Condition, Write},
};
use crate::core::{id::TaskId, state::StepState, timestamp::Timestamp};

pub(super) fn is_state(state: StepState) -> Condition {
    Condition::Is(attribute::STATE, state.as_str().into())
}

pub(super) fn to_state(state: StepState) -> Change {
    Change::Set(attribute::STATE, state.as_str().into())
}

pub(super) fn millis(attribute: &'static str, moment: Timestamp) -> Change {
    Change::Set(attribute, moment.as_millis().into())
}

/// The step is in this state after this attempt.
pub(super) fn stands_in(state: StepState, attempt: u32) -> Condition {
    is_state(state).and(Condition::Is(attribute::ATTEMPT, attempt.into()))
}

/// The format attributes of a new item of this format. An item that has them keeps them.
pub(super) fn stamp(format: i64) -> impl Iterator<Item = Change> {
    let silent = [(attribute::V, v1::V), (attribute::NEEDS, v1::NEEDS)];
    let said = silent.into_iter().filter(move |(_, silence)| *silence != format);
    said.map(move |(name, _)| Change::SetIfAbsent(name, format.into()))
}

/// The attributes of a new step's item, whichever write creates it: its format, and its expiry.
pub(super) fn made(now: Timestamp) -> impl Iterator<Item = Change> {
    stamp(WRITES).chain([Change::SetIfAbsent(attribute::EXPIRES_AT, (now + STEP_RETENTION).as_seconds().into())])
}

/// Appends a lost attempt to the audit trail.
pub(super) fn lost_attempt(step: &StepRecord) -> Vec<Change> {
    let Some(open) = step.open_attempt() else { return Vec::new() };
    step.trail().with(&AttemptRecord { outcome: Outcome::Lost, finished_at: step.lease_until, ..open })
}

/// The step waits until this time for the attempt after the last one that was read.
pub(super) fn waits_until(step: &StepRecord, until: Timestamp) -> Condition {
    stands_in(StepState::Retrying, step.attempt).and(Condition::Is(attribute::NEXT_RETRY_AT, until.as_millis().into()))
}

/// Makes the next attempt of a step that waits for its retry due at another time than the one that was read.
pub(super) fn rescheduled(task: TaskId, step: &StepRecord, at: Timestamp) -> Write {
    let as_read = step.next_retry_at.map_or(Condition::Any(Vec::new()), |until| waits_until(step, until));
    let key = Key::Step(task, step.name.clone());
    Write::update(key, as_read, vec![millis(attribute::NEXT_RETRY_AT, at)])
}
