//! How long a new message would wait in the queue of a step: the sign that more tasks come in than are processed.
//!
//! A worker that takes a message which has waited for [`NOTED_FROM`] or longer notes when that message was sent, and the same of one before, at most
//! once in [`NOTED_EVERY`]. Only a message that is taken for the first time, and that nobody has delayed, says how long the queue is. A note
//! is one item for each step, and only the last one counts. It holds for [`HOLDS_FOR`]: once no message waits long, nobody notes
//! anything, and it expires.
//!
//! A client that starts tasks of a workflow with a deadline estimates from the notes how long the steps of a new task would
//! wait, one after another. If that is more than half of the task's time, the task is better not begun ([`Backlog::overload`]). A workflow
//! without a deadline is never overloaded. A stack with no backlog pays nothing but the client's read, once in [`CACHED_FOR`] and process.

use super::{
    item::{Item, Key, attribute},
    message::StepQueue,
    parts::millis,
    plan::Plan,
    timestamp::Timestamp,
    transition::{Change, Condition, Transition, Write},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// The shortest wait that is noted. Nothing is refused before, so tasks can be kept within their time if they come in up to their time divided by
/// this as fast as they are processed: half an hour allows for 180 times as many, a minute for six times.
pub const NOTED_FROM: Duration = Duration::from_secs(10);

/// How often a process notes a wait at most.
pub const NOTED_EVERY: Duration = Duration::from_secs(10);

/// For how long a note holds. While starts are refused and the queue runs dry, the workers are idle for this long.
pub const HOLDS_FOR: Duration = Duration::from_secs(20);

/// How long a client relies on what it has read.
pub const CACHED_FOR: Duration = Duration::from_secs(1);

/// The most items that a client reads: one for each step and each compensation.
pub const MOST_NOTES: u16 = 2 * Plan::MAX_STEPS as u16;

/// How many times as many messages as are processed are assumed to come in at most. If all come at once, nothing tells how many there are.
const MOST_TIMES: f64 = 10.0;

/// For how long after a refusal a client still counts as refusing. With fewer requests than that it makes several pauses of one, and the wait
/// looks longer than it is.
const REFUSES_FOR: Duration = Duration::from_secs(10);

/// A client that refuses starts lets tasks in again once the wait is this much of what it may be, so that it does not change its mind each second.
const LETS_IN_FROM: f64 = 0.9;

/// The most pauses that a client remembers.
const MOST_PAUSES: usize = 64;

/// The notes of one workflow, by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog(BTreeMap<String, Note>);

/// Two messages of a queue, the later one of which has waited for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// One that was taken before.
    pub earlier: Taken,
    /// The one that has waited. The note is as old as its taking.
    pub last: Taken,
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

/// When a client has refused starts: from a first refusal to a last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    all: VecDeque<(Timestamp, Timestamp)>,
    /// Whether no start was let in since the last refusal.
    goes_on: bool,
}

impl Pauses {
    /// Whether starts are refused.
    pub fn is_on(&self, now: Timestamp) -> bool {
        self.goes_on && self.all.back().is_some_and(|(_, last)| now < *last + REFUSES_FOR)
    }

    /// Takes note of whether a start is refused now.
    pub fn decided(&mut self, is_refused: bool, now: Timestamp) {
        if is_refused {
            let is_on = self.is_on(now);
            match self.all.back_mut() {
                Some((_, last)) if is_on => *last = now,
                _ => self.all.push_back((now, now)),
            }
            if self.all.len() > MOST_PAUSES {
                self.all.pop_front();
            }
        }
        self.goes_on = is_refused;
    }

    /// How much of the time between two moments tasks were let in.
    fn open_between(&self, from: Timestamp, until: Timestamp) -> Duration {
        let paused = self.all.iter().map(|(first, last)| (*last).min(until).since((*first).max(from)));
        until.since(from).saturating_sub(paused.sum())
    }
}

/// A new task would not be completed in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// How long its steps would wait in their queues, all together.
    pub wait: Duration,
    /// The time in which it has to be complete.
    pub time: Duration,
}

/// The key from which on the notes of a workflow are read.
pub fn first_key(workflow: &str) -> Key {
    Key::Backlog(StepQueue::new(workflow, ""))
}

