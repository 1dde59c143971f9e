//! Sandboxes: a table and queues for one test, on the stack at `AWS_ENDPOINT_URL`.

use crate::{items::Item, meter::Meter};
use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use futures::{FutureExt, future::join_all};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, MutexGuard},
};
use stepwell::{
    Client, System, Timestamp,
    core::{
        index::IndexEntry,
        message::{QueueName, StepQueue, UNDELIVERABLE},
    },
};
use stepwell_aws::{DynamoTable, REASON_ATTRIBUTE, SqsQueue};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// The visibility timeout of the queues. The poller itself makes returned messages visible again.
const VISIBILITY_SECONDS: u32 = 60;

/// The system clock, and jitter that always draws the middle.
#[derive(Clone, Copy, Debug)]
pub struct SystemRuntime;

impl stepwell::Runtime for SystemRuntime {
    fn now(&self) -> Timestamp {
        System.now()
    }

    fn random(&self) -> f64 {
        0.5
    }

    fn new_task_id(&self) -> stepwell::TaskId {
        System.new_task_id()
    }
}

/// A rejected message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeliverable {
    /// The message's body.
    pub body: String,
    /// The engine's reason.
    pub reason: String,
}

/// The table and the queues of one test.
#[derive(Debug)]
pub struct Sandbox {
    /// The test's own client of the table, without the meter.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// The test's own client of the queues, without the meter.
    pub sqs: aws_sdk_sqs::Client,
    /// The engine's store.
    pub table: DynamoTable,
    /// The engine's queues.
    pub queue: SqsQueue,
    /// The meter of the engine's calls.
    pub meter: Meter,
    /// The number of messages that the test itself has sent, by queue.
    injected: Mutex<BTreeMap<QueueName, usize>>,
    table_name: String,
    queue_prefix: String,
    queues: Vec<QueueName>,
}

/// Runs a test in a sandbox with these steps' queues, and deletes the sandbox however the test ends.
pub async fn in_sandbox<R>(steps: &[StepQueue], test: impl AsyncFnOnce(&Sandbox) -> R) -> R {
    let sandbox = Sandbox::create(steps).await;
    let outcome = AssertUnwindSafe(test(&sandbox)).catch_unwind().await;
    sandbox.delete().await;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// The same for a synchronous test, such as a property, which runs each of its cases on the runtime.
pub fn in_sandbox_blocking<R>(steps: &[StepQueue], test: impl FnOnce(&Runtime, &Sandbox) -> R) -> R {
    // A thread of its own keeps the connections alive while the test blocks.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let sandbox = runtime.block_on(Sandbox::create(steps));
    let outcome = catch_unwind(AssertUnwindSafe(|| test(&runtime, &sandbox)));
    runtime.block_on(sandbox.delete());
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

impl Sandbox {
    async fn create(steps: &[StepQueue]) -> Self {
        let config = aws_config().await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&config);
        let sqs = aws_sdk_sqs::Client::new(&config);

        let name = format!("stepwell-test-{}", Uuid::new_v4().simple());
        create_table(&dynamodb, &name).await;
        let queues: Vec<QueueName> = match steps {
            [] => Vec::new(),
            steps => steps.iter().cloned().map(Into::into).chain([QueueName::Undeliverable]).collect(),
        };
        let urls = join_all(queues.iter().map(|queue| create_queue(&sqs, format!("{name}-{queue}")))).await;
        let queue_prefix = urls.last().and_then(|url| url.strip_suffix(UNDELIVERABLE)).unwrap_or_default().to_owned();

        let meter = Meter::new(&queue_prefix);
        let engines_dynamodb = aws_sdk_dynamodb::config::Builder::from(&config)
            .retry_config(RetryConfig::disabled())
            .interceptor(meter.clone());
        let engines_sqs = aws_sdk_sqs::config::Builder::from(&config)
            .retry_config(RetryConfig::disabled())
            .interceptor(meter.clone());
        Self {
            table: DynamoTable::new(aws_sdk_dynamodb::Client::from_conf(engines_dynamodb.build()), &name),
            queue: SqsQueue::new(aws_sdk_sqs::Client::from_conf(engines_sqs.build()), &queue_prefix),
            injected: Mutex::default(),
            dynamodb,
            sqs,
            meter,
            table_name: name,
            queue_prefix,
            queues,
        }
    }

    async fn delete(&self) {
        let deleted = self.dynamodb.delete_table().table_name(&self.table_name).send().await;
        deleted.expect("the test's table can be deleted");
        join_all(self.queues.iter().map(async |queue| {
            self.sqs.delete_queue().queue_url(self.url(queue)).send().await.expect("the test's queue can be deleted");
        }))
        .await;
    }

    /// A client of the engine.
    pub fn client(&self) -> Client<DynamoTable, SqsQueue, SystemRuntime> {
        Client::new(self.table.clone(), self.queue.clone(), SystemRuntime)
    }

    /// The URL of a queue.
    pub fn url(&self, queue: &QueueName) -> String {
        format!("{}{queue}", self.queue_prefix)
    }

    /// Puts any text into a step's queue, without the meter.
    pub async fn send(&self, queue: &QueueName, body: &str) {
        self.sqs.send_message().queue_url(self.url(queue)).message_body(body).send().await.expect("SQS takes it");
        *self.injected().entry(queue.clone()).or_default() += 1;
    }

    /// The number of messages sent to a step's queue, including those whose send may have failed.
    pub fn sent_to(&self, queue: &QueueName) -> usize {
        self.meter.sent_to(queue) + self.injected().get(queue).copied().unwrap_or_default()
    }

    /// Whether a step's queue holds a message, hidden or not.
    pub async fn holds_messages(&self, queue: &QueueName) -> bool {
        use QueueAttributeName as Name;
        let counts = [Name::ApproximateNumberOfMessages, Name::ApproximateNumberOfMessagesNotVisible];
        let ask = self.sqs.get_queue_attributes().queue_url(self.url(queue)).set_attribute_names(Some(counts.to_vec()));
        let answer = ask.send().await.expect("the queue is there").attributes.unwrap_or_default();
        counts.iter().any(|count| answer.get(count).expect("SQS counts its messages") != "0")
    }

    fn injected(&self) -> MutexGuard<'_, BTreeMap<QueueName, usize>> {
        self.injected.lock().expect("nobody panics while holding the counts")
    }

    /// Receives and deletes all undeliverable messages.
    pub async fn undeliverable(&self) -> Vec<Undeliverable> {
        let mut undeliverable = Vec::new();
        loop {
            let received = self
                .sqs
                .receive_message()
                .queue_url(self.url(&QueueName::Undeliverable))
                .max_number_of_messages(10)
                .message_attribute_names("All")
                .message_system_attribute_names(MessageSystemAttributeName::All)
                .send()
                .await
                .expect("the queue of undeliverable messages can be read");
            let messages = received.messages.unwrap_or_default();
            if messages.is_empty() {
                return undeliverable;
            }
            undeliverable.extend(messages.into_iter().map(|message| {
                Undeliverable {
                    body: message.body.unwrap_or_default(),
                    reason: message
                        .message_attributes
                        .and_then(|mut attributes| attributes.remove(REASON_ATTRIBUTE)?.string_value)
                        .unwrap_or_default(),
                }
            }));
        }
    }

    /// All items of a partition, ordered by sort key.
    pub async fn partition(&self, pk: &str) -> Vec<Item> {
        let query = self.dynamodb.query().table_name(&self.table_name).key_condition_expression("pk = :pk");
        let query = query.expression_attribute_values(":pk", AttributeValue::S(pk.to_owned())).consistent_read(true);
        query.send().await.expect("the table can be read").items.unwrap_or_default()
    }

    /// The number of items in the table.
    pub async fn item_count(&self) -> i32 {
        self.dynamodb.scan().table_name(&self.table_name).consistent_read(true).send().await.expect("a scan").count
    }
}

