//! Whatever was answered survives `kill -9` and a power cut, and the books are right afterwards.
//!
//! Both tests take a minute, so they run only when asked for: `tests/run.sh one_machine`, and longer in `tests/long.sh`. They print the
//! seed of their random numbers.
//!
//! | variable | what it is | default |
//! |---|---|---|
//! | `STEPWELL_KILLS` | how often the program is killed | 50 |
//! | `STEPWELL_CUTS` | how often the power is cut | 500 |
//! | `STEPWELL_SEED` | the seed. It repeats the choices of the test, and not what runs beside each other when | random |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod books;
mod customers;
mod disk;
mod kills;
mod power_cuts;
mod recording;
#[path = "../running/mod.rs"]
mod running;

/// The number in this variable, or the default.
fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is '{text}', and has to be a whole number")),
        Err(_) => default,
    }
}

/// The seed of a test. It is printed.
fn seed() -> u64 {
    let seed = number("STEPWELL_SEED", fastrand::u64(..1 << 32));
    eprintln!("STEPWELL_SEED={seed}");
    seed
}