/// Notes how long messages wait in this queue.
pub fn note(queue: &StepQueue, Note { earlier, last }: &Note) -> Transition {
    let changes = vec![
        Change::Set(attribute::STEP, queue.step.as_str().into()),
        millis(attribute::EARLIER_SENT_AT, earlier.sent_at),
        millis(attribute::EARLIER_TAKEN_AT, earlier.at),
        millis(attribute::SENT_AT, last.sent_at),
        millis(attribute::TAKEN_AT, last.at),
    ];
    Transition::of("note_backlog", Write::update(Key::Backlog(queue.clone()), Condition::ALWAYS, changes))
}

impl Backlog {
    /// Reads the notes of a workflow. One that cannot be read is left out.
    pub fn of(items: &[Item]) -> Self {
        let read = |item: &Item| {
            let time = |name| item.get(name).and_then(Value::as_i64).map(Timestamp::from_millis);
            let taken = |sent_at, at| Some(Taken { sent_at: time(sent_at)?, at: time(at)? });
            let earlier = taken(attribute::EARLIER_SENT_AT, attribute::EARLIER_TAKEN_AT)?;
            let last = taken(attribute::SENT_AT, attribute::TAKEN_AT)?;
            Some((item.get(attribute::STEP)?.as_str()?.to_owned(), Note { earlier, last }))
        };
        Self(items.iter().filter_map(read).collect())
    }

    /// How long a message to this step would wait that is sent now, as far as is known.
    ///
    /// The queue holds what was sent after the last message that was taken. Between the two messages of the note it took `last.at - earlier.at` to
    /// process what was sent between `earlier.sent_at` and `last.sent_at`; what is in the queue takes as long in proportion. The
    /// pauses count for nothing, because nothing was sent in them.
    fn wait(&self, step: &str, pauses: &Pauses, now: Timestamp) -> Duration {
        let Some(Note { earlier, last }) = self.0.get(step) else { return Duration::ZERO };
        // The clock of the worker may be ahead.
        if last.at + HOLDS_FOR <= now || now + HOLDS_FOR < last.at {
            return Duration::ZERO;
        }
        let took = last.at.since(earlier.at).as_secs_f64();
        // What was sent in a pause after all, such as redrives, says nothing about those that are let in.
        let all = last.sent_at.since(earlier.sent_at);
        let sent_in =
            Some(pauses.open_between(earlier.sent_at, last.sent_at)).filter(|open| !open.is_zero()).unwrap_or(all);
        let times = if sent_in.is_zero() { MOST_TIMES } else { took / sent_in.as_secs_f64() };
        let times = times.clamp(1.0, MOST_TIMES);
        pauses.open_between(last.sent_at, now).mul_f64(times)
    }

