//! The deployed stack: its API, and direct reads of its tables, queues, mail and logs.
//!
//! Mail and queues are read through MiniStack's own pages, which change nothing: a receive through SQS would hide
//! messages from the functions.

use crate::{
    api::{Answer, Api},
    operators::Operator,
    shop::{self, Product},
    until,
};
use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use stepwell::{
    Runtime, System, TaskId,
    core::{
        format::READS,
        item::attribute,
        step::{self, ClaimRequest},
    },
    ports::Store,
};
use stepwell_aws::DynamoTable;

/// An item of a table.
pub type Item = HashMap<String, AttributeValue>;

/// The stack that `infra/local.sh env` describes.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Its API.
    pub api: Api,
    /// The emulator's address.
    pub endpoint: String,
    /// Its tables.
    pub dynamo: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    /// Of somebody who may do everything.
    keys: Credentials,
    tasks: String,
    shop_prefix: String,
    queue_prefix: String,
}

/// Everything in the stack that belongs to one checkout. Two equal values mean that nothing happened in between.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// The task's own item and its steps', by sort key.
    pub task: BTreeMap<String, Item>,
    /// The gateway's record of payments.
    pub payments: Vec<Item>,
    /// The reservations.
    pub reservations: Vec<Item>,
    /// The orders.
    pub orders: Vec<Item>,
    /// The e-mails.
    pub mails: Vec<Value>,
}

/// A variable of the environment that `infra/local.sh env` prints.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set. Start the local stack and take its environment over:\n  infra/local.sh up && eval \"$(infra/local.sh env)\"")
    })
}

