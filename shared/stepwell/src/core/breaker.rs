//! The circuit breaker of a service outside the stack, which steps name with `waits_on`.
//!
//! A worker that sees [`FAILURES_TO_OPEN`] attempts in a row, within [`FAILURES_WITHIN`], end in a timeout or in a retryable [error of
//! the service](crate::runtime::step::StepError::from_service) opens the breaker. While it is
//! open, no step that waits on the service is attempted, except for a *probe*: one delivery each [`PROBE_EVERY`], the one whose
//! write moves the time of the next probe. A probe that the service answers closes the breaker. The other deliveries *park* their steps: a
//! parked step is `retrying` without an attempt, and is due again at a time on record.
//!
//! A step waits half as long as the breaker has been open, up to all of it, within [`PROBE_EVERY`] and [`LONGEST_PARKED`]. After the
//! breaker has closed, every parked compensation is due within the longest of these waits. Only then do other steps begin, spread
//! over as long again. So refunds come before charges, and the backlog does not meet the service all at once.
//!
//! The breaker is one item, which exists only after it was opened once. A closed breaker costs no write. Steps of all workflows
//! that name the same service share it.

use super::{
    item::{Item, Key, attribute},
    parts::millis,
    timestamp::Timestamp,
    transition::{Change, Condition, Transition, Write},
};
use serde_json::Value;
use std::time::Duration;

/// After how many attempts of one process that failed in a row, without any other end between them, the process opens the breaker.
/// If 7 % of the calls fail by chance, at 100 calls a second, that happens once in an hour and a half; if 1 % do, once in years.
pub const FAILURES_TO_OPEN: u32 = 5;

/// Within which time these failures fall. Five attempts that hang for half a minute each do; those of a single compensation that the
/// service never answers do not, once its backoff has grown, so it does not hold up all others again and again.
pub const FAILURES_WITHIN: Duration = Duration::from_secs(4 * 60);

/// The time between two probes. It is also the shortest time for which other steps wait after the breaker has closed.
pub const PROBE_EVERY: Duration = Duration::from_secs(10);

/// The longest time for which a step is parked. Its half is [`LONGEST_HIDDEN`](super::timer::LONGEST_HIDDEN), so in a long outage no
/// parked message counts as in flight.
pub const LONGEST_PARKED: Duration = Duration::from_secs(4 * 60);

/// How long a process relies on what it has read. So a process reads the breaker at most once a second, however many steps it runs.
pub const CACHED_FOR: Duration = Duration::from_secs(1);

/// How much longer than the longest wait other steps wait after an outage. A process that has not read yet that the breaker is closed
/// parks a compensation a second later, and for a second longer.
const UNTIL_ALL_KNOW: Duration = Duration::from_secs(2 * CACHED_FOR.as_secs());

/// The breaker of a service, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// The service is called.
    Closed {
        /// Since when, and from when on steps that are no compensations begin; `None` if it never was open.
        reopened: Option<Reopened>,
    },
    /// The service is not called.
    Open(Open),
}

/// An open breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// When it was opened.
    pub since: Timestamp,
    /// The earliest time of the next probe.
    pub probe_at: Timestamp,
}

/// The end of an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reopened {
    /// When the breaker was closed.
    pub at: Timestamp,
    /// When the first step begins that is no compensation.
    pub steps_from: Timestamp,
}

/// What the breaker lets a step do that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It may run.
    Free,
    /// It may run as the probe, if it is the first to [claim](claim_probe) that.
    Probe(Open),
    /// It waits until this time.
    Parked(Timestamp),
}

/// What the end of an attempt says about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It did what it was asked for, or turned that down: a declined card, a rate limit.
    Answered,
    /// It may not be there: a timeout, or a retryable error of the service.
    Failed,
    /// Neither: a panic, an error of something else, or an attempt that did not need the service.
    Neither,
}

impl Breaker {
    /// The breaker that was never open.
    pub const CLOSED: Self = Self::Closed { reopened: None };

    /// Reads the breaker's item. What cannot be read counts as closed.
    pub fn of(item: &Item) -> Self {
        let time = |name| item.get(name).and_then(Value::as_i64).map(Timestamp::from_millis);
        if let (Some(since), Some(probe_at)) = (time(attribute::OPENED_AT), time(attribute::PROBE_AT)) {
            return Self::Open(Open { since, probe_at });
        }
        let reopened = time(attribute::CLOSED_AT).zip(time(attribute::STEPS_FROM));
        Self::Closed { reopened: reopened.map(|(at, steps_from)| Reopened { at, steps_from }) }
    }

