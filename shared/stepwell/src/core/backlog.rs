//! How long messages wait in the queues of steps before a worker takes them: the sign that more tasks come in than are processed.
//!
//! A worker that takes a message which has waited for [`NOTED_FROM`] or longer notes how long a message that is sent now [is going to
//! wait](expected_wait), at most once in [`NOTED_EVERY`]. Only a message that is taken for the first time, and that nobody has delayed, says how
//! long the queue is. A note is one item for each step, and only the last one counts. It holds for [`HOLDS_FOR`]: once no message waits
//! long, nobody notes anything, and it expires.
//!
//! A client that starts tasks of a workflow with a deadline adds up the waits of the steps that a new task passes one after another.
//! If that is more than half of the task's time, the task is better not begun ([`Backlog::overload`]). A workflow without a deadline
//! is never overloaded. A stack with no backlog pays nothing but the client's read, once in [`CACHED_FOR`] and process.

use super::{
    item::{Item, Key, attribute},
    message::StepQueue,
    parts::millis,
    plan::Plan,
    timestamp::Timestamp,
    transition::{Change, Condition, Transition, Write},
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// The shortest wait that is noted. Nothing is refused before, so tasks can be kept within their time if they come in up to their time divided by
/// this as fast as they are processed: half an hour allows for 180 times as many, a minute for six times.
pub const NOTED_FROM: Duration = Duration::from_secs(10);

/// How often a process notes a wait at most.
pub const NOTED_EVERY: Duration = Duration::from_secs(10);

/// For how long a note holds. While starts are refused and the queue runs dry, the workers are idle for this long.
pub const HOLDS_FOR: Duration = Duration::from_secs(20);

/// How many times as many messages as are processed are assumed to come in at most. If all come at once, nothing tells how many there are.
const MOST_TIMES: f64 = 10.0;

/// How long a client relies on what it has read.
pub const CACHED_FOR: Duration = Duration::from_secs(1);

/// The most items that a client reads: one for each step and each compensation.
pub const MOST_NOTES: u16 = 2 * Plan::MAX_STEPS as u16;

/// The waits in the queues of one workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog(BTreeMap<String, Note>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    wait: Duration,
    noted_at: Timestamp,
}

/// A message that a worker has taken from its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When it was taken.
    pub at: Timestamp,
}

impl Taken {
    /// How long it has waited.
    pub fn waited(&self) -> Duration {
        self.at.since(self.sent_at)
    }
}

/// How long a message is going to wait that is sent when `last` is taken. The wait of `last` says how long the queue was when that one was
/// sent. If it has waited longer than `earlier`, the queue has grown, and is assumed to have gone on growing at that rate.
pub fn expected_wait(earlier: Option<&Taken>, last: &Taken) -> Duration {
    let waited = last.waited();
    let times = earlier.map_or(1.0, |earlier| {
        let grown = waited.saturating_sub(earlier.waited()).as_secs_f64();
        match last.sent_at.since(earlier.sent_at).as_secs_f64() {
            _ if grown == 0.0 => 1.0,
            between => (1.0 + grown / between).min(MOST_TIMES),
        }
    });
    waited.mul_f64(times)
}

/// A new task would not be completed in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// How long its steps would wait in their queues, all together.
    pub wait: Duration,
    /// The time in which it has to be complete.
    pub time: Duration,
}

/// The key of the first note of a workflow; the others follow it in its partition.
pub fn first_key(workflow: &str) -> Key {
    Key::Backlog(StepQueue::new(workflow, ""))
}

/// Notes how long a message that is sent now is going to wait in this queue.
pub fn note(queue: &StepQueue, wait: Duration, now: Timestamp) -> Transition {
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let changes = vec![
        Change::Set(attribute::STEP, queue.step.as_str().into()),
        Change::Set(attribute::WAIT_MS, wait.into()),
        millis(attribute::NOTED_AT, now),
    ];
    Transition::of("note_backlog", Write::update(Key::Backlog(queue.clone()), Condition::ALWAYS, changes))
}

impl Backlog {
    /// Reads the notes of a workflow. One that cannot be read is left out.
    pub fn of(items: &[Item]) -> Self {
        let read = |item: &Item| {
            let number = |name| item.get(name).and_then(Value::as_i64);
            let wait = Duration::from_millis(number(attribute::WAIT_MS)?.try_into().ok()?);
            let noted_at = Timestamp::from_millis(number(attribute::NOTED_AT)?);
            Some((item.get(attribute::STEP)?.as_str()?.to_owned(), Note { wait, noted_at }))
        };
        Self(items.iter().filter_map(read).collect())
    }

    /// How long a message to this step waits, as far as is known.
    fn wait(&self, step: &str, now: Timestamp) -> Duration {
        let note = self.0.get(step).filter(|note| now < note.noted_at + HOLDS_FOR);
        note.map_or(Duration::ZERO, |note| note.wait)
    }

