//! `checkout_local replay`: runs one step of a stored task once more, on a shop in memory, and shows what the step has asked of that shop
//! and what came of it. The command `stepwell replay` fetches the task for it.
//!
//! What had completed before the attempt is run first on the same shop, as it was at its time: so the step finds what these have left.

mod source;

use crate::{
    failure::{Failure, other},
    serve::{Log, init_logging},
    server::{no_step, sample_products},
};
use checkout::{
    CARD_TOKEN_KEPT_FOR, CardTokens, LineItem, Payment, Product, ProductId, Reservation, Shop, Token, UpdatedProduct,
    ValidatedCart,
    testing::{
        MemoryShop,
        recording::{Call, Recording},
    },
};
use checkout_local::json::{self, Difference};
use clap::Args;
use redaction::{Secret, redact};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use source::{End, Source, Task};
use std::{collections::BTreeMap, fmt};
use stepwell::{
    Runtime, StepError, StepResult, System, TaskData, TaskId, Timestamp, Workflow,
    core::plan::{Plan, StepPlan},
    testing::Attempt,
};
use tracing::Level;

/// The card that stands for the one of a payment that was made: its token was deleted then.
const CARD: &str = "test_success_visa";

/// The options of `replay`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The step or the compensation, by its name in the workflow file
    #[arg(value_name = "NAME")]
    name: String,
    /// A JSON object with `task`, as GET /tasks/ID answers, `revealed`, as POST /tasks/ID/reveal does, and `patch`, a merge patch of the input, if there is
    /// one; - is stdin
    #[arg(long, value_name = "FILE|-")]
    from: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    task_id: TaskId,
    step: &'a str,
    attempt: u32,
    /// What was run before it.
    before: Vec<Before<'a>>,
    /// What the step asked of the shop, in this order.
    calls: Vec<Call>,
    answer: Answer<'a>,
    /// Where the answer is another one than the stored one; `null` if none is stored.
    differences: Option<Vec<Difference>>,
}

/// A step that was run before, so that the shop is as that has left it.
#[derive(Serialize)]
struct Before<'a> {
    step: &'a str,
    /// Where its answer is another one than the stored one, which is what later steps are given.
    differences: Vec<Difference>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer<'a> {
    Result(&'a RawValue),
    Error {
        code: &'a str,
        message: &'a str,
        /// Whether another attempt may help.
        retryable: bool,
    },
}

/// Runs the step.
///
/// # Errors
/// The step cannot be run, or its attempt has failed.
pub(crate) async fn replay(options: &Options) -> Result<(), Failure> {
    init_logging(Log::Text, Level::WARN, None, None, None);
    let source = Source::read(&options.from)?;
    let name = options.name.as_str();
    let task = &source.task;
    let workflow = workflow_of(&task.workflow)?;
    let mut input = source.input();
    let hidden = source.still_hidden(&input);
    // As a start does.
    let given = checkout::take_token(&mut input);
    // What is printed has no longer text of the customer's.
    let mut texts = Vec::new();
    add_texts(&input, &mut texts);
    let bench = Bench {
        task,
        plan: workflow.plan_for(&input),
        data: TaskData { context: input.to_string(), results: task.results() },
        shop: Recording::new(MemoryShop::selling(products(task)?)),
    };
    let Some(step) = bench.plan.step(name) else { return Err(no_step(name, &bench.plan)) };
    let stored = task.step(name);
    let (number, started_at) =
        stored.and_then(|step| step.last_attempt()).map_or((1, System.now()), |last| (last.number, last.started_at));

    let before = bench.run_before(name, started_at, given).await?;
    let ended = bench.run(step, number, started_at).await?;
    let calls = bench.shop.take_calls();
    let answer = match &ended {
        Ok(result) => Answer::Result(serde_json::from_str(result).map_err(other)?),
        Err(error) => Answer::Error { code: &error.code, message: &error.message, retryable: error.is_retryable() },
    };
    let differences = stored.and_then(|step| step.end()).map(|stored| differences(&stored, &ended));
    let report = Report { task_id: task.task_id, step: name, attempt: number, before, calls, answer, differences };
    if options.json {
        let report = redacted(serde_json::to_value(&report).map_err(other)?);
        crate::say(serde_json::to_string_pretty(&report).map_err(other)?)?;
    } else {
        report.print(&hidden)?;
    }
    ended.map(drop).map_err(|_| Failure::Step(name.to_owned()))
}

/// The workflow of this id, in the version of this program.
fn workflow_of(id: &str) -> Result<Workflow, Failure> {
    let workflow = checkout::workflow().map_err(other)?;
    let known = workflow.id();
    match id.rsplit_once('@') {
        Some((name, _)) if name == format!("{}/{}", known.namespace, known.name) => Ok(workflow),
        _ => Err(Failure::Option(format!("this program has no steps of {id}, but those of {known}"))),
    }
}