    /// Whether it holds no step back, and none is due any more that it has held back.
    pub fn lets_all_pass(&self, now: Timestamp) -> bool {
        match self {
            Self::Open(_) => false,
            Self::Closed { reopened: None } => true,
            // As long again for those that are parked until then, and once more for messages that are late.
            Self::Closed { reopened: Some(Reopened { at, steps_from }) } => {
                *steps_from + 2 * steps_from.since(*at) <= now
            }
        }
    }

    /// Decides what a step may do. `random` is a random number in `0.0..1.0`.
    pub fn passage(&self, is_compensation: bool, now: Timestamp, random: f64) -> Passage {
        match self {
            Self::Open(open) if open.probe_at <= now => Passage::Probe(*open),
            Self::Open(open) => Passage::Parked(open.parked_until(now, random)),
            Self::Closed { reopened: Some(reopened) } if !is_compensation && now < reopened.steps_from => {
                let spread = reopened.steps_from.since(reopened.at);
                Passage::Parked(reopened.steps_from + spread.mul_f64(random))
            }
            Self::Closed { .. } => Passage::Free,
        }
    }

    /// Since when a new task has had to wait for the service, or since [`LONGEST_PARKED`] if it is longer; `None` if it need not wait. After an
    /// outage it waits until the compensations have had their turn. A breaker whose probe is overdue is not known to be right: nothing that
    /// waits is left to probe, so the next task has to.
    pub fn out_since(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Open(open) if now < open.probe_at + PROBE_EVERY => Some(open.since),
            Self::Closed { reopened: Some(Reopened { at, steps_from }) } if now < *steps_from => {
                Some(at.before(steps_from.since(*at).saturating_sub(UNTIL_ALL_KNOW)))
            }
            Self::Open(_) | Self::Closed { .. } => None,
        }
    }
}

impl Open {
    /// The longest wait of a step that is parked now.
    fn longest_wait(&self, now: Timestamp) -> Duration {
        now.since(self.since).clamp(PROBE_EVERY, LONGEST_PARKED)
    }

    /// Until when a step is parked. `random` is a random number in `0.0..1.0`.
    pub fn parked_until(&self, now: Timestamp, random: f64) -> Timestamp {
        now + self.longest_wait(now).mul_f64(f64::midpoint(1.0, random))
    }
}

fn key(service: &str) -> Key {
    Key::Breaker(service.to_owned())
}

/// Opens the breaker of a service, unless it is open.
pub fn open(service: &str, now: Timestamp) -> Transition {
    let mut changes = vec![millis(attribute::OPENED_AT, now), millis(attribute::PROBE_AT, now + PROBE_EVERY)];
    changes.extend([attribute::CLOSED_AT, attribute::STEPS_FROM].map(Change::Remove));
    Transition::of("open_breaker", Write::update(key(service), Condition::Absent(attribute::OPENED_AT), changes))
}

/// Claims the probe that is due, which moves the next one. Only the first claim is granted. One whose answer is lost is refused when
/// it is repeated, and the next probe follows [`PROBE_EVERY`] later.
pub fn claim_probe(service: &str, open: &Open, now: Timestamp) -> Transition {
    let due = Condition::Is(attribute::PROBE_AT, open.probe_at.as_millis().into());
    let changes = vec![millis(attribute::PROBE_AT, now + PROBE_EVERY)];
    Transition::of("claim_probe", Write::update(key(service), stands(open).and(due), changes))
}

/// Closes the breaker after a probe that the service has answered.
pub fn close(service: &str, open: &Open, now: Timestamp) -> Transition {
    let steps_from = now + open.longest_wait(now) + UNTIL_ALL_KNOW;
    let mut changes = vec![millis(attribute::CLOSED_AT, now), millis(attribute::STEPS_FROM, steps_from)];
    changes.extend([attribute::OPENED_AT, attribute::PROBE_AT].map(Change::Remove));
    Transition::of("close_breaker", Write::update(key(service), stands(open), changes))
}

