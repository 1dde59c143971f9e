//! A process that calls services until it completes or dies.

use super::{
    faults::{Event, Faults, Service, Trouble, stream},
    locked,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stepwell::{Runtime, TaskId, Timestamp};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use uuid::Uuid;

/// The date at which every run begins.
const BEGINNING: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// The virtual time since the start of a run, and the random numbers of the engine's jitter.
#[derive(Clone, Debug)]
pub struct VirtualTime {
    start: Instant,
    draws: Arc<Mutex<fastrand::Rng>>,
}

impl VirtualTime {
    /// Starts at 0.
    pub fn new(seed: u64) -> Self {
        Self { start: Instant::now(), draws: Arc::new(Mutex::new(stream(seed, [3, 0, 0, 0]))) }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Runtime for VirtualTime {
    fn now(&self) -> Timestamp {
        BEGINNING + self.elapsed()
    }

    fn random(&self) -> f64 {
        locked(&self.draws).f64()
    }

    fn new_task_id(&self) -> TaskId {
        TaskId::new()
    }
}

/// The process that starts a checkout draws the task's id from the seed.
impl Runtime for &ServiceCaller {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn random(&self) -> f64 {
        self.clock.random()
    }

    fn new_task_id(&self) -> TaskId {
        self.task_id()
    }
}

/// The history of one checkout over all processes that work for it.
#[derive(Debug, Default)]
pub struct Trail {
    /// The checkout's number, from 0.
    pub number: usize,
    tries: [AtomicU32; Service::COUNT],
    first_trouble: Mutex<Option<Duration>>,
}

impl Trail {
    /// The trail of a checkout that has made no call.
    pub fn new(number: usize) -> Arc<Self> {
        Arc::new(Self { number, ..Self::default() })
    }

    /// The time since the start at which it first met a failure that no client's retry mended, or lost a process.
    pub fn first_trouble(&self) -> Option<Duration> {
        *locked(&self.first_trouble)
    }

    fn trouble(&self, now: Duration) {
        locked(&self.first_trouble).get_or_insert(now);
    }
}

/// How the client library of a service retries. It is the same for every design.
struct ClientSettings {
    /// The number of tries of a call, the first included.
    tries: u32,
    /// The time without an answer after which a try fails.
    timeout: Duration,
    /// The wait after the first try. It doubles after each further one.
    first_wait: Duration,
    /// The shortest and the longest latency of an answer, in milliseconds.
    latency_ms: (u64, u64),
}

impl ClientSettings {
    /// AWS's settings as in `stepwell_aws::aws_config`; for the gateway, the defaults of payment libraries.
    const fn of(service: Service) -> Self {
        let (timeout, first_wait) = (Duration::from_secs(3), Duration::from_millis(50));
        match service {
            Service::Gateway => Self {
                tries: 3,
                timeout: Duration::from_secs(5),
                first_wait: Duration::from_millis(500),
                latency_ms: (200, 800),
            },
            Service::Mail => Self { tries: 5, timeout, first_wait, latency_ms: (50, 150) },
            _ => Self { tries: 5, timeout, first_wait, latency_ms: (5, 20) },
        }
    }
}

/// One invocation of a function for one checkout.
#[derive(Debug)]
pub struct ServiceCaller {
    /// The trail of the checkout that it works for.
    pub trail: Arc<Trail>,
    clock: VirtualTime,
    faults: Arc<Faults>,
    death: Notify,
}

impl ServiceCaller {
    /// Starts a process.
    pub fn start(clock: &VirtualTime, faults: &Arc<Faults>, trail: &Arc<Trail>) -> Arc<Self> {
        let (clock, faults, trail) = (clock.clone(), Arc::clone(faults), Arc::clone(trail));
        Arc::new(Self { trail, clock, faults, death: Notify::new() })
    }

    /// The id of the checkout's task: as if all were made at the beginning, and the rest from the seed.
    pub fn task_id(&self) -> TaskId {
        const VERSION_7: u128 = 0x7 << 76 | 0b10 << 62;
        const RANDOM: u128 = 0xfff << 64 | (u64::MAX >> 2) as u128;
        let bits = self.faults.random(self.trail.number, Service::EngineTable, u32::MAX).u128(..);
        let made_at = u128::from(BEGINNING.as_millis().unsigned_abs()) << 80;
        TaskId::from(Uuid::from_u128(made_at | VERSION_7 | (bits & RANDOM)))
    }

    /// Runs the work of the process. Answers with `None` where the process died at a call or ran out of time; then
    /// nothing of it runs any more.
    pub async fn live<R>(&self, limit: Duration, work: impl Future<Output = R>) -> Option<R> {
        tokio::select! {
            biased;
            () = self.death.notified() => {}
            done = tokio::time::timeout(limit, work) => if let Ok(done) = done { return Some(done) },
        }
        self.trail.trouble(self.clock.elapsed());
        None
    }

    /// Calls a service, as often as its client tries. `effect` runs when a try reaches the service.
    ///
    /// # Errors
    /// How the last try failed.
    pub async fn call<F: Future>(&self, service: Service, effect: impl Fn() -> F) -> Result<F::Output, Trouble> {
        let settings = ClientSettings::of(service);
        let mut wait = settings.first_wait;
        let mut left = settings.tries;
        loop {
            let trouble = match self.attempt(service, &settings, &effect).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            left -= 1;
            if left == 0 {
                self.trail.trouble(self.clock.elapsed());
                return Err(trouble);
            }
            sleep(wait).await;
            wait *= 2;
        }
    }

    async fn attempt<F: Future>(
        &self,
        service: Service,
        settings: &ClientSettings,
        effect: &impl Fn() -> F,
    ) -> Result<F::Output, Trouble> {
        let number = self.trail.tries[service as usize].fetch_add(1, Ordering::Relaxed);
        let (least, most) = settings.latency_ms;
        let latency = self.faults.random(self.trail.number, service, number).u64(least..=most);
        let event = self.faults.at(self.trail.number, service, number, self.clock.elapsed());
        match event {
            Event::Fails(Trouble::NoAnswer | Trouble::AnswerLost) => {}
            _ => sleep(Duration::from_millis(latency)).await,
        }
        match event {
            Event::Well => Ok(effect().await),
            Event::Fails(trouble @ (Trouble::Throttled | Trouble::Failed)) => Err(trouble),
            Event::Fails(Trouble::NoAnswer) => {
                sleep(settings.timeout).await;
                Err(Trouble::NoAnswer)
            }
            Event::Fails(Trouble::AnswerLost) => {
                effect().await;
                sleep(settings.timeout).await;
                Err(Trouble::AnswerLost)
            }
            Event::DiesBefore => self.die().await,
            Event::DiesAfter => {
                effect().await;
                self.die().await
            }
        }
    }

    /// Ends the process: [`Self::live`] drops all of its work.
    async fn die(&self) -> ! {
        self.death.notify_one();
        loop {
            std::future::pending::<()>().await;
        }
    }
}
