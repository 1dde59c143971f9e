//! The state machines of a step and of a task.
//!
//! Each is one exhaustive `match`, so a new state or event does not compile until its row is written. The conditions of the
//! transitions in [`crate::core`] express the same rules for stored items. A test applies every transition in every state
//! to check that both agree. The API shows a task's [`TaskStatus`], which is derived from its state.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// The state of a step or of a compensation of one task.
///
/// A step without an item in the store is [`StepState::Pending`].
///
/// | from \ event       | `Claim`       | `Park`     | `Release` | `Complete` | `RetryLater` | `Fail`  | `DeadLetter` | `MissDeadline` | `Redrive` | `Cancel`    | `Resolve`           |
/// |--------------------|---------------|------------|-----------|------------|--------------|---------|----------|----------------|-----------|-------------|---------------------|
/// | `pending`          | `in_progress` | `retrying` |           |            |              |         | `error`  | `error`        |           | `cancelled` | `resolved_manually` |
/// | `in_progress`      | `in_progress` |            | `pending` | `complete` | `retrying`   | `error` | `error`  |                |           | `cancelled` |                     |
/// | `retrying`         | `in_progress` | `retrying` |           |            |              |         | `error`  | `error`        |           | `cancelled` | `resolved_manually` |
/// | `complete`         |               |            |           |            |              |         |          |                |           |             |                     |
/// | `error`            |               |            |           |            |              |         |          |                | `pending` |             | `resolved_manually` |
/// | `cancelled`        |               |            |           |            |              |         |          |                | `pending` |             |                     |
/// | `resolved_manually`|               |            |           |            |              |         |          |                |           |             |                     |
///
/// Some events need a condition besides the state. `Claim` of a `retrying` step needs `next_retry_at` to have passed.
/// `Claim`, `DeadLetter` and `Cancel` of an `in_progress` step need the lease to have ended. Every other event that leaves
/// `in_progress` is fenced by the attempt's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// The step waits for its dependencies or for its message.
    #[default]
    Pending,
    /// A worker holds the lease.
    InProgress,
    /// The step waits for the end of a backoff, or is parked behind an open breaker.
    Retrying,
    /// The step is done, and its dependents may use its result.
    Complete,
    /// The step failed for good: by a permanent error, or with its attempts used up.
    Error,
    /// The step was closed before it was done, because its task is being compensated.
    Cancelled,
    /// Somebody did the step by hand. Their result takes the place of the handler's.
    ResolvedManually,
}

/// The events of a step's state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepEvent {
    /// A worker claims the step, or takes it over from a worker whose lease has ended.
    Claim,
    /// The step has to wait without an attempt, because the breaker of a service that it waits on holds it back.
    Park,
    /// A worker gives up its claim without an attempt, because the step cannot run now.
    Release,
    /// The handler returned its output.
    Complete,
    /// The handler failed, the error is retryable and attempts are left.
    RetryLater,
    /// The handler failed for good.
    Fail,
    /// SQS gave up on the step's message.
    DeadLetter,
    /// The deadline of the task was over before the step was attempted.
    MissDeadline,
    /// The step gets a fresh set of attempts.
    Redrive,
    /// The task is being compensated, so the step must not start any more.
    Cancel,
    /// Somebody did the step by hand.
    Resolve,
}

