//! The comparison: a monolith and Stepwell serve the same customers, over the same services, with the same faults.
//!
//! Everything runs in this process, in virtual time, and depends on the seed alone: the [`customers`], the [`world`]
//! that counts their money and goods, and the [`faults`] between a process and the services it calls. Only the design
//! differs: [`monolith`] is a request handler written without an engine, and [`engine`] is the engine's client and
//! workers over the deployed steps. The engine's own table and queues fail as often as everything else.
//!
//! # What favours Stepwell by construction
//!
//! * Its page resends the request, under one idempotency key, until it has an answer, for ten minutes. The monolith's
//!   page does not, because that would charge twice; [`Design::MonolithResent`] does it all the same and shows what
//!   follows.
//! * Its customer waits: a checkout that meets an outage completes when the outage is over. The monolith has to answer
//!   within the API's 29 seconds. The table shows how long Stepwell took.
//! * The engine redrives a task whose step has used up its attempts some minutes later, as `checkout.yaml` says. Until
//!   then `GET /order_status` says `processing` and when it goes on, so no customer is told of a failure that passes by
//!   itself. The table shows how many these are.
//! * Few customers cannot be served, one in a thousand; in a real shop far more cards are declined. All designs fail
//!   for these alike, and no engine changes that.
//! * There are as many workers as messages, one message each. The figures contain no backlog after an outage.
//!
//! # What favours the monolith
//!
//! * It calls five services. Stepwell calls two more, which fail as often.
//! * The same client libraries retry its calls, under idempotency keys, and it releases and refunds what it can: see
//!   [`monolith`].

pub mod customers;
pub mod engine;
pub mod faults;
pub mod flash_sale;
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
use process::{ServiceCaller, Trail, VirtualTime};
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
use world::ShopWorld;

/// How the checkout is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// A monolith; the page sends its request once.
    Monolith,
    /// A monolith; the page resends its request until it succeeds, as Stepwell's page does.
    MonolithResent,
    /// A Stepwell workflow.
    Stepwell,
}

/// The settings of one comparison.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of all random numbers.
    pub seed: u64,
    /// The number of customers.
    pub checkouts: usize,
    /// The virtual time over which the customers come.
    pub span: Duration,
    /// One customer in this many cannot be served.
    pub unservable_every: usize,
    /// The workflow file of the Stepwell checkout.
    pub workflow: String,
}

impl Settings {
    /// This many customers within a day, with the deployed workflow file.
    pub fn new(seed: u64, checkouts: usize) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let workflow = include_str!("../../../shared/checkout/src/checkout.yaml").to_owned();
        Self { seed, checkouts, span: DAY, unservable_every: 1_000, workflow }
    }

    /// Replaces the workflow's `default_retry_limit`, so that every step has this many attempts.
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

    /// Finds the rate of faults at which the monolith fails this part of the time, as precisely as this number of
    /// customers allows.
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
        // Another rate moves all outages, so more faults need not cause more failures: the last rate is not always the
        // best.
        tried.min_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0.0, |(rate, _)| rate)
    }

    /// Runs one design at a rate of faults, and counts how its checkouts ended.
    pub fn run(&self, design: Design, rate: f64) -> Figures {
        let customers = customers::customers(self.seed, self.checkouts, self.span, self.unservable_every);
        // Outages still begin for two hours after the last customer has come.
        let faults = Arc::new(Faults::new(self.seed, rate, self.span + Duration::from_secs(2 * 60 * 60)));
        let checkouts = in_virtual_time(async {
            let clock = VirtualTime::new(self.seed);
            match design {
                Design::Monolith => run_monolith(customers, &clock, &faults, Duration::ZERO).await,
                Design::MonolithResent => run_monolith(customers, &clock, &faults, engine::RESEND_FOR).await,
                Design::Stepwell => {
                    let workflow = checkout::workflow_from(&self.workflow).expect("a workflow file");
                    run_engine(&Arc::default(), customers, &clock, &faults, workflow).await
                }
            }
        });
        Figures::of(&checkouts)
    }
}