/// The repository's folder.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Stack {
    /// The stack that the environment names.
    pub async fn from_env() -> Self {
        // `stepwell_aws::aws_config` is shared by the process, but each test has an executor of its own.
        let config = aws_config::defaults(BehaviorVersion::latest()).load().await;
        let keys = stepwell_aws::http::task_keys_from_env(&config).await.expect("the secret of the task keys");
        Self {
            api: Api::new(variable("API")).with_keys(keys),
            endpoint: variable("AWS_ENDPOINT_URL"),
            dynamo: aws_sdk_dynamodb::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            keys: Credentials::new(
                variable("AWS_ACCESS_KEY_ID"),
                variable("AWS_SECRET_ACCESS_KEY"),
                None,
                None,
                "tests",
            ),
            tasks: variable("STEPWELL_TABLE"),
            shop_prefix: variable("SHOP_TABLE_PREFIX"),
            queue_prefix: variable("STEPWELL_QUEUE_URL_PREFIX"),
        }
    }

    /// A request to a service of the emulator, for what no SDK is here for.
    pub async fn aws(
        &self,
        service: &str,
        method_and_path: (&str, &str),
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        Api::new(&self.endpoint).send_signed(&self.keys, service, method_and_path, &headers, body).await
    }

    /// Somebody who may do what operators do.
    pub fn operator(&self) -> Operator {
        Operator::with_keys(&self.api, self.keys.clone())
    }

    /// The name of the engine's table.
    pub fn tasks_table(&self) -> &str {
        &self.tasks
    }

    /// The name of one of the shop's tables.
    pub fn shop_table(&self, name: &str) -> String {
        format!("{}{name}", self.shop_prefix)
    }

    /// The deployed name of a function: of a step of the checkout, or of one that is no step.
    pub fn function(&self, name: &str) -> String {
        format!("{}{}", self.name_prefix(), shop::resource(name))
    }

    /// The prefix of all deployed names.
    pub fn name_prefix(&self) -> &str {
        // The shop's tables have the same prefix.
        &self.shop_prefix
    }

    /// The URL of a queue: a step's, `dead_letters` or `undeliverable`.
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}{}", self.queue_prefix, shop::resource(name))
    }

    // ---- Tables

    /// Every item of a task, by its sort key.
    pub async fn task(&self, id: &str) -> BTreeMap<String, Item> {
        let query = self.dynamo.query().table_name(&self.tasks).key_condition_expression("pk = :pk");
        let query = query.expression_attribute_values(":pk", AttributeValue::S(format!("TASK#{id}")));
        let items = query.consistent_read(true).send().await.expect("the task's items").items.unwrap_or_default();
        items.into_iter().map(|item| (item["sk"].as_s().expect("a sort key").clone(), item)).collect()
    }

    /// All items of a table of this full name.
    pub async fn scan(&self, table: &str) -> Vec<Item> {
        let pages = self.dynamo.scan().table_name(table).consistent_read(true).into_paginator().items().send();
        pages.collect::<Result<_, _>>().await.expect("a scan")
    }

    /// All items of a shop table that belong to a task: their id, or their `order_id`, begins with the task's.
    pub async fn of_task(&self, table: &str, task: &str) -> Vec<Item> {
        let mut items = self.scan(&self.shop_table(table)).await;
        let begins = |item: &Item, name: &str| {
            item.get(name).and_then(|value| value.as_s().ok()).is_some_and(|value| value.starts_with(task))
        };
        items.retain(|item| begins(item, "id") || begins(item, "order_id"));
        items.sort_by_key(|item| item["id"].as_s().cloned().unwrap_or_default());
        items
    }

    /// The charges of the task's card that were not refunded, in cents.
    pub async fn charges(&self, task: &str) -> Vec<i64> {
        self.payments(task).await.iter().filter_map(kept_charge).collect()
    }

    /// The gateway's payments that the shop has recorded for the task.
    pub async fn payments(&self, task: &str) -> Vec<Item> {
        let records = self.of_task("payments", task).await;
        let mut payments = Vec::new();
        for payment in records.iter().filter_map(recorded_payment) {
            let get = self.dynamo.get_item().table_name(self.shop_table("payments"));
            let get = get.key("id", AttributeValue::S(payment.to_owned())).consistent_read(true);
            payments.extend(get.send().await.expect("a payment").item);
        }
        payments
    }

    /// The task's orders that were not cancelled.
    pub async fn orders(&self, task: &str) -> Vec<Item> {
        let mut items = self.of_task("orders", task).await;
        items.retain(is_standing_order);
        items
    }

    /// Everything that belongs to a checkout. `email` has to be used by this customer only.
    pub async fn traces(&self, task: &str, email: &str) -> Traces {
        Traces {
            task: self.task(task).await,
            payments: self.payments(task).await,
            reservations: self.of_task("reservations", task).await,
            orders: self.of_task("orders", task).await,
            mails: self.mails_to(email).await,
        }
    }

    // ---- Products

    /// A product's stock.
    pub async fn stock(&self, id: u32) -> i64 {
        let get = self.dynamo.get_item().table_name(self.shop_table("products")).key("id", number(id));
        let item = get.consistent_read(true).send().await.expect("a product").item;
        let item = item.unwrap_or_else(|| panic!("there is no product {id}"));
        item["stock"].as_n().expect("a number").parse().expect("a whole number")
    }

    /// Adds to a product's stock.
    pub async fn add_stock(&self, id: u32, units: i64) {
        let update = self.dynamo.update_item().table_name(self.shop_table("products")).key("id", number(id));
        let update = update.update_expression("ADD stock :units").expression_attribute_values(":units", number(units));
        update.condition_expression("attribute_exists(id)").send().await.expect("more stock");
    }

    /// Creates a product that no other test buys.
    pub async fn product(&self, price_cents: i64, stock: i64) -> TemporaryProduct {
        let product = Product::new(price_cents);
        let put = self.dynamo.put_item().table_name(self.shop_table("products"));
        put.item("id", number(product.id))
            .item("name", AttributeValue::S(product.name.clone()))
            .item("price_cents", number(product.price_cents))
            .item("stock", number(stock))
            .item("active", AttributeValue::Bool(true))
            .send()
            .await
            .expect("a new product");
        TemporaryProduct { product, stack: self.clone() }
    }

    // ---- Queues, mail, logs

    /// Sends a text to a queue: a step's, `dead_letters` or `undeliverable`.
    pub async fn send(&self, queue: &str, body: &str) {
        let send = self.sqs.send_message().queue_url(self.queue_url(queue)).message_body(body);
        send.send().await.expect("a message is taken");
    }

    /// Deletes all messages of a queue.
    pub async fn purge(&self, queue: &str) {
        let purge = self.sqs.purge_queue().queue_url(self.queue_url(queue));
        purge.send().await.expect("the queue is purged");
    }

    /// The messages in a queue with this text in their body, whether hidden or not.
    pub async fn messages(&self, queue: &str, text: &str) -> Vec<Value> {
        let mut messages = self.queues_with_messages().await.remove(&shop::resource(queue)).unwrap_or_default();
        messages.retain(|message| message["Body"].as_str().is_some_and(|body| body.contains(text)));
        messages
    }

    /// All messages, visible or hidden, by the queue's name without the stack's. A queue without messages may be
    /// missing.
    pub async fn queues_with_messages(&self) -> BTreeMap<String, Vec<Value>> {
        let found = self.ministack("sqs/messages").await;
        let accounts = found["messages"].as_object().expect("accounts").values();
        let regions = accounts.flat_map(|regions| regions.as_object().expect("regions").values());
        let queues = regions.flat_map(|queues| queues.as_object().expect("queues"));
        let ours = queues.filter_map(|(url, messages)| Some((url.strip_prefix(&self.queue_prefix)?, messages)));
        ours.map(|(queue, messages)| (queue.to_owned(), messages.as_array().expect("messages").clone())).collect()
    }

    /// Sends a step the message that starts it.
    pub async fn wake(&self, task: &str, step: &str) {
        self.send(step, &serde_json::json!({ "task_id": task, "step": step }).to_string()).await;
    }

    /// The engine's adapter of the queues.
    pub fn queues(&self) -> stepwell_aws::SqsQueue {
        stepwell_aws::SqsQueue::new(self.sqs.clone(), &self.queue_prefix)
    }

    /// Changes the end of a failed task to this moment.
    pub async fn pretend_ended(&self, task: &str, at: stepwell::Timestamp) {
        let update = self.dynamo.update_item().table_name(&self.tasks);
        let update = update.key("pk", AttributeValue::S(format!("TASK#{task}")));
        let update = update.key("sk", AttributeValue::S("TASK".to_owned()));
        let update = update.update_expression("SET finished_at = :at, listed_at = :listed");
        let update = update.expression_attribute_values(":at", number(at.as_millis()));
        update.expression_attribute_values(":listed", AttributeValue::S(at.to_string())).send().await.expect("a task");
    }

    /// Makes a task look as if a newer version had written what only that one may act on, or no longer.
    pub async fn pretend_newer(&self, task: &str, newer: bool) {
        let update = self.dynamo.update_item().table_name(&self.tasks);
        let update = update.key("pk", AttributeValue::S(format!("TASK#{task}")));
        let update = update.key("sk", AttributeValue::S("TASK".to_owned()));
        let update = update.expression_attribute_names("#needs", attribute::NEEDS);
        let update = match newer {
            true => {
                update.update_expression("SET #needs = :more").expression_attribute_values(":more", number(READS + 1))
            }
            false => update.update_expression("REMOVE #needs"),
        };
        update.send().await.expect("a task");
    }

    /// Claims a step for nobody: until this time is over its messages are put off.
    pub async fn hold(&self, task: TaskId, step: &str, time: Duration) {
        let now = System.now();
        let request = ClaimRequest { task, step, owner: "nobody", now, lease_until: now + time };
        let table = DynamoTable::new(self.dynamo.clone(), &self.tasks);
        assert!(table.apply(&step::claim(&request)).await.expect("a claim").is_written(), "{step} of {task} is held");
    }

    /// Deletes the reservation of a task, as no function does.
    pub async fn lose_reservation(&self, task: &str) {
        for item in self.of_task("reservations", task).await {
            let delete = self.dynamo.delete_item().table_name(self.shop_table("reservations"));
            delete.key("id", item["id"].clone()).send().await.expect("it is deleted");
        }
    }

    /// Waits until a queue has no message with this text: until it has been worked and acknowledged.
    pub async fn until_acknowledged(&self, queue: &str, text: &str) {
        until(&format!("the message {text} to leave the queue {queue}"), async || {
            self.messages(queue, text).await.is_empty().then_some(())
        })
        .await;
    }

    /// Waits for an undeliverable message with this text, and answers with its reason.
    pub async fn undeliverable(&self, text: &str) -> String {
        let message = until(&format!("an undeliverable message with {text}"), async || {
            self.messages("undeliverable", text).await.into_iter().next()
        })
        .await;
        let reason = message["MessageAttributes"]["reason"].clone();
        reason["StringValue"].as_str().unwrap_or_else(|| panic!("no reason: {reason}")).to_owned()
    }

    /// The e-mails to an address.
    pub async fn mails_to(&self, address: &str) -> Vec<Value> {
        let mut found = self.ministack("ses/messages").await;
        let accounts = found["messages"].as_object_mut().expect("accounts");
        let mut mails: Vec<Value> =
            accounts.values_mut().flat_map(|mails| std::mem::take(mails.as_array_mut().expect("mails"))).collect();
        mails.retain(|mail| mail["To"].as_array().is_some_and(|to| to.iter().any(|to| to == address)));
        mails
    }

    async fn ministack(&self, page: &str) -> Value {
        let answer = Api::new(&self.endpoint).get(&format!("/_ministack/{page}")).await;
        assert_eq!(answer.status, 200, "these tests look into MiniStack, and {} is something else", self.endpoint);
        answer.json()
    }

    /// The log of all functions in the last minutes.
    pub fn logs(&self, minutes: u32) -> String {
        self.logs_with(&["--since", &minutes.to_string()])
    }

    /// The log of one function in the last minutes.
    pub fn logs_of(&self, function: &str, minutes: u32) -> String {
        self.logs_with(&["--function", function, "--since", &minutes.to_string()])
    }

    fn logs_with(&self, arguments: &[&str]) -> String {
        self.operate(&[&["logs"], arguments].concat())
    }

    /// What the command `stepwell` prints about this stack.
    pub fn operate(&self, arguments: &[&str]) -> String {
        // `infra/local.sh up` has built it.
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
        let mut command = Command::new(target.join("debug/stepwell"));
        command.args(arguments).args(["--stage", "local"]).current_dir(repository()).stderr(Stdio::inherit());
        let output = command.output().expect("the command stepwell runs");
        assert!(output.status.success(), "stepwell {arguments:?}: {}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Points all functions at DynamoDB under this URL; `None` restores the emulator's.
    pub async fn point_dynamodb_at(&self, url: Option<&str>) {
        const VARIABLE: &str = "AWS_ENDPOINT_URL_DYNAMODB";
        const FUNCTIONS: &str = "/2015-03-31/functions";
        let list = format!("{FUNCTIONS}?MaxItems=1000");
        let all = self.aws("lambda", ("GET", &list), &[], String::new()).await.expect(200);
        for function in all["Functions"].as_array().expect("functions") {
            let name = function["FunctionName"].as_str().expect("a name");
            if !name.starts_with(self.name_prefix()) {
                continue;
            }
            let mut variables = function["Environment"]["Variables"].as_object().cloned().unwrap_or_default();
            variables.remove(VARIABLE);
            variables.extend(url.map(|url| (VARIABLE.to_owned(), url.into())));
            let configuration = serde_json::json!({"Environment": {"Variables": variables}}).to_string();
            let path = format!("{FUNCTIONS}/{name}/configuration");
            self.aws("lambda", ("PUT", &path), &[], configuration).await.expect(200);
        }
    }

    /// Invokes a deployed function with an event and answers with what it returned.
    pub async fn invoke(&self, function: &str, event: &str) -> Value {
        let path = format!("/2015-03-31/functions/{}/invocations", self.function(function));
        let answer = self.aws("lambda", ("POST", &path), &[], event.to_owned()).await;
        assert_eq!(answer.header("x-amz-function-error"), "", "{}", answer.text);
        answer.expect(200)
    }
}

/// The amount of a payment's item that was charged and not refunded, in cents.
pub fn kept_charge(payment: &Item) -> Option<i64> {
    let charge = payment.get("charge").filter(|_| !payment.contains_key("reversed_at"))?;
    Some(charged_cents(charge))
}

/// The gateway's payment that an item of the shop's records names.
pub fn recorded_payment(record: &Item) -> Option<&str> {
    record.get("payment")?.as_s().ok().map(String::as_str)
}

/// Whether an item of the orders is an order that was not cancelled. An order's second item reserves its number. A
/// cancellation that came before the order leaves a tombstone, which is no order either.
pub fn is_standing_order(item: &Item) -> bool {
    let status = item.get("status").and_then(|status| status.as_s().ok());
    item.contains_key("order_id") && status.is_some_and(|status| status != "cancelled")
}

/// Whether a reservation's item is not released.
pub fn is_standing_reservation(item: &Item) -> bool {
    item.contains_key("reservation") && !item.contains_key("release")
}

/// The stored amount of a charge, in cents.
fn charged_cents(charge: &AttributeValue) -> i64 {
    let amount = charge.as_m().expect("a charge").get("amount").expect("an amount").as_n().expect("a number");
    shop::cents(&serde_json::from_str(amount).expect("a JSON number"))
}

/// A number as an attribute value.
pub fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A product for one test. Dropping it deletes it from the table.
#[derive(Debug)]
pub struct TemporaryProduct {
    product: Product,
    stack: Stack,
}

impl TemporaryProduct {
    /// The units in stock.
    pub async fn stock(&self) -> i64 {
        self.stack.stock(self.id).await
    }
}

impl Deref for TemporaryProduct {
    type Target = Product;

    fn deref(&self) -> &Product {
        &self.product
    }
}

impl Drop for TemporaryProduct {
    fn drop(&mut self) {
        // The test's executor may be gone or unwinding, so the deletion has one of its own.
        let (table, id) = (self.stack.shop_table("products"), self.id);
        let deletion = std::thread::spawn(move || {
            let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an executor");
            executor.block_on(async {
                let stack = Stack::from_env().await;
                stack.dynamo.delete_item().table_name(table).key("id", number(id)).send().await.expect("it is deleted");
            });
        });
        if deletion.join().is_err() && !std::thread::panicking() {
            panic!("the test product {id} could not be deleted");
        }
    }
}
