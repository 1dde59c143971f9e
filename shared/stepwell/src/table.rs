//! The store: where tasks, steps and idempotency keys are kept.
//!
//! [`Store`] defines what the engine asks of it; [`DynamoTable`] does it with DynamoDB. What is written, and under which
//! condition, is a value that the pure functions in [`core`](crate::core) make. A refused condition is an answer, not an
//! error: it comes back with the item that stood against it.
//!
//! | `pk` | `sk` | holds |
//! |---|---|---|
//! | `TASK#<id>` | `TASK` | [`TaskRecord`], and the keys of the `by_status` index |
//! | `TASK#<id>` | `STEP#<name>` | [`StepRecord`]; not there until something happens to the step |
//! | `KEY#<namespace>#<idempotency key>` | `KEY` | [`KeyRecord`] |
//!
//! The index `by_status` has the hash key `status_shard` (`<listing>#<0..16>`, the shard taken from the id, so that no
//! [`Listing`] is one hot key) and the range key `listed_at` (RFC 3339); see [`core::index`](crate::core::index).

pub use crate::core::{
    codec::Unreadable,
    index::{FIRST_LOOK, Listed, ListedAt, Listing, Page},
    record::{
        Action, ActionKind, AttemptRecord, Failure, KEY_RETENTION, KeyRecord, Lease, NewTask, Outcome, RETENTION,
        StepRecord, TaskRecord,
    },
    step::{Claim, ClaimRequest},
    task::Diversion,
    transition::{Applied, Transition},
};

use crate::{
    CallError, TaskId,
    core::{
        item::{Item, Key},
        settlement::{Settled, Settlement},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// The largest context, in bytes of JSON. DynamoDB's limit for the item around it is 400 KiB.
pub const MAX_CONTEXT_BYTES: usize = 256 * 1024;

/// The largest result of a step, in bytes of JSON. The rest of the item's 400 KiB is the audit trail's.
pub const MAX_RESULT_BYTES: usize = 256 * 1024;

/// A store that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An item that cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// What one delivery reads.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The task, where it exists.
    pub task: Option<TaskRecord>,
    /// The steps asked for; an untouched record for a step without an item.
    pub steps: BTreeMap<String, StepRecord>,
}

impl Loaded {
    /// Nothing of a task yet, and these of its steps untouched.
    pub fn untouched<'a>(steps: impl IntoIterator<Item = &'a str>) -> Self {
        let steps = steps.into_iter().map(|name| (name.to_owned(), StepRecord::untouched(name)));
        Self { task: None, steps: steps.collect() }
    }

    /// Puts an item of the task's partition where it belongs, by its sort key. An item of an unknown kind is passed over.
    ///
    /// # Errors
    /// The item cannot be read.
    pub fn insert(&mut self, task: TaskId, sort_key: &str, item: Item) -> Result<(), Unreadable> {
        if sort_key == Key::TASK {
            self.task = Some(TaskRecord::from_item(task, item)?);
        } else if let Some(name) = sort_key.strip_prefix(Key::STEP_PREFIX) {
            self.steps.insert(name.to_owned(), StepRecord::from_item(task, name, item)?);
        }
        Ok(())
    }
}

/// What the engine needs of a store. See the module's page for the items.
pub trait Store: Send + Sync {
    /// Makes a transition: all of its writes, if their conditions hold, or none. Where one does not,
    /// [`Transition::refused`] says what follows: it has ended, because it is refused or because it was made before; or
    /// the writes that are not optional are made without the others.
    fn apply(&self, transition: &Transition) -> impl Future<Output = Result<Applied, TableError>> + Send;

    /// Carries a settlement of a task out as far as this store can at one go, and answers what is left: by default all but
    /// the transition. A store that holds its own messages does more in the same transaction.
    fn settle(
        &self,
        _task: TaskId,
        settlement: Settlement,
    ) -> impl Future<Output = Result<Settled, TableError>> + Send {
        async move {
            match &settlement.transition {
                Some(transition) if !self.apply(transition).await?.is_written() => Ok(Settled::Refused),
                _ => Ok(Settled::Written(settlement.then)),
            }
        }
    }

    /// Reads the task and some of its steps, consistently.
    fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> impl Future<Output = Result<Loaded, TableError>> + Send;

    /// Reads the task and every step that has an item, consistently.
    fn load_all(&self, task: TaskId) -> impl Future<Output = Result<Loaded, TableError>> + Send;

    /// Reads a part of the index, in the order of time. What was written a moment ago may be missing.
    fn list(&self, page: &Page<'_>) -> impl Future<Output = Result<Vec<Listed>, TableError>> + Send;
}
