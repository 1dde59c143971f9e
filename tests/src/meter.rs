//! The meter: counts the AWS calls that are really made, as an interceptor of the SDK.

use crate::items;
use aws_sdk_dynamodb::{
    operation::{
        batch_get_item::{BatchGetItemInput, BatchGetItemOutput},
        delete_item::{DeleteItemInput, DeleteItemOutput},
        get_item::{GetItemInput, GetItemOutput},
        put_item::{PutItemInput, PutItemOutput},
        query::{QueryInput, QueryOutput},
        transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput},
        update_item::{UpdateItemInput, UpdateItemOutput},
    },
    types::{ConsumedCapacity, ReturnConsumedCapacity},
};
use aws_sdk_sqs::operation::{change_message_visibility::ChangeMessageVisibilityInput, send_message::SendMessageInput};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
                FinalizerInterceptorContextRef, Input, Output,
            },
            dyn_dispatch_hint,
        },
        orchestrator::Metadata,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use std::{
    collections::HashMap,
    ops::AddAssign,
    sync::{Arc, Mutex, MutexGuard},
};
use stepwell::{core::message::QueueName, testing::read_units};

/// The capacity units that DynamoDB charges for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Write units on the table.
    pub table_writes: f64,
    /// Write units on its indexes.
    pub index_writes: f64,
    /// Read units.
    pub reads: f64,
}

impl AddAssign for Units {
    fn add_assign(&mut self, other: Self) {
        self.table_writes += other.table_writes;
        self.index_writes += other.index_writes;
        self.reads += other.reads;
    }
}

/// One AWS call.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsCall {
    /// The service, such as `DynamoDB`.
    pub service: String,
    /// The operation, such as `UpdateItem`.
    pub operation: String,
    /// The queue's name without the stack's prefix, for a call on a queue.
    pub queue: Option<String>,
    /// The visibility timeout that `ChangeMessageVisibility` sets, in seconds.
    pub hidden_seconds: Option<i32>,
    /// The number of keys of a `BatchGetItem`.
    pub keys: usize,
    /// The units it used. DynamoDB does not report them for a refused condition.
    pub units: Units,
    /// The position of its start among all starts and ends of calls.
    pub began: u64,
    /// The position of its end; `None` while it is under way.
    pub ended: Option<u64>,
}

/// A record of AWS calls. Clones share it.
#[derive(Clone, Debug)]
pub struct Meter {
    queue_prefix: String,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    moment: u64,
    calls: Vec<AwsCall>,
}

impl Log {
    fn tick(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }
}

/// The log entry of a call, kept in the call's own configuration.
#[derive(Clone, Copy, Debug)]
struct Entry(usize);

impl Storable for Entry {
    type Storer = StoreReplace<Self>;
}

impl Meter {
    /// A meter that names queues by what follows this prefix in their URL.
    pub fn new(queue_prefix: impl Into<String>) -> Self {
        Self { queue_prefix: queue_prefix.into(), log: Arc::default() }
    }

    /// The number of calls so far: a mark for [`Self::since`].
    pub fn mark(&self) -> usize {
        self.log().calls.len()
    }

    /// The calls after a mark, ordered by their start.
    pub fn since(&self, mark: usize) -> Vec<AwsCall> {
        self.log().calls.get(mark..).unwrap_or_default().to_vec()
    }

    /// The number of messages sent to this queue, including those whose send may have failed.
    pub fn sent_to(&self, queue: &QueueName) -> usize {
        let queue = queue.to_string();
        let to_it = |call: &&AwsCall| call.operation == "SendMessage" && call.queue.as_ref() == Some(&queue);
        self.log().calls.iter().filter(to_it).count()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("nobody panics while holding the log")
    }
}

/// The length of the longest chain of calls in which each began after the one before it had ended.
pub fn longest_sequence(calls: &[AwsCall]) -> usize {
    let mut spans: Vec<(u64, u64)> = calls.iter().map(|call| (call.ended.unwrap_or(u64::MAX), call.began)).collect();
    spans.sort_unstable();
    let mut last_end = 0;
    let mut length = 0;
    for (ended, began) in spans {
        if began > last_end {
            last_end = ended;
            length += 1;
        }
    }
    length
}

