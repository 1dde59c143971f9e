//! Starts the checkouts, and waits for the end of each.

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

/// The time between two reads of the open checkouts.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// DynamoDB reads at most 100 items in one batch.
const BATCH: usize = 100;

/// The tries of a request without an answer, or with a server error; and the pause between them.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// The address of all customers.
pub(crate) const EMAIL: &str = "load@example.com";

/// The result of one checkout.
pub(crate) struct Made {
    pub(crate) order: Order,
    /// `None` where the API did not accept it.
    pub(crate) task: Option<String>,
    pub(crate) end: End,
}

pub(crate) enum End {
    Complete {
        latency: Duration,
    },
    /// It was cancelled and compensated.
    Cancelled,
    NotStarted(String),
    Failed(String),
    Lost,
}

/// The open checkouts, each with the channel to the task that waits for its end.
type UnderWay = RefCell<HashMap<String, oneshot::Sender<(String, Option<Timestamp>)>>>;

/// How checkouts are made.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) stack: &'a Stack,
    /// The faults, if any.
    pub(crate) chaos: Option<&'a Chaos>,
    /// The time after which an open checkout counts as lost.
    pub(crate) patience: Duration,
    /// The number of open checkouts at a time.
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
        let (end, cancelled) = join(self.follow(&task, begin, under_way), disturbed).await;
        // It may have been complete before it was cancelled.
        let end = match end {
            End::Complete { .. } if cancelled == Some(true) => self.follow(&task, begin, under_way).await,
            end => end,
        };
        Made { order: order.clone(), task: Some(task), end }
    }

    /// Starts a checkout under an idempotency key, and repeats the request until it is answered.
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

    /// Notifies the waiting tasks of ended checkouts. Never returns.
    async fn watch(&self, under_way: &UnderWay) {
        // With faults, a checkout that has used up its attempts is redriven by the engine.
        let goes_on = |status: &str| is_open(status) || (self.chaos.is_some() && status == "error");
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let tasks: Vec<String> = under_way.borrow().keys().cloned().collect();
            let looks = tasks.chunks(BATCH).map(|tasks| statuses(self.stack, tasks));
            for (task, status, finished_at) in join_all(looks).await.into_iter().flatten() {
                if !goes_on(&status)
                    && let Some(waiting) = under_way.borrow_mut().remove(&task)
                {
                    // A task whose patience is over waits no more.
                    let _ = waiting.send((status, finished_at));
                }
            }
        }
    }
}

/// Whether a task of this stored status is still going to change by itself.
pub(crate) fn is_open(status: &str) -> bool {
    matches!(status, "pending" | "compensating")
}

/// The stored status of up to a hundred tasks, and when they finished. The next read repeats a failed call.
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
