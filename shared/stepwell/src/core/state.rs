//! The states of a step and of a task, and the only ways to get from one to the next.
//!
//! Both tables are one exhaustive `match` each: a new state or event does not compile until its row is written. The
//! conditions of the transitions in [`crate::core`] say the same of stored items, and a test makes every transition in
//! every state to see that they agree. What is shown of a task is apart: [`TaskStatus`].

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// Where one step of one task stands. Compensations are steps too.
///
/// A step that nothing has happened to yet has no item in the table; that reads as [`StepState::Pending`].
///
/// | from \ event       | `Claim`       | `Release` | `Complete` | `RetryLater` | `Fail`  | `DeadLetter` | `Redrive` | `Cancel`    | `Resolve`           |
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
    DeadLetter,
    /// Somebody asked for a fresh set of attempts.
    Redrive,
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
        Self::DeadLetter,
        Self::Redrive,
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
            (Self::Pending | Self::InProgress | Self::Retrying, E::DeadLetter) => Some(Self::Error),
            (Self::Pending | Self::InProgress | Self::Retrying, E::Cancel) => Some(Self::Cancelled),
            (Self::Error, E::Redrive) => Some(Self::Pending),
            (Self::Pending | Self::Retrying | Self::Error, E::Resolve) => Some(Self::ResolvedManually),
            (Self::Pending | Self::Retrying, E::Release | E::Complete | E::RetryLater | E::Fail | E::Redrive)
            | (Self::InProgress, E::Redrive | E::Resolve)
            | (
                Self::Error,
                E::Claim | E::Release | E::Complete | E::RetryLater | E::Fail | E::DeadLetter | E::Cancel,
            )
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

/// Where a task stands: what is stored of it, and what decides what may be done to it.
///
/// | from \ event             | `Finish`    | `Fail`                    | `Redrive`                 | `Mend`                    | `Cancel`    | `Resolve`  | `Compensate(Error)`   | `Compensate(Cancelled)`   | `Compensated`            |
/// |--------------------------|-------------|---------------------------|---------------------------|---------------------------|-------------|------------|-----------------------|---------------------------|--------------------------|
/// | `Running`                | `Completed` | `Failed`                  |                           | `Running`                 | `Cancelled` | `Resolved` |                       | `Compensating(Cancelled)` |                          |
/// | `Completed`              |             |                           |                           |                           |             |            |                       |                           |                          |
/// | `Failed`                 |             | `Failed`                  | `Running`                 | `Running`                 | `Cancelled` | `Resolved` | `Compensating(Error)` | `Compensating(Cancelled)` |                          |
/// | `Compensating(Error)`    |             | `Compensating(Error)`     | `Compensating(Error)`     | `Compensating(Error)`     |             |            |                       |                           | `Compensated(Error)`     |
/// | `Compensating(Cancelled)`|             | `Compensating(Cancelled)` | `Compensating(Cancelled)` | `Compensating(Cancelled)` |             |            |                       |                           | `Compensated(Cancelled)` |
/// | `Cancelled`              |             |                           |                           |                           |             |            |                       | `Compensating(Cancelled)` |                          |
/// | `Resolved`               |             |                           |                           |                           |             |            |                       |                           |                          |
/// | `Compensated(Error)`     |             |                           |                           |                           |             |            |                       |                           |                          |
/// | `Compensated(Cancelled)` |             |                           |                           |                           |             |            |                       |                           |                          |
///
/// What is shown of it is its [`TaskStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Started; not every step is done.
    Running,
    /// Every step is done.
    Completed,
    /// At least one step failed for good. Branches that do not depend on it go on until compensation begins.
    Failed,
    /// What its steps have done is being undone; then it ends so.
    Compensating(End),
    /// Stopped by an operator. What its steps have done still stands.
    Cancelled,
    /// Declared done by an operator.
    Resolved,
    /// All that its steps have done is undone. The task is closed.
    Compensated(End),
}

/// Why a task was compensated, and so how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It had failed.
    Error,
    /// It was cancelled.
    Cancelled,
}

