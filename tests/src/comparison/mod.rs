//! The same customers, the same services and the same faults, for a checkout written in one piece and for ours.
//!
//! Everything runs in this process, in virtual time, and depends on the seed alone: the [`customers`], the [`world`] in
//! which their money and goods are counted, and the [`faults`] between a process and the services it calls. What differs
//! is who does the work: [`monolith`], a request handler as it is written without an engine, or [`engine`], our client
//! and workers over the deployed steps, with the engine's own table and queues failing as often as
//! everything else does.
//!
//! # What is in our favour by construction
//!
//! * Our page sends its request again, under one idempotency key, until it has an answer, for ten minutes. The page in
//!   front of the checkout in one piece does not, since that would charge twice: [`Design::OnePieceSentAgain`] does it all
//!   the same and shows what comes of it.
//! * Our customer waits: a checkout that meets an outage is done when that is over. The one in one piece has to answer
//!   within the API's 29 seconds. How long ours took is in the table.
//! * One whose step has used up its attempts is redriven by itself some minutes later, as `checkout.yaml` says. Until then
//!   `GET /order_status` says `failed`, with a way to retry: whoever looks just then may be told of a failure that mends
//!   itself. How many these are is in the table.
//! * Few customers cannot be served, one in a thousand; in a real shop far more cards are declined. Both checkouts fail
//!   for these alike, and no engine changes that.
//! * There are as many workers as there are messages, one message each. A backlog after an outage is not in the figures.
//!
//! # What is in its favour
//!
//! * It calls five services, ours two more, which fail as often.
//! * Its calls are tried again by the same client libraries, under idempotency keys, and it puts back and refunds what it
//!   can: see [`monolith`].

pub mod customers;
pub mod engine;
pub mod faults;
pub mod messages;
pub mod monolith;
pub mod process;
pub mod report;
pub mod services;
pub mod tables;
pub mod world;

use customers::Customer;
use engine::Engine;
use faults::Faults;
use process::{Clock, Process, Trail};
use report::{Checkout, End, Figures};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use stepwell::{Runtime, Workflow};
use tokio::{
    runtime::Builder,
    task::{JoinHandle, LocalSet, spawn_local},
    time::{Instant, sleep},
};
use world::World;

/// How the checkout is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// In one piece; the page sends its request once.
    Monolith,
    /// In one piece; the page sends its request again until it succeeds, as ours does.
    OnePieceSentAgain,
    /// As a workflow of ours.
    Stepwell,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What everything depends on.
    pub seed: u64,
    /// How many customers there are.
    pub checkouts: usize,
    /// The virtual time over which they come.
    pub span: Duration,
    /// One customer in so many cannot be served.
    pub unservable_every: usize,
    /// The workflow file of ours.
    pub workflow: String,
}

impl Settings {
    /// So many customers within a day, and the checkout as it is deployed.
    pub fn new(seed: u64, checkouts: usize) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let workflow = include_str!("../../../shared/checkout/src/checkout.yaml").to_owned();
        Self { seed, checkouts, span: DAY, unservable_every: 1_000, workflow }
    }

    /// With a workflow file that gives every step so many attempts.
    #[must_use]
    pub fn with_max_attempts(mut self, limit: u32) -> Self {
        const KEY: &str = "default_retry_limit:";
        let lines = self.workflow.lines().map(|line| match line.split_once(KEY) {
            Some((before, _)) => format!("{before}{KEY} {limit}\n"),
            None => format!("{line}\n"),
        });
        self.workflow = lines.collect();
        self
    }

    /// The rate of faults at which the checkout in one piece fails this part of the time, as near as so many customers
    /// can tell.
    pub fn calibrate(&self, failing: f64) -> f64 {
        const ROUNDS: usize = 14;
        let wanted = failing * self.checkouts as f64;
        let (mut low, mut high) = (0.0, 0.25);
        let tried = (0..ROUNDS).map(|_| {
            let rate = (low + high) / 2.0;
            let failed = self.run(Design::Monolith, rate).failed as f64;
            *(if failed < wanted { &mut low } else { &mut high }) = rate;
            (rate, (failed - wanted).abs())
        });
        // Another rate moves all outages, so more faults need not be more failures: the last rate is not always the best.
        tried.min_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0.0, |(rate, _)| rate)
    }

    /// Runs one way to write a checkout at a rate of faults, and counts what came of it.
    pub fn run(&self, way: Design, rate: f64) -> Figures {
        let customers = customers::customers(self.seed, self.checkouts, self.span, self.unservable_every);
        // Outages go on beginning for some time after the last customer has come.
        let faults = Arc::new(Faults::new(self.seed, rate, self.span + Duration::from_secs(2 * 60 * 60)));
        let checkouts = in_virtual_time(async {
            let clock = Clock::new(self.seed);
            match way {
                Design::Monolith => in_one_piece(customers, &clock, &faults, Duration::ZERO).await,
                Design::OnePieceSentAgain => in_one_piece(customers, &clock, &faults, engine::PATIENCE).await,
                Design::Stepwell => {
                    let workflow = checkout::workflow_from(&self.workflow).expect("a workflow file");
                    with_the_engine(customers, &clock, &faults, workflow).await
                }
            }
        });
        Figures::of(&checkouts)
    }
}

