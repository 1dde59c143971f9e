//! The operators' API, as its clients see it: every request is signed.

use crate::api::{Answer, Api};
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use serde_json::{Value, json};
use std::time::SystemTime;

/// Somebody with keys.
#[derive(Clone, Debug)]
pub struct Operator {
    api: Api,
    keys: Credentials,
}

impl Operator {
    /// The owner of this access key. The emulator knows `test`, and believes everybody that they have the secret one.
    pub fn new(api: &Api, access_key: &str) -> Self {
        Self { api: api.clone(), keys: Credentials::new(access_key, "test", None, None, "tests") }
    }

    /// Sends a request with a signature, as SigV4 makes it.
    pub async fn send(&self, method: &str, path: &str, body: String) -> Answer {
        let identity = self.keys.clone().into();
        let params = SigningParams::builder().identity(&identity).region("us-east-1").name("execute-api");
        let params = params.time(SystemTime::now()).settings(SigningSettings::default()).build().expect("all is given");
        let (url, no_headers) = (self.api.url(path), std::iter::empty());
        let request = SignableRequest::new(method, url, no_headers, SignableBody::Bytes(body.as_bytes()));
        let signed = sign(request.expect("a request"), &params.into()).expect("a signature").into_parts().0;
        let request = self.api.request(method, path).header("content-type", "application/json");
        let request = signed.headers().fold(request, |request, (name, value)| request.header(name, value));
        self.api.answer(request.body(body)).await
    }

    /// `GET` of a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, String::new()).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body.to_string()).await
    }

    /// Does something to a task, which is the last part of its path, for this reason.
    pub async fn act(&self, task: &str, what: &str, reason: &str) -> Answer {
        self.post(&format!("/tasks/{task}/{what}"), &json!({ "reason": reason })).await
    }

    /// `GET /tasks/{task}`.
    pub async fn task(&self, task: &str) -> Value {
        self.get(&format!("/tasks/{task}")).await.expect(200)
    }

    /// All tasks that fit a query, page by page.
    pub async fn list(&self, query: &str) -> Vec<Value> {
        let (mut tasks, mut next) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("/tasks?{query}{next}")).await.expect(200);
            let found = page["tasks"].as_array_mut().expect("tasks");
            tasks.append(found);
            match page["next"].as_str() {
                Some(place) => next = format!("&next={place}"),
                None => return tasks,
            }
        }
    }
}