/// What can happen to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskEvent {
    /// The last of its steps completed.
    Finish,
    /// One of its steps failed for good, or one of its compensations did.
    Fail,
    /// What failed gets a fresh set of attempts.
    Redrive,
    /// The last of its failed steps was done by hand.
    Mend,
    /// Somebody cancelled it.
    Cancel,
    /// Somebody declared it done.
    Resolve,
    /// What it has done is to be undone, and then it ends so.
    Compensate(End),
    /// All of it is undone.
    Compensated,
}

impl TaskEvent {
    /// All events, in the order of the table at [`TaskState`].
    pub const ALL: [Self; 9] = [
        Self::Finish,
        Self::Fail,
        Self::Redrive,
        Self::Mend,
        Self::Cancel,
        Self::Resolve,
        Self::Compensate(End::Error),
        Self::Compensate(End::Cancelled),
        Self::Compensated,
    ];
}

impl TaskState {
    /// All states, in the order of the table above.
    pub const ALL: [Self; 9] = [
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Compensating(End::Error),
        Self::Compensating(End::Cancelled),
        Self::Cancelled,
        Self::Resolved,
        Self::Compensated(End::Error),
        Self::Compensated(End::Cancelled),
    ];

    /// The state after `event`, or `None` where the event is not legal.
    pub const fn on(self, event: TaskEvent) -> Option<Self> {
        use TaskEvent as E;
        match (self, event) {
            (Self::Running, E::Finish) => Some(Self::Completed),
            (Self::Running | Self::Failed, E::Fail) => Some(Self::Failed),
            (Self::Failed, E::Redrive) | (Self::Running | Self::Failed, E::Mend) => Some(Self::Running),
            (Self::Running | Self::Failed, E::Cancel) => Some(Self::Cancelled),
            (Self::Running | Self::Failed, E::Resolve) => Some(Self::Resolved),
            (Self::Failed, E::Compensate(end @ End::Error))
            | (Self::Running | Self::Failed | Self::Cancelled, E::Compensate(end @ End::Cancelled))
            | (Self::Compensating(end), E::Fail | E::Redrive | E::Mend) => Some(Self::Compensating(end)),
            (Self::Compensating(end), E::Compensated) => Some(Self::Compensated(end)),
            (Self::Running, E::Redrive | E::Compensate(End::Error) | E::Compensated)
            | (Self::Failed, E::Finish | E::Compensated)
            | (Self::Compensating(_), E::Finish | E::Cancel | E::Resolve | E::Compensate(_))
            | (
                Self::Cancelled,
                E::Finish
                | E::Fail
                | E::Redrive
                | E::Mend
                | E::Cancel
                | E::Resolve
                | E::Compensate(End::Error)
                | E::Compensated,
            )
            | (Self::Completed | Self::Resolved | Self::Compensated(_), _) => None,
        }
    }

    /// Whether steps of a task in this state may still start; compensations start in [`Self::Compensating`] only. A
    /// failed task counts: only what depends on the failed step is held up.
    pub const fn lets_steps_run(self) -> bool {
        matches!(self, Self::Running | Self::Failed)
    }

    /// Whether the task is being compensated.
    pub const fn is_compensating(self) -> bool {
        matches!(self, Self::Compensating(_))
    }

    /// How the task ends, or has ended, by being compensated; `None` unless compensation has begun.
    pub const fn ends_as(self) -> Option<End> {
        match self {
            Self::Compensating(end) | Self::Compensated(end) => Some(end),
            Self::Running | Self::Completed | Self::Failed | Self::Cancelled | Self::Resolved => None,
        }
    }

    /// What is shown of a task in this state, as far as its steps have no say in it: [`TaskStatus::Pending`] stands for
    /// [`TaskStatus::InProgress`] too. [`TaskSnapshot::status`](crate::core::snapshot::TaskSnapshot::status) looks at the steps.
    pub const fn status(self) -> TaskStatus {
        match self {
            Self::Running => TaskStatus::Pending,
            Self::Completed => TaskStatus::Complete,
            Self::Failed => TaskStatus::Error,
            Self::Compensating(_) => TaskStatus::Compensating,
            Self::Cancelled => TaskStatus::Cancelled,
            Self::Resolved => TaskStatus::ResolvedManually,
            Self::Compensated(end) => TaskStatus::Compensated(end),
        }
    }
}

