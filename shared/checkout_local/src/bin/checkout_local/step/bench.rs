//! A shop whose steps run one by one, when they are told to.

use super::state_of;
use crate::{
    failure::{Failure, other},
    server::{Files, Slots, host_steps, load_products, no_step},
};
use checkout::{CARD_TOKEN_KEPT_FOR, CardTokens};
use checkout_local::LocalShop;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use stepwell::{
    Actor, Client, Runtime, StartError, System, TaskId, Timestamp,
    core::{
        filter::Filter,
        message::{Message, StepQueue},
        record::StepRecord,
        snapshot::TaskSnapshot,
        state::StepState,
    },
    ports::Received,
};
use stepwell_local::{Host, Local};

/// How often a step is handed its message until it makes an attempt. While its service is out, it is put off a few times.
const HANDED: usize = 5;

/// How many tasks are named where one is missing.
const NAMED: usize = 5;

/// The time of a delivery, a little longer than the longest timeout of a step.
const DELIVERY: Duration = Duration::from_secs(15 * 60);

/// The machine's clock, which can be put forward. Clones share it.
#[derive(Clone, Debug, Default)]
struct Clock {
    ahead_millis: Arc<AtomicU64>,
}

impl Clock {
    /// Puts the clock forward to this time, unless it is past.
    fn forward_to(&self, at: Timestamp) {
        let ahead = u64::try_from(at.since(System.now()).as_millis()).unwrap_or(u64::MAX);
        self.ahead_millis.fetch_max(ahead, Relaxed);
    }
}

impl Runtime for Clock {
    fn now(&self) -> Timestamp {
        System.now() + Duration::from_millis(self.ahead_millis.load(Relaxed))
    }

    fn random(&self) -> f64 {
        System.random()
    }

    fn new_task_id(&self) -> TaskId {
        System.new_task_id()
    }
}

/// A shop in a folder, whose steps run one by one.
pub(super) struct Bench {
    clock: Clock,
    shop: LocalShop,
    engine: Client<Local<Clock>, Local<Clock>, Clock>,
    host: Host<Clock>,
}

