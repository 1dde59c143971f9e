//! The operators' API, as its clients see it: every request is signed.

use crate::api::{Answer, Api};
use aws_credential_types::Credentials;
use serde_json::{Value, json};

/// Somebody with keys.
#[derive(Clone, Debug)]
pub struct Operator {
    api: Api,
    keys: Credentials,
}

impl Operator {
    /// The owner of these keys.
    pub fn new(api: &Api, keys: Credentials) -> Self {
        Self { api: api.clone(), keys }
    }

    /// Sends a request with the owner's signature.
    pub async fn send(&self, method: &str, path: &str, body: String) -> Answer {
        self.api
            .send_signed(&self.keys, "execute-api", (method, path), &[("content-type", "application/json")], body)
            .await
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
