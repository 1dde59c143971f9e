//! The world outside, which the handlers change: it does what carries the same idempotency key only once, as a payment
//! provider does.

use super::scenario::HandlerScript;
use crate::locked::Locked;
use crate::steps::number_of;
use std::collections::{BTreeMap, BTreeSet};
use stepwell::TaskId;

/// A step of a task, by its number.
pub(super) type Place = (TaskId, usize);

/// How a run of a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It returned its output.
    Returned,
    /// It failed, in a way that may pass.
    Failed,
    /// It failed for good.
    FailedForGood,
}

/// What was done in the world and by whom.
#[derive(Debug, Default)]
pub(super) struct World {
    /// What has been done, by idempotency key, and in whose name.
    effects: Locked<BTreeMap<String, Place>>,
    /// The idempotency keys under which nothing is done any more, and what was done is undone.
    voided: Locked<BTreeSet<String>>,
    by_place: Locked<BTreeMap<Place, Doings>>,
}

/// What was done in the name of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Doings {
    /// How often the handler was started.
    pub(super) runs: usize,
    /// The idempotency keys it used.
    pub(super) keys: BTreeSet<String>,
    /// How each attempt of it ended; `None` where it was cut off.
    pub(super) attempts: BTreeMap<u32, Option<Ending>>,
}

impl World {
    /// A handler begins. Answers with what it will meet, and whether the same attempt has begun before.
    pub(super) fn begin(&self, place: Place, attempt: u32, scripts: &[HandlerScript]) -> (HandlerScript, bool) {
        let mut places = self.by_place.lock();
        let doings = places.entry(place).or_default();
        let script = scripts.get(doings.runs).copied().unwrap_or(HandlerScript::Succeed);
        doings.runs += 1;
        (script, doings.attempts.insert(attempt, None).is_some())
    }

    /// Does what the step is there for, unless that has been done under the same key. Answers with whose key it is; `None`
    /// where the key is void.
    pub(super) fn act(&self, place: Place, key: String) -> Option<Place> {
        if self.is_void(&key) {
            return None;
        }
        self.by_place.lock().entry(place).or_default().keys.insert(key.clone());
        Some(*self.effects.lock().entry(key).or_insert(place))
    }

    /// Undoes what was done under this key, and sees to it that nothing is done under it any more.
    pub(super) fn void(&self, place: Place, key: String) {
        self.by_place.lock().entry(place).or_default().keys.insert(key.clone());
        self.voided.lock().insert(key);
    }

    /// Whether this key is void.
    pub(super) fn is_void(&self, key: &str) -> bool {
        self.voided.lock().contains(key)
    }

    /// A handler ends by itself.
    pub(super) fn end(&self, place: Place, attempt: u32, ending: Ending) {
        self.by_place.lock().entry(place).or_default().attempts.insert(attempt, Some(ending));
    }

    /// What was done in the name of a step.
    pub(super) fn doings(&self, task: TaskId, step: &str) -> Doings {
        let number = number_of(step);
        number.and_then(|number| self.by_place.lock().get(&(task, number)).cloned()).unwrap_or_default()
    }
}
