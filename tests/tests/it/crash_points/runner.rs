//! Runs concurrent checkouts, kills each at its crash point, and reconciles them when all have ended.

use super::{
    flow::{Checkout, Flow, LAST},
    trail,
};
use aws_config::BehaviorVersion;
use checkout::testing::steps;
use futures::future::join_all;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use stepwell::Actor;
use stepwell_aws::client_from_env;
use stepwell_tests::{
    crash::Switch,
    stack::{Stack, TemporaryProduct},
    until_within,
};
use tokio::sync::{Mutex, MutexGuard};

const STOCK: i64 = 10_000;
const PRICE_CENTS: i64 = 2_500;

/// The timeout of an invocation and the visibility timeout: this long after a death the next worker starts. It is the
/// same for all steps, and the shortest in the template.
const INVOCATION_SECONDS: u32 = 15;

/// A checkout dies twice at most, and sixty of them share a machine.
const OVERDUE_AFTER: Duration = Duration::from_secs(240);

/// The rounds in which checkouts are started for targets that none has hit. One round is usually enough, but which
/// checkout dies first depends on timing.
const ROUNDS: usize = 4;

/// What disables and enables an event source mapping.
const DISABLED: &str = r#"{"Enabled":false}"#;
const ENABLED: &str = r#"{"Enabled":true}"#;

/// A crash point at which a checkout has to die.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CrashTarget {
    pub(super) point: String,
    /// An earlier death, without which no checkout reaches the point.
    pub(super) after_death_at: Option<String>,
}

impl CrashTarget {
    pub(super) fn first(point: String) -> Self {
        Self { point, after_death_at: None }
    }
}

/// The checkouts of one test. They buy the same product, and nothing else runs on the stack. Data of earlier runs may
/// be left on it.
pub(super) struct CrashRunner {
    stack: Stack,
    switch: Switch,
    product: TemporaryProduct,
    started: usize,
    kept: usize,
    /// The number of messages at the beginning, in each queue for messages that cannot be handled.
    given_up_on: [usize; 2],
    _alone: MutexGuard<'static, ()>,
}

impl CrashRunner {
    pub(super) async fn new() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        let alone = ONE_AT_A_TIME.lock().await;
        let stack = Stack::from_env().await;
        // Batches of one message, so that a function dies for one checkout only.
        set_mappings(&stack, "", r#"{"BatchSize":1,"Enabled":true}"#).await;
        stop_the_watchdog(&stack).await;
        shorten_invocations(&stack).await;
        let product = stack.product(PRICE_CENTS, STOCK).await;
        let given_up_on = given_up_on(&stack).await;
        Self { stack, switch: Switch::cleared(), product, started: 0, kept: 0, given_up_on, _alone: alone }
    }

    /// Runs one checkout; answers with the crash points that it has passed.
    pub(super) async fn points_of_one(&mut self, flow: Flow) -> BTreeSet<String> {
        let checkouts = self.run(flow, 1, &[]).await;
        self.passed(&checkouts[0].task)
    }

    /// The crash points that a task has passed.
    pub(super) fn passed(&self, task: &str) -> BTreeSet<String> {
        let passed: BTreeSet<String> = self.switch.passed(task).into_iter().collect();
        assert!(!passed.is_empty(), "nothing was recorded: is this a stack of STEPWELL_BUILD=crash-points?");
        passed
    }

    /// The points at which each task has died, in order.
    pub(super) fn deaths(&self) -> BTreeMap<String, Vec<String>> {
        self.switch.deaths()
    }

    /// Runs checkouts until one has died at each of these points.
    pub(super) async fn grant(&mut self, flow: Flow, wishes: Vec<CrashTarget>) {
        let mut left = wishes;
        for _ in 0..ROUNDS {
            // A checkout dies at the first wanted point that it reaches. So with as many checkouts as points none can
            // be left.
            self.run(flow, left.len(), &left).await;
            let wanted = self.switch.wanted();
            left.retain(|wish| wanted.contains(&wish.point));
            if left.is_empty() {
                return;
            }
        }
        panic!("no checkout has come to these points: {left:#?}");
    }

    /// Starts this many checkouts concurrently, waits for their end, and checks each of them.
    async fn run(&mut self, flow: Flow, count: usize, wishes: &[CrashTarget]) -> Vec<Checkout> {
        let first = self.started;
        self.started += count;
        match flow {
            Flow::Cancelled { undone_last } => {
                set_mappings(&self.stack, LAST, DISABLED).await;
                set_mappings(&self.stack, undone_last, DISABLED).await;
            }
            Flow::Shipped => {}
            Flow::Bought | Flow::BoughtAtTheSecondTry | Flow::Declined => self.want(wishes),
        }
        let checkouts = (first..self.started).map(|number| self.start(number, flow));
        let checkouts = join_all(checkouts).await;
        if let Flow::Cancelled { undone_last } = flow {
            self.until_worked(&steps::before(LAST)).await;
            self.want(wishes);
            self.cancel(&checkouts).await;
            let mut others = steps::compensations();
            others.retain(|&compensation| compensation != undone_last);
            self.until_worked(&others).await;
            set_mappings(&self.stack, undone_last, ENABLED).await;
            self.until_worked(&steps::compensations()).await;
            set_mappings(&self.stack, LAST, ENABLED).await;
        }
        if flow == Flow::Shipped {
            self.until_worked(&steps::all()).await;
            self.ship(&checkouts).await;
            self.want(wishes);
            self.cancel(&checkouts).await;
        }
        self.until_worked(&steps_and_compensations()).await;

        let deaths = self.deaths();
        for checkout in &checkouts {
            let died_at = deaths.get(&checkout.task).map_or(&[][..], Vec::as_slice);
            let what = format!("the checkout {}, which died at {died_at:?}", checkout.task);
            flow.check(&what, &self.stack, &self.product, checkout).await;
            let details = self.stack.api.details(&checkout.task).await;
            trail::check(&what, flow, &details, &self.switch.passed(&checkout.task), died_at);
        }
        self.kept += if flow.keeps_its_unit() { count } else { 0 };
        let left = usize::try_from(self.product.stock().await).expect("stock is never negative");
        assert_eq!(left, STOCK as usize - self.kept, "stock goes down once for each checkout that keeps its unit");
        assert_eq!(given_up_on(&self.stack).await, self.given_up_on, "nothing more is given up on");
        checkouts
    }

