//! What goes wrong while the checkouts are made, and who changes their mind.

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

/// What is done to the run. The seed repeats the dice; when what happens is up to the machine.
#[derive(Args)]
pub(crate) struct ChaosOptions {
    /// Disturb the run, as the options below say. The functions are set to reach DynamoDB through a proxy for as long as
    /// it lasts; where it is broken off, take the stack down and up again.
    #[arg(long)]
    pub(crate) faults: bool,
    /// Where the dice start.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "faults")]
    seed: u64,
    /// Of 100 requests to DynamoDB, how many are throttled.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, requires = "faults")]
    throttled: f64,
    /// Of 100 requests to DynamoDB, how many fail before they take effect.
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0, requires = "faults")]
    refused: f64,
    /// Of 100 requests to DynamoDB, how many take effect and are answered with an error.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, requires = "faults")]
    answer_lost: f64,
    /// Of 100 requests to DynamoDB, how many take effect and lose their connection.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, requires = "faults")]
    dropped: f64,
    /// The time between two kills of a worker, in seconds, on average; 0 for none.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, requires = "faults")]
    kill_every: f64,
    /// Of 100 messages to a step, how many come once more, at any time.
    #[arg(long, value_name = "PERCENT", default_value_t = 30.0, requires = "faults")]
    copies: f64,
    /// The time between two purges of a step's queue, in seconds, on average; 0 for none. What waits there is lost, until
    /// the watchdog finds out.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, requires = "faults")]
    purge_every: f64,
    /// Of 100 checkouts, how many are cancelled while they run, or just after.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, requires = "faults")]
    cancelled: f64,
}

/// The copies of a checkout's messages come within this time from its start.
const COPIED_WITHIN: Duration = Duration::from_secs(10);

/// Its customer changes their mind within this time.
const CANCELLED_WITHIN: Duration = Duration::from_secs(2);

pub(crate) struct Chaos {
    stack: Stack,
    proxy: Proxy,
    operator: Client,
    workflow: Workflow,
    began: Timestamp,
    dice: RefCell<Rng>,
    /// In seconds.
    kill_every: f64,
    purge_every: f64,
    /// Of one, not of a hundred.
    copies: f64,
    cancelled: f64,
    /// By function.
    kills: RefCell<BTreeMap<String, u32>>,
    purges: Cell<u32>,
    copied: Cell<u32>,
    cancellations: Cell<u32>,
    too_late: Cell<u32>,
}

/// What has been done, and how much of it showed.
pub(crate) struct Done {
    dynamodb: Counts,
    kills: BTreeMap<String, u32>,
    purges: u32,
    copies: u32,
    /// Cancelled, and asked to be when they were complete already.
    cancellations: (u32, u32),
    /// Messages that the watchdog found missing.
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

    /// Kills a worker every now and then, whatever it is doing, and purges a queue. Never ends by itself.
    pub(crate) async fn run(&self) {
        join(self.kill_workers(), self.purge_queues()).await;
    }

    async fn kill_workers(&self) {
        loop {
            self.pause(self.kill_every).await;
            let workers = cpu::workers(&self.stack);
            let Some((process, function)) = self.dice.borrow_mut().choice(workers) else { continue };
            let kill = Command::new("kill").args(["-KILL", &process.to_string()]).status();
            // It may just have ended by itself.
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

    /// Waits for so many seconds on average; for ever, where it is none.
    async fn pause(&self, seconds: f64) {
        if seconds <= 0.0 {
            return std::future::pending().await;
        }
        let pause = self.dice.borrow_mut().f64() * 2.0 * seconds;
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
    }

    /// Sends a checkout's steps messages a second time, too early or too late, and cancels it, all as the dice say.
    pub(crate) async fn disturb(&self, task: &str, request: &Value) {
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
            let Some(delay) = cancelled else { return };
            tokio::time::sleep(delay).await;
            let actor = Actor::new("load", "the customer has changed their mind").expect("a name and a reason");
            let counter = match self.operator.cancel(id, &actor).await {
                Ok(_) => &self.cancellations,
                Err(_) => &self.too_late,
            };
            counter.update(|count| count + 1);
        };
        join(join_all(copies), cancellation).await;
    }

    fn happens(&self, probability: f64) -> bool {
        self.dice.borrow_mut().f64() < probability
    }

    fn within(&self, time: Duration) -> Duration {
        time.mul_f64(self.dice.borrow_mut().f64())
    }

    /// Takes the proxy away.
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

/// How many messages the watchdog has sent, out of its log: each of its lines there ends with a JSON object.
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
