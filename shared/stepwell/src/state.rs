//! The states of a step and of a task, and the only ways to get from one to the next.
//!
//! Both tables are one exhaustive `match` each: a new state or event does not compile until its row is written. The
//! conditions of the transitions in [`crate::core`] say the same of stored items, and a test makes every transition in
//! every state to see that they agree.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where one step of one task stands. Compensations are steps too.
///
/// A step that nothing has happened to yet has no item in the table; that reads as [`StepState::Pending`].
///
/// | from \ event       | `Claim`       | `Release` | `Complete` | `RetryLater` | `Fail`  | `GiveUp` | `Restart` | `Cancel`    | `Resolve`           |
/// |--------------------|---------------|-----------|------------|--------------|---------|----------|-----------|-------------|---------------------|
/// | `pending`          | `in_progress` |           |            |              |         | `error`  |           | `cancelled` | `resolved_manually` |
/// | `in_progress`      | `in_progress` | `pending` | `complete` | `retrying`   | `error` | `error`  |           | `cancelled` |                     |
/// | `retrying`         | `in_progress` |           |            |              |         | `error`  |           | `cancelled` | `resolved_manually` |
/// | `complete`         |               |           |            |              |         |          |           |             |                     |
/// | `error`            |               |           |            |              |         |          | `pending` |             | `resolved_manually` |
/// | `cancelled`        |               |           |            |              |         |          |           |             |                     |
/// | `resolved_manually`|               |           |            |              |         |          |           |             |                     |
///
/// Some events carry a condition besides the state: a claim of `retrying` waits for `next_retry_at`; a claim, a giving up
/// and a cancellation of `in_progress` wait for `lease_until`. Whatever leaves `in_progress` otherwise is fenced by the
/// attempt's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Waits for its dependencies or for its message.
    #[default]
    Pending,
    /// A worker holds the lease.
    InProgress,
    /// Waits out a backoff.
    Retrying,
    /// Done; its result is there for the steps that depend on it.
    Complete,
    /// Failed for good: permanently, or with its attempts used up.
    Error,
    /// Closed before it was done, because its task is being compensated.
    Cancelled,
    /// Done by hand; the operator's result stands in for the handler's.
    ResolvedManually,
}

/// What can happen to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepEvent {
    /// A worker takes the step, or takes it over from a worker whose lease has ended.
    Claim,
    /// A worker puts back a step that turned out not to be ready.
    Release,
    /// The handler returned its output.
    Complete,
    /// The handler failed, the error is retryable and attempts are left.
    RetryLater,
    /// The handler failed for good.
    Fail,
    /// SQS gave up on its message.
    GiveUp,
    /// Somebody asked for a fresh set of attempts.
    Restart,
    /// Its task is being compensated, so it must not start any more.
    Cancel,
    /// Somebody did the step by hand.
    Resolve,
}

impl StepEvent {
    /// All events, in the order of the table at [`StepState`].
    pub const ALL: [Self; 9] = [
        Self::Claim,
        Self::Release,
        Self::Complete,
        Self::RetryLater,
        Self::Fail,
        Self::GiveUp,
        Self::Restart,
        Self::Cancel,
        Self::Resolve,
    ];
}

