//! The faults, and how likely each is in one run.

use fastrand::Rng;
use std::time::Duration;

macro_rules! faults {
    ($($(#[$doc:meta])+ $fault:ident $name:literal $most:literal,)+) => {
        /// A fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])+ $fault,)+
        }

        impl Fault {
            /// All faults.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$fault,)+];
            /// The number of faults.
            pub const COUNT: usize = [$($name,)+].len();
            const NAMES: [&'static str; Self::COUNT] = [$($name,)+];
            /// The highest probability per occasion that a run may draw.
            const MOST: [f64; Self::COUNT] = [$($most,)+];
        }
    };
}

faults! {
    /// The process dies between two calls.
    Crash "crash" 0.08,
    /// A call is refused, and has no effect.
    Throttle "throttled call" 0.15,
    /// A call takes effect, but its answer is lost.
    LostAnswer "lost answer" 0.15,
    /// A call takes effect, its answer is lost, and the SDK makes it again.
    Repeated "call made twice by the SDK" 0.15,
    /// A call takes very long, or its process pauses for a while.
    Stall "stall" 0.04,
    /// A read returns some items from before another's write and some from after it.
    TornRead "torn read" 0.3,
    /// SQS takes a message and never delivers it.
    LostMessage "lost message" 0.15,
    /// SQS delivers a message twice. A store that holds its own messages delivers one again before its visibility
    /// timeout is over.
    Duplicate "duplicate" 0.3,
    /// A message takes long to arrive in its queue.
    Delay "delay" 0.3,
    /// A message that was acknowledged is delivered again.
    LostAck "lost acknowledgement" 0.2,
    /// The answer of a whole invocation is lost.
    LostBatch "lost batch answer" 0.15,
    /// An acknowledgement with an old receipt handle takes effect.
    StaleAck "acknowledgement with an old receipt" 1.0,
    /// An invocation is frozen, and continues when its deadline and its lease may be over.
    Zombie "frozen invocation" 0.3,
    /// Somebody sends an invalid or premature message.
    Poison "poison message" 1.0,
    /// An operator acts on a task, at any moment.
    Operator "operator at a bad moment" 1.0,
}

impl Fault {
    /// The fault's name in reports.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// The deployed stack's `maxReceiveCount`, which few messages reach in one run.
const MAX_RECEIVES: u32 = 100;

/// The probability of each fault in one run.
#[derive(Clone, Debug)]
pub(super) struct Odds {
    odds: [f64; Fault::COUNT],
    trouble: Duration,
    skew_millis: u64,
    max_receives: u32,
    whole: bool,
}

impl Odds {
    /// Draws the odds of a run. Each fault is left out of about every second run.
    pub(super) fn random(rng: &mut Rng) -> Self {
        let odds = Fault::MOST.map(|most| if rng.bool() { 0.0 } else { most * rng.f64().powi(2) });
        let skew_millis = if rng.bool() { 0 } else { rng.u64(0..=5_000) };
        let max_receives = if rng.u8(0..4) == 0 { rng.u32(2..=6) } else { MAX_RECEIVES };
        Self { odds, trouble: Duration::from_secs(rng.u64(1..=600)), skew_millis, max_receives, whole: false }
    }

    /// The same for a whole run. The store holds the messages, so none is lost, and an old receipt does nothing.
    pub(super) fn whole(mut self) -> Self {
        for never in [Fault::LostMessage, Fault::StaleAck] {
            self.odds[never as usize] = 0.0;
        }
        Self { whole: true, ..self }
    }

    /// The same for a run over a backend in one process. No network is there to lose or repeat a call, and all that reads sees what is
    /// committed. A message comes again only at the end of its delivery, and is given up as the backend itself says. A crash ends all
    /// that runs, so it has to be rarer.
    pub(super) fn local(self) -> Self {
        let mut local = self.whole();
        for never in [Fault::LostAnswer, Fault::Repeated, Fault::TornRead, Fault::Duplicate, Fault::Delay] {
            local.odds[never as usize] = 0.0;
        }
        local.odds[Fault::Crash as usize] /= 4.0;
        Self { max_receives: MAX_RECEIVES, ..local }
    }

    /// Whether the run is whole: each settlement is one transaction, and the store holds the messages.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The probability of the fault on each occasion.
    pub(super) fn of(&self, fault: Fault) -> f64 {
        self.odds[fault as usize]
    }

    /// The period of faults, from the beginning of the run.
    pub(super) fn trouble(&self) -> Duration {
        self.trouble
    }

    /// The number of receives after which a message becomes a dead letter.
    pub(super) fn max_receives(&self) -> u32 {
        self.max_receives
    }

    /// Whether a message may become a dead letter within a run.
    pub(super) fn gives_up(&self) -> bool {
        self.max_receives < MAX_RECEIVES
    }

    /// The largest clock error of a process, in milliseconds.
    pub(super) fn skew_millis(&self) -> u64 {
        self.skew_millis
    }
}
