//! The API as API Gateway calls it, over a backend that is kept in memory.

mod actions;
mod bulk;
mod door;
mod fake;
mod looking;

use crate::routes;
use fake::Fake;
use lambda_http::{LambdaEvent, tower::ServiceExt};
use serde_json::{Value, json};

const ID: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";

const ARN: &str = "arn:aws:sts::123456789012:assumed-role/operators/alice";

/// What came back.
struct Answer {
    status: u16,
    headers: Value,
    text: String,
}

impl Answer {
    fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// What was wrong, as pairs of path and message.
    fn faults(&self) -> Vec<(String, String)> {
        assert_eq!((self.status, &self.body()["error"]), (422, &json!("Invalid request")), "{}", self.text);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let details = self.body()["details"].as_array().unwrap().clone();
        details.iter().map(|fault| (text(&fault["path"]), text(&fault["message"]))).collect()
    }
}

/// What an IAM authorizer says.
fn iam(arn: Value) -> Value {
    json!({"iam": {
        "accessKey": "AKIA", "accountId": "123456789012", "callerId": "AIDA", "cognitoIdentity": null,
        "principalOrgId": "o-1", "userArn": arn, "userId": "AIDA",
    }})
}

/// Sends a request as whom the authorizer says, if there is one.
async fn send_as(authorizer: Option<Value>, fake: &Fake, method: &str, target: &str, body: &str) -> Answer {
    let context = authorizer.map_or(json!({}), |authorizer| json!({ "authorizer": authorizer }));
    send_event(fake, json!({ "requestContext": context }), method, target, body).await
}

/// Sends a request with these parts in its event.
async fn send_event(fake: &Fake, parts: Value, method: &str, target: &str, body: &str) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut event = json!({
        "version": "2.0", "routeKey": "ANY /tasks/{proxy+}", "rawPath": path, "rawQueryString": query,
        "headers": {"host": "abc.execute-api.eu-central-1.amazonaws.com"},
        "requestContext": {
            "accountId": "1", "apiId": "abc", "domainName": "abc.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "abc", "requestId": "r", "routeKey": "ANY /tasks/{proxy+}", "stage": "$default",
            "time": "12/Mar/2020:19:03:58 +0000", "timeEpoch": 1_583_348_638_390_u64,
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.1.1.1", "userAgent": "x"},
        },
        "body": body, "isBase64Encoded": false,
    });
    for (part, fields) in parts.as_object().unwrap() {
        event[part].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    }
    let event = LambdaEvent::new(serde_json::from_str(&event.to_string()).unwrap(), lambda_http::Context::default());
    let answer = stepwell_aws::http::service(routes::router(fake.clone())).oneshot(event).await.unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    assert_eq!(answer["headers"]["content-type"], "application/json", "{answer}");
    assert_eq!(answer["headers"]["cache-control"], "no-store", "{answer}");
    Answer {
        status: u16::try_from(answer["statusCode"].as_u64().unwrap()).unwrap(),
        headers: answer["headers"].clone(),
        text: answer["body"].as_str().unwrap().to_owned(),
    }
}

/// Sends a request as an operator.
async fn send(fake: &Fake, method: &str, target: &str, body: &str) -> Answer {
    send_as(Some(iam(json!(ARN))), fake, method, target, body).await
}

async fn get(fake: &Fake, target: &str) -> Answer {
    send(fake, "GET", target, "").await
}

async fn post(fake: &Fake, path: &str, body: &str) -> Answer {
    send(fake, "POST", path, body).await
}