    /// Whether the steps of a new task of this plan would wait for more than half of its time. Only those count that have to start by
    /// the deadline, and of those that run side by side the ones that wait longest.
    pub fn overload(&self, plan: &Plan, pauses: &Pauses, now: Timestamp) -> Option<Overload> {
        let time = Duration::from_secs(plan.deadline()?.complete_within_seconds.into());
        let never = Pauses::default();
        let mut until: BTreeMap<&str, Duration> = BTreeMap::new();
        // The steps of a plan are in topological order.
        for step in plan.steps().iter().filter(|step| plan.time_to_start(&step.name).is_some()) {
            let before = step.depends_on.iter().filter_map(|name| until.get(name.as_str())).max().copied();
            let before = before.unwrap_or_default();
            // A queue before this step goes on sending to it in a pause.
            let pauses = if before.is_zero() { pauses } else { &never };
            until.insert(&step.name, before + self.wait(&step.name, pauses, now));
        }
        let wait = until.into_values().max().unwrap_or_default();
        let most = if pauses.is_on(now) { (time / 2).mul_f64(LETS_IN_FROM) } else { time / 2 };
        (wait > most).then_some(Overload { wait, time })
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

    /// What a client reads after messages were taken at 0 s that had waited for so many seconds, as those before.
    fn backlog(waits: &[(&str, i64)]) -> Backlog {
        let store = MemoryStore::default();
        let items = waits.iter().map(|(step, waited)| {
            let queue = StepQueue::new("w", *step);
            let taken = |second: i64| Taken { sent_at: at(second - waited), at: at(second) };
            store.apply_observed(&note(&queue, &Note { earlier: taken(-5), last: taken(0) }), |_| ()).unwrap();
            store.item(&Key::Backlog(queue))
        });
        Backlog::of(&items.collect::<Vec<_>>())
    }

    fn overload(backlog: &Backlog, plan: &Plan, now: i64) -> Option<u64> {
        backlog.overload(plan, &Pauses::default(), at(now)).map(|Overload { wait, .. }| wait.as_secs())
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
        waits: &[(&str, i64)],
        expected: Option<u64>,
    ) {
        assert_eq!(overload(&backlog(waits), &with_deadline(), 0), expected);
    }

    /// The estimate at 1,000 s, in seconds, after two messages that were sent and taken at these times, when nothing was let in meanwhile.
    #[test_case((950, 970), (970, 990), (0, 0), 30; "as many as are processed")]
    #[test_case((960, 970), (970, 990), (0, 0), 60; "twice as many")]
    #[test_case((900, 970), (970, 990), (0, 0), 30; "fewer")]
    #[test_case((970, 970), (970, 990), (0, 0), 300; "all at once")]
    #[test_case((960, 970), (970, 990), (980, 1_000), 20; "twice as many until a pause")]
    #[test_case((960, 970), (970, 990), (980, 985), 50; "and after it")]
    #[test_case((960, 970), (980, 990), (965, 975), 40; "what was sent around a pause")]
    #[test_case((960, 970), (970, 990), (960, 1_000), 0; "a pause all the time")]
    fn wait_is_what_was_let_in_since_the_last_message_by_how_fast_it_is_processed(
        earlier: (i64, i64),
        last: (i64, i64),
        pause: (i64, i64),
        expected: u64,
    ) {
        let taken = |(sent, taken)| Taken { sent_at: at(sent), at: at(taken) };
        let backlog = Backlog([("a".to_owned(), Note { earlier: taken(earlier), last: taken(last) })].into());
        let mut pauses = Pauses::default();
        for second in pause.0..=pause.1 {
            pauses.decided(true, at(second));
        }
        assert_eq!(backlog.wait("a", &pauses, at(1_000)), Duration::from_secs(expected));
    }

    #[test]
    fn tasks_are_let_in_again_a_little_below_the_limit() {
        let mut pauses = Pauses::default();
        let overloads =
            |waited: i64, pauses: &Pauses| backlog(&[("a", waited)]).overload(&with_deadline(), pauses, at(0));
        assert_eq!(overloads(50, &pauses), None);
        pauses.decided(true, at(0));
        assert!(overloads(46, &pauses).is_some());
        assert_eq!(overloads(45, &pauses), None);
    }

    /// A client to which nobody comes does not know whether others have let tasks in.
    #[test]
    fn pause_ends_with_its_last_refusal() {
        let mut pauses = Pauses::default();
        for second in [100, 105, 200] {
            pauses.decided(true, at(second));
        }
        assert_eq!([209, 210].map(|now| pauses.is_on(at(now))), [true, false]);
        assert_eq!(pauses.open_between(at(90), at(900)), Duration::from_secs(805));
        pauses.decided(false, at(201));
        pauses.decided(true, at(203));
        assert_eq!(pauses.open_between(at(190), at(900)), Duration::from_secs(710), "one was let in between");
    }

    /// What waits in the queue of `a` comes to `b`, whether or not more is let in.
    #[test]
    fn pause_says_nothing_about_a_step_behind_a_queue() {
        let mut pauses = Pauses::default();
        for second in -60..0 {
            pauses.decided(true, at(second));
        }
        let wait = |waits: &[(&str, i64)]| {
            let short = plan("complete_within_seconds: 1,");
            backlog(waits).overload(&short, &pauses, at(0)).map(|Overload { wait, .. }| wait.as_secs())
        };
        assert_eq!(wait(&[("b", 40)]), Some(1), "nothing has come in");
        assert_eq!(wait(&[("a", 70), ("b", 40)]), Some(11 + 40));
    }

    #[test]
    fn note_holds_for_a_while() {
        let backlog = backlog(&[("a", 51)]);
        let overloaded =
            [-21, -20, 0, 19, 20].map(|now| overload(&backlog, &plan("complete_within_seconds: 60,"), now).is_some());
        assert_eq!(overloaded, [false, true, true, true, false]);
    }

    #[test]
    fn workflow_without_a_deadline_is_never_overloaded() {
        assert_eq!(overload(&backlog(&[("a", 100_000)]), &plan(""), 0), None);
    }

    #[test]
    fn last_note_counts() {
        assert_eq!(overload(&backlog(&[("a", 90), ("a", 10)]), &with_deadline(), 0), None);
    }
}