async fn in_one_piece(
    customers: Vec<Customer>,
    clock: &Clock,
    faults: &Arc<Faults>,
    patience: Duration,
) -> Vec<Checkout> {
    let world = Arc::<World>::default();
    let tasks = customers.iter().cloned().enumerate().map(|(number, customer)| {
        let (world, clock, faults) = (Arc::clone(&world), clock.clone(), Arc::clone(faults));
        spawn_local(async move {
            sleep(customer.arrives).await;
            let trail = Trail::new(number);
            let until = Instant::now() + patience;
            let mut pause = Duration::from_secs(1);
            let end = loop {
                let process = Process::start(&clock, &faults, &trail);
                match monolith::handle(&world, &process, &customer.request, clock.now()).await {
                    Ok(()) => break End::Ordered,
                    Err(why) if Instant::now() + pause > until => break End::Failed(why),
                    Err(_) => sleep(pause).await,
                }
                pause = (pause * 2).min(engine::MAX_INSPECTION_INTERVAL);
            };
            (end, trail.first_trouble(), clock.elapsed())
        })
    });
    let ended = all(tasks.collect()).await;
    let standing = world.standing(customers.len());
    let checkouts = ended.into_iter().zip(&customers).zip(standing);
    let checkouts = checkouts.map(|(((end, trouble, at), customer), standing)| {
        let servable = customer.unservable.is_none();
        Checkout { servable, end, redriven: false, standing, trouble, ended: Some(at) }
    });
    checkouts.collect()
}

async fn with_the_engine(
    customers: Vec<Customer>,
    clock: &Clock,
    faults: &Arc<Faults>,
    workflow: Workflow,
) -> Vec<Checkout> {
    let world = Arc::<World>::default();
    let engine = Engine::new(&world, clock, faults, workflow);
    let started = clock.now();
    let pages = customers.iter().cloned().enumerate().map(|(number, customer)| {
        let engine = Arc::clone(&engine);
        spawn_local(async move {
            sleep(customer.arrives).await;
            let trail = Trail::new(number);
            (engine.order(&customer, &trail).await, trail)
        })
    });
    let watchdog = spawn_local({
        let engine = Arc::clone(&engine);
        async move { engine.watch().await }
    });
    let pages = all(pages.collect()).await;
    engine.close();
    watchdog.await.expect("the watchdog does not panic");
    assert_eq!(engine.buried(), [""; 0], "nothing here sends what belongs to no step");
    let mut checkouts = Vec::new();
    let standing = world.standing(customers.len());
    for (((task, trail), customer), standing) in pages.into_iter().zip(&customers).zip(standing) {
        let engine::Ended { end, at, redriven } = engine.end_of(task).await;
        checkouts.push(Checkout {
            servable: customer.unservable.is_none(),
            end,
            redriven,
            standing,
            trouble: trail.first_trouble(),
            ended: at.map(|at| at.since(started)),
        });
    }
    checkouts
}

/// What a lock guards. A run that panics is over, so nobody sees what was half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for all of them.
async fn all<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await.expect("no task of a run panics"));
    }
    done
}

/// Runs a future on a clock that stands still while there is something to do, and jumps to the next timer when not.
fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, future)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About the rate at which the checkout in one piece fails 15 % of the time.
    const RATE: f64 = 0.055;

    /// Fewer customers, of whom more cannot be served: one in forty.
    fn settings(checkouts: usize) -> Settings {
        let span = Duration::from_secs(6 * 60 * 60);
        Settings { unservable_every: 40, span, ..Settings::new(7, checkouts) }
    }

    #[test]
    fn ours_fails_only_for_customers_who_cannot_be_served() {
        let ours = settings(400).run(Design::Stepwell, RATE);
        assert_eq!((ours.failed, ours.unservable), (10, 10), "{:?}", ours.reasons);
        assert_eq!((ours.charged_without_order, ours.needing_hands, ours.not_recovered), (0, 0, 0));
        assert!(ours.met_failures > 80 && ours.recovered > 70, "nothing was put to the test: {ours:?}");
    }

    #[test]
    fn in_one_piece_it_fails_for_others_too_and_leaves_things_behind() {
        let once = settings(400).run(Design::Monolith, RATE);
        assert!(once.failed > 30 && once.unservable == 10, "{once:?}");
        assert!(once.charged_without_order > 0 && once.needing_hands > once.charged_without_order, "{once:?}");
        let again = settings(400).run(Design::OnePieceSentAgain, RATE);
        assert!(again.failed < once.failed && again.needing_hands >= once.needing_hands, "{again:?}");
    }

    #[test]
    fn without_faults_nothing_differs() {
        for way in [Design::Monolith, Design::OnePieceSentAgain, Design::Stepwell] {
            let figures = settings(80).run(way, 0.0);
            assert_eq!((figures.failed, figures.unservable, figures.met_failures), (2, 2, 0), "{way:?}");
            assert_eq!(figures.needing_hands, 0, "{way:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_figures() {
        for way in [Design::OnePieceSentAgain, Design::Stepwell] {
            assert_eq!(settings(150).run(way, RATE), settings(150).run(way, RATE), "{way:?}");
        }
        let other = Settings { seed: 8, ..settings(150) };
        assert_ne!(settings(150).run(Design::Stepwell, RATE), other.run(Design::Stepwell, RATE));
    }

    #[test]
    fn the_rate_is_found_at_which_one_piece_fails_so_often() {
        let settings = settings(400);
        let failed = settings.run(Design::Monolith, settings.calibrate(0.15)).failed;
        assert!((56..=64).contains(&failed), "{failed} of 400");
    }

    #[test]
    fn another_retry_limit_changes_nothing_else() {
        let changed = Settings::new(1, 1).with_max_attempts(7).workflow;
        let plan = checkout::workflow_from(&changed).expect("still a workflow").plan().clone();
        assert!(plan.steps().iter().all(|step| step.max_attempts == 7));
        assert_eq!(plan.steps().len(), checkout::testing::steps::all().len());
    }
}