impl StepEvent {
    /// All events, in the order of the table at [`StepState`].
    pub const ALL: [Self; 11] = [
        Self::Claim,
        Self::Park,
        Self::Release,
        Self::Complete,
        Self::RetryLater,
        Self::Fail,
        Self::DeadLetter,
        Self::MissDeadline,
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
            (Self::Pending | Self::Retrying, E::Park) => Some(Self::Retrying),
            (Self::InProgress, E::Release) => Some(Self::Pending),
            (Self::InProgress, E::Complete) => Some(Self::Complete),
            (Self::InProgress, E::RetryLater) => Some(Self::Retrying),
            (Self::InProgress, E::Fail) => Some(Self::Error),
            (Self::Pending | Self::InProgress | Self::Retrying, E::DeadLetter)
            | (Self::Pending | Self::Retrying, E::MissDeadline) => Some(Self::Error),
            (Self::Pending | Self::InProgress | Self::Retrying, E::Cancel) => Some(Self::Cancelled),
            (Self::Error | Self::Cancelled, E::Redrive) => Some(Self::Pending),
            (Self::Pending | Self::Retrying | Self::Error, E::Resolve) => Some(Self::ResolvedManually),
            (Self::Pending | Self::Retrying, E::Release | E::Complete | E::RetryLater | E::Fail | E::Redrive)
            | (Self::InProgress, E::Park | E::MissDeadline | E::Redrive | E::Resolve)
            | (
                Self::Error,
                E::Claim
                | E::Park
                | E::Release
                | E::Complete
                | E::RetryLater
                | E::Fail
                | E::DeadLetter
                | E::MissDeadline
                | E::Cancel,
            )
            | (
                Self::Cancelled,
                E::Claim
                | E::Park
                | E::Release
                | E::Complete
                | E::RetryLater
                | E::Fail
                | E::DeadLetter
                | E::MissDeadline
                | E::Cancel
                | E::Resolve,
            )
            | (Self::Complete | Self::ResolvedManually, _) => None,
        }
    }

    /// Whether the step's dependents may run and use its result.
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Complete | Self::ResolvedManually)
    }

    /// The word in the store, the API and the logs.
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

/// The state of a task. It is stored, and it decides which events are allowed.
///
/// | from \ event             | `Finish`    | `Fail`                    | `Warn`      | `Redrive`                 | `Mend`                    | `Cancel`    | `Resolve`  | `Compensate(Error)`   | `Compensate(Cancelled)`   | `Compensated`            | `Reinstate` |
/// |--------------------------|-------------|---------------------------|-------------|---------------------------|---------------------------|-------------|------------|-----------------------|---------------------------|--------------------------|-------------|
/// | `Running`                | `Completed` | `Failed`                  | `Running`   |                           | `Running`                 | `Cancelled` | `Resolved` |                       | `Compensating(Cancelled)` |                          |             |
/// | `Completed`              |             |                           | `Completed` | `Completed`               | `Completed`               |             |            |                       | `Compensating(Cancelled)` |                          |             |
/// | `Failed`                 |             | `Failed`                  | `Failed`    | `Running`                 | `Running`                 | `Cancelled` | `Resolved` | `Compensating(Error)` | `Compensating(Cancelled)` |                          |             |
/// | `Compensating(Error)`    |             | `Compensating(Error)`     |             | `Compensating(Error)`     | `Compensating(Error)`     |             |            |                       |                           | `Compensated(Error)`     |             |
/// | `Compensating(Cancelled)`|             | `Compensating(Cancelled)` |             | `Compensating(Cancelled)` | `Compensating(Cancelled)` |             |            |                       |                           | `Compensated(Cancelled)` | `Completed` |
/// | `Cancelled`              |             |                           |             |                           |                           |             |            |                       | `Compensating(Cancelled)` |                          |             |
/// | `Resolved`               |             |                           |             |                           |                           |             |            |                       |                           |                          |             |
/// | `Compensated(Error)`     |             |                           |             |                           |                           |             |            |                       |                           |                          |             |
/// | `Compensated(Cancelled)` |             |                           |             |                           |                           |             |            |                       |                           |                          |             |
///
/// The API shows it as a [`TaskStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// The task was started, and not every step is done.
    Running,
    /// Every step is done, except for optional ones that failed. Only these change any more, unless somebody cancels the task.
    Completed,
    /// At least one step that is not optional failed for good. Branches that do not depend on it go on until compensation begins.
    Failed,
    /// The compensations are running. The task ends in this way when they are done.
    Compensating(End),
    /// An operator cancelled the task. It is not compensated.
    Cancelled,
    /// An operator declared the task done.
    Resolved,
    /// The compensations are done. The task is closed.
    Compensated(End),
}

/// The reason why a task is compensated, which is also the status it ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The task had failed.
    Error,
    /// The task was cancelled.
    Cancelled,
}

/// The events of a task's state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskEvent {
    /// The last leaf is done, or is optional and failed.
    Finish,
    /// A step or a compensation failed for good.
    Fail,
    /// An optional step failed for good.
    Warn,
    /// The failed steps, or the failed compensations, get a fresh set of attempts. In a completed task these are optional steps.
    Redrive,
    /// Somebody did a step by hand, and no failed step is left that is not optional.
    Mend,
    /// Somebody cancelled the task.
    Cancel,
    /// Somebody declared the task done.
    Resolve,
    /// Compensation begins, and the task will end in this way.
    Compensate(End),
    /// The last compensation is done.
    Compensated,
    /// The compensations refused before anything was undone, and all steps are done but for optional ones.
    Reinstate,
}

