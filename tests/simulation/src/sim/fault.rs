//! What can go wrong, and how likely it is in one run.

use fastrand::Rng;
use std::time::Duration;

macro_rules! faults {
    ($($(#[$doc:meta])+ $fault:ident $name:literal $most:literal,)+) => {
        /// Something that goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])+ $fault,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$fault,)+];
            /// How many there are.
            pub const COUNT: usize = [$($name,)+].len();
            const NAMES: [&'static str; Self::COUNT] = [$($name,)+];
            /// The highest probability a run may random for it, for each occasion.
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
    /// A call takes very long, or its process stands still for a while.
    Stall "stall" 0.04,
    /// A read sees some items as they were before, others as they are after another's write.
    TornRead "torn read" 0.3,
    /// SQS takes a message and never delivers it.
    LostMessage "lost message" 0.15,
    /// SQS delivers a message twice; a store that holds its own messages hands one out again before its time.
    Duplicate "duplicate" 0.3,
    /// A message takes long to arrive.
    Delay "delay" 0.3,
    /// A message that was acknowledged is delivered again.
    LostAck "lost acknowledgement" 0.2,
    /// The answer of a whole invocation is lost.
    LostBatch "lost batch answer" 0.15,
    /// An acknowledgement with an old receipt takes effect.
    StaleAck "acknowledgement with an old receipt" 1.0,
    /// An invocation is frozen, and goes on when its time, and its lease, may be over.
    Zombie "frozen invocation" 0.3,
    /// Somebody puts a message into a queue that does not belong there, or not yet.
    Poison "poison message" 1.0,
    /// An operator acts on a task, at any moment.
    Operator "operator at a bad moment" 1.0,
}

impl Fault {
    /// The fault in words.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// As often as in the deployed stack: no message is handed out so often in one run.
const PATIENT: u32 = 100;

/// How likely each fault is in one run.
#[derive(Clone, Debug)]
pub(super) struct Odds {
    odds: [f64; Fault::COUNT],
    trouble: Duration,
    skew_millis: u64,
    most_receives: u32,
    whole: bool,
}

impl Odds {
    /// The odds of one run: each fault is left out of about every second one.
    pub(super) fn random(rng: &mut Rng) -> Self {
        let odds = Fault::MOST.map(|most| if rng.bool() { 0.0 } else { most * rng.f64().powi(2) });
        let skew_millis = if rng.bool() { 0 } else { rng.u64(0..=5_000) };
        let most_receives = if rng.u8(0..4) == 0 { rng.u32(2..=6) } else { PATIENT };
        Self { odds, trouble: Duration::from_secs(rng.u64(1..=600)), skew_millis, most_receives, whole: false }
    }

    /// The same for a run whose settlements are whole. The store holds the messages, so none is lost, and no receipt of
    /// an earlier delivery is good for anything.
    pub(super) fn whole(mut self) -> Self {
        for never in [Fault::LostMessage, Fault::StaleAck] {
            self.odds[never as usize] = 0.0;
        }
        Self { whole: true, ..self }
    }

    /// Whether the settlements of the run are whole, and the store holds the messages.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// How likely the fault is on each occasion.
    pub(super) fn of(&self, fault: Fault) -> f64 {
        self.odds[fault as usize]
    }

    /// How long faults happen, from the beginning of the run.
    pub(super) fn trouble(&self) -> Duration {
        self.trouble
    }

    /// How often a message is handed out before SQS gives it up.
    pub(super) fn most_receives(&self) -> u32 {
        self.most_receives
    }

    /// Whether SQS may give up on a message in the time that a run takes.
    pub(super) fn gives_up(&self) -> bool {
        self.most_receives < PATIENT
    }

    /// How far a process's clock may be off, in milliseconds.
    pub(super) fn skew_millis(&self) -> u64 {
        self.skew_millis
    }
}
