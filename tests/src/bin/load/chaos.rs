//! The faults and cancellations of a load test.

use crate::now;
use checkout::testing::steps;
use clap::Args;
use fastrand::Rng;
use futures::future::{join, join_all};
use serde_json::{Value, json};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    process::Command,
    time::Duration,
};
use stepwell::{Actor, TaskId, Timestamp, Workflow};
use stepwell_aws::{Client, aws_config, client_from_env};
use stepwell_tests::{
    cpu,
    proxy::{Counts, Proxy, Rates},
    stack::Stack,
};

/// The faults of a load test. The seed repeats the random numbers, but not the timing, which depends on the machine.
#[derive(Args)]
pub(crate) struct ChaosOptions {
    /// Disturb the run with the faults of the options below. The functions reach DynamoDB through a proxy meanwhile;
    /// after an interrupted run, take the stack down and up again.
    #[arg(long)]
    pub(crate) faults: bool,
    /// The seed of the random numbers.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "faults")]
    seed: u64,
    /// Throttled requests to DynamoDB, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, requires = "faults")]
    throttled: f64,
    /// Requests to DynamoDB that fail before they take effect, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0, requires = "faults")]
    refused: f64,
    /// Requests to DynamoDB that take effect and are answered with an error, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, requires = "faults")]
    answer_lost: f64,
    /// Requests to DynamoDB that take effect and lose their connection, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, requires = "faults")]
    dropped: f64,
    /// The average time between two kills of a worker, in seconds; 0 for none.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, requires = "faults")]
    kill_every: f64,
    /// Messages to steps that are sent once more, at any time, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 30.0, requires = "faults")]
    copies: f64,
    /// The average time between two purges of a step's queue, in seconds; 0 for none. The messages in it are lost until
    /// the watchdog finds their steps.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, requires = "faults")]
    purge_every: f64,
    /// Checkouts that are cancelled while they run, or just after, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, requires = "faults")]
    cancelled: f64,
}

/// The time from the start of a checkout within which its messages are sent again.
const COPIED_WITHIN: Duration = Duration::from_secs(10);

/// The time from the start of a checkout within which it is cancelled.
const CANCELLED_WITHIN: Duration = Duration::from_secs(2);

pub(crate) struct Chaos {
    stack: Stack,
    proxy: Proxy,
    operator: Client,
    workflow: Workflow,
    began: Timestamp,
    dice: RefCell<Rng>,
    /// The average time between two kills, in seconds.
    kill_every: f64,
    purge_every: f64,
    /// A probability, from 0 to 1.
    copies: f64,
    cancelled: f64,
    /// The number of kills by function.
    kills: RefCell<BTreeMap<String, u32>>,
    purges: Cell<u32>,
    copied: Cell<u32>,
    cancellations: Cell<u32>,
    too_late: Cell<u32>,
}

/// The faults that were injected, and their visible effects.
pub(crate) struct Done {
    dynamodb: Counts,
    kills: BTreeMap<String, u32>,
    purges: u32,
    copies: u32,
    /// The cancellations made, and those refused because the checkout was complete.
    cancellations: (u32, u32),
    /// Messages that the watchdog sent.
    woken: u64,
}

impl Chaos {
    /// Puts the proxy between the functions and DynamoDB.
    pub(crate) async fn begin(stack: &Stack, options: &ChaosOptions) -> Self {
        let rates = Rates {
            throttled: options.throttled / 100.0,
            refused: options.refused / 100.0,
            answer_lost: options.answer_lost / 100.0,
            dropped: options.dropped / 100.0,
        };
        let proxy = Proxy::start(&stack.endpoint, rates, options.seed).await;
        stack.point_dynamodb_at(Some(&proxy.url)).await;
        Self {
            stack: stack.clone(),
            proxy,
            operator: client_from_env(&aws_config().await).expect("the stack's environment"),
            workflow: checkout::workflow().expect("the checkout's workflow"),
            began: now(),
            dice: RefCell::new(Rng::with_seed(options.seed)),
            kill_every: options.kill_every,
            purge_every: options.purge_every,
            copies: options.copies / 100.0,
            cancelled: options.cancelled / 100.0,
            kills: RefCell::default(),
            purges: Cell::default(),
            copied: Cell::default(),
            cancellations: Cell::default(),
            too_late: Cell::default(),
        }
    }

    /// Kills random workers and purges random queues. Never returns.
    pub(crate) async fn run(&self) {
        join(self.kill_workers(), self.purge_queues()).await;
    }

    async fn kill_workers(&self) {
        loop {
            self.pause(self.kill_every).await;
            let workers = cpu::workers(&self.stack);
            let Some((process, function)) = self.dice.borrow_mut().choice(workers) else { continue };
            let kill = Command::new("kill").args(["-KILL", &process.to_string()]).status();
            // The worker may just have ended by itself.
            if kill.is_ok_and(|status| status.success()) {
                *self.kills.borrow_mut().entry(function).or_default() += 1;
            }
        }
    }