impl Bench {
    /// Opens the shop in this folder.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn open(data: &Path) -> Result<Self, Failure> {
        let Files { file, shop, .. } = Files::open(data)?;
        load_products(&shop).await?;
        let clock = Clock::default();
        let local = Local::new(file, clock.clone()).await?;
        let engine = Client::new(local.clone(), local.clone(), clock.clone());
        let host = host_steps(&local, &shop, clock.clone(), &Slots::new())?;
        // Otherwise the next steps would be claimed together with the end of one.
        local.serve_none();
        Ok(Self { clock, shop, engine, host })
    }

    /// Starts the checkout of this request, and takes it to the step.
    ///
    /// # Errors
    /// The request is refused, or a step before this one failed.
    pub(super) async fn start(&self, request: &Value, name: &str) -> Result<TaskId, Failure> {
        let workflow = checkout::workflow().map_err(other)?;
        let mut request = request.clone();
        let invalid = |error: StartError| match error {
            StartError::Invalid(violations) => {
                let violations =
                    violations.iter().map(|violation| format!("\n  {}: {}", violation.path, violation.message));
                Failure::Option(format!("the request does not fit the schema:{}", violations.collect::<String>()))
            }
            error => other(error),
        };
        // The schema is about the token, and not about its fingerprint.
        workflow.validate(&request).map_err(|violations| invalid(StartError::Invalid(violations)))?;
        let token = checkout::take_token(&mut request);
        let start = self.engine.prepare_start(&workflow, &request, None).await.map_err(invalid)?;
        let task = start.task_id();
        if let Some(token) = token {
            self.shop.keep(task, &token, self.clock.now() + CARD_TOKEN_KEPT_FOR).await.map_err(other)?;
        }
        self.engine.write_start(start).await.map_err(invalid)?;
        self.lead_to(task, name).await?;
        Ok(task)
    }

    /// Runs all steps that this one waits for. A compensation waits for all steps, and for the cancellation.
    async fn lead_to(&self, task: TaskId, name: &str) -> Result<(), Failure> {
        let plan = self.snapshot(task).await?.task.plan;
        let Some(step) = plan.step(name) else { return Ok(()) };
        if step.compensates.is_some() {
            self.run_all(task, &plan.steps().iter().map(|step| step.name.clone()).collect()).await?;
            let actor = Actor::new("checkout_local step", "to run a compensation by hand").map_err(other)?;
            self.engine.cancel(task, &actor).await.map_err(other)?;
        }
        let snapshot = self.snapshot(task).await?;
        let mut needed = BTreeSet::new();
        let mut names =
            snapshot.task.plan.step(name).and_then(|step| snapshot.task.waits_for(step)).unwrap_or_default();
        while let Some(name) = names.pop() {
            let step = snapshot.task.plan.step(name);
            names.extend(step.and_then(|step| snapshot.task.waits_for(step)).unwrap_or_default());
            needed.insert(name.to_owned());
        }
        self.run_all(task, &needed).await
    }

    /// Runs these steps to their ends, each when it is ready.
    async fn run_all(&self, task: TaskId, names: &BTreeSet<String>) -> Result<(), Failure> {
        loop {
            let snapshot = self.snapshot(task).await?;
            let open = |step: &&StepRecord| names.contains(&step.name) && can_run(&snapshot, step);
            let Some(name) =
                snapshot.steps.iter().chain(&snapshot.compensations).find(open).map(|step| step.name.clone())
            else {
                return Ok(());
            };
            self.run(snapshot, &name).await?;
        }
    }

    /// The task, with the step ready for an attempt.
    ///
    /// # Errors
    /// It has no such task or step, or the step cannot run.
    pub(super) async fn ready(&self, task: TaskId, name: &str) -> Result<TaskSnapshot, Failure> {
        let mut snapshot = self.snapshot(task).await?;
        let Some(plan) = snapshot.task.plan.step(name).cloned() else {
            return Err(no_step(name, &snapshot.task.plan));
        };
        if snapshot.to_redrive().iter().any(|step| step.name == name) {
            let actor = Actor::new("checkout_local step", "by hand").map_err(other)?;
            self.engine.redrive(task, &actor).await.map_err(other)?;
            snapshot = self.snapshot(task).await?;
        }
        let step = snapshot.step(name);
        if step.is_some_and(|step| can_run(&snapshot, step)) {
            return Ok(snapshot);
        }
        let why = match (step, snapshot.missing(&plan)) {
            (Some(step), _) if step.state.is_done() => format!("it is {} already", step.state),
            (_, Some(missing)) if !missing.is_empty() => {
                let missing = missing.into_iter().map(|name| match snapshot.step(name) {
                    Some(step) => format!("{name}, which is {}", state_of(step)),
                    None => name.to_owned(),
                });
                format!("it waits for {}", missing.collect::<Vec<_>>().join(", and for "))
            }
            _ => format!("the task is {}", snapshot.status().as_str()),
        };
        let others = snapshot.steps.iter().chain(&snapshot.compensations).filter(|step| can_run(&snapshot, step));
        let others: Vec<&str> = others.map(|step| step.name.as_str()).collect();
        let others = if others.is_empty() { "no step".to_owned() } else { others.join(", ") };
        Err(Failure::Option(format!("{name} of task {task} cannot run: {why}. What can run: {others}")))
    }

    /// Runs an attempt of a step that can run. Returns the task after it.
    ///
    /// # Errors
    /// There was no attempt, or the file failed.
    pub(super) async fn run(&self, ready: TaskSnapshot, name: &str) -> Result<TaskSnapshot, Failure> {
        let task = ready.task.id;
        let attempts = |snapshot: &TaskSnapshot| {
            snapshot.step(name).and_then(|step| step.attempts.last()).map(|attempt| attempt.number)
        };
        let (queue, before) = (StepQueue::new(ready.task.workflow_name(), name), attempts(&ready));
        let mut snapshot = ready;
        for _ in 0..HANDED {
            // It waits for its retry, or until its service is back.
            if let Some(at) = snapshot.step(name).and_then(|step| step.next_retry_at) {
                self.clock.forward_to(at);
            }
            let body = serde_json::to_string(&Message::new(task, name)).map_err(other)?;
            let message = Received {
                id: "by-hand".to_owned(),
                body,
                receipt: None,
                receives: Some(1),
                sent_at: Some(self.clock.now()),
                dead_letter_source: None,
            };
            self.host.hand(queue.clone(), &message, DELIVERY).await;
            snapshot = self.snapshot(task).await?;
            if attempts(&snapshot) != before {
                return Ok(snapshot);
            }
        }
        let state = snapshot.step(name).map(state_of).unwrap_or_default();
        Err(other(format!("{name} made no attempt: it is {state}")))
    }

    async fn snapshot(&self, task: TaskId) -> Result<TaskSnapshot, Failure> {
        match self.engine.snapshot(task).await.map_err(other)? {
            Some(snapshot) => Ok(snapshot),
            None => {
                let found = self.engine.find(&Filter::default(), None, NAMED).await.map_err(other)?;
                let found = found.tasks.iter().take(NAMED);
                let names: Vec<_> =
                    found.map(|task| format!("\n  {} ({})", task.task_id, task.status.as_str())).collect();
                let there = if names.is_empty() {
                    "there is none at all".to_owned()
                } else {
                    format!("there are{}", names.concat())
                };
                Err(Failure::Option(format!("there is no task {task}; {there}")))
            }
        }
    }
}

/// Whether the step can make an attempt, now or when its wait is over.
fn can_run(snapshot: &TaskSnapshot, step: &StepRecord) -> bool {
    let plan = snapshot.task.plan.step(&step.name);
    matches!(step.state, StepState::Pending | StepState::Retrying) && plan.is_some_and(|plan| snapshot.is_ready(plan))
}
