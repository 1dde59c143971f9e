//! A read-only stand-in for DynamoDB that holds the items of a fixture, and one for SQS that keeps what is sent. It
//! replaces the SDK's HTTP client, so that all of the engine's own code runs.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use stepwell::core::index::IndexEntry;
use stepwell_aws::{DynamoTable, SqsQueue};

const OK: u16 = 200;
const REFUSED: u16 = 400;

/// The key attributes of the index, which it holds besides its projection.
const INDEX_KEYS: [&str; 4] = ["pk", "sk", "status_shard", "listed_at"];

#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    items: Arc<Vec<Value>>,
    /// Whether a page of the index has one item only.
    short_pages: bool,
    sent: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    /// A server that holds the items of this fixture.
    pub(super) fn of(fixture: &str) -> Self {
        let Value::Array(items) = super::read(fixture) else { panic!("{fixture} holds no items") };
        Self { items: Arc::new(items), ..Self::default() }
    }

    /// A server that holds these items, and answers with short pages.
    pub(super) fn with_short_pages(items: Vec<Value>) -> Self {
        Self { items: Arc::new(items), short_pages: true, ..Self::default() }
    }

    pub(super) async fn table(&self) -> DynamoTable {
        DynamoTable::new(aws_sdk_dynamodb::Client::new(&self.config().await), "tasks")
    }

    pub(super) async fn queue(&self) -> SqsQueue {
        SqsQueue::new(aws_sdk_sqs::Client::new(&self.config().await), "http://localhost/queues/")
    }

    /// The messages that were sent to SQS.
    pub(super) fn sent(&self) -> Vec<Value> {
        self.sent.lock().unwrap().clone()
    }

    async fn config(&self) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .http_client(SharedHttpClient::new(self.clone()))
            .endpoint_url("http://localhost")
            .region(Region::new("eu-central-1"))
            .test_credentials()
            .load()
            .await
    }

    fn answer(&self, operation: &str, request: &Value) -> (u16, Value) {
        match operation {
            "Query" => {
                let index = request.get("IndexName").is_some();
                let found = self.partition(request, if index { "status_shard" } else { "pk" });
                let items: Vec<Value> = found.map(|item| if index { projected(item) } else { item.clone() }).collect();
                if !(index && self.short_pages) {
                    return (OK, json!({ "Count": items.len(), "Items": items }));
                }
                let after = &request["ExclusiveStartKey"]["pk"];
                let start = items.iter().position(|item| item["pk"] == *after).map_or(0, |before| before + 1);
                let page: Vec<&Value> = items.iter().skip(start).take(1).collect();
                let last = page.first().filter(|_| start + 1 < items.len());
                (OK, json!({ "Count": page.len(), "Items": page, "LastEvaluatedKey": last }))
            }
            "BatchGetItem" => {
                let tables = request["RequestItems"].as_object().unwrap().iter();
                let found = |keys: &Value| -> Value {
                    keys["Keys"].as_array().unwrap().iter().filter_map(|key| self.item(key)).cloned().collect()
                };
                let responses: Value = tables.map(|(table, keys)| (table.clone(), found(keys))).collect();
                (OK, json!({ "Responses": responses, "UnprocessedKeys": {} }))
            }
            "PutItem" => {
                let there = self.item(&request["Item"]).expect("what is put is there already");
                let kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
                (REFUSED, json!({ "__type": kind, "message": "The conditional request failed", "Item": there }))
            }
            "SendMessage" => {
                self.sent.lock().unwrap().push(request.clone());
                (OK, json!({ "MessageId": "message" }))
            }
            other => panic!("the stand-in does not know {other} yet: teach it"),
        }
    }

    /// The items whose key of this name is among the values of the request's expressions.
    fn partition<'a>(&'a self, request: &'a Value, key: &'a str) -> impl Iterator<Item = &'a Value> {
        let values = request["ExpressionAttributeValues"].as_object().unwrap();
        self.items.iter().filter(move |item| values.values().any(|value| *value == item[key]))
    }

    fn item(&self, key: &Value) -> Option<&Value> {
        self.items.iter().find(|item| item["pk"] == key["pk"] && item["sk"] == key["sk"])
    }
}

/// The attributes of an item that the index holds.
fn projected(item: &Value) -> Value {
    let fields = item.as_object().unwrap().iter();
    let held = fields.filter(|(name, _)| INDEX_KEYS.iter().chain(&IndexEntry::PROJECTED).any(|held| held == name));
    held.map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl HttpClient for Server {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Server {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap();
        let (_, operation) = target.split_once('.').unwrap();
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let (status, answer) = self.answer(operation, &body);
        let status = StatusCode::try_from(status).unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(answer.to_string()))))
    }
}
