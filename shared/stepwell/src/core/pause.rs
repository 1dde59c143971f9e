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
    format::NewerFormat,
    item::{Item, Key, attribute, stored},
    message::StepQueue,
    timestamp::{Timestamp, millis},
    transition::{Change, Condition, Transition, Write},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// The most items that are read: more than the steps of any stack.
pub const MOST_STEPS: u16 = 1_000;

/// How many entries of its trail a step keeps, the newest ones.
const MOST_ENTRIES: usize = 20;

/// How long the trail of a step that goes on again is kept.
const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long after a queue was told that its step goes on the watchdog still tells it so. A run that has read the item before, and stops the queue after it,
/// has ended by then.
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
    /// When the queue was told for the first time that the step goes on; `None` while it is paused, and until then.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis::option")]
    pub told_at: Option<Timestamp>,
}

/// The reason why this version cannot tell how a step stands. It leaves the step and its queue as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// Only a newer version may act on the item.
    #[error(transparent)]
    Newer(NewerFormat),
    /// The engine did not write the item.
    #[error(transparent)]
    Unreadable(Unreadable),
}

/// The items of all steps that were ever paused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// Those that this version can read.
    pub known: Vec<StepPauses>,
    /// The steps whose items it cannot read, which may be paused.
    pub unknown: Vec<StepQueue>,
}

impl Pauses {
    /// Reads the items.
    pub fn from_items(items: Vec<Item>) -> Self {
        let mut pauses = Self::default();
        for item in items {
            let text = |name| item.get(name).and_then(Value::as_str).unwrap_or_default();
            let queue = StepQueue::new(text(attribute::WORKFLOW), text(attribute::STEP));
            match StepPauses::from_item(&queue, item) {
                Ok(known) => pauses.known.push(known),
                Err(_) => pauses.unknown.push(queue),
            }
        }
        pauses
    }

    /// The steps to which nothing is to be sent: those that are paused, or may be.
    pub fn held(&self) -> PausedSteps {
        let mut held = PausedSteps::of(&self.known);
        held.0.extend(self.unknown.iter().map(|queue| (queue.clone(), None)));
        held
    }
}

impl StepPauses {
    /// A step that was never paused.
    pub fn none(queue: &StepQueue) -> Self {
        let StepQueue { workflow, step } = queue.clone();
        Self { workflow, step, trail: Vec::new(), told_at: None }
    }

    /// Reads the item of a step.
    ///
    /// # Errors
    /// See [`Unknown`].
    pub fn from_item(queue: &StepQueue, item: Item) -> Result<Self, Unknown> {
        let key = Key::Pause(queue.clone());
        match NewerFormat::of(&key, &item) {
            Some(newer) => Err(Unknown::Newer(newer)),
            None => serde_json::from_value(Value::Object(item))
                .map_err(|error| Unknown::Unreadable(Unreadable::new(&key, error))),
        }
    }

    /// The queue of the step.
    pub fn queue(&self) -> StepQueue {
        StepQueue::new(&self.workflow, &self.step)
    }

    /// Why the step is paused: by whom, since when and for what reason, the first pause first. Empty if it goes on.
    pub fn reasons(&self) -> &[PauseEntry] {
        let resumed = self.trail.iter().rposition(|entry| entry.what == PauseAction::Resume);
        self.trail.get(resumed.map_or(0, |at| at + 1)..).unwrap_or_default()
    }

    /// The pause that is in force, if the step is paused: the first one since it went on.
    pub fn in_force(&self) -> Option<&PauseEntry> {
        self.reasons().first()
    }

    /// The reasons that somebody gave after this moment.
    pub fn reasons_after(&self, moment: Timestamp) -> impl Iterator<Item = &PauseEntry> {
        self.reasons().iter().filter(move |reason| reason.at > moment)
    }

