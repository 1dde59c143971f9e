//! Checkouts that are under way at the same time, each of which may die, and the books when all have ended.

use super::trail;
use futures::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use stepwell_tests::{
    api::Api,
    crash::Switch,
    shop::{self, STEPS},
    stack::{Product, Stack},
    until_within,
};
use tokio::sync::{Mutex, MutexGuard};

const STOCK: i64 = 10_000;
const PRICE_CENTS: i64 = 2_500;

/// A message whose worker died comes back after 35 s at most, and a checkout dies twice at most.
const PATIENCE: Duration = Duration::from_secs(240);

/// How often checkouts are started anew for wishes that were not granted. Once is enough, but which death comes first is
/// chance.
const ROUNDS: usize = 4;

/// A point at which a checkout is to die.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wish {
    pub(super) point: String,
    /// A death on the way to that point, which no checkout passes otherwise.
    pub(super) after_death_at: Option<String>,
}

impl Wish {
    pub(super) fn first(point: String) -> Self {
        Self { point, after_death_at: None }
    }
}

/// The checkouts of one test. They buy the same product, and are alone on the stack.
pub(super) struct Crowd {
    stack: Stack,
    switch: Switch,
    product: Product,
    started: i64,
    _alone: MutexGuard<'static, ()>,
}

struct Checkout {
    task: String,
    email: String,
}

impl Crowd {
    pub(super) async fn new() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        let alone = ONE_AT_A_TIME.lock().await;
        let stack = Stack::from_env().await;
        one_message_a_batch(&stack).await;
        let product = stack.product(PRICE_CENTS, STOCK).await;
        Self { stack, switch: Switch::cleared(), product, started: 0, _alone: alone }
    }

    /// Runs one checkout, and answers with the points that it has passed.
    pub(super) async fn points_of_one(&mut self, token: &str) -> BTreeSet<String> {
        let checkouts = self.run(1, token).await;
        self.passed(&checkouts[0].task)
    }

    /// The points that a task has passed.
    pub(super) fn passed(&self, task: &str) -> BTreeSet<String> {
        let passed: BTreeSet<String> = self.switch.passed(task).into_iter().collect();
        assert!(!passed.is_empty(), "nothing was recorded: is this a stack of STEPWELL_BUILD=crash-points?");
        passed
    }

    /// Where each task has died, in order.
    pub(super) fn deaths(&self) -> BTreeMap<String, Vec<String>> {
        self.switch.deaths()
    }

    /// Runs checkouts until one has died at each of these points.
    pub(super) async fn grant(&mut self, token: &str, wishes: Vec<Wish>) {
        let mut left = wishes;
        for _ in 0..ROUNDS {
            for Wish { point, after_death_at } in &left {
                self.switch.want(point, usize::from(after_death_at.is_some()));
            }
            let on_the_way = left.iter().filter_map(|wish| wish.after_death_at.as_ref());
            on_the_way.for_each(|point| self.switch.want(point, 0));
            // A checkout that has not died yet dies at the next point that is wanted. So with as many checkouts as
            // points none can be left.
            self.run(left.len(), token).await;
            let wanted = self.switch.wanted();
            left.retain(|wish| wanted.contains(&wish.point));
            if left.is_empty() {
                return;
            }
        }
        panic!("no checkout has come to these points: {left:#?}");
    }

    /// Starts so many checkouts at once, waits until nothing of them is under way, and checks each of them.
    async fn run(&mut self, count: usize, token: &str) -> Vec<Checkout> {
        let checkouts = (0..count).map(|number| self.start(number, token));
        let checkouts = join_all(checkouts).await;
        self.started += i64::try_from(count).unwrap();
        until_within(PATIENCE, "all messages to be worked and acknowledged", async || {
            let queues = join_all(STEPS.map(|step| self.stack.messages(step, ""))).await;
            queues.iter().all(Vec::is_empty).then_some(())
        })
        .await;

        let deaths = self.deaths();
        for checkout in &checkouts {
            let died_at = deaths.get(&checkout.task).map_or(&[][..], Vec::as_slice);
            self.check(checkout, died_at).await;
        }
        assert_eq!(self.product.stock().await, STOCK - self.started, "stock goes down once for each checkout");
        assert_eq!(self.stack.messages("dead_letters", "").await.len(), 0, "nothing is given up on");
        checkouts
    }

    async fn start(&self, number: usize, token: &str) -> Checkout {
        let email = format!("customer-{}-{}-{number}@example.com", self.product.id, self.started);
        let request = shop::request(&[(self.product.id, PRICE_CENTS, 1)], token, &email);
        Checkout { task: self.stack.api.start(&request).await, email }
    }

    /// That a checkout came right: complete, one charge, one reservation, one order, a letter; and that its audit trail
    /// tells of its deaths.
    async fn check(&self, Checkout { task, email }: &Checkout, died_at: &[String]) {
        let what = format!("the checkout {task}, which died at {died_at:?}");
        let status = self.stack.api.order_status(task).await;
        assert_eq!(status["status"], "completed", "{what}: {status}");
        assert_eq!(self.stack.charges(task).await, [self.product.total_cents(1)], "{what}");
        assert_eq!(self.stack.of_task("reservations", task).await.len(), 1, "{what}");
        assert_eq!(self.stack.orders(task).await.len(), 1, "{what}");
        assert!(!self.stack.mails_to(email).await.is_empty(), "{what} left no letter");

        let details = self.stack.api.details(task).await;
        assert_eq!(details.states(), STEPS.map(|step| (step, "complete")), "{what}");
        trail::check(&what, &details, &self.switch.passed(task), died_at);
    }
}

/// From now on a function is given one message at a time, so that it dies for one checkout only.
async fn one_message_a_batch(stack: &Stack) {
    const MAPPINGS: &str = "/2015-03-31/event-source-mappings/";
    let lambda = Api::new(&stack.endpoint);
    let mappings = lambda.get(MAPPINGS).await.expect(200);
    let mappings = mappings["EventSourceMappings"].as_array().expect("mappings");
    assert!(mappings.len() >= STEPS.len(), "{mappings:?}");
    for mapping in mappings {
        let path = format!("{MAPPINGS}{}", mapping["UUID"].as_str().expect("a mapping's id"));
        let request = lambda.request("PUT", &path).header("content-type", "application/json");
        let changed = lambda.answer(request.body(r#"{"BatchSize":1}"#)).await;
        assert_eq!(changed.json()["BatchSize"], 1, "{}", changed.text);
    }
}