/// Makes secrets of all texts of a JSON.
fn add_texts(json: &Value, texts: &mut Vec<Secret>) {
    match json {
        Value::String(text) => texts.push(Secret::of_system(text.as_str())),
        Value::Array(entries) => entries.iter().for_each(|entry| add_texts(entry, texts)),
        Value::Object(fields) => fields.values().for_each(|field| add_texts(field, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The products of the shop in memory: the samples, and those of the task's cart with its prices, as many as there were.
fn products(task: &Task) -> Result<Vec<Product>, Failure> {
    let mut products: BTreeMap<ProductId, Product> =
        sample_products()?.into_iter().map(|product| (product.id, product)).collect();
    let cart: Option<ValidatedCart> = task.result();
    for LineItem { product_id: id, name, price, quantity, .. } in cart.into_iter().flat_map(|cart| cart.validated_items)
    {
        let stock = products.get(&id).map_or(0, |sample| sample.stock).max(quantity);
        products.insert(id, Product { id, name, price, stock, active: true });
    }
    let taken: Option<Reservation> = task.result();
    for UpdatedProduct { product_id, previous_stock, .. } in taken.into_iter().flat_map(|taken| taken.updated_products)
    {
        if let Some(product) = products.get_mut(&product_id) {
            product.stock = previous_stock;
        }
    }
    Ok(products.into_values().collect())
}

/// A shop in memory, and what each step of the task is given.
struct Bench<'a> {
    task: &'a Task,
    plan: Plan,
    data: TaskData,
    shop: Recording<MemoryShop>,
}

impl<'a> Bench<'a> {
    /// Runs what had completed by this time, each step as it was at its time, and forgets the calls.
    async fn run_before(&self, name: &str, time: Timestamp, given: Option<Token>) -> Result<Vec<Before<'a>>, Failure> {
        // A step that this version does not have has left nothing that it knows.
        let completed = self.task.completed_by(time).into_iter().filter(|done| done.name() != name);
        let completed: Vec<_> = completed.filter_map(|done| Some((self.plan.step(done.name())?, done))).collect();
        let paid = completed.iter().any(|(step, _)| step.name == Payment::STEP);
        if let Some(card) = given.or_else(|| paid.then(|| Token::from(CARD))) {
            let tokens = self.shop.card_tokens().map_err(other)?;
            tokens.keep(self.task.task_id, &card, System.now() + CARD_TOKEN_KEPT_FOR).await.map_err(other)?;
        }
        let mut before = Vec::new();
        for (step, done) in completed {
            let ended = self.run(step, done.first_attempt, done.started_at).await?;
            before.push(Before { step: done.name(), differences: differences(&done.end(), &ended) });
        }
        self.shop.take_calls();
        Ok(before)
    }

    /// Runs an attempt. Returns its result as it may be shown, or its error.
    async fn run(
        &self,
        step: &StepPlan,
        number: u32,
        started_at: Timestamp,
    ) -> Result<Result<String, StepError>, Failure> {
        let (task_id, task_created_at) = (self.task.task_id, self.task.started_at);
        let attempt = Attempt { task_id, task_created_at, plan: &self.plan, step, number, started_at };
        macro_rules! run_if_meant {
            ($name:literal, $($library:tt)+) => {
                if step.name == $name {
                    let handler = $($library)+::step(&self.shop).map_err(other)?;
                    let ended = attempt.run(&handler, &self.data).await;
                    return Ok(ended.map(|result| self.plan.shown_result($name, &result).into_owned()));
                }
            };
        }
        tasks_api::each_checkout_step!(run_if_meant);
        Err(no_step(&step.name, &self.plan))
    }
}

/// Where an answer is another one than the stored one.
fn differences(stored: &End<'_>, now: &Result<String, StepError>) -> Vec<Difference> {
    let read = |result: &str| serde_json::from_str(result).unwrap_or(Value::Null);
    let error = |code: &str, message: &str| json!({"code": code, "message": message});
    let stored = match stored {
        End::Result(result) => read(result),
        End::Error(stored) => error(&stored.code, &stored.message),
    };
    let now = match now {
        Ok(result) => read(result),
        Err(now) => error(&now.code, &now.message),
    };
    json::differences(stored, now)
}

impl Report<'_> {
    fn print(&self, hidden: &[&str]) -> Result<(), Failure> {
        say(format_args!("{}, attempt {} of task {}, on a shop in memory", self.step, self.attempt, self.task_id))?;
        if !hidden.is_empty() {
            say(format_args!("hidden in the input, and missing here unless a patch gives it: {}", hidden.join(", ")))?;
        }
        say(if self.before.is_empty() { "\nrun before it: nothing" } else { "\nrun before it:" })?;
        for Before { step, differences } in &self.before {
            say(format_args!("  {step}"))?;
            print_differences("    ", differences)?;
        }
        say(if self.calls.is_empty() { "\ncalls: none" } else { "\ncalls:" })?;
        for (place, Call { call, answer }) in (1..).zip(&self.calls) {
            say(format_args!("  {place}. {call}\n     {answer}"))?;
        }
        match &self.answer {
            Answer::Result(result) => {
                let result: Value = serde_json::from_str(result.get()).map_err(other)?;
                say(format_args!("\nresult: {}", serde_json::to_string_pretty(&result).map_err(other)?))?;
            }
            Answer::Error { code, message, retryable } => {
                say(format_args!("\nerror: {code}: {message}"))?;
                say(if *retryable { "retryable" } else { "not retryable" })?;
            }
        }
        match self.differences.as_deref() {
            None => say("\nno answer of such an attempt is stored"),
            Some([]) => say("\nthe same is stored"),
            Some(differences) => {
                say("\nstored is another answer:")?;
                print_differences("  ", differences)
            }
        }
    }
}

/// Prints a line without the texts of the input, which code that is being changed may quote anywhere.
fn say(line: impl fmt::Display) -> Result<(), Failure> {
    crate::say(redact(&line.to_string()))
}

/// A JSON without the texts of the input.
fn redacted(json: Value) -> Value {
    match json {
        Value::String(text) => redact(&text).into_owned().into(),
        Value::Array(entries) => entries.into_iter().map(redacted).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, redacted(value))).collect(),
        json => json,
    }
}

fn print_differences(indent: &str, differences: &[Difference]) -> Result<(), Failure> {
    for Difference { at, stored, now } in differences {
        let at = if at.is_empty() { "the whole" } else { at };
        say(format_args!("{indent}{at}: {stored} is stored, and now it is {now}"))?;
    }
    Ok(())
}