impl TaskEvent {
    /// All events, in the order of the table at [`TaskState`].
    pub const ALL: [Self; 11] = [
        Self::Finish,
        Self::Fail,
        Self::Warn,
        Self::Redrive,
        Self::Mend,
        Self::Cancel,
        Self::Resolve,
        Self::Compensate(End::Error),
        Self::Compensate(End::Cancelled),
        Self::Compensated,
        Self::Reinstate,
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
            (Self::Running | Self::Completed | Self::Failed, E::Warn) => Some(self),
            (Self::Completed, E::Redrive | E::Mend) => Some(Self::Completed),
            (Self::Failed, E::Redrive) | (Self::Running | Self::Failed, E::Mend) => Some(Self::Running),
            (Self::Running | Self::Failed, E::Cancel) => Some(Self::Cancelled),
            (Self::Running | Self::Failed, E::Resolve) => Some(Self::Resolved),
            (Self::Failed, E::Compensate(end @ End::Error))
            | (Self::Running | Self::Completed | Self::Failed | Self::Cancelled, E::Compensate(end @ End::Cancelled))
            | (Self::Compensating(end), E::Fail | E::Redrive | E::Mend) => Some(Self::Compensating(end)),
            (Self::Compensating(end), E::Compensated) => Some(Self::Compensated(end)),
            (Self::Compensating(End::Cancelled), E::Reinstate) => Some(Self::Completed),
            (Self::Running, E::Redrive | E::Compensate(End::Error) | E::Compensated | E::Reinstate)
            | (Self::Failed, E::Finish | E::Compensated | E::Reinstate)
            | (Self::Compensating(_), E::Finish | E::Warn | E::Cancel | E::Resolve | E::Compensate(_))
            | (Self::Compensating(End::Error), E::Reinstate)
            | (
                Self::Completed,
                E::Finish
                | E::Fail
                | E::Cancel
                | E::Resolve
                | E::Compensate(End::Error)
                | E::Compensated
                | E::Reinstate,
            )
            | (
                Self::Cancelled,
                E::Finish
                | E::Fail
                | E::Warn
                | E::Redrive
                | E::Mend
                | E::Cancel
                | E::Resolve
                | E::Compensate(End::Error)
                | E::Compensated
                | E::Reinstate,
            )
            | (Self::Resolved | Self::Compensated(_), _) => None,
        }
    }

    /// Whether steps of a task in this state may start. This includes a failed task, in which only the dependents of the
    /// failed step are blocked. In a completed task only an optional step can run, after a redrive. Compensations start in
    /// [`Self::Compensating`] only.
    pub const fn lets_steps_run(self) -> bool {
        matches!(self, Self::Running | Self::Failed)
    }

    /// Whether no event changes the task any more.
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Resolved | Self::Compensated(_))
    }

    /// Whether the task is being compensated.
    pub const fn is_compensating(self) -> bool {
        matches!(self, Self::Compensating(_))
    }

    /// How the task ends after its compensation; `None` unless compensation has begun.
    pub const fn ends_as(self) -> Option<End> {
        match self {
            Self::Compensating(end) | Self::Compensated(end) => Some(end),
            Self::Running | Self::Completed | Self::Failed | Self::Cancelled | Self::Resolved => None,
        }
    }

    /// The status of a task in this state, without regard to its steps: [`TaskStatus::Pending`] includes
    /// [`TaskStatus::InProgress`]. [`TaskSnapshot::status`](crate::core::snapshot::TaskSnapshot::status) tells them apart.
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

/// The status of a task in the API, the logs and filters. The engine's decisions depend on [`TaskState`] only.
///
/// It does not tell how a compensating task will end, because the index does not know it. In addition to the state it tells
/// whether a running task has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// The task was started, and no step has been claimed yet.
    Pending,
    /// At least one step has been claimed, and not every step is done.
    InProgress,
    /// Every step is done.
    Complete,
    /// At least one step failed for good, and compensation has not begun.
    Error,
    /// The compensations are running.
    Compensating,
    /// An operator cancelled the task, and compensation has not begun.
    Cancelled,
    /// An operator declared the task done.
    ResolvedManually,
    /// The compensations are done. The word is that of a task with the same end that was not compensated.
    Compensated(End),
}