    fn want(&self, wishes: &[CrashTarget]) {
        for CrashTarget { point, after_death_at } in wishes {
            self.switch.want(point, usize::from(after_death_at.is_some()));
        }
        let on_the_way = wishes.iter().filter_map(|wish| wish.after_death_at.as_ref());
        on_the_way.for_each(|point| self.switch.want(point, 0));
    }

    async fn start(&self, number: usize, flow: Flow) -> Checkout {
        let email = format!("customer-{}-{number}@example.com", self.product.id);
        let mut request = self.product.request(1, flow.token());
        request["checkout"]["customer_info"]["email"] = email.clone().into();
        Checkout { task: self.stack.api.start(&request).await, email }
    }

    async fn ship(&self, checkouts: &[Checkout]) {
        let operator = self.stack.operator();
        for Checkout { task, .. } in checkouts {
            let why = json!({"reason": "parcel 17"});
            operator.post(&format!("/orders/{task}/ship"), &why).await.expect(200);
        }
    }

    async fn cancel(&self, checkouts: &[Checkout]) {
        let config = aws_config::defaults(BehaviorVersion::latest()).load().await;
        let client = client_from_env(&config).expect("the stack's variables");
        let actor = Actor::new("tests", "the customer thinks better of it").expect("a reason");
        for checkout in checkouts {
            client.cancel(checkout.task.parse().expect("a task id"), &actor).await.expect("it can be cancelled");
        }
    }

    /// Waits until these queues hold no message that is due soon, visible or hidden. Messages move forward in this order only.
    async fn until_worked(&self, queues: &[&str]) {
        until_within(OVERDUE_AFTER, "all messages to be worked and acknowledged", async || {
            for queue in queues {
                if self.stack.messages(queue, "").await.iter().any(is_due_soon) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
}

fn steps_and_compensations() -> Vec<&'static str> {
    [steps::all(), steps::compensations()].concat()
}

/// Whether a message is due before the checkouts are overdue. That of a declined checkout waits for a quarter of an hour, until its
/// compensation begins.
fn is_due_soon(message: &Value) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    message["VisibleAt"].as_f64().expect("a time") < (now + OVERDUE_AFTER).as_secs_f64()
}

/// The number of messages in each queue for messages that cannot be handled.
async fn given_up_on(stack: &Stack) -> [usize; 2] {
    let queues = stack.queues_with_messages().await;
    ["dead_letters", "undeliverable"].map(|queue| queues.get(queue).map_or(0, Vec::len))
}

/// Changes the event source mappings of the functions whose names end so.
async fn set_mappings(stack: &Stack, function: &str, change: &str) {
    const MAPPINGS: &str = "/2015-03-31/event-source-mappings/";
    let mappings = stack.aws("lambda", ("GET", MAPPINGS), &[], String::new()).await.expect(200);
    let mappings = mappings["EventSourceMappings"].as_array().expect("mappings");
    let of_function = |arn: &str| arn.ends_with(function);
    let chosen: Vec<_> =
        mappings.iter().filter(|mapping| mapping["FunctionArn"].as_str().is_some_and(of_function)).collect();
    assert!(!chosen.is_empty(), "no mapping for {function} in {mappings:?}");
    for mapping in chosen {
        let path = format!("{MAPPINGS}{}", mapping["UUID"].as_str().expect("a mapping's id"));
        stack.aws("lambda", ("PUT", &path), &[], change.to_owned()).await.expect(200);
    }
}

async fn stop_the_watchdog(stack: &Stack) {
    let rule = json!({"Name": stack.function("watchdog")});
    call(stack, "events", "AWSEvents.DisableRule", &rule).await;
    let described: Value =
        serde_json::from_str(&call(stack, "events", "AWSEvents.DescribeRule", &rule).await).expect("JSON");
    assert_eq!(described["State"], "DISABLED");
}

async fn shorten_invocations(stack: &Stack) {
    for step in steps_and_compensations() {
        let path = format!("/2015-03-31/functions/{}/configuration", stack.function(step));
        let timeout = json!({"Timeout": INVOCATION_SECONDS}).to_string();
        stack.aws("lambda", ("PUT", &path), &[], timeout).await.expect(200);
        let hidden = json!({"VisibilityTimeout": INVOCATION_SECONDS.to_string()});
        let attributes = json!({"QueueUrl": stack.queue_url(step), "Attributes": hidden});
        call(stack, "sqs", "AmazonSQS.SetQueueAttributes", &attributes).await;
    }
}

async fn call(stack: &Stack, service: &str, operation: &str, body: &Value) -> String {
    let answer = stack.aws(service, ("POST", "/"), &[("x-amz-target", operation)], body.to_string()).await;
    assert_eq!(answer.status, 200, "{operation}: {}", answer.text);
    answer.text
}