async fn run_monolith(
    customers: Vec<Customer>,
    clock: &VirtualTime,
    faults: &Arc<Faults>,
    patience: Duration,
) -> Vec<Checkout> {
    let world = Arc::<ShopWorld>::default();
    let tasks = customers.iter().cloned().enumerate().map(|(number, customer)| {
        let (world, clock, faults) = (Arc::clone(&world), clock.clone(), Arc::clone(faults));
        spawn_local(async move {
            sleep(customer.arrives).await;
            let trail = Trail::new(number);
            let until = Instant::now() + patience;
            let mut pause = Duration::from_secs(1);
            let end = loop {
                let process = ServiceCaller::start(&clock, &faults, &trail);
                match monolith::handle(&world, &process, &customer.request, clock.now()).await {
                    Ok(()) => break End::Ordered,
                    Err(why) if Instant::now() + pause > until => break End::Failed(why),
                    Err(_) => sleep(pause).await,
                }
                pause = (pause * 2).min(engine::MAX_RESEND_PAUSE);
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

async fn run_engine(
    world: &Arc<ShopWorld>,
    customers: Vec<Customer>,
    clock: &VirtualTime,
    faults: &Arc<Faults>,
    workflow: Workflow,
) -> Vec<Checkout> {
    let engine = Engine::new(world, clock, faults, workflow);
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
    assert_eq!(engine.undeliverable(), [""; 0], "nothing here sends what belongs to no step");
    let mut checkouts = Vec::new();
    let standing = world.standing(customers.len());
    let reconciled = engine.reconcile().await;
    let served = standing.iter().filter(|standing| standing.orders > 0).count();
    assert!(reconciled.judged >= served, "every checkout with a record is judged: {}", reconciled.judged);
    assert_eq!(
        (reconciled.findings, reconciled.not_judged),
        (vec![], vec![]),
        "nothing outside of the saga was broken"
    );
    for (((task, trail), customer), standing) in pages.into_iter().zip(&customers).zip(standing) {
        let engine::EngineEnd { end, at, redriven } = engine.end_of(task).await;
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

/// Locks a value. A panic ends the run, so nobody reads a value that is half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for all tasks.
async fn all<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await.expect("no task of a run panics"));
    }
    done
}

/// Runs a future in virtual time, which advances to the next timer only when no task can run.
fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, future)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About the rate at which the monolith fails 15 % of the time.
    const RATE: f64 = 0.055;

    /// Fewer customers, of whom one in forty cannot be served.
    fn settings(checkouts: usize) -> Settings {
        let span = Duration::from_secs(6 * 60 * 60);
        Settings { unservable_every: 40, span, ..Settings::new(7, checkouts) }
    }

    #[test]
    fn stepwell_fails_only_for_unservable_customers() {
        let ours = settings(400).run(Design::Stepwell, RATE);
        assert_eq!((ours.failed, ours.unservable), (10, 10), "{:?}", ours.reasons);
        assert_eq!((ours.charged_without_order, ours.needing_reconciliation, ours.not_recovered), (0, 0, 0));
        assert!(ours.met_failures > 80 && ours.recovered > 70, "nothing was put to the test: {ours:?}");
    }

    #[test]
    fn monolith_fails_for_servable_customers_too_and_leaves_effects_behind() {
        let once = settings(400).run(Design::Monolith, RATE);
        assert!(once.failed > 30 && once.unservable == 10, "{once:?}");
        assert!(once.charged_without_order > 0 && once.needing_reconciliation > once.charged_without_order, "{once:?}");
        let again = settings(400).run(Design::MonolithResent, RATE);
        assert!(again.failed < once.failed && again.needing_reconciliation >= once.needing_reconciliation, "{again:?}");
    }

    #[test]
    fn without_faults_designs_do_not_differ() {
        for design in [Design::Monolith, Design::MonolithResent, Design::Stepwell] {
            let figures = settings(80).run(design, 0.0);
            assert_eq!((figures.failed, figures.unservable, figures.met_failures), (2, 2, 0), "{design:?}");
            assert_eq!(figures.needing_reconciliation, 0, "{design:?}");
        }
    }

    #[test]
    fn same_seed_gives_the_same_figures() {
        for design in [Design::MonolithResent, Design::Stepwell] {
            assert_eq!(settings(150).run(design, RATE), settings(150).run(design, RATE), "{design:?}");
        }
        let other = Settings { seed: 8, ..settings(150) };
        assert_ne!(settings(150).run(Design::Stepwell, RATE), other.run(Design::Stepwell, RATE));
    }

    #[test]
    fn calibrate_finds_the_rate_at_which_the_monolith_fails_this_often() {
        let settings = settings(400);
        let failed = settings.run(Design::Monolith, settings.calibrate(0.15)).failed;
        assert!((56..=64).contains(&failed), "{failed} of 400");
    }

    #[test]
    fn other_max_attempts_changes_nothing_else() {
        let changed = Settings::new(1, 1).with_max_attempts(7).workflow;
        let plan = checkout::workflow_from(&changed).expect("still a workflow").plan().clone();
        assert!(plan.steps().iter().all(|step| step.max_attempts == 7));
        assert_eq!(plan.steps().len(), checkout::testing::steps::all().len());
    }
}