    /// Whether the watchdog has to tell the queue how the step stands.
    pub fn is_told(&self, now: Timestamp) -> bool {
        !self.trail.is_empty() && self.told_at.is_none_or(|told_at| now < told_at + TOLD_FOR)
    }

    /// The step after this action; `None` if that changes nothing. Another pause of a paused step is another reason, unless the same person has
    /// given it already.
    pub fn after(&self, entry: PauseEntry) -> Option<Self> {
        let is_same = |reason: &PauseEntry| reason.who == entry.who && reason.why == entry.why;
        let changes_nothing = match entry.what {
            PauseAction::Pause => self.reasons().iter().any(is_same),
            PauseAction::Resume => self.in_force().is_none(),
        };
        if changes_nothing {
            return None;
        }
        // By its time one tells what somebody has seen, so it rises, whatever the clocks of the writers say.
        let after_last = self.trail.last().map_or(entry.at, |last| last.at + Duration::from_millis(1));
        let mut next = Self { told_at: None, ..self.clone() };
        next.trail.push(PauseEntry { at: entry.at.max(after_last), ..entry });
        while next.trail.len() > MOST_ENTRIES {
            // The pause in force stays: it tells since when.
            let oldest_to_lose = usize::from(next.in_force() == next.trail.first());
            next.trail.remove(oldest_to_lose);
        }
        Some(next)
    }
}

/// The steps that are paused, each with since when it is, where that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PausedSteps(BTreeMap<StepQueue, Option<Timestamp>>);

impl PausedSteps {
    /// Those of these steps that are paused.
    pub fn of<'a>(pauses: impl IntoIterator<Item = &'a StepPauses>) -> Self {
        Self(pauses.into_iter().filter_map(|pauses| Some((pauses.queue(), Some(pauses.in_force()?.at)))).collect())
    }

    /// Whether this step is paused.
    pub fn holds(&self, workflow: &str, step: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(&StepQueue::new(workflow, step))
    }

    /// Since when this step is paused; `None` if it is not, or if that is not known.
    pub fn since(&self, workflow: &str, step: &str) -> Option<Timestamp> {
        *self.0.get(&StepQueue::new(workflow, step))?
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl IntoIterator for PausedSteps {
    type Item = StepQueue;
    type IntoIter = std::collections::btree_map::IntoKeys<StepQueue, Option<Timestamp>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_keys()
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
        Change::Remove(attribute::TOLD_AT),
        expiry,
    ];
    let update = Write::update(Key::Pause(next.queue()), as_read, changes);
    Transition::of("write_pause", update.made_before(is(next)))
}

