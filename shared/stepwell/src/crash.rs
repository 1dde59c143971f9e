//! A switch that kills this process at a chosen point of a delivery, for the test of every crash point.
//!
//! It is here with the feature `crash-points` only, which no release build can have. The points are not placed by hand:
//! one stands before and one after every call that the AWS clients of this process make, and around the handler. So no
//! call can be without its points.
//!
//! A point is named by the step, the call, what the call is on, and which side of it: `process_payment.handler.before`,
//! `process_payment.UpdateItem.STEP#process_payment.complete.after`. The second call of a name in one delivery has a
//! `.2` in it, and so on.
//!
//! The switch is the folder that `STEPWELL_CRASH_DIR` names, the same for all processes; without it nothing happens.
//!
//! | in the folder | what it is |
//! |---|---|
//! | `passed` | one line for each point passed: the task, the point |
//! | `wanted/POINT` | a process is to die here; it holds how often the delivery's task has to have died before |
//! | `died/TASK.N` | the task's death number N, counted from 0; it holds the point |
//!
//! A point that is wanted is taken by one process, which removes it and aborts.

use crate::{TaskId, queue::Message};
use aws_smithy_http_client::Builder;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

#[cfg(not(debug_assertions))]
compile_error!("the feature crash-points lets a file kill the process: it is for debug builds only");

tokio::task_local! {
    static DELIVERY: Arc<Delivery>;
}

/// The delivery that this process is in.
struct Delivery {
    step: &'static str,
    task: TaskId,
    /// The names of its calls, with how often each has been made.
    calls: Mutex<BTreeMap<String, usize>>,
    switch: PathBuf,
}

/// Runs the delivery of this message to this step, so that the points on its way know where they are.
pub(crate) async fn delivery<T>(step: &'static str, body: Option<&str>, run: impl Future<Output = T>) -> T {
    let message: Option<Message> = body.and_then(|body| serde_json::from_str(body).ok());
    match (message, std::env::var_os("STEPWELL_CRASH_DIR")) {
        (Some(message), Some(switch)) => {
            let calls = Mutex::default();
            let delivery = Delivery { step, task: message.task_id, calls, switch: switch.into() };
            DELIVERY.scope(Arc::new(delivery), run).await
        }
        _ => run.await,
    }
}

/// Puts a point before and one after something that a delivery does.
pub(crate) async fn around<T>(name: &str, run: impl Future<Output = T>) -> T {
    let Ok(delivery) = DELIVERY.try_with(Arc::clone) else { return run.await };
    let name = delivery.name(name);
    delivery.pass(&format!("{name}.before"));
    let answer = run.await;
    delivery.pass(&format!("{name}.after"));
    answer
}

impl Delivery {
    /// The name of a call, told apart from earlier calls of that name.
    fn name(&self, call: &str) -> String {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(call.to_owned()).or_default();
        *count += 1;
        if *count == 1 { format!("{}.{call}", self.step) } else { format!("{}.{call}.{count}", self.step) }
    }

    fn pass(&self, point: &str) {
        let log = File::options().append(true).open(self.switch.join("passed"));
        // One write, so that the lines of several processes do not mix.
        let _ = log.and_then(|mut log| log.write_all(format!("{} {point}\n", self.task).as_bytes()));
        if self.dies_at(point) {
            std::process::abort();
        }
    }

    /// Whether to die here: for each point that is wanted this is true once, to one process.
    fn dies_at(&self, point: &str) -> bool {
        let wanted = self.switch.join("wanted").join(point);
        let Some(deaths) = fs::read_to_string(&wanted).ok().and_then(|text| text.parse::<usize>().ok()) else {
            return false;
        };
        let death = |number: usize| self.switch.join("died").join(format!("{}.{number}", self.task));
        if deaths > 0 && !death(deaths - 1).exists() {
            return false;
        }
        // The one fails where another delivery of this task was faster, the other where one of another task was.
        let Ok(mut note) = File::create_new(death(deaths)) else { return false };
        let taken = fs::remove_file(wanted).and_then(|()| note.write_all(point.as_bytes())).is_ok();
        if !taken {
            let _ = fs::remove_file(death(deaths));
        }
        taken
    }
}

/// The HTTP client for all AWS clients of this process. It speaks plain HTTP, which an emulator understands and AWS
/// does not.
pub(crate) fn http_client() -> SharedHttpClient {
    SharedHttpClient::new(Client(Builder::new().build_http()))
}

#[derive(Debug)]
struct Client(SharedHttpClient);

#[derive(Debug)]
struct Connector(SharedHttpConnector);

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector(self.0.http_connector(settings, components)))
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (name, connector) = (call_name(&request), self.0.clone());
        HttpConnectorFuture::new(async move { around(&name, async { connector.call(request).await }).await })
    }
}

/// The operation, and what it is on.
fn call_name(request: &HttpRequest) -> String {
    let Some((_, operation)) = request.headers().get("x-amz-target").and_then(|target| target.rsplit_once('.')) else {
        // A REST service, such as SES: its operation is its path.
        let path = request.uri().split_once("://").map_or(request.uri(), |(_, rest)| rest);
        return format!("{}.{}", request.method(), path.split('/').skip(1).collect::<Vec<_>>().join("-"));
    };
    let body = request.body().bytes().unwrap_or_default();
    let object = object(&serde_json::from_slice(body).unwrap_or_default());
    if object.is_empty() { operation.to_owned() } else { format!("{operation}.{object}") }
}

