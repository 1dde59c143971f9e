//! Crash points before and after every call of this process's AWS clients; see [`stepwell::runtime::crash`].

use aws_smithy_http_client::Builder;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use serde_json::Value;
use std::collections::BTreeSet;
use stepwell::runtime::crash::around;

/// Makes the HTTP client for all AWS clients of this process. It has no TLS, so it works with an emulator only.
pub(crate) fn http_client() -> SharedHttpClient {
    SharedHttpClient::new(CrashPointClient(Builder::new().build_http()))
}

#[derive(Debug)]
struct CrashPointClient(SharedHttpClient);

#[derive(Debug)]
struct CrashPointConnector(SharedHttpConnector);

impl HttpClient for CrashPointClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(CrashPointConnector(self.0.http_connector(settings, components)))
    }
}

impl HttpConnector for CrashPointConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (name, connector) = (call_name(&request), self.0.clone());
        HttpConnectorFuture::new(async move { around(&name, async { connector.call(request).await }).await })
    }
}

/// Names a call: the operation and its object.
fn call_name(request: &HttpRequest) -> String {
    let Some((_, operation)) = request.headers().get("x-amz-target").and_then(|target| target.rsplit_once('.')) else {
        // A REST service, such as SES, has its operation in the path.
        let path = request.uri().split_once("://").map_or(request.uri(), |(_, rest)| rest);
        return format!("{}.{}", request.method(), path.split('/').skip(1).collect::<Vec<_>>().join("-"));
    };
    let body = request.body().bytes().unwrap_or_default();
    let body = serde_json::from_slice(body).unwrap_or_default();
    let (object, assigned) = (object(&body), first_assigned(&body).unwrap_or_default());
    let parts = [operation, &object, assigned].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(".")
}

/// The first attribute that an update of another table than the engine's sets: one step may update an item several times.
fn first_assigned(body: &Value) -> Option<&str> {
    let update = body.get("UpdateExpression")?.as_str().filter(|_| body.pointer("/Key/sk").is_none())?;
    let (name, _) = update.strip_prefix("SET ")?.split_once(" = ")?;
    Some(name.trim_start_matches('#'))
}

/// Names the object of a call: a queue, an item of the engine's table with its new state, or other tables.
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
    // The partition of a search key has its name and a hash, and its sort key is the task's.
    let found = text("/Key/pk/S").and_then(|partition| partition.strip_prefix("FIND#")?.split('#').next());
    if let Some(name) = found {
        return format!("FIND#{name}");
    }
    let Some(item) = text("/Key/sk/S").or_else(|| text("/Item/sk/S")) else {
        return text("/TableName").map(own_name).unwrap_or_default().to_owned();
    };
    let values = body.get("ExpressionAttributeValues");
    let state = new_state(text("/UpdateExpression").unwrap_or_default());
    let state = state.and_then(|placeholder| values?.get(placeholder)?.get("S")?.as_str());
    [item].into_iter().chain(state).collect::<Vec<_>>().join(".")
}

/// Finds the placeholder of the state or status that an update sets.
fn new_state(update: &str) -> Option<&str> {
    let mut assignments = update.strip_prefix("SET ")?.split(", ").filter_map(|part| part.split_once(" = "));
    let (_, value) = assignments.find(|(name, _)| matches!(*name, "#state" | "#status"))?;
    value.split(' ').next()
}

/// Strips the stack's name from the name of a table or queue.
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
    fn call_is_named_by_operation_and_object() {
        let claim = json!({"TableName": "stepwell-local-tasks", "Key": {"pk": {"S": "TASK#1"}, "sk": {"S": "STEP#pay"}},
            "UpdateExpression": "SET #owner = :3, #state = :4 REMOVE #next_retry_at ADD #attempt :5",
            "ExpressionAttributeValues": {":0": {"S": "pending"}, ":4": {"S": "in_progress"}}});
        assert_eq!(name("DynamoDB_20120810.UpdateItem", &claim), "UpdateItem.STEP#pay.in_progress");
        let take_over = json!({"TableName": "stepwell-local-tasks", "Key": {"pk": {"S": "TASK#1"}, "sk": {"S": "STEP#pay"}},
            "UpdateExpression": "SET #owner = :3, #started_at = :4 ADD #attempt :5",
            "ExpressionAttributeValues": {":4": {"S": "1"}}});
        assert_eq!(name("DynamoDB_20120810.UpdateItem", &take_over), "UpdateItem.STEP#pay");
        let found = json!({"TableName": "stepwell-local-tasks", "Key": {"pk": {"S": "FIND#email#71d4"}, "sk": {"S": "fe70"}},
            "UpdateExpression": "SET #task_id = :0", "ExpressionAttributeValues": {":0": {"S": "018f"}}});
        assert_eq!(name("DynamoDB_20120810.UpdateItem", &found), "UpdateItem.FIND#email");
        let charge = json!({"TableName": "stepwell-local-payments", "Key": {"id": {"S": "1"}},
            "UpdateExpression": "SET #status = :0", "ExpressionAttributeValues": {":0": {"S": "succeeded"}}});
        assert_eq!(name("DynamoDB_20120810.UpdateItem", &charge), "UpdateItem.payments.status");
        let load = json!({"RequestItems": {"stepwell-local-tasks": {}}});
        assert_eq!(name("DynamoDB_20120810.BatchGetItem", &load), "BatchGetItem.tasks");
        let reserve = json!({"TransactItems": [
            {"Put": {"TableName": "stepwell-local-reservations"}}, {"Update": {"TableName": "stepwell-local-products"}},
            {"Update": {"TableName": "stepwell-local-products"}}]});
        assert_eq!(name("DynamoDB_20120810.TransactWriteItems", &reserve), "TransactWriteItems.products+reservations");
        let send = json!({"QueueUrl": "http://127.0.0.1:4566/000000000000/stepwell-local-checkout-create_order"});
        assert_eq!(name("AmazonSQS.SendMessage", &send), "SendMessage.create_order");
    }

    #[test]
    fn rest_call_is_named_by_its_path() {
        let mut request = HttpRequest::empty();
        request.set_method("POST").unwrap();
        request.set_uri("http://127.0.0.1:4566/v2/email/outbound-emails").unwrap();
        assert_eq!(call_name(&request), "POST.v2-email-outbound-emails");
    }
}
