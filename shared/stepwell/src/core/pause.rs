//! Pauses of steps: an operator stops a step, so that no attempt of it begins, and lets it go on later.
//!
//! A step that was ever paused has one item, and all of these share a partition. The item has the trail of its pauses, each with who
//! and why; the last entry says how the step stands. It is the decision. That the step's queue stops delivering follows from it: whoever writes the item then
//! tells the queue ([`Deliveries`](crate::ports::Deliveries)), and the watchdog tells it again each minute. So the two may differ for a minute
//! after a crash, and not for longer.
//!
//! Nothing reads the item when a step is claimed: a pause costs tasks nothing. An attempt whose message was delivered before comes to its
//! end. The messages of a paused step wait in its queue, and the watchdog replaces those that a queue has dropped meanwhile. It does so once the
//! step goes on, because until then another message would only wait beside the first. Deadlines of tasks go on.

use super::{
    codec::Unreadable,
    item::{Item, Key, attribute, stored},
    message::StepQueue,
    timestamp::{Timestamp, millis},
    transition::{Change, Condition, Transition, Write},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

/// The most items that are read: more than the steps of any stack.
pub const MOST_STEPS: u16 = 1_000;

/// How many entries of its trail a step keeps, the newest ones.
const MOST_ENTRIES: usize = 20;

/// How long the trail of a step that goes on again is kept.
const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long after a step goes on the watchdog still tells its queue so. A run that has read the item before, and stops the queue after it, has ended by
/// then.
const TOLD_FOR: Duration = Duration::from_secs(60 * 60);

/// What somebody did to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseAction {
    /// No attempt of it begins from then on.
    Pause,
    /// It goes on.
    Resume,
}

/// An entry of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseEntry {
    /// When it was done.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// What was done.
    pub what: PauseAction,
    /// The actor's name.
    pub who: String,
    /// The reason.
    pub why: String,
}

/// The pauses of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPauses {
    /// The workflow's name, without its namespace and its version.
    pub workflow: String,
    /// The name of the step or of the compensation.
    pub step: String,
    /// What was done to it, the oldest entry first. Early entries may be left out.
    pub trail: Vec<PauseEntry>,
}

impl StepPauses {
    /// A step that was never paused.
    pub fn none(queue: &StepQueue) -> Self {
        let StepQueue { workflow, step } = queue.clone();
        Self { workflow, step, trail: Vec::new() }
    }

    /// Reads the item of a step.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn from_item(item: Item) -> Result<Self, Unreadable> {
        let unreadable = |error: serde_json::Error| Unreadable { key: PARTITION.to_owned(), cause: error.to_string() };
        serde_json::from_value(Value::Object(item)).map_err(unreadable)
    }

    /// The queue of the step.
    pub fn queue(&self) -> StepQueue {
        StepQueue::new(&self.workflow, &self.step)
    }

    /// The pause that is in force, if the step is paused.
    pub fn in_force(&self) -> Option<&PauseEntry> {
        self.trail.last().filter(|last| last.what == PauseAction::Pause)
    }

    /// Whether the watchdog has to tell the queue how the step stands.
    pub fn is_told(&self, now: Timestamp) -> bool {
        self.trail.last().is_some_and(|last| last.what == PauseAction::Pause || now < last.at + TOLD_FOR)
    }

    /// The step after this action; `None` if that changes nothing.
    pub fn after(&self, entry: PauseEntry) -> Option<Self> {
        if self.in_force().is_some() == (entry.what == PauseAction::Pause) {
            return None;
        }
        let left_out = (self.trail.len() + 1).saturating_sub(MOST_ENTRIES);
        let trail = self.trail.iter().skip(left_out).cloned().chain([entry]).collect();
        Some(Self { trail, ..self.clone() })
    }
}

/// The steps that are paused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PausedSteps(BTreeSet<StepQueue>);

