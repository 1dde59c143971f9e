//! The checkout's HTTP API, as its clients see it.

use crate::until;
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use http_api::TaskKeys;
use reqwest::{Client, RequestBuilder, header::HeaderMap};
use serde_json::Value;
use std::time::SystemTime;

/// The API under one base URL. Like a customer's page, it shows the key of each task that a request is about.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    http: Client,
    /// What the keys are made from; `None` for somebody who has none.
    keys: Option<TaskKeys>,
}

/// An answer of the API.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

/// The body of `/workflow_details`.
#[derive(Clone, Debug)]
pub struct Details(pub Value);

impl Api {
    /// The API at this URL. A proxy is not used: the stack is on this machine.
    pub fn new(base: impl Into<String>) -> Self {
        let http = Client::builder().no_proxy().build().expect("an HTTP client");
        Self { base: base.into(), http, keys: None }
    }

    /// The same API for customers of all tasks, whose keys are made from these secrets.
    #[must_use]
    pub fn with_keys(self, keys: TaskKeys) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// The same API for somebody who has started nothing, and so has no keys.
    #[must_use]
    pub fn as_a_stranger(&self) -> Self {
        Self { keys: None, ..self.clone() }
    }

    /// The key of a task.
    pub fn task_key(&self, task: &str) -> String {
        self.key_of(task).unwrap_or_else(|| panic!("no key of {task}"))
    }

    fn key_of(&self, task: &str) -> Option<String> {
        Some(self.keys.as_ref()?.key_of(task.parse().ok()?))
    }

    /// A request to a path, to be completed and given to [`Self::answer`].
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let request = self.http.request(method.parse().expect("a method"), self.url(path));
        let key = path.split(['/', '?']).find_map(|part| self.key_of(part));
        key.into_iter().fold(request, |request, key| request.header("x-task-key", key))
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request to a service of AWS, with the signature of the owner of these keys, as SigV4 makes it.
    pub async fn send_signed(
        &self,
        keys: &Credentials,
        service: &str,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let identity = keys.clone().into();
        let params = SigningParams::builder().identity(&identity).region("us-east-1").name(service);
        let params = params.time(SystemTime::now()).settings(SigningSettings::default()).build().expect("all is given");
        let signable = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new(method, self.url(path), headers.iter().copied(), signable);
        let signed = sign(request.expect("a request"), &params.into()).expect("a signature").into_parts().0;
        let headers = headers.iter().copied().chain(signed.headers());
        let request = headers.fold(self.request(method, path), |request, (name, value)| request.header(name, value));
        self.answer(request.body(body)).await
    }

    /// Sends a request.
    pub async fn answer(&self, request: RequestBuilder) -> Answer {
        self.try_answer(request).await.unwrap_or_else(|error| panic!("the API does not answer: {error:?}"))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The connection fails or breaks off.
    pub async fn try_answer(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    /// `GET` of a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.answer(self.request("GET", path)).await
    }

    /// `POST` of a text as JSON.
    pub async fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.answer(request.body(body.into())).await
    }

    /// `POST /checkout`.
    pub async fn checkout(&self, request: &Value) -> Answer {
        self.post("/checkout", request.to_string()).await
    }

    /// `POST /checkout` with an idempotency key.
    pub async fn checkout_with_key(&self, request: &Value, key: &str) -> Answer {
        self.answer(self.checkout_request(request, key)).await
    }

    /// `POST /checkout` with an idempotency key, to be sent.
    pub fn checkout_request(&self, request: &Value, key: &str) -> RequestBuilder {
        let post = self.request("POST", "/checkout").header("content-type", "application/json");
        post.header("idempotency-key", key).body(request.to_string())
    }

    /// Starts a checkout and answers with its task's id.
    pub async fn start(&self, request: &Value) -> String {
        self.checkout(request).await.task_id()
    }

    /// `GET /order_status`.
    pub async fn order_status(&self, task: &str) -> Value {
        self.get(&format!("/order_status/{task}")).await.expect(200)
    }

    /// `GET /workflow_details`.
    pub async fn details(&self, task: &str) -> Details {
        Details(self.get(&format!("/workflow_details/{task}")).await.expect(200))
    }

    /// Waits until a task has completed or failed, or waits for its redrive, and answers with its order status.
    pub async fn until_ended(&self, task: &str) -> Value {
        until(&format!("the end of task {task}"), async || {
            let runs = matches!(self.details(task).await.0["status"].as_str(), Some("pending" | "in_progress"));
            if runs { None } else { Some(self.order_status(task).await) }
        })
        .await
    }

    /// Runs a checkout to its end.
    pub async fn run(&self, request: &Value) -> (String, Value, Details) {
        let task = self.start(request).await;
        let status = self.until_ended(&task).await;
        let details = self.details(&task).await;
        (task, status, details)
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in the answer {self:?}"))
    }

    /// The body as JSON, if the status is this one.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The id of the task that was started.
    pub fn task_id(&self) -> String {
        self.expect(202)["task_id"].as_str().expect("a task_id").to_owned()
    }

    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header of text"))
    }
}

impl Details {
    /// The entry of a step or of a compensation.
    pub fn step(&self, name: &str) -> &Value {
        let listed = ["steps", "compensations"].into_iter().filter_map(|list| self.0[list].as_array()).flatten();
        let mut found = listed.filter(|step| step["name"] == name);
        found.next().unwrap_or_else(|| panic!("no step {name} in {}", self.0))
    }

    /// A step's attempts, in order.
    pub fn attempts(&self, step: &str) -> &[Value] {
        self.step(step)["attempts"].as_array().expect("attempts")
    }

    /// How a step's attempts ended, in order.
    pub fn outcomes(&self, step: &str) -> Vec<&str> {
        self.attempts(step).iter().map(|attempt| attempt["outcome"].as_str().expect("an outcome")).collect()
    }

    /// The names and states of all steps, in order.
    pub fn states(&self) -> Vec<(&str, &str)> {
        let steps = self.0["steps"].as_array().expect("steps");
        steps
            .iter()
            .map(|step| (step["name"].as_str().expect("name"), step["status"].as_str().expect("status")))
            .collect()
    }
}
