//! The operators' API, as its clients see it.

use crate::api::{Answer, Api};
use aws_credential_types::Credentials;
use serde_json::{Value, json};

/// An operator, or somebody who would like to be one.
#[derive(Clone, Debug)]
pub struct Operator {
    api: Api,
    authorization: Authorization,
}

/// What an operator's requests carry.
#[derive(Clone, Debug)]
enum Authorization {
    /// Nothing.
    Nothing,
    /// A signature with these keys.
    Signature(Credentials),
    /// This token.
    Token(String),
}

impl Operator {
    /// The owner of these keys.
    pub fn with_keys(api: &Api, keys: Credentials) -> Self {
        Self { api: api.clone(), authorization: Authorization::Signature(keys) }
    }

    /// The owner of this token.
    pub fn with_token(api: &Api, token: String) -> Self {
        Self { api: api.clone(), authorization: Authorization::Token(token) }
    }

    /// Somebody who has neither.
    pub fn without_authorization(api: &Api) -> Self {
        Self { api: api.clone(), authorization: Authorization::Nothing }
    }

    /// Sends a request with the operator's authorization.
    pub async fn send(&self, method: &str, path: &str, body: String) -> Answer {
        const JSON: (&str, &str) = ("content-type", "application/json");
        let request = || self.api.request(method, path).header(JSON.0, JSON.1);
        let request = match &self.authorization {
            Authorization::Nothing => request(),
            Authorization::Token(token) => request().bearer_auth(token),
            Authorization::Signature(keys) => {
                return self.api.send_signed(keys, "execute-api", (method, path), &[JSON], body).await;
            }
        };
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
