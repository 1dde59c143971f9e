//! A function that makes AWS calls and does nothing else: what a function with as many calls takes at least. The command `load` of the
//! tests runs it against a server whose answers are empty.
//!
//! The environment variable `FLOOR_CALLS` has the operations in their order, separated by commas, as `dynamodb:UpdateItem`.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use aws_sdk_dynamodb::types::{AttributeValue, Delete, KeysAndAttributes, TransactWriteItem};
use lambda_runtime::{LambdaEvent, service_fn};
use stepwell_aws::{ServeError, aws_config, required_env};

/// The clients, with the settings of the functions.
struct Clients {
    dynamo: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
}

/// As long as a task's id in a key.
const ID: &str = "TASK#00000000-0000-7000-8000-000000000000";
const TABLE: &str = "stepwell-local-tasks";
const QUEUE: &str = "http://127.0.0.1/000000000000/stepwell-local-checkout-process_payment";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    stepwell_aws::init_logging();
    let config = aws_config().await;
    let clients = Clients { dynamo: aws_sdk_dynamodb::Client::new(&config), sqs: aws_sdk_sqs::Client::new(&config) };
    let calls = required_env("FLOOR_CALLS")?;
    let (clients, calls) = (&clients, &calls);
    lambda_runtime::run(service_fn(async |_: LambdaEvent<SqsEvent>| {
        for operation in calls.split(',') {
            clients.call(operation).await?;
        }
        Ok::<_, ServeError>(SqsBatchResponse::default())
    }))
    .await
}

impl Clients {
    async fn call(&self, operation: &str) -> Result<(), ServeError> {
        let Self { dynamo, sqs } = self;
        let id = || AttributeValue::S(ID.to_owned());
        match operation {
            "dynamodb:GetItem" => drop(dynamo.get_item().table_name(TABLE).key("pk", id()).send().await?),
            "dynamodb:PutItem" => drop(dynamo.put_item().table_name(TABLE).item("pk", id()).send().await?),
            "dynamodb:UpdateItem" => drop(dynamo.update_item().table_name(TABLE).key("pk", id()).send().await?),
            "dynamodb:DeleteItem" => drop(dynamo.delete_item().table_name(TABLE).key("pk", id()).send().await?),
            "dynamodb:Scan" => drop(dynamo.scan().table_name(TABLE).send().await?),
            "dynamodb:Query" => {
                let query = dynamo.query().table_name(TABLE).key_condition_expression("pk = :pk");
                drop(query.expression_attribute_values(":pk", id()).send().await?);
            }
            "dynamodb:BatchGetItem" => {
                let keys = KeysAndAttributes::builder().keys([("pk".to_owned(), id())].into()).build()?;
                drop(dynamo.batch_get_item().request_items(TABLE, keys).send().await?);
            }
            "dynamodb:TransactWriteItems" => {
                let delete = Delete::builder().table_name(TABLE).key("pk", id()).build()?;
                let items = TransactWriteItem::builder().delete(delete).build();
                drop(dynamo.transact_write_items().transact_items(items).send().await?);
            }
            // A message stands in for an e-mail, so that no third client is needed.
            "sqs:SendMessage" | "ses:SendEmail" => {
                drop(sqs.send_message().queue_url(QUEUE).message_body(ID).send().await?);
            }
            "sqs:ChangeMessageVisibility" => {
                let call = sqs.change_message_visibility().queue_url(QUEUE).receipt_handle(ID).visibility_timeout(1);
                drop(call.send().await?);
            }
            other => return Err(format!("the floor does not know the operation `{other}`").into()),
        }
        Ok(())
    }
}
