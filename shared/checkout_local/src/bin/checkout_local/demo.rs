//! `checkout_local demo`: takes six checkouts through a shop of their own.

use crate::{
    failure::{Failure, other},
    server::{Server, Settings, Slots},
};
use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, header},
};
use checkout_api::Limits;
use checkout_demo::{Refused, Shop, play};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use std::time::Duration;
use stepwell_local::http::Metrics;
use tokio::sync::oneshot;

/// The longest time to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes the six checkouts through a new shop, and deletes it.
///
/// # Errors
/// A checkout went otherwise than it should, or the shop cannot be opened.
pub(crate) async fn demo() -> Result<(), Failure> {
    // It is deleted when it is dropped, also after Ctrl-C.
    let folder = tempfile::Builder::new().prefix("stepwell-demo-").tempdir();
    let folder = folder.map_err(|source| Failure::Folder { path: std::env::temp_dir(), source })?;
    let settings = Settings {
        data: folder.path().to_owned(),
        customers_port: 0,
        operators_port: 0,
        limits: Limits { per_email: 0, per_address: 0 },
        slots: Slots::new(),
        metrics: Metrics::new().map_err(other)?,
    };
    let server = Server::open(&settings).await?;
    let customers = Customers::new(server.customers_url.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(server.run(async { drop(stopped.await) }));
    let played = tokio::select! {
        played = play(&customers) => played.map_err(Failure::from),
        _ = tokio::signal::ctrl_c() => Err(Failure::Other("interrupted".to_owned())),
    };
    drop(stop);
    server.await.map_err(|error| Failure::Other(error.to_string()))??;
    played
}

/// The customers' API on a port of this machine.
struct Customers {
    url: String,
    client: Client<HttpConnector, Body>,
}

impl Shop for Customers {
    async fn get(&self, path: &str) -> Result<Value, Refused> {
        self.ask(Method::GET, path, String::new()).await
    }

    async fn post(&self, path: &str, body: String) -> Result<Value, Refused> {
        self.ask(Method::POST, path, body).await
    }
}

impl Customers {
    fn new(url: String) -> Self {
        Self { url, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Result<Value, Refused> {
        let failed = |why: String| Refused { why: format!("{} did not answer: {why}", self.url), retry_after: None };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Body::from(body)).map_err(|error| failed(error.to_string()))?;
        let answer = tokio::time::timeout(PATIENCE, self.client.request(request)).await;
        let answer = answer.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        let (parts, body) = answer.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.map_err(|error| failed(error.to_string()))?;
        let body: Value = serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))?;
        if parts.status.is_success() {
            return Ok(body);
        }
        let retry_after = parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Err(Refused {
            why: format!(
                "{} ({})",
                body.get("error").and_then(Value::as_str).unwrap_or_default(),
                parts.status.as_u16()
            ),
            retry_after,
        })
    }
}