impl StepState {
    /// All states, in the order of the table above.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::InProgress,
        Self::Retrying,
        Self::Complete,
        Self::Error,
        Self::Cancelled,
        Self::ResolvedManually,
    ];

    /// The state after `event`, or `None` where the event is not legal.
    pub const fn on(self, event: StepEvent) -> Option<Self> {
        use StepEvent as E;
        match (self, event) {
            (Self::Pending | Self::InProgress | Self::Retrying, E::Claim) => Some(Self::InProgress),
            (Self::InProgress, E::Release) => Some(Self::Pending),
            (Self::InProgress, E::Complete) => Some(Self::Complete),
            (Self::InProgress, E::RetryLater) => Some(Self::Retrying),
            (Self::InProgress, E::Fail) => Some(Self::Error),
            (Self::Pending | Self::InProgress | Self::Retrying, E::GiveUp) => Some(Self::Error),
            (Self::Pending | Self::InProgress | Self::Retrying, E::Cancel) => Some(Self::Cancelled),
            (Self::Error, E::Restart) => Some(Self::Pending),
            (Self::Pending | Self::Retrying | Self::Error, E::Resolve) => Some(Self::ResolvedManually),
            (Self::Pending | Self::Retrying, E::Release | E::Complete | E::RetryLater | E::Fail | E::Restart)
            | (Self::InProgress, E::Restart | E::Resolve)
            | (Self::Error, E::Claim | E::Release | E::Complete | E::RetryLater | E::Fail | E::GiveUp | E::Cancel)
            | (Self::Complete | Self::Cancelled | Self::ResolvedManually, _) => None,
        }
    }

    /// Whether the steps that depend on this one may use its result.
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Complete | Self::ResolvedManually)
    }

    /// The word used in the table, the API and the logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Retrying => "retrying",
            Self::Complete => "complete",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::ResolvedManually => "resolved_manually",
        }
    }
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a task stands.
///
/// | from \ event        | `Finish`   | `Fail`         | `Restart`      | `Mend`         | `Cancel`    | `Resolve`           | `Compensate(Error)` | `Compensate(Cancelled)` | `Compensated(end)` |
/// |---------------------|------------|----------------|----------------|----------------|-------------|---------------------|---------------------|-------------------------|--------------------|
/// | `pending`           | `complete` | `error`        |                | `pending`      | `cancelled` | `resolved_manually` |                     | `compensating`          |                    |
/// | `complete`          |            |                |                |                |             |                     |                     |                         |                    |
/// | `error`             |            | `error`        | `pending`      | `pending`      | `cancelled` | `resolved_manually` | `compensating`      | `compensating`          |                    |
/// | `compensating`      |            | `compensating` | `compensating` | `compensating` |             |                     |                     |                         | `end`              |
/// | `cancelled`         |            |                |                |                |             |                     |                     | `compensating`          |                    |
/// | `resolved_manually` |            |                |                |                |             |                     |                     |                         |                    |
///
/// A task that has been compensated is closed: no event is legal any more, whatever its status
/// ([`TaskRecord::after`](crate::table::TaskRecord::after)).
///
/// `in_progress` is never written: a `pending` task of which some step has been touched reads as `in_progress`
/// ([`crate::history::History::status`]). It saves a write at the first claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Started; not every step is done.
    Pending,
    /// Read off the steps, never stored.
    InProgress,
    /// Every step is done.
    Complete,
    /// At least one step failed for good. Branches that do not depend on it go on until compensation begins.
    Error,
    /// What its steps have done is being undone; then it goes to its [`End`].
    Compensating,
    /// Stopped by an operator.
    Cancelled,
    /// Declared done by an operator.
    ResolvedManually,
}

/// Where a task goes when it has been compensated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It had failed.
    Error,
    /// It was cancelled.
    Cancelled,
}

impl From<End> for TaskStatus {
    fn from(end: End) -> Self {
        match end {
            End::Error => Self::Error,
            End::Cancelled => Self::Cancelled,
        }
    }
}

/// What can happen to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskEvent {
    /// The last of its steps completed.
    Finish,
    /// One of its steps failed for good, or one of its compensations did.
    Fail,
    /// What failed gets a fresh set of attempts.
    Restart,
    /// The last of its failed steps was done by hand.
    Mend,
    /// Somebody cancelled it.
    Cancel,
    /// Somebody declared it done.
    Resolve,
    /// What it has done is to be undone, and then it ends so.
    Compensate(End),
    /// All of it is undone.
    Compensated(End),
}

impl TaskStatus {
    /// The statuses that are stored, in the order of the table above.
    pub const STORED: [Self; 6] =
        [Self::Pending, Self::Complete, Self::Error, Self::Compensating, Self::Cancelled, Self::ResolvedManually];

    /// The status after `event`, or `None` where the event is not legal. `in_progress` goes where `pending` goes.
    pub const fn on(self, event: TaskEvent) -> Option<Self> {
        use TaskEvent as E;
        match (self, event) {
            (Self::Pending | Self::InProgress, E::Finish) => Some(Self::Complete),
            (Self::Pending | Self::InProgress | Self::Error, E::Fail) => Some(Self::Error),
            (Self::Error, E::Restart) | (Self::Pending | Self::InProgress | Self::Error, E::Mend) => {
                Some(Self::Pending)
            }
            (Self::Pending | Self::InProgress | Self::Error, E::Cancel) => Some(Self::Cancelled),
            (Self::Pending | Self::InProgress | Self::Error, E::Resolve) => Some(Self::ResolvedManually),
            (Self::Error, E::Compensate(End::Error))
            | (Self::Pending | Self::InProgress | Self::Error | Self::Cancelled, E::Compensate(End::Cancelled))
            | (Self::Compensating, E::Fail | E::Restart | E::Mend) => Some(Self::Compensating),
            (Self::Compensating, E::Compensated(End::Error)) => Some(Self::Error),
            (Self::Compensating, E::Compensated(End::Cancelled)) => Some(Self::Cancelled),
            (Self::Pending | Self::InProgress, E::Restart | E::Compensate(End::Error) | E::Compensated(_))
            | (Self::Error, E::Finish | E::Compensated(_))
            | (Self::Compensating, E::Finish | E::Cancel | E::Resolve | E::Compensate(_))
            | (
                Self::Cancelled,
                E::Finish
                | E::Fail
                | E::Restart
                | E::Mend
                | E::Cancel
                | E::Resolve
                | E::Compensate(End::Error)
                | E::Compensated(_),
            )
            | (Self::Complete | Self::ResolvedManually, _) => None,
        }
    }

