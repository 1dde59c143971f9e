//! A table and queues of one's own on the stack at `AWS_ENDPOINT_URL`.

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
    core::message::{QueueName, StepQueue, UNDELIVERABLE},
};
use stepwell_aws::{DynamoTable, REASON_ATTRIBUTE, SqsQueue};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// How long SQS hides a message that it has handed out. The poller says itself when one is to come back.
const VISIBILITY_SECONDS: u32 = 60;

/// The machine's clock. Jitter always draws its middle.
#[derive(Clone, Copy, Debug)]
pub struct Clock;

impl stepwell::Runtime for Clock {
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

/// A message that was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeliverable {
    /// Its body.
    pub body: String,
    /// The reason that the engine gave.
    pub reason: String,
}

/// An engine's table and its queues, for one test.
#[derive(Debug)]
pub struct Sandbox {
    /// The harness's own way to the table: not metered.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// The harness's own way to the queues.
    pub sqs: aws_sdk_sqs::Client,
    /// The table as the engine sees it.
    pub table: DynamoTable,
    /// The queues as the engine sees them.
    pub queue: SqsQueue,
    /// What the engine has called.
    pub meter: Meter,
    /// How many messages the harness has put into the queues itself.
    injected: Mutex<BTreeMap<QueueName, usize>>,
    table_name: String,
    queue_prefix: String,
    queues: Vec<QueueName>,
}

/// Runs a test in a sandbox of its own with these queues of steps, and clears it away however the test ends.
pub async fn in_sandbox<R>(steps: &[StepQueue], test: impl AsyncFnOnce(&Sandbox) -> R) -> R {
    let sandbox = Sandbox::create(steps).await;
    let outcome = AssertUnwindSafe(test(&sandbox)).catch_unwind().await;
    sandbox.delete().await;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// The same for a test that is not asynchronous itself, such as a property: it runs each of its cases on the runtime.
pub fn in_sandbox_by_hand<R>(steps: &[StepQueue], test: impl FnOnce(&Runtime, &Sandbox) -> R) -> R {
    // A thread of its own keeps the connections going while the test does something else.
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
    pub fn client(&self) -> Client<DynamoTable, SqsQueue, Clock> {
        Client::new(self.table.clone(), self.queue.clone(), Clock)
    }

    /// The URL of a queue.
    pub fn url(&self, queue: &QueueName) -> String {
        format!("{}{queue}", self.queue_prefix)
    }

    /// Puts a message into a step's queue, whatever it says, past the meter.
    pub async fn send(&self, queue: &QueueName, body: &str) {
        self.sqs.send_message().queue_url(self.url(queue)).message_body(body).send().await.expect("SQS takes it");
        *self.injected().entry(queue.clone()).or_default() += 1;
    }

    /// How many messages have been put into a step's queue, or may have been.
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

    /// Takes everything out of the queue of undeliverable messages.
    pub async fn undeliverable(&self) -> Vec<Undeliverable> {
        let mut letters = Vec::new();
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
                return letters;
            }
            letters.extend(messages.into_iter().map(|message| {
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

    /// Every item of a partition, in the order of the sort keys.
    pub async fn partition(&self, pk: &str) -> Vec<Item> {
        let query = self.dynamodb.query().table_name(&self.table_name).key_condition_expression("pk = :pk");
        let query = query.expression_attribute_values(":pk", AttributeValue::S(pk.to_owned())).consistent_read(true);
        query.send().await.expect("the table can be read").items.unwrap_or_default()
    }

    /// How many items there are in the table.
    pub async fn item_count(&self) -> i32 {
        self.dynamodb.scan().table_name(&self.table_name).consistent_read(true).send().await.expect("a scan").count
    }
}

/// The SDK's configuration from the environment.
///
/// # Panics
/// Where the environment names no local stack: no test here may ever reach AWS itself.
async fn aws_config() -> SdkConfig {
    assert!(
        std::env::var("AWS_ENDPOINT_URL").is_ok_and(|url| !url.is_empty()),
        "AWS_ENDPOINT_URL is not set. This needs a local stack: `infra/local.sh up` starts one, and \
         `eval \"$(infra/local.sh env)\"` tells this shell of it."
    );
    aws_config::defaults(BehaviorVersion::latest()).load().await
}

/// What the index holds beside the keys, as in the template.
pub(crate) const PROJECTED: [&str; 5] = ["workflow", "status", "created_at", "failed_steps", "compensations"];

async fn create_table(dynamodb: &aws_sdk_dynamodb::Client, name: &str) {
    let attribute = |name: &str| {
        let kind = ScalarAttributeType::S;
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().expect("complete")
    };
    let key =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("complete");
    let projection = Projection::builder().projection_type(ProjectionType::Include);
    let projection = PROJECTED.into_iter().fold(projection, |p, name| p.non_key_attributes(name));
    let index = GlobalSecondaryIndex::builder()
        .index_name("by_status")
        .key_schema(key("status_shard", KeyType::Hash))
        .key_schema(key("listed_at", KeyType::Range))
        .projection(projection.build())
        .build()
        .expect("complete");
    let create = ["pk", "sk", "status_shard", "listed_at"]
        .into_iter()
        .fold(dynamodb.create_table(), |create, name| create.attribute_definitions(attribute(name)));
    let create = create.table_name(name).key_schema(key("pk", KeyType::Hash)).key_schema(key("sk", KeyType::Range));
    let create = create.global_secondary_indexes(index).billing_mode(BillingMode::PayPerRequest);
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
    fn the_index_holds_what_the_templates_does() {
        let projected = format!("NonKeyAttributes: [{}]", PROJECTED.join(", "));
        assert!(include_str!("../../infra/template.yaml").contains(&projected), "{projected}");
    }
}