    /// Whether the steps of a new task of this plan would wait for more than half of its time. Only those count that have to start by
    /// the deadline, and of those that run side by side the ones that wait longest.
    pub fn overload(&self, plan: &Plan, now: Timestamp) -> Option<Overload> {
        let time = Duration::from_secs(plan.deadline()?.complete_within_seconds.into());
        let mut until: BTreeMap<&str, Duration> = BTreeMap::new();
        // The steps of a plan are in topological order.
        for step in plan.steps().iter().filter(|step| plan.time_to_start(&step.name).is_some()) {
            let before = step.depends_on.iter().filter_map(|name| until.get(name.as_str())).max().copied();
            until.insert(&step.name, before.unwrap_or_default() + self.wait(&step.name, now));
        }
        let wait = until.into_values().max().unwrap_or_default();
        (wait > time / 2).then_some(Overload { wait, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::workflow::Workflow,
        testing::{MemoryStore, fixtures::at},
    };
    use test_case::test_case;

    const TIME: u64 = 100;

    /// A step `a`, then `b` and `c` side by side, then `d`, which is the point of no return, then `e`.
    fn plan(more: &str) -> Plan {
        let steps = "step_templates: [{name: a}, {name: b, depends_on_step: a}, {name: c, depends_on_step: a},
            {name: d, depends_on_steps: [b, c]}, {name: e, depends_on_step: d}]";
        Workflow::from_yaml(&format!("{{name: w, {more} {steps}}}")).unwrap().plan().clone()
    }

    fn with_deadline() -> Plan {
        plan(&format!("complete_within_seconds: {TIME}, point_of_no_return: d,"))
    }

    /// What a client reads after these waits, in seconds, were noted.
    fn backlog(waits: &[(&str, u64)]) -> Backlog {
        let store = MemoryStore::default();
        let items = waits.iter().map(|(step, waited)| {
            let queue = StepQueue::new("w", *step);
            store.apply_observed(&note(&queue, Duration::from_secs(*waited), at(0)), |_| ()).unwrap();
            store.item(&Key::Backlog(queue))
        });
        Backlog::of(&items.collect::<Vec<_>>())
    }

    #[test_case(&[], None; "no backlog")]
    #[test_case(&[("a", 50)], None; "half of the time")]
    #[test_case(&[("a", 51)], Some(51); "more than half")]
    #[test_case(&[("a", 20), ("b", 20), ("d", 20)], Some(60); "one after another")]
    #[test_case(&[("a", 20), ("b", 20), ("c", 30)], None; "side by side")]
    #[test_case(&[("a", 20), ("b", 20), ("c", 31)], Some(51); "the longest of those side by side")]
    #[test_case(&[("e", 1_000)], None; "a step without a deadline")]
    #[test_case(&[("gone", 1_000)], None; "a step that the plan does not have")]
    fn task_whose_steps_would_wait_for_more_than_half_of_its_time_is_an_overload(
        waits: &[(&str, u64)],
        expected: Option<u64>,
    ) {
        let overload = backlog(waits).overload(&with_deadline(), at(0));
        let expected =
            expected.map(|wait| Overload { wait: Duration::from_secs(wait), time: Duration::from_secs(TIME) });
        assert_eq!(overload, expected);
    }

    /// Messages of which the earlier one was sent at 100 s; the times are in seconds.
    #[test_case(None, (110, 140), 30; "nothing to compare with")]
    #[test_case(Some(130), (110, 140), 30; "as long as before")]
    #[test_case(Some(135), (110, 140), 30; "shorter than before")]
    #[test_case(Some(120), (110, 140), 60; "twice as many as are processed")]
    #[test_case(Some(120), (105, 130), 50; "twice as many again")]
    #[test_case(Some(110), (102, 130), 280; "ten times as many")]
    #[test_case(Some(110), (100, 130), 300; "all at once")]
    #[test_case(Some(110), (90, 130), 400; "out of order")]
    #[test_case(Some(90), (90, 80), 0; "by clocks that disagree")]
    fn wait_of_the_next_message_grows_on(earlier: Option<i64>, (sent, taken): (i64, i64), expected: u64) {
        let earlier = earlier.map(|taken| Taken { sent_at: at(100), at: at(taken) });
        let last = Taken { sent_at: at(sent), at: at(taken) };
        assert_eq!(expected_wait(earlier.as_ref(), &last), Duration::from_secs(expected));
    }

    #[test]
    fn note_expires() {
        let backlog = backlog(&[("a", 51)]);
        let overloaded = [0, 19, 20].map(|now| backlog.overload(&with_deadline(), at(now)).is_some());
        assert_eq!(overloaded, [true, true, false]);
    }

    #[test]
    fn workflow_without_a_deadline_is_never_overloaded() {
        assert_eq!(backlog(&[("a", 100_000)]).overload(&plan(""), at(0)), None);
    }

    #[test]
    fn last_note_counts() {
        assert_eq!(backlog(&[("a", 90), ("a", 10)]).overload(&with_deadline(), at(0)), None);
    }
}
