//! The outside effects of handlers. An effect happens once per idempotency key, as at a payment provider.

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
    /// It succeeded.
    Returned,
    /// It failed with a retryable error.
    Failed,
    /// It failed with a permanent error.
    FailedForGood,
}

/// All effects, and which step made them.
#[derive(Debug, Default)]
pub(super) struct EffectLedger {
    /// The step that made each effect, by idempotency key.
    effects: Locked<BTreeMap<String, Place>>,
    /// The keys that a compensation has voided: their effects are compensated, and no new one can happen.
    voided: Locked<BTreeSet<String>>,
    by_place: Locked<BTreeMap<Place, StepEffects>>,
}

/// The effects of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct StepEffects {
    /// How often the handler was started.
    pub(super) runs: usize,
    /// The idempotency keys it used.
    pub(super) keys: BTreeSet<String>,
    /// How each attempt ended; `None` where it was cut off.
    pub(super) attempts: BTreeMap<u32, Option<Ending>>,
}

impl EffectLedger {
    /// Begins a run of a handler. Answers with its script, and whether the same attempt has begun before.
    pub(super) fn begin(&self, place: Place, attempt: u32, scripts: &[HandlerScript]) -> (HandlerScript, bool) {
        let mut places = self.by_place.lock();
        let effects_of = places.entry(place).or_default();
        let script = scripts.get(effects_of.runs).copied().unwrap_or(HandlerScript::Succeed);
        effects_of.runs += 1;
        (script, effects_of.attempts.insert(attempt, None).is_some())
    }

    /// Makes the step's effect, unless the key has one already. Answers with the step that owns the key; `None` where
    /// the key is void.
    pub(super) fn act(&self, place: Place, key: String) -> Option<Place> {
        if self.is_void(&key) {
            return None;
        }
        self.by_place.lock().entry(place).or_default().keys.insert(key.clone());
        Some(*self.effects.lock().entry(key).or_insert(place))
    }

    /// Compensates the effect of this key, and voids the key.
    pub(super) fn void(&self, place: Place, key: String) {
        self.by_place.lock().entry(place).or_default().keys.insert(key.clone());
        self.voided.lock().insert(key);
    }

    /// Whether this key is void.
    pub(super) fn is_void(&self, key: &str) -> bool {
        self.voided.lock().contains(key)
    }

    /// Ends a run of a handler.
    pub(super) fn end(&self, place: Place, attempt: u32, ending: Ending) {
        self.by_place.lock().entry(place).or_default().attempts.insert(attempt, Some(ending));
    }

    /// The effects of a step.
    pub(super) fn effects_of(&self, task: TaskId, step: &str) -> StepEffects {
        let number = number_of(step);
        number.and_then(|number| self.by_place.lock().get(&(task, number)).cloned()).unwrap_or_default()
    }
}