    /// Whether steps of a task in this status may still start; compensations start in [`Self::Compensating`] only. A
    /// task in `error` counts: only what depends on the failed step is held up.
    pub const fn lets_steps_run(self) -> bool {
        matches!(self, Self::Pending | Self::InProgress | Self::Error)
    }

    /// The word used in the table, the API and the logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Complete => "complete",
            Self::Error => "error",
            Self::Compensating => "compensating",
            Self::Cancelled => "cancelled",
            Self::ResolvedManually => "resolved_manually",
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A table of this page, by its row and its column.
    fn table(first_row: &str) -> BTreeMap<(String, String), String> {
        let cells =
            |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
        let mut lines = include_str!("state.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("/// |"))
            .skip_while(|line| !line.contains(first_row));
        let events = cells(lines.next().unwrap());
        let rows = lines.skip(1).take_while(|line| !line.contains("from \\ event")).map(cells);
        rows.flat_map(|row| {
            let from = row[0].clone();
            events.clone().into_iter().zip(row).skip(1).map(move |(event, to)| ((from.clone(), event), to))
        })
        .collect()
    }

    #[test]
    fn the_ways_of_a_step_are_those_of_its_table() {
        let table = table("`Claim`");
        for (state, event) in StepState::ALL.into_iter().flat_map(|state| StepEvent::ALL.map(|event| (state, event))) {
            let to = state.on(event).map_or_else(String::new, |to| to.to_string());
            assert_eq!(table[&(state.to_string(), format!("{event:?}"))], to, "{state} on {event:?}");
        }
    }

    #[test]
    fn the_ways_of_a_task_are_those_of_its_table() {
        use TaskEvent as E;
        let table = table("`Finish`");
        let events = [
            E::Finish,
            E::Fail,
            E::Restart,
            E::Mend,
            E::Cancel,
            E::Resolve,
            E::Compensate(End::Error),
            E::Compensate(End::Cancelled),
        ];
        for status in TaskStatus::STORED {
            for event in events {
                let to = status.on(event).map_or_else(String::new, |to| to.to_string());
                assert_eq!(table[&(status.to_string(), format!("{event:?}"))], to, "{status} on {event:?}");
            }
            for end in [End::Error, End::Cancelled] {
                let to = (status == TaskStatus::Compensating).then_some(TaskStatus::from(end));
                assert_eq!(status.on(E::Compensated(end)), to, "{status} on Compensated({end:?})");
                assert_eq!(
                    table[&(status.to_string(), "Compensated(end)".to_owned())],
                    if to.is_some() { "end" } else { "" }
                );
            }
        }
    }

    #[test]
    fn what_is_done_never_changes_again() {
        for state in StepState::ALL.into_iter().filter(|state| state.is_done()) {
            for event in StepEvent::ALL {
                assert_eq!(state.on(event), None, "{state} on {event:?}");
            }
        }
    }

    #[test]
    fn only_a_worker_that_holds_the_lease_can_end_an_attempt() {
        for event in [StepEvent::Complete, StepEvent::RetryLater, StepEvent::Fail, StepEvent::Release] {
            for state in StepState::ALL {
                assert_eq!(state.on(event).is_some(), state == StepState::InProgress, "{state} on {event:?}");
            }
        }
    }

    #[test]
    fn only_what_failed_or_is_being_undone_is_restarted() {
        for status in TaskStatus::STORED {
            let failing = matches!(status, TaskStatus::Error | TaskStatus::Compensating);
            assert_eq!(status.on(TaskEvent::Restart).is_some(), failing, "{status}");
        }
    }

    #[test]
    fn a_task_that_is_being_compensated_can_only_come_to_its_end() {
        let events = [
            TaskEvent::Finish,
            TaskEvent::Fail,
            TaskEvent::Restart,
            TaskEvent::Mend,
            TaskEvent::Cancel,
            TaskEvent::Resolve,
            TaskEvent::Compensate(End::Error),
            TaskEvent::Compensate(End::Cancelled),
            TaskEvent::Compensated(End::Error),
            TaskEvent::Compensated(End::Cancelled),
        ];
        for event in events {
            let expected = match event {
                TaskEvent::Fail | TaskEvent::Restart | TaskEvent::Mend => Some(TaskStatus::Compensating),
                TaskEvent::Compensated(end) => Some(end.into()),
                _ => None,
            };
            assert_eq!(TaskStatus::Compensating.on(event), expected, "{event:?}");
        }
    }

    #[test]
    fn the_stored_word_is_the_serialized_word() {
        for state in StepState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for status in TaskStatus::STORED {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
