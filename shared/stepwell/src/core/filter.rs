//! Filters: which tasks a list shows, or a bulk action acts on.

use super::index::{IndexEntry, IndexPartition};
use crate::core::{
    id::TaskId,
    plan::is_name,
    record::StepRecord,
    state::{StepState, TaskStatus},
    timestamp::{Timestamp, millis},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A filter for tasks. A task has to match all of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// The status, by its word. `in_progress` matches the same tasks as `pending`, because only the steps distinguish them.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "status")]
    pub status: Option<TaskStatus>,
    /// The workflow: its name, or more of `namespace/name@version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// A step that failed for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_step: Option<String>,
    /// The error code of a step that failed for good; beside [`step`](Self::step), that of the last error of this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// A step or compensation, and the state in which it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepFilter>,
    /// Whether the task has been compensated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensated: Option<bool>,
    /// Whether the task [waits for a person](IndexEntry::needs_person).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs_person: Option<bool>,
    /// The earliest start, inclusive.
    #[serde(with = "millis::option", skip_serializing_if = "Option::is_none")]
    pub created_from: Option<Timestamp>,
    /// The latest start, exclusive.
    #[serde(with = "millis::option", skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Timestamp>,
}

/// A step or compensation in a state. Its text is `NAME:STATE`.
///
/// `pending` cannot be asked for: most steps that are pending have no item yet. So a step that was redriven is found again once it is
/// claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(into = "String", try_from = "String")]
pub struct StepFilter {
    step: String,
    state: StepState,
}

impl StepFilter {
    /// The states that can be asked for.
    const STATES: [StepState; 6] = [
        StepState::InProgress,
        StepState::Retrying,
        StepState::Complete,
        StepState::Error,
        StepState::Cancelled,
        StepState::ResolvedManually,
    ];

    /// The name of the step.
    pub fn step(&self) -> &str {
        &self.step
    }

    /// Whether tasks in this partition can have such a step. What waits for a retry is of a task that is watched. An attempt may still run
    /// when its task was cancelled or resolved.
    fn fits(&self, partition: IndexPartition) -> bool {
        let watched = IndexPartition::WATCHED.contains(&partition);
        match self.state {
            StepState::Retrying => watched,
            StepState::InProgress => {
                watched || matches!(partition, IndexPartition::Cancelled | IndexPartition::ResolvedManually)
            }
            _ => true,
        }
    }
}

impl fmt::Display for StepFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.step, self.state)
    }
}

impl From<StepFilter> for String {
    fn from(filter: StepFilter) -> Self {
        filter.to_string()
    }
}

impl FromStr for StepFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (step, state) = text.split_once(':').unwrap_or_default();
        let state = Self::STATES.into_iter().find(|known| known.as_str() == state);
        state.filter(|_| is_name(step)).map(|state| Self { step: step.to_owned(), state }).ok_or_else(|| {
            format!(
                "has to be STEP:STATE, with one of these states: {}",
                Self::STATES.map(StepState::as_str).join(", ")
            )
        })
    }
}

impl TryFrom<String> for StepFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Reads a status by its word.
fn status<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<TaskStatus>, D::Error> {
    let word = String::deserialize(deserializer)?;
    let known = TaskStatus::WORDS.into_iter().find(|status| status.as_str() == word);
    known.map(Some).ok_or_else(|| serde::de::Error::custom(format!("`{word}` is not a status")))
}

impl Filter {
    /// Whether it matches every task.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The shards of the index that can have matching tasks, those of watched partitions first. A task leaves a watched
    /// partition for one that is not watched, so whoever reads them in this order does not miss it.
    pub(crate) fn parts(&self) -> Vec<(IndexPartition, u8)> {
        let listings = self.status.map_or(&IndexPartition::ALL[..], IndexPartition::of);
        let possible = |listing: &IndexPartition| {
            (self.needs_person != Some(true) || IndexPartition::WAITING_FOR_A_PERSON.contains(listing))
                && self.step.as_ref().is_none_or(|step| step.fits(*listing))
        };
        let mut listings: Vec<IndexPartition> = listings.iter().copied().filter(possible).collect();
        listings.sort_by_key(|listing| !IndexPartition::WATCHED.contains(listing));
        let shards = |partition| (0..IndexPartition::SHARDS).map(move |shard| (partition, shard));
        listings.into_iter().flat_map(shards).collect()
    }

    /// The steps that have to be read to know whether it matches a task.
    pub(crate) fn steps_of<'a>(&'a self, listed: &'a IndexEntry) -> impl Iterator<Item = &'a str> {
        let failed = listed.failed_steps.iter().filter(|_| self.step.is_none() && self.error_code.is_some());
        failed.chain(self.step.iter().map(|filter| &filter.step)).map(String::as_str)
    }

    /// Whether it matches one of the [steps](Self::steps_of) of a task.
    pub(crate) fn fits_step(&self, step: &StepRecord) -> bool {
        let error = step.error.as_ref().map(|error| &error.code);
        self.step.as_ref().is_none_or(|filter| step.name == filter.step && step.state == filter.state)
            && self.error_code.as_ref().is_none_or(|code| error == Some(code))
    }

    /// Whether it matches a task, but for what only the steps tell.
    pub(crate) fn fits(&self, listed: &IndexEntry) -> bool {
        let status = |wanted| match wanted {
            TaskStatus::InProgress => listed.status == TaskStatus::Pending,
            wanted => listed.status.as_str() == wanted.as_str(),
        };
        let workflow = |wanted: &String| {
            let is_it = |id: &str| id == wanted || id.split_once('/').is_some_and(|(_, name)| name == wanted);
            is_it(&listed.workflow) || listed.workflow.split_once('@').is_some_and(|(id, _)| is_it(id))
        };
        self.status.is_none_or(status)
            && self.workflow.as_ref().is_none_or(workflow)
            && self.failed_step.as_ref().is_none_or(|step| listed.failed_steps.contains(step))
            && self.compensated.is_none_or(|wanted| listed.status.is_compensated() == wanted)
            && self.needs_person.is_none_or(|wanted| listed.needs_person == wanted)
            && self.created_from.is_none_or(|from| from <= listed.created_at)
            && self.created_before.is_none_or(|before| listed.created_at < before)
    }
}

/// A position in the list of the tasks that match a filter. Its text is opaque to clients. A bulk action stores it, so its form and
/// the order of the partitions are part of the stored format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The number of the shard among those that can have matching tasks.
    pub(crate) part: usize,
    /// The last task that was read in it.
    pub(crate) after: Option<(Timestamp, TaskId)>,
}

/// A position in a list that begins with the newest task: the list goes on with the tasks before this one. Ids are in the order in
/// which they are made, and never change. So no task is listed twice, whatever happens between two pages, and a task that is in the
/// index when the list passes its place is listed. Its text is opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before(pub(crate) TaskId);

/// A text that is not a cursor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a `next` that a list has ended with")]
pub struct NotACursor(String);

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Before {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        text.parse().map(Self).map_err(|_| NotACursor(text.to_owned()))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.part)?;
        match &self.after {
            Some((at, task)) => write!(f, "_{}_{task}", at.as_millis()),
            None => Ok(()),
        }
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let parse = || {
            let mut words = text.split('_');
            let part = words.next()?.parse().ok()?;
            let after = match words.next() {
                Some(at) => Some((Timestamp::from_millis(at.parse().ok()?), words.next()?.parse().ok()?)),
                None => None,
            };
            words.next().is_none().then_some(Self { part, after })
        };
        parse().ok_or_else(|| NotACursor(text.to_owned()))
    }
}
