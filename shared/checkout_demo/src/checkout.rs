//! A checkout of the demo, and how it is watched.

use crate::{
    DemoError, Refused, Shop, elements,
    output::{green, red, say_of_checkout, yellow},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use stepwell::Timestamp;

pub(crate) const RETRYABLE: &str = "retryable_error";
pub(crate) const PERMANENT: &str = "permanent_error";
pub(crate) const COMPLETE: &str = "complete";

const BREAKER_OPEN: &str = "BREAKER_OPEN";
const POLL_EACH: Duration = Duration::from_millis(100);

/// How long a checkout may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// For so long a checkout that is refused, because a service is out, is sent again.
const OUTAGE: Duration = Duration::from_secs(600);

/// The reason why a scenario has ended early.
pub(crate) enum Wrong {
    /// Something did not go as it should.
    Otherwise(String),
    /// Nothing can be printed any more.
    Output(DemoError),
}

impl From<DemoError> for Wrong {
    fn from(error: DemoError) -> Self {
        Self::Output(error)
    }
}

impl From<Refused> for Wrong {
    fn from(refused: Refused) -> Self {
        Self::Otherwise(refused.why)
    }
}

pub(crate) fn expect(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), Wrong> {
    if condition { Ok(()) } else { Err(Wrong::Otherwise(otherwise())) }
}

/// The text of a JSON string; none of anything else.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A checkout.
pub(crate) struct Checkout<'a, S> {
    pub(crate) shop: &'a S,
    task_id: String,
    key: String,
    /// The last answer of `GET /order_status`.
    pub(crate) status: Value,
    /// The last answer of `GET /workflow_details`.
    details: Value,
    shown: BTreeSet<(String, u64, String)>,
}

impl<'a, S: Shop> Checkout<'a, S> {
    pub(crate) fn new(shop: &'a S) -> Self {
        let (task_id, key) = (String::new(), String::new());
        Self { shop, task_id, key, status: Value::Null, details: Value::Null, shown: BTreeSet::new() }
    }

    /// Sends this request, and shows what happens until the checkout has ended, or has attempted the step `until`.
    pub(crate) async fn start(&mut self, request: &str, name: &str, until: Option<&str>) -> Result<(), Wrong> {
        let started = self.send(request).await?;
        self.task_id = text(&started["task_id"]).to_owned();
        self.key = text(&started["task_key"]).to_owned();
        say_of_checkout(format_args!("POST /checkout with events/requests/{name}.json: task {}", self.task_id))?;
        self.watch(until).await
    }

