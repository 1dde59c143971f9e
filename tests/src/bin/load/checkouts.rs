//! Making the checkouts, and following each to its end.

use crate::{chaos::Chaos, now, orders::Order};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures::future::{OptionFuture, join, join_all};
use serde_json::Value;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::Duration,
};
use stepwell::Timestamp;
use stepwell_tests::{
    api::Answer,
    shop,
    stack::{Item, Stack},
};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Between two looks at the checkouts under way.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// DynamoDB reads at most 100 items in one batch.
const BATCH: usize = 100;

/// How often a request is made again that got no answer, or that of a server in trouble; and after which pause.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// Whom the letters go to.
pub(crate) const EMAIL: &str = "load@example.com";

/// What became of one checkout.
pub(crate) struct Made {
    pub(crate) order: Order,
    /// `None` where the API did not take it.
    pub(crate) task: Option<String>,
    pub(crate) end: End,
}

pub(crate) enum End {
    Complete {
        latency: Duration,
    },
    /// Its customer changed their mind, and all of it was undone.
    Cancelled,
    NotStarted(String),
    Failed(String),
    Lost,
}

/// The checkouts under way, and who waits for the end of each.
type UnderWay = RefCell<HashMap<String, oneshot::Sender<(String, Option<Timestamp>)>>>;

/// How checkouts are made.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) stack: &'a Stack,
    /// What disturbs them.
    pub(crate) chaos: Option<&'a Chaos>,
    /// After this long without an end one counts as lost.
    pub(crate) patience: Duration,
    /// How many are under way at the same time.
    pub(crate) concurrency: u32,
}

impl Load<'_> {
    pub(crate) async fn run(&self, orders: &[Order], what: &str) -> Vec<Made> {
        let (under_way, next) = (UnderWay::default(), Cell::new(0));
        let made = RefCell::new(Vec::with_capacity(orders.len()));
        let worker = async |_| {
            while let Some(order) = orders.get(next.replace(next.get() + 1)) {
                let one = self.make(order, &under_way).await;
                made.borrow_mut().push(one);
            }
        };
        let workers = join_all((0..self.concurrency).map(worker));
        tokio::select! {
            _ = workers => {}
            () = self.watch(&under_way) => {}
            () = show_progress(&made, orders.len(), what) => {}
            Some(()) = OptionFuture::from(self.chaos.map(Chaos::run)) => {}
        }
        eprintln!("{what}: {} of {}", made.borrow().len(), orders.len());
        made.into_inner()
    }

    async fn make(&self, order: &Order, under_way: &UnderWay) -> Made {
        let request = shop::request(&order.lines, "test_success_visa", EMAIL);
        let begin = now();
        let not_started = |why: String| Made { order: order.clone(), task: None, end: End::NotStarted(why) };
        let answer = match self.chaos {
            None => self.stack.api.checkout(&request).await,
            Some(_) => match self.insist(&request).await {
                Ok(answer) => answer,
                Err(why) => return not_started(why),
            },
        };
        if answer.status != 202 {
            return not_started(format!("{} {}", answer.status, answer.text));
        }
        let task = answer.task_id();
        let disturbed = OptionFuture::from(self.chaos.map(|chaos| chaos.disturb(&task, &request)));
        let (end, _) = join(self.follow(&task, begin, under_way), disturbed).await;
        Made { order: order.clone(), task: Some(task), end }
    }

    /// Starts a checkout as a client does that means it: with a key of its own, and again until it is answered.
    async fn insist(&self, request: &Value) -> Result<Answer, String> {
        let key = Uuid::new_v4().to_string();
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.stack.api.try_answer(self.stack.api.checkout_request(request, &key)).await {
                Ok(answer) if answer.status < 500 => return Ok(answer),
                Ok(answer) => last = format!("{} {}", answer.status, answer.text),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        Err(last)
    }

    /// Waits for a checkout's end.
    async fn follow(&self, task: &str, begin: Timestamp, under_way: &UnderWay) -> End {
        let (sender, end) = oneshot::channel();
        under_way.borrow_mut().insert(task.to_owned(), sender);
        let end = match tokio::time::timeout(self.patience, end).await {
            Ok(Ok((status, finished_at))) => match (status.as_str(), finished_at) {
                ("complete", Some(at)) => End::Complete { latency: at.since(begin) },
                ("cancelled", _) if self.chaos.is_some() => End::Cancelled,
                _ => End::Failed(status),
            },
            Ok(Err(_)) | Err(_) => End::Lost,
        };
        under_way.borrow_mut().remove(task);
        end
    }

    /// Tells whoever waits for a checkout when it has ended. Never ends by itself.
    async fn watch(&self, under_way: &UnderWay) {
        // One that has used up its attempts under the faults is redriven by itself.
        let goes_on = |status: &str| is_open(status) || (self.chaos.is_some() && status == "error");
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let tasks: Vec<String> = under_way.borrow().keys().cloned().collect();
            let looks = tasks.chunks(BATCH).map(|tasks| statuses(self.stack, tasks));
            for (task, status, finished_at) in join_all(looks).await.into_iter().flatten() {
                if !goes_on(&status)
                    && let Some(waiting) = under_way.borrow_mut().remove(&task)
                {
                    // Nobody waits any more where the patience was over.
                    let _ = waiting.send((status, finished_at));
                }
            }
        }
    }
}

/// Whether a task of this stored status is on its way to another by itself.
pub(crate) fn is_open(status: &str) -> bool {
    matches!(status, "pending" | "compensating")
}

/// The stored status of up to a hundred tasks, and when they finished. A failed call is made again at the next look.
async fn statuses(stack: &Stack, tasks: &[String]) -> Vec<(String, String, Option<Timestamp>)> {
    let key = |task: &String| {
        let text = |text: String| AttributeValue::S(text);
        Item::from([("pk".to_owned(), text(format!("TASK#{task}"))), ("sk".to_owned(), text("TASK".to_owned()))])
    };
    let keys = KeysAndAttributes::builder()
        .set_keys(Some(tasks.iter().map(key).collect()))
        .projection_expression("pk, #status, finished_at")
        .expression_attribute_names("#status", "status")
        .build()
        .expect("a batch");
    let answer = stack.dynamo.batch_get_item().request_items(stack.tasks_table(), keys).send().await;
    let items = answer.ok().and_then(|answer| answer.responses).unwrap_or_default().into_values().flatten();
    let read = |item: Item| {
        let task = item.get("pk")?.as_s().ok()?.strip_prefix("TASK#")?.to_owned();
        let finished_at = item.get("finished_at").and_then(|at| at.as_n().ok()?.parse().ok());
        Some((task, item.get("status")?.as_s().ok()?.clone(), finished_at.map(Timestamp::from_millis)))
    };
    items.filter_map(read).collect()
}

async fn show_progress(made: &RefCell<Vec<Made>>, of: usize, what: &str) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        eprintln!("{what}: {} of {of}", made.borrow().len());
    }
}