/// What a call is on: a queue, an item of the engine's table and the state that it is to have, or other tables.
fn object(body: &Value) -> String {
    let text = |pointer| body.pointer(pointer).and_then(Value::as_str);
    if let Some(queue) = text("/QueueUrl") {
        return own_name(queue).to_owned();
    }
    if let Some(tables) = body.get("RequestItems").and_then(Value::as_object) {
        return tables.keys().map(|table| own_name(table)).collect::<Vec<_>>().join("+");
    }
    if let Some(writes) = body.get("TransactItems").and_then(Value::as_array) {
        let writes = writes.iter().filter_map(|write| write.as_object()?.values().next());
        return writes.map(object).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("+");
    }
    let Some(item) = text("/Key/sk/S").or_else(|| text("/Item/sk/S")) else {
        return text("/TableName").map(own_name).unwrap_or_default().to_owned();
    };
    let values = body.get("ExpressionAttributeValues");
    let state = new_state(text("/UpdateExpression").unwrap_or_default());
    let state = state.and_then(|placeholder| values?.get(placeholder)?.get("S")?.as_str());
    [item].into_iter().chain(state).collect::<Vec<_>>().join(".")
}

/// The placeholder of the state, or the status, that an update sets.
fn new_state(update: &str) -> Option<&str> {
    let mut assignments = update.strip_prefix("SET ")?.split(", ").filter_map(|part| part.split_once(" = "));
    let (_, value) = assignments.find(|(name, _)| matches!(*name, "#state" | "#status"))?;
    value.split(' ').next()
}

/// The name of a table or a queue without the stack's name before it.
fn own_name(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(_, own)| own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn name(target: &str, body: &Value) -> String {
        let mut request = HttpRequest::new(body.to_string().into());
        request.headers_mut().insert("x-amz-target", target.to_owned());
        call_name(&request)
    }

    #[test]
    fn a_call_is_named_by_what_it_is_on() {
        let claim = json!({"TableName": "stepwell-local-tasks", "Key": {"pk": {"S": "TASK#1"}, "sk": {"S": "STEP#pay"}},
            "UpdateExpression": "SET #owner = :3, #state = :4 REMOVE #next_retry_at ADD #attempt :5",
            "ExpressionAttributeValues": {":0": {"S": "pending"}, ":4": {"S": "in_progress"}}});
        assert_eq!(name("DynamoDB_20120810.UpdateItem", &claim), "UpdateItem.STEP#pay.in_progress");
        let take_over = json!({"TableName": "stepwell-local-tasks", "Key": {"pk": {"S": "TASK#1"}, "sk": {"S": "STEP#pay"}},
            "UpdateExpression": "SET #owner = :3, #started_at = :4 ADD #attempt :5",
            "ExpressionAttributeValues": {":4": {"S": "1"}}});
        assert_eq!(name("DynamoDB_20120810.UpdateItem", &take_over), "UpdateItem.STEP#pay");
        let charge = json!({"TableName": "stepwell-local-payments", "Key": {"id": {"S": "1"}},
            "UpdateExpression": "SET #status = :0", "ExpressionAttributeValues": {":0": {"S": "succeeded"}}});
        assert_eq!(name("DynamoDB_20120810.UpdateItem", &charge), "UpdateItem.payments");
        let load = json!({"RequestItems": {"stepwell-local-tasks": {}}});
        assert_eq!(name("DynamoDB_20120810.BatchGetItem", &load), "BatchGetItem.tasks");
        let reserve = json!({"TransactItems": [
            {"Put": {"TableName": "stepwell-local-reservations"}}, {"Update": {"TableName": "stepwell-local-products"}},
            {"Update": {"TableName": "stepwell-local-products"}}]});
        assert_eq!(name("DynamoDB_20120810.TransactWriteItems", &reserve), "TransactWriteItems.products+reservations");
        let send = json!({"QueueUrl": "http://127.0.0.1:4566/000000000000/stepwell-local-create_order"});
        assert_eq!(name("AmazonSQS.SendMessage", &send), "SendMessage.create_order");
    }

    #[test]
    fn a_rest_call_is_named_by_its_path() {
        let mut request = HttpRequest::empty();
        request.set_method("POST").unwrap();
        request.set_uri("http://127.0.0.1:4566/v2/email/outbound-emails").unwrap();
        assert_eq!(call_name(&request), "POST.v2-email-outbound-emails");
    }

    #[test]
    fn a_wanted_point_is_taken_once_and_by_a_task_that_has_died_as_often_as_it_says() {
        let switch = std::env::temp_dir().join(format!("stepwell-crash-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(switch.join("wanted")).unwrap();
        fs::create_dir_all(switch.join("died")).unwrap();
        let delivery =
            || Delivery { step: "pay", task: TaskId::new(), calls: Mutex::default(), switch: switch.clone() };
        let (one, other) = (delivery(), delivery());
        fs::write(switch.join("wanted/first"), "0").unwrap();
        fs::write(switch.join("wanted/second"), "1").unwrap();
        assert!(!one.dies_at("nowhere"));
        assert!(!one.dies_at("second"), "it has not died yet");
        assert!(one.dies_at("first"));
        assert!(!other.dies_at("first"), "it is taken");
        fs::write(switch.join("wanted/first"), "0").unwrap();
        assert!(!one.dies_at("first"), "it has died before");
        assert!(one.dies_at("second"));
        assert!(other.dies_at("first"));
        let task = one.task;
        assert_eq!(fs::read_to_string(switch.join(format!("died/{task}.1"))).unwrap(), "second");
        fs::remove_dir_all(switch).unwrap();
    }
}
