//! The API over a backend that is kept in memory.

mod bad_input;
mod bodies;
mod fake;
mod gateway;
mod outages;
mod requests;

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use fake::Fake;
use lambda_http::tower::ServiceExt;
use serde_json::{Value, json};

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn send(fake: &Fake, request: Request<impl Into<Body>>) -> Answer {
    let response = crate::routes::router(fake.clone()).oneshot(request.map(Into::into)).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    assert_eq!(parts.headers[header::CONTENT_TYPE], "application/json", "{text}");
    assert_eq!(parts.headers[header::CACHE_CONTROL], "no-store", "{text}");
    Answer { status: parts.status, headers: parts.headers, text }
}

async fn get(fake: &Fake, path: &str) -> Answer {
    send(fake, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn post(fake: &Fake, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
    send(fake, request.body(body).unwrap()).await
}

/// `POST /checkout` as the issue does it.
async fn checkout(fake: &Fake, body: impl Into<Body>) -> Answer {
    post(fake, "/checkout", &[("Content-Type", "application/json")], body).await
}

const TOKEN: &str = "test_success_visa";

/// The request.
fn good() -> Value {
    json!({"checkout": {
        "cart_items": [{"product_id": 1, "quantity": 2}],
        "payment_info": {"token": TOKEN, "amount": exact("100.00")},
        "customer_info": {"email": "test@example.com", "name": "Test Customer"},
    }})
}

/// A number, to the digit.
fn exact(number: &str) -> Value {
    serde_json::from_str(number).unwrap()
}

/// The request with another value at a place.
fn with(pointer: &str, value: Value) -> String {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut body = good();
    match body.pointer_mut(parent).unwrap() {
        Value::Object(fields) => {
            fields.insert(name.to_owned(), value);
        }
        list => list[name.parse::<usize>().unwrap()] = value,
    }
    body.to_string()
}
