//! Conditions and changes that several transitions share.

use super::{
    format::{WRITES, v1},
    item::attribute,
    record::{AttemptRecord, Outcome, STEP_RETENTION, StepRecord},
    transition::{Change, Condition},
};
use crate::core::{state::StepState, timestamp::Timestamp};

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
