//! Tests of the API on the engine and the shop in memory.

mod access;
mod bad_input;
mod brakes;
mod outages;
mod promises;
mod quote;
mod requests;
mod shop_pages;
mod standing;
mod table;
mod waiting;

use crate::{Limits, openapi::CONTRACT};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, request},
};
use checkout::{
    CardTokens, Pricing,
    testing::{MemoryShop, steps},
};
use http_api::TaskKeys;
use serde_json::{Value, json};
use std::fmt::Display;
use std::sync::OnceLock;
use stepwell::{
    TaskId,
    testing::{Harness, Returns},
};
use tower::ServiceExt;

/// As many checkouts as a test wants.
const NO_LIMITS: Limits = Limits { per_email: 0, per_address: 0 };

const TOKEN: &str = "test_success_visa";

/// A valid id without a task.
const UNKNOWN: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";

/// The result of `create_order`.
const ORDER: &str = r#"{
    "order_id": "018f4e4e-7c1a-7000-8000-0123456789ab", "order_number": "ORD-20231114-0A1B2C3D", "status": "confirmed",
    "total_amount": 100.00, "customer_email": "test@example.com", "created_at": "2023-11-14T22:13:20.000Z",
    "estimated_delivery": "2023-11-19T22:13:20.000Z"
}"#;

/// The keys of the API's checkouts.
fn keys() -> TaskKeys {
    TaskKeys::new([7; 32], []).unwrap()
}

/// The key of a checkout.
fn key(id: &impl Display) -> String {
    keys().key_of(id.to_string().parse().unwrap())
}

/// The URL of a checkout, with its key.
fn url(path: &str, id: &impl Display) -> String {
    keys().url(path, id.to_string().parse().unwrap())
}

/// The API, with its engine and its shop.
pub(crate) struct Api {
    harness: Harness,
    shop: MemoryShop,
    limits: Limits,
    /// Made for the first request.
    router: OnceLock<Router>,
}

/// The answer of the API.
struct ApiAnswer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl ApiAnswer {
    fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status and the error of a refusal.
    fn refusal(&self) -> (u16, String) {
        assert_eq!(self.body()["success"], false);
        (self.status, self.body()["error"].as_str().unwrap().to_owned())
    }
}

impl Api {
    pub(crate) fn new() -> Self {
        let harness = Harness::new(checkout::workflow().unwrap()).call_by_call().with_all(Returns("{}"));
        let harness = harness.with("create_order", Returns(ORDER));
        Self { harness, shop: MemoryShop::default(), limits: NO_LIMITS, router: OnceLock::new() }
    }

    pub(crate) fn router(&self) -> Router {
        let make = || {
            crate::router(self.harness.client(), self.shop.clone(), keys(), self.limits, Pricing::standard().unwrap())
                .unwrap()
        };
        self.router.get_or_init(make).clone()
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> ApiAnswer {
        let request = Request::builder().method(method).uri(path);
        // Like a customer's page: with the key of the checkout that the path names.
        let named = path.split(['/', '?']).find_map(|part| part.parse().ok());
        let request =
            named.map(|id| keys().key_of(id)).into_iter().fold(request, |all, key| all.header("X-Task-Key", key));
        self.send_as_it_is(request, headers, body).await
    }

    async fn send_as_it_is(
        &self,
        request: request::Builder,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> ApiAnswer {
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(body.into()).unwrap();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (parts, body) = self.router().oneshot(request).await.unwrap().into_parts();
        let text = String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        let answer = ApiAnswer { status: parts.status.as_u16(), headers: parts.headers, text };
        CONTRACT.check(method.as_str(), &path, answer.status, answer.header("content-type"), &answer.text);
        answer
    }

    /// A request without a key, unless the path has one.
    async fn as_a_stranger(&self, method: &str, path: &str) -> ApiAnswer {
        self.send_as_it_is(Request::builder().method(method).uri(path), &[], "").await
    }

    async fn get(&self, path: &str) -> ApiAnswer {
        self.send("GET", path, &[], "").await
    }

    async fn retry(&self, id: TaskId) -> ApiAnswer {
        self.send("POST", &format!("/retry_checkout/{id}"), &[], "").await
    }

    async fn retry_with(&self, id: TaskId, body: &str) -> ApiAnswer {
        self.send("POST", &format!("/retry_checkout/{id}"), &[("Content-Type", "application/json")], body.to_owned())
            .await
    }

    /// The token of the card that the checkout's payment would charge now.
    async fn kept_token(&self, id: TaskId) -> Option<String> {
        let token = self.shop.kept(id, self.harness.now()).await.unwrap();
        token.map(|token| token.reveal().to_owned())
    }

    async fn cancel(&self, id: TaskId) -> ApiAnswer {
        self.send("POST", &format!("/cancel_checkout/{id}"), &[], "").await
    }

    async fn checkout(&self, body: impl Into<Body>) -> ApiAnswer {
        self.checkout_at("/checkout", body).await
    }

    async fn checkout_at(&self, path: &str, body: impl Into<Body>) -> ApiAnswer {
        self.send("POST", path, &[("Content-Type", "application/json")], body).await
    }

    async fn with_key(&self, key: &str, body: String) -> ApiAnswer {
        self.send("POST", "/checkout", &[("Idempotency-Key", key)], body).await
    }

    /// Starts a checkout.
    async fn started(&self) -> TaskId {
        let answer = self.checkout(good().to_string()).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.body()["task_id"].as_str().unwrap().parse().unwrap()
    }

    /// The status of a checkout, as its customer sees it.
    async fn status(&self, id: TaskId) -> Value {
        self.get(&format!("/order_status/{id}")).await.body()
    }

    /// The steps that messages were sent to.
    fn notified_steps(&self) -> Vec<String> {
        self.harness.sent().into_iter().map(|message| message.step).collect()
    }

    /// Whether no request had an effect.
    fn is_untouched(&self) -> bool {
        self.harness.memory().store.count() == 0 && self.harness.sent().is_empty()
    }
}

/// The request of the README.
fn good() -> Value {
    json!({"checkout": {
        "cart_items": [{"product_id": 1, "quantity": 2}],
        "payment_info": {"token": TOKEN, "amount": exact("100.00")},
        "customer_info": {"email": "test@example.com", "name": "Test Customer"},
        "shipping_info": {"city": "Springfield"},
    }})
}

/// A number with every digit.
fn exact(number: &str) -> Value {
    serde_json::from_str(number).unwrap()
}

/// The request with this JSON at a pointer. The JSON need not be valid or representable.
fn with(pointer: &str, json: &str) -> String {
    const HERE: &str = "here";
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut body = good();
    match body.pointer_mut(parent).unwrap() {
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = json!(HERE),
        fields => fields[name] = json!(HERE),
    }
    body.to_string().replace(&format!("\"{HERE}\""), json)
}