/// What is shown of a task: in the API, in the logs, in filters. Nothing is decided by it; [`TaskState`] is for that.
///
/// It is less than the state in one respect, because the index does not know how a compensating task ends, and more in
/// another: it tells a task that has been begun from one that has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// Started, and no step was touched yet.
    Pending,
    /// Some step was touched, and not every step is done.
    InProgress,
    /// Every step is done.
    Complete,
    /// At least one step failed for good, and nothing is undone.
    Error,
    /// What its steps have done is being undone.
    Compensating,
    /// Stopped by an operator, and nothing is undone.
    Cancelled,
    /// Declared done by an operator.
    ResolvedManually,
    /// All that its steps have done is undone. It has the same word as a task that ended so and was not compensated.
    Compensated(End),
}

impl TaskStatus {
    /// One status for each word.
    pub const WORDS: [Self; 7] = [
        Self::Pending,
        Self::Complete,
        Self::Error,
        Self::Compensating,
        Self::Cancelled,
        Self::ResolvedManually,
        Self::InProgress,
    ];

    /// Whether all that the task did has been undone, which closes it.
    pub const fn is_compensated(self) -> bool {
        matches!(self, Self::Compensated(_))
    }

    /// The word used in the API and the logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Complete => "complete",
            Self::Error | Self::Compensated(End::Error) => "error",
            Self::Compensating => "compensating",
            Self::Cancelled | Self::Compensated(End::Cancelled) => "cancelled",
            Self::ResolvedManually => "resolved_manually",
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for TaskStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
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
        let table = table("`Finish`");
        let cells = table.keys().filter(|(_, event)| !event.is_empty()).count();
        assert_eq!(cells, TaskState::ALL.len() * TaskEvent::ALL.len());
        for (state, event) in TaskState::ALL.into_iter().flat_map(|state| TaskEvent::ALL.map(|event| (state, event))) {
            let to = state.on(event).map_or_else(String::new, |to| format!("{to:?}"));
            assert_eq!(table[&(format!("{state:?}"), format!("{event:?}"))], to, "{state:?} on {event:?}");
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
    fn only_what_failed_or_is_being_undone_is_redriven() {
        for state in TaskState::ALL {
            let failing = state == TaskState::Failed || state.is_compensating();
            assert_eq!(state.on(TaskEvent::Redrive).is_some(), failing, "{state:?}");
        }
    }

    #[test]
    fn a_task_that_is_being_compensated_can_only_come_to_its_end() {
        for (end, event) in
            [End::Error, End::Cancelled].into_iter().flat_map(|end| TaskEvent::ALL.map(|event| (end, event)))
        {
            let expected = match event {
                TaskEvent::Fail | TaskEvent::Redrive | TaskEvent::Mend => Some(TaskState::Compensating(end)),
                TaskEvent::Compensated => Some(TaskState::Compensated(end)),
                _ => None,
            };
            assert_eq!(TaskState::Compensating(end).on(event), expected, "{event:?}");
        }
    }

    #[test]
    fn a_compensated_task_is_closed() {
        for event in TaskEvent::ALL {
            for end in [End::Error, End::Cancelled] {
                assert_eq!(TaskState::Compensated(end).on(event), None, "{event:?}");
            }
        }
    }

    #[test]
    fn the_stored_word_of_a_step_is_the_serialized_word() {
        for state in StepState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn every_word_is_that_of_one_status_and_of_what_was_compensated_to_the_same_end() {
        let words: Vec<&str> = TaskStatus::WORDS.iter().map(|status| status.as_str()).collect();
        let expected =
            ["pending", "complete", "error", "compensating", "cancelled", "resolved_manually", "in_progress"];
        assert_eq!(words, expected);
        for state in TaskState::ALL {
            assert!(words.contains(&state.status().as_str()), "{state:?}");
        }
        for (end, status) in [(End::Error, TaskStatus::Error), (End::Cancelled, TaskStatus::Cancelled)] {
            assert_eq!(serde_json::to_value(TaskStatus::Compensated(end)).unwrap(), status.as_str());
        }
    }
}
