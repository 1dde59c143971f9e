//! The index: it lists every task at one time in one partition, and every step whose message waits for long in the partition
//! of the timers.
//!
//! The time is that of the next inspection by the watchdog or, for a task that is not inspected any more, that of its end.
//! The position is written with the task. That costs one index write at the start, and two (a delete and a put) whenever
//! it changes.

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

/// The time from a task's start, or from an action on it, to its first inspection by the watchdog.
pub const FIRST_INSPECTION_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// How long something may be due before it counts as overdue. Messages take time, above all in a queue with a backlog.
pub const OVERDUE_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// A partition of the index. It is split into shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexPartition {
    /// Running tasks.
    Pending,
    /// Compensating tasks, failed tasks that the engine may still act on, and completed tasks whose optional steps were
    /// redriven.
    Compensating,
    /// Completed tasks.
    Complete,
    /// Failed tasks that the engine does not act on any more, compensated ones included.
    Error,
    /// Failed tasks that the engine does not act on any more, and that wait for a person.
    NeedsPerson,
    /// Cancelled tasks, compensated ones included.
    Cancelled,
    /// Tasks that were declared done.
    ResolvedManually,
    /// Steps whose message waits for long, listed at the time at which the timer feeder sends it.
    Timer,
}

impl IndexPartition {
    /// All partitions of tasks.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Compensating,
        Self::Complete,
        Self::Error,
        Self::NeedsPerson,
        Self::Cancelled,
        Self::ResolvedManually,
    ];

    /// The partitions that can have tasks that need a person: in the first those with a failed compensation, in the second all.
    pub const WAITING_FOR_A_PERSON: [Self; 2] = [Self::Compensating, Self::NeedsPerson];

    /// The partitions whose tasks the watchdog inspects.
    pub const WATCHED: [Self; 2] = [Self::Pending, Self::Compensating];

    /// The number of shards of each partition.
    pub const SHARDS: u8 = 16;

    /// All shards of these partitions.
    pub(crate) fn shards_of(partitions: impl IntoIterator<Item = Self>) -> impl Iterator<Item = (Self, u8)> {
        partitions.into_iter().flat_map(|partition| (0..Self::SHARDS).map(move |shard| (partition, shard)))
    }

    /// The word in the index.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Compensating => "compensating",
            Self::Complete => "complete",
            Self::Error => "error",
            Self::NeedsPerson => "needs_person",
            Self::Cancelled => "cancelled",
            Self::ResolvedManually => "resolved_manually",
            Self::Timer => "timer",
        }
    }

    /// The partitions that can have tasks with the word of this status.
    pub const fn of(status: TaskStatus) -> &'static [Self] {
        match status {
            TaskStatus::Pending | TaskStatus::InProgress => &[Self::Pending],
            TaskStatus::Complete => &[Self::Complete, Self::Compensating],
            TaskStatus::Error | TaskStatus::Compensated(End::Error) => {
                &[Self::Error, Self::NeedsPerson, Self::Compensating]
            }
            TaskStatus::Compensating => &[Self::Compensating],
            TaskStatus::Cancelled | TaskStatus::Compensated(End::Cancelled) => &[Self::Cancelled],
            TaskStatus::ResolvedManually => &[Self::ResolvedManually],
        }
    }

    /// The status of a task in this partition, as far as the partition tells it.
    pub(crate) const fn status(self) -> TaskStatus {
        match self {
            Self::Pending | Self::Timer => TaskStatus::Pending,
            Self::Compensating => TaskStatus::Compensating,
            Self::Complete => TaskStatus::Complete,
            Self::Error | Self::NeedsPerson => TaskStatus::Error,
            Self::Cancelled => TaskStatus::Cancelled,
            Self::ResolvedManually => TaskStatus::ResolvedManually,
        }
    }

    /// The partition of a task in this state. A failed task is assumed to need neither an inspection nor a person.
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

    /// The hash key of one shard.
    pub fn partition(self, shard: u8) -> String {
        format!("{}#{shard}", self.as_str())
    }

    /// The shard of this task.
    pub const fn shard(task: TaskId) -> u8 {
        let [.., last] = *task.as_bytes();
        last % Self::SHARDS
    }
}

/// A request for a page of one shard of the index.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The partition.
    pub partition: IndexPartition,
    /// The shard, below [`IndexPartition::SHARDS`].
    pub shard: u8,
    /// Only entries that are listed at this time or before it.
    pub until: Option<Timestamp>,
    /// Only entries after this position.
    pub after: Option<&'a IndexPosition>,
    /// The maximum number of entries.
    pub limit: u16,
}

/// The position in the index of a task, or of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPosition {
    /// The task, from which the shard is derived.
    pub task: TaskId,
    /// The step; `None` if the task itself is listed.
    pub step: Option<String>,
    /// The partition.
    pub partition: IndexPartition,
    /// The time at which it is listed.
    pub at: Timestamp,
}

/// The entry in the index of a task. That of a step says only where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexEntry {
    /// The position.
    pub place: IndexPosition,
    /// The workflow, as `namespace/name@version`.
    pub workflow: String,
    /// The status without regard to the steps: never `in_progress`.
    pub status: TaskStatus,
    /// The time of the start.
    pub created_at: Timestamp,
    /// The steps that failed for good.
    pub failed_steps: BTreeSet<String>,
    /// Whether the task waits for a person, and the engine does nothing more about what it waits for: one of its compensations
    /// failed for good, or the watchdog has seen that the task [is left to a
    /// person](crate::core::recovery::is_left_to_a_person).
    pub needs_person: bool,
}

impl IndexPosition {
    /// The hash key: `<partition>#<shard>`.
    pub fn partition(&self) -> String {
        self.partition.partition(IndexPartition::shard(self.task))
    }

    /// The item is still listed here.
    pub(crate) fn is_there(&self) -> Condition {
        Condition::All(vec![
            Condition::Is(attribute::STATUS_SHARD, self.partition().into()),
            Condition::Is(attribute::LISTED_AT, self.at.to_string().into()),
        ])
    }

    /// The changes that move the item to this position.
    pub(crate) fn changes(&self) -> [Change; 2] {
        [
            Change::Set(attribute::STATUS_SHARD, self.partition().into()),
            Change::Set(attribute::LISTED_AT, self.at.to_string().into()),
        ]
    }

    /// Reads the position from an item of a task or of a step.
    pub fn of(key: &Key, item: &Item) -> Option<Self> {
        let (task, step) = match key {
            Key::Task(task) => (*task, None),
            Key::Step(task, step) => (*task, Some(step.clone())),
            Key::IdempotencyKey { .. }
            | Key::Breaker(_)
            | Key::Backlog(_)
            | Key::Bulk(_)
            | Key::BulkResults(..)
            | Key::Pause(_)
            | Key::Find { .. } => return None,
        };
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let (partition, _) = text(attribute::STATUS_SHARD)?.split_once('#')?;
        let mut known = IndexPartition::ALL.into_iter().chain([IndexPartition::Timer]);
        let partition = known.find(|known| known.as_str() == partition)?;
        Some(Self { task, step, partition, at: text(attribute::LISTED_AT)?.parse().ok()? })
    }
}

/// Moves a task in the index, if its position is still `place`.
pub fn move_in_index(place: &IndexPosition, to: IndexPartition, at: Timestamp) -> Transition {
    let there = IndexPosition { partition: to, at, ..place.clone() };
    Transition::of("move_in_index", Write::update(place.key(), place.is_there(), there.changes().into()))
}
