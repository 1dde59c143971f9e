//! The index: every task at one moment in one partition.
//!
//! For a task that is over the moment is that of its end, for one that is not the moment at which the watchdog has to look
//! at it next. The position is written with the task: once at the start, twice (a delete and a put) whenever it moves.

use super::{
    item::{Item, Key, attribute},
    transition::{Change, Condition, Transition, Write},
};
use crate::core::{
    id::TaskId,
    state::{End, TaskState, TaskStatus},
    timestamp::Timestamp,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// How long after its start, or after something was done to it, the watchdog first looks at a task.
pub const FIRST_INSPECTION_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// Under what the index lists a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexPartition {
    /// Its steps are at work.
    Pending,
    /// It is being compensated; or it has failed, but something more may happen by itself.
    Compensating,
    /// It is complete.
    Complete,
    /// It has failed, and nothing more happens by itself.
    Error,
    /// It was cancelled.
    Cancelled,
    /// It was declared done.
    ResolvedManually,
}

impl IndexPartition {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Compensating, Self::Complete, Self::Error, Self::Cancelled, Self::ResolvedManually];

    /// Those whose tasks the watchdog looks after.
    pub const WATCHED: [Self; 2] = [Self::Pending, Self::Compensating];

    /// How many parts each listing has.
    pub const SHARDS: u8 = 16;

    /// The word in the index.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Compensating => "compensating",
            Self::Complete => "complete",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::ResolvedManually => "resolved_manually",
        }
    }

    /// Those under which a task that is shown with this word can be.
    pub const fn of(status: TaskStatus) -> &'static [Self] {
        match status {
            TaskStatus::Pending | TaskStatus::InProgress => &[Self::Pending],
            TaskStatus::Complete => &[Self::Complete],
            TaskStatus::Error | TaskStatus::Compensated(End::Error) => &[Self::Error, Self::Compensating],
            TaskStatus::Compensating => &[Self::Compensating],
            TaskStatus::Cancelled | TaskStatus::Compensated(End::Cancelled) => &[Self::Cancelled],
            TaskStatus::ResolvedManually => &[Self::ResolvedManually],
        }
    }

    /// What it says of the status of a task in it.
    pub(crate) const fn status(self) -> TaskStatus {
        match self {
            Self::Pending => TaskStatus::Pending,
            Self::Compensating => TaskStatus::Compensating,
            Self::Complete => TaskStatus::Complete,
            Self::Error => TaskStatus::Error,
            Self::Cancelled => TaskStatus::Cancelled,
            Self::ResolvedManually => TaskStatus::ResolvedManually,
        }
    }

    /// That of a task that is over, and of one that no part of the engine looks after.
    pub(crate) const fn ended(state: TaskState) -> Self {
        match state {
            TaskState::Running => Self::Pending,
            TaskState::Completed => Self::Complete,
            TaskState::Failed | TaskState::Compensated(End::Error) => Self::Error,
            TaskState::Compensating(_) => Self::Compensating,
            TaskState::Cancelled | TaskState::Compensated(End::Cancelled) => Self::Cancelled,
            TaskState::Resolved => Self::ResolvedManually,
        }
    }

    /// The name of one of its partitions.
    pub fn partition(self, shard: u8) -> String {
        format!("{}#{shard}", self.as_str())
    }

    /// The part of a listing that this task is in.
    pub const fn shard(task: TaskId) -> u8 {
        let [.., last] = *task.as_bytes();
        last % Self::SHARDS
    }
}

/// A part of the index, and where in it to begin.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The listing.
    pub listing: IndexPartition,
    /// Which part of it, below [`IndexPartition::SHARDS`].
    pub shard: u8,
    /// Only tasks that are listed at this moment or before it.
    pub until: Option<Timestamp>,
    /// Only what comes after this one.
    pub after: Option<&'a IndexPosition>,
    /// How many at most.
    pub limit: u16,
}

/// A place in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPosition {
    /// The task.
    pub task: TaskId,
    /// Its listing.
    pub listing: IndexPartition,
    /// The moment it is listed at.
    pub at: Timestamp,
}

/// What the index says of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexEntry {
    /// Where it stands in the index.
    pub place: IndexPosition,
    /// The workflow it runs, as `namespace/name@version`.
    pub workflow: String,
    /// Its status, as far as the index knows it: never `in_progress`.
    pub status: TaskStatus,
    /// When it was started.
    pub created_at: Timestamp,
    /// The steps that failed for good.
    pub failed_steps: BTreeSet<String>,
}

impl IndexPosition {
    /// The name of the partition that it is in: `<listing>#<shard>`.
    pub fn partition(&self) -> String {
        self.listing.partition(IndexPartition::shard(self.task))
    }

    /// The changes that bring a task there.
    pub(crate) fn changes(&self) -> [Change; 2] {
        [
            Change::Set(attribute::STATUS_SHARD, self.partition().into()),
            Change::Set(attribute::LISTED_AT, self.at.to_string().into()),
        ]
    }

    /// Where this task's item says that the index lists it.
    pub fn of(task: TaskId, item: &Item) -> Option<Self> {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let (listing, _) = text(attribute::STATUS_SHARD)?.split_once('#')?;
        let listing = IndexPartition::ALL.into_iter().find(|known| known.as_str() == listing)?;
        Some(Self { task, listing, at: text(attribute::LISTED_AT)?.parse().ok()? })
    }
}

/// Lists a task somewhere else, where it is still listed as it was.
pub fn move_in_index(place: &IndexPosition, to: IndexPartition, at: Timestamp) -> Transition {
    let seen = Condition::All(vec![
        Condition::Is(attribute::STATUS_SHARD, place.partition().into()),
        Condition::Is(attribute::LISTED_AT, place.at.to_string().into()),
    ]);
    let there = IndexPosition { task: place.task, listing: to, at };
    Transition::of("move_in_index", Write::update(Key::Task(place.task), seen, there.changes().into()))
}