impl PausedSteps {
    /// Those of these steps that are paused.
    pub fn of<'a>(pauses: impl IntoIterator<Item = &'a StepPauses>) -> Self {
        Self(pauses.into_iter().filter(|pauses| pauses.in_force().is_some()).map(StepPauses::queue).collect())
    }

    /// Whether this step is paused.
    pub fn holds(&self, workflow: &str, step: &str) -> bool {
        !self.0.is_empty() && self.0.contains(&StepQueue::new(workflow, step))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// The partition key of all pauses.
pub(super) const PARTITION: &str = "PAUSE";

/// The key from which on all pauses are read.
pub fn first_key() -> Key {
    Key::Pause(StepQueue::new("", ""))
}

/// Makes the pauses of a step those of `next`, if they still are as they were `read`.
pub fn write(read: &StepPauses, next: &StepPauses) -> Transition {
    let is = |pauses: &StepPauses| Condition::Is(attribute::TRAIL, stored(&pauses.trail));
    let as_read = if read.trail.is_empty() { Condition::NoItem } else { is(read) };
    // A pause in force never expires.
    let expiry = match next.trail.last().filter(|last| last.what == PauseAction::Resume) {
        Some(last) => Change::Set(attribute::EXPIRES_AT, (last.at + RETENTION).as_seconds().into()),
        None => Change::Remove(attribute::EXPIRES_AT),
    };
    let changes = vec![
        Change::Set(attribute::WORKFLOW, next.workflow.as_str().into()),
        Change::Set(attribute::STEP, next.step.as_str().into()),
        Change::Set(attribute::TRAIL, stored(&next.trail)),
        expiry,
    ];
    let update = Write::update(Key::Pause(next.queue()), as_read, changes);
    Transition::of("write_pause", update.made_before(is(next)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MemoryStore, fixtures::at};
    use serde_json::json;

    fn entry(what: PauseAction, second: i64) -> PauseEntry {
        PauseEntry { at: at(second), what, who: "alice".to_owned(), why: "the bank is down".to_owned() }
    }

    fn never() -> StepPauses {
        StepPauses::none(&StepQueue::new("checkout", "pay"))
    }

    #[test]
    fn stored_form_is_pinned() {
        let store = MemoryStore::default();
        let paused = never().after(entry(PauseAction::Pause, 0)).unwrap();
        assert!(store.apply_observed(&write(&never(), &paused), |_| ()).unwrap().is_written());
        let key = Key::Pause(paused.queue());
        assert_eq!((key.partition(), key.sort()), ("PAUSE".to_owned(), "checkout#pay".to_owned()));
        let mut expected = json!({"workflow": "checkout", "step": "pay", "trail": [
            {"at": at(0).as_millis(), "what": "pause", "who": "alice", "why": "the bank is down"},
        ]});
        assert_eq!(Value::Object(store.item(&key)), expected);
        assert_eq!(StepPauses::from_item(store.item(&key)).unwrap(), paused);

        let resumed = paused.after(entry(PauseAction::Resume, 60)).unwrap();
        assert!(store.apply_observed(&write(&paused, &resumed), |_| ()).unwrap().is_written());
        let (trail, who) = (expected["trail"].as_array_mut().unwrap(), "alice");
        trail.push(json!({"at": at(60).as_millis(), "what": "resume", "who": who, "why": "the bank is down"}));
        expected["expires_at"] = json!((at(60) + RETENTION).as_seconds());
        assert_eq!(Value::Object(store.item(&key)), expected);

        let again = resumed.after(entry(PauseAction::Pause, 120)).unwrap();
        assert!(store.apply_observed(&write(&resumed, &again), |_| ()).unwrap().is_written());
        assert!(!store.item(&key).contains_key(attribute::EXPIRES_AT), "a pause in force is kept");
    }

    #[test]
    fn write_is_refused_if_the_step_stands_otherwise_by_then_and_known_if_it_is_ones_own() {
        let store = MemoryStore::default();
        let (ours, theirs) = (entry(PauseAction::Pause, 0), entry(PauseAction::Pause, 1));
        let (ours, theirs) = (never().after(ours).unwrap(), never().after(theirs).unwrap());
        let write = |next| store.apply_observed(&write(&never(), next), |_| ()).unwrap().is_written();
        assert_eq!([write(&ours), write(&ours), write(&theirs)], [true, true, false]);
    }

    #[test]
    fn action_that_changes_nothing_is_no_entry() {
        assert_eq!(never().after(entry(PauseAction::Resume, 0)), None);
        let paused = never().after(entry(PauseAction::Pause, 0)).unwrap();
        assert_eq!(paused.after(entry(PauseAction::Pause, 1)), None);
        assert_eq!(paused.in_force().unwrap().at, at(0));
        assert_eq!(paused.after(entry(PauseAction::Resume, 1)).unwrap().in_force(), None);
    }

    #[test]
    fn trail_keeps_the_newest_entries() {
        let actions = [PauseAction::Pause, PauseAction::Resume].into_iter().cycle().zip(0..41);
        let pauses = actions.fold(never(), |pauses, (what, second)| pauses.after(entry(what, second)).unwrap());
        assert_eq!((pauses.trail.len(), pauses.trail[0].at), (MOST_ENTRIES, at(21)));
        assert_eq!(pauses.in_force().unwrap().at, at(40));
    }

    #[test]
    fn queue_is_told_of_a_pause_as_long_as_it_lasts_and_of_its_end_for_an_hour() {
        let paused = never().after(entry(PauseAction::Pause, 0)).unwrap();
        let resumed = paused.after(entry(PauseAction::Resume, 10)).unwrap();
        let year = 365 * 24 * 3_600;
        assert_eq!([never().is_told(at(0)), paused.is_told(at(year))], [false, true]);
        assert_eq!([3_609, 3_610].map(|second| resumed.is_told(at(second))), [true, false]);
    }

    #[test]
    fn step_of_the_same_name_in_another_workflow_is_not_held() {
        let paused = never().after(entry(PauseAction::Pause, 0)).unwrap();
        let resumed =
            StepPauses { step: "ship".to_owned(), ..paused.clone() }.after(entry(PauseAction::Resume, 1)).unwrap();
        let held = PausedSteps::of([&paused, &resumed]);
        assert_eq!(held.count(), 1);
        let holds = [("checkout", "pay"), ("returns", "pay"), ("checkout", "ship")]
            .map(|(workflow, step)| held.holds(workflow, step));
        assert_eq!(holds, [true, false, false]);
    }
}
