//! Asks a JSON API of this machine.

use super::checkout::{Wrong, text};
use crate::failure::Failure;
use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, header},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use std::{path::Path, time::Duration};
use stepwell_local::http::Secret;

/// The longest time to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An API at a URL.
pub(crate) struct Api {
    url: String,
    client: Client<HttpConnector, Body>,
    authorization: Option<String>,
}

/// The answer of the API that is not the one that was asked for.
pub(crate) struct Refused {
    /// What it says.
    pub(crate) why: String,
    /// The seconds after which it may be asked again, if it says so.
    pub(crate) retry_after: Option<u64>,
}

impl From<Refused> for Wrong {
    fn from(refused: Refused) -> Self {
        Self::Otherwise(refused.why)
    }
}

impl Api {
    pub(crate) fn new(url: String) -> Self {
        Self { url, client: Client::builder(TokioExecutor::new()).build_http(), authorization: None }
    }

    /// Sends the token in this file with each request.
    pub(crate) fn with_token(self, file: &Path) -> Result<Self, Failure> {
        let token = Secret::load_or_create(file)?;
        Ok(Self { authorization: Some(format!("Bearer {}", token.expose())), ..self })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Refused> {
        self.ask(Method::GET, path, String::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: String) -> Result<Value, Refused> {
        self.ask(Method::POST, path, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Result<Value, Refused> {
        let failed = |why: String| Refused { why: format!("{} did not answer: {why}", self.url), retry_after: None };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
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
        Err(Refused { why: format!("{} ({})", text(&body["error"]), parts.status.as_u16()), retry_after })
    }
}