#[dyn_dispatch_hint]
impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let metadata = bag.load::<Metadata>().ok_or("a call without a name")?;
        let (service, operation) = (metadata.service().to_owned(), metadata.name().to_owned());
        let input = context.input_mut();
        ask_for_capacity(input);
        let (url, hidden_seconds) = match (input.downcast_ref(), input.downcast_ref()) {
            (Some(SendMessageInput { queue_url, .. }), _) => (queue_url.clone(), None),
            (_, Some(ChangeMessageVisibilityInput { queue_url, visibility_timeout, .. })) => {
                (queue_url.clone(), *visibility_timeout)
            }
            _ => (None, None),
        };
        let batch = input.downcast_ref::<BatchGetItemInput>().and_then(|input| input.request_items.as_ref());
        let keys = batch.into_iter().flat_map(HashMap::values).map(|tables| tables.keys.len()).sum();
        let queue = url.and_then(|url| Some(url.strip_prefix(&self.queue_prefix)?.to_owned()));
        let mut log = self.log();
        let began = log.tick();
        bag.interceptor_state().store_put(Entry(log.calls.len()));
        log.calls.push(AwsCall {
            service,
            operation,
            queue,
            hidden_seconds,
            keys,
            units: Units::default(),
            began,
            ended: None,
        });
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Ok(output), Some(&Entry(entry))) = (context.output_or_error(), bag.load::<Entry>()) {
            let mut log = self.log();
            let call = &mut log.calls[entry];
            call.units = match output.downcast_ref() {
                Some(output) => batch_units(call.keys, output),
                None => units(output),
            };
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        _: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(&Entry(entry)) = bag.load::<Entry>() {
            let mut log = self.log();
            log.calls[entry].ended = Some(log.tick());
        }
        Ok(())
    }
}

macro_rules! dynamodb_calls {
    ($($kind:ident: $input:ident, $output:ident;)+) => {
        /// Sets `ReturnConsumedCapacity` on any operation that has it.
        fn ask_for_capacity(input: &mut Input) {
            $(if let Some(input) = input.downcast_mut::<$input>() {
                input.return_consumed_capacity = Some(ReturnConsumedCapacity::Indexes);
            })+
        }

        /// The units that an answer reports.
        fn units(output: &Output) -> Units {
            $(if let Some(output) = output.downcast_ref::<$output>() {
                return $kind(Capacities::as_slice(&output.consumed_capacity));
            })+
            Units::default()
        }
    };
}

dynamodb_calls!(
    writes: PutItemInput, PutItemOutput;
    writes: UpdateItemInput, UpdateItemOutput;
    writes: DeleteItemInput, DeleteItemOutput;
    writes: TransactWriteItemsInput, TransactWriteItemsOutput;
    reads: GetItemInput, GetItemOutput;
    reads: QueryInput, QueryOutput;
    nothing: BatchGetItemInput, BatchGetItemOutput;
);

/// MiniStack does not report a batch's units, so [`batch_units`] computes them.
fn nothing(_: &[ConsumedCapacity]) -> Units {
    Units::default()
}

/// A batch reads each item by itself, and takes one unit for a key without an item.
fn batch_units(wanted: usize, output: &BatchGetItemOutput) -> Units {
    let items = output.responses.iter().flat_map(HashMap::values).flatten();
    let sizes: Vec<usize> = items.map(items::size).collect();
    let missing = wanted - sizes.len();
    let reads = sizes.into_iter().map(read_units).sum::<usize>() + missing * read_units(0);
    Units { reads: u32::try_from(reads).map_or(f64::INFINITY, f64::from), ..Units::default() }
}

/// The capacities in an answer, one or several.
trait Capacities {
    fn as_slice(&self) -> &[ConsumedCapacity];
}

impl Capacities for Option<ConsumedCapacity> {
    fn as_slice(&self) -> &[ConsumedCapacity] {
        Option::as_slice(self)
    }
}

impl Capacities for Option<Vec<ConsumedCapacity>> {
    fn as_slice(&self) -> &[ConsumedCapacity] {
        self.as_deref().unwrap_or_default()
    }
}

fn writes(used: &[ConsumedCapacity]) -> Units {
    let on_table = |used: &ConsumedCapacity| used.table.as_ref().and_then(|table| table.capacity_units);
    let indexes = used.iter().flat_map(|used| &used.global_secondary_indexes).flat_map(HashMap::values);
    Units {
        table_writes: used.iter().filter_map(on_table).sum(),
        index_writes: indexes.filter_map(|index| index.capacity_units).sum(),
        reads: 0.0,
    }
}

fn reads(used: &[ConsumedCapacity]) -> Units {
    Units { reads: used.iter().filter_map(|used| used.capacity_units).sum(), ..Units::default() }
}
