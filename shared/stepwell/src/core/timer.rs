//! Timers: how a message waits.
//!
//! | the wait | how |
//! |---|---|
//! | up to [`LONGEST_HIDDEN`] | the message is hidden, and counts as in flight. SQS allows 120,000 of these a queue |
//! | up to [`LONGEST_DELAY`] | a successor is sent with a delay, which is not in flight, and the message is deleted |
//! | longer | the message is deleted, and its step is listed in the index ([`IndexPartition::Timer`]). The timer feeder sends a message, with a delay of exactly the rest, [`FED_BEFORE`] ahead of its time |
//!
//! So what is planned (a retry, a redrive, the begin of a compensation) begins on time, even if the feeder stands still for
//! 13 minutes, and nothing that waits for long is in flight. The watchdog is only the net for messages that are lost.

use super::{
    index::{IndexPartition, IndexPosition},
    item::{Key, attribute},
    parts::is_state,
    transition::{Change, Condition, Transition, Write},
};
use crate::core::{id::TaskId, state::StepState, timestamp::Timestamp};
use std::time::Duration;

/// The longest wait for which a message is hidden.
pub const LONGEST_HIDDEN: Duration = Duration::from_secs(2 * 60);

/// The longest wait for which a message is sent with a delay: SQS's limit.
pub const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

/// How long before its time the feeder sends the message of a timer. It is less than [`LONGEST_DELAY`] by the minute that lies
/// between two runs of the feeder.
pub const FED_BEFORE: Duration = Duration::from_secs(14 * 60);

/// How a message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It is hidden.
    Hidden,
    /// Its successor is sent with a delay.
    Delayed,
    /// Its step is listed in the index.
    Listed,
}

impl Wait {
    /// How a message waits for this long.
    pub fn of(wait: Duration) -> Self {
        if wait <= LONGEST_HIDDEN {
            Self::Hidden
        } else if wait <= LONGEST_DELAY {
            Self::Delayed
        } else {
            Self::Listed
        }
    }
}

/// Lists a step, so that the feeder sends its message in time for `until`. The step waits for its retry at that time, or it has
/// failed and its task is recovered at that time.
pub fn set_timer(task: TaskId, step: &str, until: Timestamp) -> Transition {
    let retries = Condition::Is(attribute::NEXT_RETRY_AT, until.as_millis().into());
    let waits = Condition::Any(vec![is_state(StepState::Retrying).and(retries), is_state(StepState::Error)]);
    let place = IndexPosition {
        task,
        step: Some(step.to_owned()),
        partition: IndexPartition::Timer,
        at: until.before(FED_BEFORE),
    };
    Transition::of("set_timer", Write::update(place.key(), waits, place.changes().into()))
}

/// Takes a step off the index, unless it was listed anew.
pub fn take_timer(place: &IndexPosition) -> Transition {
    Transition::of("take_timer", Write::update(place.key(), place.is_there(), unlisted().into()))
}

/// The changes that take a step off the index.
pub(super) fn unlisted() -> [Change; 2] {
    [attribute::STATUS_SHARD, attribute::LISTED_AT].map(Change::Remove)
}

impl IndexPosition {
    /// The time of the timer that is listed here.
    pub fn timer_at(&self) -> Timestamp {
        self.at + FED_BEFORE
    }

    /// The item that is listed.
    pub fn key(&self) -> Key {
        match &self.step {
            Some(step) => Key::Step(self.task, step.clone()),
            None => Key::Task(self.task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_hidden_then_delayed_then_listed() {
        let of = |seconds| Wait::of(Duration::from_secs(seconds));
        assert_eq!([0, 120].map(of), [Wait::Hidden; 2]);
        assert_eq!([121, 900].map(of), [Wait::Delayed; 2]);
        assert_eq!([901, 86_400].map(of), [Wait::Listed; 2]);
        assert_eq!(Wait::of(LONGEST_HIDDEN + Duration::from_millis(1)), Wait::Delayed);
    }

    #[test]
    fn feeder_can_delay_a_message_by_all_that_is_left() {
        let longest = FED_BEFORE;
        assert_eq!(Wait::of(longest), Wait::Delayed);
        assert_eq!(LONGEST_DELAY - longest, Duration::from_secs(60));
    }
}
