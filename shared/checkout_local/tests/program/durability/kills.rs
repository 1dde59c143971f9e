//! The program is killed again and again while customers buy.
//!
//! It is killed at any moment, also while it starts and takes back what an earlier process held. A step during which five processes in a
//! row die is given up by design, and waits for a person. So every fourth process lives until it has completed a checkout that was
//! begun under it, and by then it has done what it took back.

use super::{
    books::{self, Books},
    customers::{CUSTOMERS, Customers},
    number, seed,
};
use crate::running::{self, Output};
use checkout::Product;
use fastrand::Rng;
use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::tempdir;

/// The time from the start of a process to its end, in milliseconds.
const LIVES: std::ops::Range<u64> = 20..400;

/// Every so many processes one lives until it has completed a checkout.
const LONG_LIFE: u64 = 4;

/// The signal that kills it.
const SIGKILL: i32 = 9;

/// The longest time for such a life.
const PATIENCE: Duration = Duration::from_secs(180);

fn start(data: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_checkout_local"));
    running::serve(&mut command, data, "0");
    command.args(["--checkouts-per-email", "0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
#[ignore = "it takes a minute: tests/run.sh one_machine"]
fn books_are_right_after_the_program_was_killed_at_any_moment() {
    let (kills, seed) = (number("STEPWELL_KILLS", 50), seed());
    let mut rng = Rng::with_seed(seed);
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    // Enough for all, however long the test is. Nothing is told yet, so nothing has to be kept.
    let plenty =
        |product: Product| Product { stock: if product.stock > 100 { 1_000_000 } else { product.stock }, ..product };
    let products: Vec<Product> = books::products().into_iter().map(plenty).collect();
    assert_eq!(books::audit(&data, &products, &[]).faults, [""; 0]);

    let customers = Customers::default();
    thread::scope(|scope| {
        let _leave = customers.leave_at_the_end();
        let shopping: Vec<_> = (0..CUSTOMERS)
            .map(|_| {
                let rng = rng.fork();
                scope.spawn(|| customers.buy(rng))
            })
            .collect();
        let open = || {
            let mut process = start(&data);
            let mut output = Output::new(process.stdout.take().unwrap());
            let customers = &customers;
            let reading = scope.spawn(move || {
                if let Some((address, _)) = output.addresses() {
                    customers.come_to(address);
                }
                output
            });
            move || {
                process.kill().unwrap();
                let status = process.wait().unwrap();
                drop(reading.join().unwrap());
                if status.signal() != Some(SIGKILL) {
                    customers.complain(format!("the program has ended by itself: {status}"));
                }
            }
        };
        for kill in 1..=kills {
            let (begun, completed) = (Instant::now(), customers.completed());
            let end = open();
            thread::sleep(Duration::from_millis(rng.u64(LIVES)));
            // Each customer may have had one that was begun before.
            let has_lived = || customers.completed() > completed + CUSTOMERS;
            while kill % LONG_LIFE == 0 && !has_lived() && begun.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(1));
            }
            if kill % LONG_LIFE == 0 && !has_lived() {
                customers.complain(format!("a process has completed no checkout in {} s", PATIENCE.as_secs()));
            }
            end();
        }
        let end = open();
        customers.close();
        for customer in shopping {
            customer.join().unwrap();
        }
        end();
    });
    let (told, complaints) = customers.into_told();
    let Books { checkouts, complete, mut faults } = books::audit(&data, &products, &told);
    eprintln!("{kills} kills, {checkouts} checkouts of which {complete} are complete, {} answers", told.len());
    faults.extend(complaints);
    assert_eq!(faults, [""; 0], "STEPWELL_SEED={seed}");
}