/// The SDK's configuration from the environment.
///
/// # Panics
/// The environment names no local stack: no test may ever reach AWS itself.
async fn aws_config() -> SdkConfig {
    assert!(
        std::env::var("AWS_ENDPOINT_URL").is_ok_and(|url| !url.is_empty()),
        "AWS_ENDPOINT_URL is not set. This needs a local stack: `infra/local.sh up` starts one, and \
         `eval \"$(infra/local.sh env)\"` tells this shell of it."
    );
    aws_config::defaults(BehaviorVersion::latest()).load().await
}

async fn create_table(dynamodb: &aws_sdk_dynamodb::Client, name: &str) {
    let attribute = |name: &str| {
        let kind = ScalarAttributeType::S;
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().expect("complete")
    };
    let key =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("complete");
    let projection = Projection::builder().projection_type(ProjectionType::Include);
    let projection = IndexEntry::PROJECTED.into_iter().fold(projection, |p, name| p.non_key_attributes(name));
    let index = GlobalSecondaryIndex::builder()
        .index_name("by_status")
        .key_schema(key("status_shard", KeyType::Hash))
        .key_schema(key("listed_at", KeyType::Range))
        .projection(projection.build())
        .build()
        .expect("complete");
    let by_start = GlobalSecondaryIndex::builder()
        .index_name("by_start")
        .key_schema(key("start_shard", KeyType::Hash))
        .key_schema(key("pk", KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .expect("complete");
    let create = ["pk", "sk", "status_shard", "listed_at", "start_shard"]
        .into_iter()
        .fold(dynamodb.create_table(), |create, name| create.attribute_definitions(attribute(name)));
    let create = create.table_name(name).key_schema(key("pk", KeyType::Hash)).key_schema(key("sk", KeyType::Range));
    let create = create
        .global_secondary_indexes(index)
        .global_secondary_indexes(by_start)
        .billing_mode(BillingMode::PayPerRequest);
    create.send().await.expect("the stack at AWS_ENDPOINT_URL makes a table");
}

async fn create_queue(sqs: &aws_sdk_sqs::Client, name: String) -> String {
    let visibility = VISIBILITY_SECONDS.to_string();
    let create = sqs.create_queue().queue_name(name).attributes(QueueAttributeName::VisibilityTimeout, visibility);
    let created = create.send().await.expect("the stack at AWS_ENDPOINT_URL makes a queue");
    created.queue_url.expect("a queue has a URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_index_projects_the_attributes_of_the_template() {
        let projected = format!("NonKeyAttributes: [{}]", IndexEntry::PROJECTED.join(", "));
        assert!(include_str!("../../infra/template.yaml").contains(&projected), "{projected}");
    }
}