impl TaskStatus {
    /// One status for each word of [`as_str`](Self::as_str).
    pub const WORDS: [Self; 7] = [
        Self::Pending,
        Self::Complete,
        Self::Error,
        Self::Compensating,
        Self::Cancelled,
        Self::ResolvedManually,
        Self::InProgress,
    ];

    /// Whether the task has been compensated, which closes it.
    pub const fn is_compensated(self) -> bool {
        matches!(self, Self::Compensated(_))
    }

    /// The word in the API and the logs.
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

    /// Reads a table in the documentation above, by row and column.
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
    fn step_transitions_are_those_in_the_documented_table() {
        let table = table("`Claim`");
        for (state, event) in StepState::ALL.into_iter().flat_map(|state| StepEvent::ALL.map(|event| (state, event))) {
            let to = state.on(event).map_or_else(String::new, |to| to.to_string());
            assert_eq!(table[&(state.to_string(), format!("{event:?}"))], to, "{state} on {event:?}");
        }
    }

    #[test]
    fn task_transitions_are_those_in_the_documented_table() {
        let table = table("`Finish`");
        let cells = table.keys().filter(|(_, event)| !event.is_empty()).count();
        assert_eq!(cells, TaskState::ALL.len() * TaskEvent::ALL.len());
        for (state, event) in TaskState::ALL.into_iter().flat_map(|state| TaskEvent::ALL.map(|event| (state, event))) {
            let to = state.on(event).map_or_else(String::new, |to| format!("{to:?}"));
            assert_eq!(table[&(format!("{state:?}"), format!("{event:?}"))], to, "{state:?} on {event:?}");
        }
    }

    #[test]
    fn done_step_never_changes_again() {
        for state in StepState::ALL.into_iter().filter(|state| state.is_done()) {
            for event in StepEvent::ALL {
                assert_eq!(state.on(event), None, "{state} on {event:?}");
            }
        }
    }

    #[test]
    fn attempt_ends_only_while_a_worker_holds_the_lease() {
        for event in [StepEvent::Complete, StepEvent::RetryLater, StepEvent::Fail, StepEvent::Release] {
            for state in StepState::ALL {
                assert_eq!(state.on(event).is_some(), state == StepState::InProgress, "{state} on {event:?}");
            }
        }
    }

    #[test]
    fn only_failed_compensating_and_completed_tasks_are_redriven() {
        for state in TaskState::ALL {
            let failing = matches!(state, TaskState::Failed | TaskState::Completed) || state.is_compensating();
            assert_eq!(state.on(TaskEvent::Redrive).is_some(), failing, "{state:?}");
        }
    }

    #[test]
    fn completed_task_stays_so_unless_it_is_cancelled() {
        for event in TaskEvent::ALL {
            let stays = |to: TaskState| match event {
                TaskEvent::Compensate(end) => to == TaskState::Compensating(end),
                _ => to == TaskState::Completed,
            };
            assert!(TaskState::Completed.on(event).is_none_or(stays), "{event:?}");
        }
    }

    #[test]
    fn compensating_task_stays_so_until_it_is_compensated_or_its_cancellation_refused() {
        for (end, event) in
            [End::Error, End::Cancelled].into_iter().flat_map(|end| TaskEvent::ALL.map(|event| (end, event)))
        {
            let expected = match event {
                TaskEvent::Fail | TaskEvent::Redrive | TaskEvent::Mend => Some(TaskState::Compensating(end)),
                TaskEvent::Compensated => Some(TaskState::Compensated(end)),
                TaskEvent::Reinstate => (end == End::Cancelled).then_some(TaskState::Completed),
                _ => None,
            };
            assert_eq!(TaskState::Compensating(end).on(event), expected, "{event:?}");
        }
    }

    #[test]
    fn compensated_task_is_closed() {
        for event in TaskEvent::ALL {
            for end in [End::Error, End::Cancelled] {
                assert_eq!(TaskState::Compensated(end).on(event), None, "{event:?}");
            }
        }
    }

    #[test]
    fn stored_word_of_a_step_state_is_its_serialized_word() {
        for state in StepState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn compensated_task_has_the_word_of_its_end_and_every_other_status_its_own() {
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
