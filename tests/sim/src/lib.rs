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