/// The breaker has been open since the same time.
fn stands(open: &Open) -> Condition {
    Condition::Is(attribute::OPENED_AT, open.since.as_millis().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::timer::{LONGEST_HIDDEN, Wait},
        testing::{MemoryStore, fixtures::at},
    };
    use proptest::prelude::*;

    const SERVICE: &str = "gateway";

    fn apply(store: &MemoryStore, transition: &Transition) -> bool {
        store.apply_observed(transition, |_| ()).unwrap().is_written()
    }

    fn read(store: &MemoryStore) -> Breaker {
        Breaker::of(&store.item(&key(SERVICE)))
    }

    fn opened(seconds: i64) -> Open {
        Open { since: at(seconds), probe_at: at(seconds) + PROBE_EVERY }
    }

    #[test]
    fn breaker_is_opened_once_probed_once_and_closed_once() {
        let store = MemoryStore::default();
        assert_eq!(read(&store), Breaker::CLOSED);
        assert!(apply(&store, &open(SERVICE, at(0))));
        assert!(!apply(&store, &open(SERVICE, at(1))), "it is open");
        assert_eq!(read(&store), Breaker::Open(opened(0)));
        let first = opened(0);
        assert!(apply(&store, &claim_probe(SERVICE, &first, at(12))));
        assert!(!apply(&store, &claim_probe(SERVICE, &first, at(12))), "somebody else was quicker");
        assert_eq!(read(&store), Breaker::Open(Open { probe_at: at(22), ..first }));
        assert!(apply(&store, &close(SERVICE, &first, at(60))));
        assert_eq!(read(&store), Breaker::Closed { reopened: Some(Reopened { at: at(60), steps_from: at(122) }) });
        assert!(!apply(&store, &close(SERVICE, &first, at(61))), "it is closed");
        assert!(apply(&store, &open(SERVICE, at(70))));
        assert!(!apply(&store, &close(SERVICE, &first, at(71))), "this probe belongs to the outage before");
        assert_eq!(read(&store), Breaker::Open(opened(70)));
    }

    #[test]
    fn steps_wait_after_the_end_of_an_outage_until_every_parked_compensation_was_due() {
        let breaker = Breaker::Closed { reopened: Some(Reopened { at: at(60), steps_from: at(120) }) };
        let of_step = |now, random| breaker.passage(false, at(now), random);
        assert_eq!(breaker.passage(true, at(61), 0.5), Passage::Free);
        assert_eq!([0.0, 0.5].map(|random| of_step(61, random)), [Passage::Parked(at(120)), Passage::Parked(at(150))]);
        assert_eq!(of_step(120, 0.5), Passage::Free);
        assert_eq!([239, 240].map(|now| breaker.lets_all_pass(at(now))), [false, true]);
    }

    #[test]
    fn breaker_whose_probe_is_overdue_is_not_known_to_be_open() {
        let breaker = Breaker::Open(opened(0));
        assert_eq!([0, 19, 20].map(|now| breaker.out_since(at(now))), [Some(at(0)), Some(at(0)), None]);
        assert_eq!(Breaker::CLOSED.out_since(at(0)), None);
    }

    #[test]
    fn new_task_would_wait_until_the_compensations_have_had_their_turn() {
        let store = MemoryStore::default();
        apply(&store, &open(SERVICE, at(0)));
        apply(&store, &close(SERVICE, &opened(0), at(70)));
        assert_eq!([70, 141, 142].map(|now| read(&store).out_since(at(now))), [Some(at(0)), Some(at(0)), None]);
    }

    #[test]
    fn probe_is_due_after_ten_seconds() {
        let passages = [9, 10].map(|now| Breaker::Open(opened(0)).passage(false, at(now), 0.0));
        assert_eq!(passages, [Passage::Parked(at(14)), Passage::Probe(opened(0))]);
    }

    #[test]
    fn message_of_a_step_that_is_parked_in_a_long_outage_is_not_in_flight() {
        assert_eq!(LONGEST_PARKED / 2, LONGEST_HIDDEN);
        let (now, open) = (at(3_600), opened(0));
        assert_eq!(Wait::of(open.parked_until(now, 0.001).since(now)), Wait::Delayed);
    }

    proptest! {
        #[test]
        fn parked_compensation_is_due_before_other_steps_begin(
            parked in 0i64..10_000, more in -1i64..10_000, random in 0.0f64..1.0,
        ) {
            let (open, closed_at) = (opened(0), at(parked + more));
            let due = open.parked_until(at(parked), random);
            let store = MemoryStore::default();
            apply(&store, &super::open(SERVICE, at(0)));
            apply(&store, &close(SERVICE, &open, closed_at));
            let Breaker::Closed { reopened: Some(reopened) } = read(&store) else { panic!("it is open") };
            prop_assert!(due <= reopened.steps_from);
        }
    }
}