    async fn purge_queues(&self) {
        loop {
            self.pause(self.purge_every).await;
            let step = self.dice.borrow_mut().choice(steps::all()).expect("steps");
            self.stack.purge(step).await;
            self.purges.update(|purges| purges + 1);
        }
    }

    /// Waits for this many seconds on average; for ever if it is 0.
    async fn pause(&self, seconds: f64) {
        if seconds <= 0.0 {
            return std::future::pending().await;
        }
        let pause = self.dice.borrow_mut().f64() * 2.0 * seconds;
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
    }

    /// Sends a checkout's messages a second time at random moments, and cancels some checkouts. Returns whether it has cancelled this one.
    pub(crate) async fn disturb(&self, task: &str, request: &Value) -> bool {
        let id: TaskId = task.parse().expect("a task's id");
        let plan = self.workflow.plan_for(request);
        let copies =
            plan.steps().iter().filter(|_| self.happens(self.copies)).map(|step| (self.within(COPIED_WITHIN), step));
        let copies = copies.collect::<Vec<_>>().into_iter().map(async |(delay, step)| {
            tokio::time::sleep(delay).await;
            let message = json!(step.message(id)).to_string();
            self.stack.send(&step.name, &message).await;
            self.copied.update(|copied| copied + 1);
        });
        let cancelled = self.happens(self.cancelled).then(|| self.within(CANCELLED_WITHIN));
        let cancellation = async {
            let Some(delay) = cancelled else { return false };
            tokio::time::sleep(delay).await;
            let actor = Actor::new("load", "the customer has changed their mind").expect("a name and a reason");
            let is_cancelled = self.operator.cancel(id, &actor).await.is_ok();
            let counter = if is_cancelled { &self.cancellations } else { &self.too_late };
            counter.update(|count| count + 1);
            is_cancelled
        };
        join(join_all(copies), cancellation).await.1
    }

    fn happens(&self, probability: f64) -> bool {
        self.dice.borrow_mut().f64() < probability
    }

    fn within(&self, time: Duration) -> Duration {
        time.mul_f64(self.dice.borrow_mut().f64())
    }

    /// Removes the proxy.
    pub(crate) async fn end(self) -> Done {
        self.stack.point_dynamodb_at(None).await;
        let minutes = u32::try_from(now().since(self.began).as_secs().div_ceil(60)).expect("less than a year");
        Done {
            dynamodb: self.proxy.counts(),
            kills: self.kills.into_inner(),
            purges: self.purges.get(),
            copies: self.copied.get(),
            cancellations: (self.cancellations.get(), self.too_late.get()),
            woken: sent_by_watchdog(&self.stack.logs_of("watchdog", minutes)),
        }
    }
}

/// The number of messages that the watchdog has sent, from its log: each of its lines there ends with a JSON object.
fn sent_by_watchdog(log: &str) -> u64 {
    let said = log.lines().filter_map(|line| serde_json::from_str(line.get(line.find('{')?..)?).ok());
    said.filter_map(|said: Value| said["sent"].as_u64()).sum()
}

impl Done {
    pub(crate) fn print(&self) {
        let Counts { requests, throttled, refused, answer_lost, dropped } = self.dynamodb;
        println!("  requests to DynamoDB     {requests:>8}");
        println!("    throttled              {throttled:>8}");
        println!("    failed before effect   {refused:>8}");
        println!("    failed after effect    {answer_lost:>8}");
        println!("    connection lost after  {dropped:>8}");
        println!("  workers killed           {:>8}", self.kills.values().sum::<u32>());
        for (function, kills) in &self.kills {
            println!("    {function:<26} {kills:>4}");
        }
        println!("  messages sent twice      {:>8}", self.copies);
        println!("  queues purged            {:>8}", self.purges);
        println!("  messages of the watchdog {:>8}", self.woken);
        let (cancelled, too_late) = self.cancellations;
        println!("  told to cancel           {cancelled:>8}, and {too_late} more when it was over");
    }

    pub(crate) fn json(&self) -> Value {
        let Counts { requests, throttled, refused, answer_lost, dropped } = self.dynamodb;
        json!({
            "dynamodb": {
                "requests": requests, "throttled": throttled, "refused": refused,
                "answer_lost": answer_lost, "dropped": dropped,
            },
            "kills": self.kills,
            "copies": self.copies,
            "purges": self.purges,
            "watchdog_messages": self.woken,
            "cancelled": self.cancellations.0,
            "cancelled_too_late": self.cancellations.1,
        })
    }
}