    /// Sends it again while the shop takes no new checkouts and says when it may: until then nothing was started.
    async fn send(&self, request: &str) -> Result<Value, Wrong> {
        let begun = Instant::now();
        loop {
            let Refused { why, retry_after } = match self.shop.post("/checkout", request.to_owned()).await {
                Ok(started) => return Ok(started),
                Err(refused) => refused,
            };
            let wait = retry_after.filter(|wait| begun.elapsed() + Duration::from_secs(*wait) < OUTAGE);
            let Some(wait) = wait else { return Err(Wrong::Otherwise(why)) };
            say_of_checkout(format_args!("{} {why}; sent again in {wait} s", yellow("refused")))?;
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
    }

    /// Shows what happens until the checkout has ended, or has attempted this step.
    pub(crate) async fn watch(&mut self, until: Option<&str>) -> Result<(), Wrong> {
        let begun = Instant::now();
        loop {
            let path = format!("/workflow_details/{}?key={}", self.task_id, self.key);
            self.details = self.shop.get(&path).await?;
            self.show_news()?;
            let is_attempted = until.is_some_and(|until| {
                let attempted = |step: &Value| step["name"] == until && !elements(&step["attempts"]).is_empty();
                self.steps("steps").iter().any(attempted)
            });
            if is_attempted || !["pending", "in_progress", "compensating"].contains(&text(&self.details["status"])) {
                let path = format!("/order_status/{}?key={}", self.task_id, self.key);
                self.status = self.shop.get(&path).await?;
                return Ok(());
            }
            let seconds = PATIENCE.as_secs();
            expect(begun.elapsed() < PATIENCE, || {
                format!("{} has not ended within {seconds} s{}", self.task_id, self.waits())
            })?;
            tokio::time::sleep(POLL_EACH).await;
        }
    }

    /// The steps, or the compensations.
    pub(crate) fn steps(&self, kind: &str) -> &[Value] {
        elements(&self.details[kind])
    }

    /// What it waits for.
    fn waits(&self) -> String {
        let steps = self.steps("steps").iter().chain(self.steps("compensations"));
        let waiting = steps.filter(|step| step["status"] == "retrying" && !step["error"].is_null());
        let told = waiting.map(|step| {
            let (name, error) = (text(&step["name"]), &step["error"]);
            format!("; {name} waits: {}: {}", text(&error["code"]), text(&error["message"]))
        });
        told.collect()
    }

    fn show_news(&mut self) -> Result<(), Wrong> {
        let started = moment(&self.details["started_at"]);
        let mut news = Vec::new();
        for step in self.steps("steps").iter().chain(self.steps("compensations")) {
            let name = text(&step["name"]);
            for attempt in elements(&step["attempts"]) {
                let at = moment(&attempt["finished_at"]).or(moment(&attempt["started_at"]));
                let number = attempt["number"].as_u64().unwrap_or_default();
                let after = started.zip(at).map_or(0.0, |(started, at)| at.since(started).as_secs_f64());
                let line = format!("{after:7.2} s  {name:<17}  attempt {number}  {}", outcome(attempt));
                news.push((at, (name.to_owned(), number, text(&attempt["outcome"]).to_owned()), line));
            }
            // It waits without an attempt, which would have told.
            let error = &step["error"];
            if step["status"] == "retrying" && error["code"] == BREAKER_OPEN {
                let next = step.get("next_retry_at").map(|at| format!("; next attempt at {}", text(at)));
                let (message, next) = (text(&error["message"]), next.unwrap_or_default());
                let line = format!("           {name:<17}  {} {BREAKER_OPEN}: {message}{next}", yellow("waits"));
                news.push((None, (name.to_owned(), 0, BREAKER_OPEN.to_owned()), line));
            }
        }
        news.sort_by_key(|(at, _, _)| *at);
        for (_, what, line) in news {
            if self.shown.insert(what) {
                say_of_checkout(line)?;
            }
        }
        Ok(())
    }

    /// Cancels it, as its customer may.
    pub(crate) async fn cancel(&self) -> Result<(), Wrong> {
        let path = format!("/cancel_checkout/{}", self.task_id);
        say_of_checkout(format_args!("POST {path}"))?;
        self.shop.post(&format!("{path}?key={}", self.key), String::new()).await?;
        Ok(())
    }

    /// That it has this status, and its error, or the step that is tried again, this code; that each step that is named had attempts
    /// that ended so, and each other step one that is complete, or none where one that it depends on is not.
    pub(crate) fn must_be(&self, status: &str, code: Option<&str>, attempts: &[(&str, &[&str])]) -> Result<(), Wrong> {
        let found = |field: &str| self.status.get(field).filter(|value| !value.is_null());
        let error = found("error").or(found("retrying")).unwrap_or(&Value::Null);
        let is_so = self.status["status"] == status && error.get("code").and_then(Value::as_str) == code;
        expect(is_so, || format!("it is {}: {error}", self.status["status"]))?;
        let mut complete = BTreeSet::new();
        for step in self.steps("steps") {
            let name = text(&step["name"]);
            let is_due = elements(&step["depends_on"]).iter().all(|dependency| complete.contains(text(dependency)));
            let usual: &[&str] = if is_due { &[COMPLETE] } else { &[] };
            let wanted = attempts.iter().find(|(named, _)| *named == name).map_or(usual, |(_, wanted)| wanted);
            if wanted.last() == Some(&COMPLETE) {
                complete.insert(name);
            }
            let found: Vec<&str> =
                elements(&step["attempts"]).iter().map(|attempt| text(&attempt["outcome"])).collect();
            expect(found == wanted, || {
                let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
                format!("the attempts of {name} ended so: {found}")
            })?;
        }
        Ok(())
    }
}

fn outcome(attempt: &Value) -> String {
    if attempt["outcome"] == "in_progress" {
        return "runs".to_owned();
    }
    let took = format!("({} ms)", attempt["duration_ms"]);
    if attempt["outcome"] == COMPLETE {
        return format!("{} {took}", green("done"));
    }
    let error = &attempt["error"];
    let told = match error.is_null() {
        true => format!("{took} {}", text(&attempt["outcome"])),
        false => format!("{took} {}: {}", text(&error["code"]), text(&error["message"])),
    };
    match moment(&attempt["finished_at"]).zip(moment(&attempt["next_retry_at"])) {
        Some((finished, next)) => {
            let wait = next.since(finished).as_secs_f64();
            format!("{} {told}; next attempt in {wait:.0} s", yellow("failed"))
        }
        None => format!("{} {told}", red("failed")),
    }
}

fn moment(value: &Value) -> Option<Timestamp> {
    text(value).parse().ok()
}