/// Records that the queue was told that its step goes on, if the step still is as it was `read`.
pub fn note_told(read: &StepPauses, now: Timestamp) -> Transition {
    let as_read = Condition::Is(attribute::TRAIL, stored(&read.trail));
    let told = Change::Set(attribute::TOLD_AT, now.as_millis().into());
    Transition::of("note_told", Write::update(Key::Pause(read.queue()), as_read, vec![told]))
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
        assert_eq!(StepPauses::from_item(&paused.queue(), store.item(&key)).unwrap(), paused);

        let resumed = paused.after(entry(PauseAction::Resume, 60)).unwrap();
        assert!(store.apply_observed(&write(&paused, &resumed), |_| ()).unwrap().is_written());
        let (trail, who) = (expected["trail"].as_array_mut().unwrap(), "alice");
        trail.push(json!({"at": at(60).as_millis(), "what": "resume", "who": who, "why": "the bank is down"}));
        expected["expires_at"] = json!((at(60) + RETENTION).as_seconds());
        assert_eq!(Value::Object(store.item(&key)), expected);

        let again = resumed.after(entry(PauseAction::Pause, 120)).unwrap();
        assert!(store.apply_observed(&note_told(&resumed, at(61)), |_| ()).unwrap().is_written());
        expected["told_at"] = json!(at(61).as_millis());
        assert_eq!(Value::Object(store.item(&key)), expected);
        assert!(store.apply_observed(&write(&resumed, &again), |_| ()).unwrap().is_written());
        assert!(!store.apply_observed(&note_told(&resumed, at(121)), |_| ()).unwrap().is_written());
        assert!(!store.item(&key).contains_key(attribute::TOLD_AT));
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
        let other = PauseEntry { who: "bob".to_owned(), ..entry(PauseAction::Pause, 2) };
        let both = paused.after(other.clone()).unwrap();
        assert_eq!(both.reasons(), [entry(PauseAction::Pause, 0), other]);
        assert_eq!(both.after(entry(PauseAction::Pause, 3)), None, "she has said so already");
        assert_eq!(both.after(entry(PauseAction::Resume, 4)).unwrap().reasons(), []);
        assert_eq!(paused.after(entry(PauseAction::Resume, 1)).unwrap().in_force(), None);
    }

    #[test]
    fn times_of_the_trail_rise_although_a_clock_falls() {
        let paused = never().after(entry(PauseAction::Pause, 10)).unwrap();
        let other = PauseEntry { who: "bob".to_owned(), ..entry(PauseAction::Pause, 9) };
        let both = paused.after(other).unwrap();
        assert_eq!(both.reasons_after(at(10)).map(|reason| reason.who.as_str()).collect::<Vec<_>>(), ["bob"]);
        assert_eq!(both.reasons_after(both.trail[1].at).count(), 0);
    }

    #[test]
    fn trail_keeps_the_newest_entries() {
        let actions = [PauseAction::Pause, PauseAction::Resume].into_iter().cycle().zip(0..41);
        let pauses = actions.fold(never(), |pauses, (what, second)| pauses.after(entry(what, second)).unwrap());
        assert_eq!((pauses.trail.len(), pauses.trail[0].at), (MOST_ENTRIES, at(21)));
        assert_eq!(pauses.in_force().unwrap().at, at(40));
        let reasons =
            (41..80).map(|second| PauseEntry { why: second.to_string(), ..entry(PauseAction::Pause, second) });
        let many = reasons.fold(pauses, |pauses, reason| pauses.after(reason).unwrap());
        assert_eq!((many.trail.len(), many.trail[1].at), (MOST_ENTRIES, at(61)));
        assert_eq!(many.in_force().unwrap().at, at(40), "since when it is paused is kept");
    }

    #[test]
    fn queue_is_told_of_a_pause_as_long_as_it_lasts_and_of_its_end_until_an_hour_after_it_was_told() {
        let paused = never().after(entry(PauseAction::Pause, 0)).unwrap();
        let resumed = paused.after(entry(PauseAction::Resume, 10)).unwrap();
        let year = 365 * 24 * 3_600;
        assert_eq!([never().is_told(at(0)), paused.is_told(at(year))], [false, true]);
        assert!(resumed.is_told(at(year)), "it does not know yet");
        let told = StepPauses { told_at: Some(at(20)), ..resumed };
        assert_eq!([3_619, 3_620].map(|second| told.is_told(at(second))), [true, false]);
        assert_eq!(told.after(entry(PauseAction::Pause, 4_000)).unwrap().told_at, None);
    }

    #[test]
    fn step_of_the_same_name_in_another_workflow_is_not_held() {
        let paused = never().after(entry(PauseAction::Pause, 0)).unwrap();
        let resumed =
            StepPauses { step: "ship".to_owned(), ..paused.clone() }.after(entry(PauseAction::Resume, 1)).unwrap();
        let held = PausedSteps::of([&paused, &resumed]);
        assert_eq!(
            (held.count(), held.since("checkout", "pay"), held.since("checkout", "ship")),
            (1, Some(at(0)), None)
        );
        let holds = [("checkout", "pay"), ("returns", "pay"), ("checkout", "ship")]
            .map(|(workflow, step)| held.holds(workflow, step));
        assert_eq!(holds, [true, false, false]);
    }
}
