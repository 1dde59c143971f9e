//! The simulation in all its modes. Runs over the backend `local` are here and not in `stepwell-simulation`, which is built without
//! SQLite.

#![allow(clippy::expect_used, reason = "test support: a panic with a message is what is wanted")]

mod local;

use stepwell_simulation::sim::{self, RunReport};

/// The mode of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Over table and queues in memory. Each settlement is split into calls, in the protocol's order, as on AWS.
    Split,
    /// Over a store in memory that holds its own messages. Each settlement is one call and one transaction.
    Whole,
    /// As split, with processes of two versions in one run.
    TwoVersions,
    /// Over the backend `local` on a real file, in one process that dies as a whole, also at a commit, and is started again.
    Local,
}

impl Mode {
    /// All modes, in their order.
    pub const ALL: [Self; 4] = [Self::Split, Self::Whole, Self::TwoVersions, Self::Local];

    /// The mode's name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Whole => "whole",
            Self::TwoVersions => "two-versions",
            Self::Local => "local",
        }
    }

    /// Makes the run of this seed.
    ///
    /// # Panics
    /// The runtime cannot be built, or no file can be made.
    pub fn run(self, seed: u64, traced: bool) -> RunReport {
        match self {
            Self::Split => sim::run_as(sim::Mode::Split, seed, traced),
            Self::Whole => sim::run_as(sim::Mode::Whole, seed, traced),
            Self::TwoVersions => sim::run_as(sim::Mode::TwoVersions, seed, traced),
            Self::Local => sim::run_on(Box::new(local::SqliteFile::new()), seed, traced),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_simulation::sim::Fault;

    const RUNS: u64 = 150;

    /// What does not happen in one process on one file: there is no network, and a read sees what is committed.
    const OF_A_NETWORK: [Fault; 7] = [
        Fault::LostAnswer,
        Fault::Repeated,
        Fault::TornRead,
        Fault::LostMessage,
        Fault::Duplicate,
        Fault::Delay,
        Fault::StaleAck,
    ];

    #[test]
    fn local_runs_pass_and_meet_every_fault_of_one_machine() {
        let mut struck = [0; Fault::COUNT];
        for seed in 0..RUNS {
            let report = Mode::Local.run(seed, false);
            assert_eq!(report.problem, None, "seed {seed}");
            for (all, one) in struck.iter_mut().zip(report.faults) {
                *all += one;
            }
        }
        let unseen = Fault::ALL.into_iter().zip(struck).filter(|(_, struck)| *struck == 0).map(|(fault, _)| fault);
        assert_eq!(unseen.collect::<Vec<_>>(), OF_A_NETWORK);
    }

    #[test]
    fn same_seed_makes_the_same_local_run() {
        for seed in 0..20 {
            let [first, second] = [Mode::Local.run(seed, true), Mode::Local.run(seed, true)];
            assert!(first.trace.lines().count() > 5, "seed {seed} does something");
            assert_eq!(first.trace, second.trace, "seed {seed}");
        }
    }
}
