//! What a run stands on: the numbers of the rendered template, AWS's quotas, and what a call and a handler take.

use super::quotas::Quotas;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use stepwell::Workflow;
use stepwell_cli::{
    cost::{CALL_MS, CPU_MS, HANDLER_MS, LOG_BYTES},
    naming::StepNames,
    template::Template,
};

/// The numbers that a run stands on. A run may change one, to see what moves.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The steps' and compensations' functions, by step.
    pub functions: BTreeMap<String, Function>,
    /// The API's throttle, `ApiStage` of the template.
    pub api: Throttle,
    /// The memory of the API's function, in MB.
    pub api_memory_mb: u32,
    /// The memory of the hourly reconciliation, in MB.
    pub reconcile_memory_mb: f64,
    /// The timeout of the watchdog.
    pub watchdog_timeout: Duration,
    /// AWS's quotas.
    pub quotas: Quotas,
    /// The write units that the tasks table takes at once: those of a new one, unless it was warmed.
    pub warm_write_units: f64,
    /// The same of its index.
    pub warm_index_units: f64,
    /// The read units that both take at once.
    pub warm_read_units: f64,
    /// What is stated, not counted.
    pub stated: Stated,
}

/// A step's function and its queue's mapping, as the template has them.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// `BatchSize`.
    pub batch_size: f64,
    /// `MaximumConcurrency`.
    pub max_concurrency: f64,
    /// `Timeout`.
    pub timeout: Duration,
    /// `MemorySize`, in MB.
    pub memory_mb: u32,
}

impl Function {
    /// How many messages are worked on at a time.
    pub fn messages_at_a_time(&self) -> f64 {
        self.batch_size * self.max_concurrency
    }
}

/// The throttle of an API: requests a second, and at once.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// `ThrottlingRateLimit`.
    pub requests: f64,
    /// `ThrottlingBurstLimit`.
    pub burst: f64,
}

/// What is stated, not counted. All but the time of a service and the number of requests is what `stepwell cost` states.
#[derive(Clone, Copy, Debug)]
pub struct Stated {
    /// What a call of an AWS service takes.
    pub call: Duration,
    /// What the handler of a step waits for its own calls.
    pub handler: Duration,
    /// The processor time of an invocation on a whole core.
    pub cpu: Duration,
    /// What a handler waits for a service outside the stack (`waits_on`).
    pub service: Duration,
    /// The requests of a customer: one starts the checkout, one waits for its end.
    pub requests: f64,
    /// The bytes that an invocation logs.
    pub log_bytes: u64,
}

impl Default for Stated {
    fn default() -> Self {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        Self {
            call: ms(CALL_MS),
            handler: ms(HANDLER_MS),
            cpu: ms(CPU_MS),
            service: ms(300),
            requests: 2.0,
            log_bytes: LOG_BYTES.into(),
        }
    }
}

impl Setup {
    /// The rendered template on an account with the default quotas and new tables.
    ///
    /// # Panics
    /// The template lacks a number.
    pub fn shipped(workflow: &Workflow, stated: Stated) -> Self {
        let template = Template::read(include_str!("../../../infra/template.yaml")).expect("a rendered template");
        let resources = &template.value()["Resources"];
        let (plan, quotas) = (workflow.plan(), Quotas::read());
        let steps = plan.steps().iter().chain(plan.compensations());
        let functions = steps.map(|step| {
            let id = StepNames::new(&workflow.id().name, &step.name).logical_id();
            let mapping = &resources[format!("{id}Messages")]["Properties"];
            let function = &resources[format!("{id}Function")]["Properties"];
            let function = Function {
                batch_size: number(&mapping["BatchSize"]),
                max_concurrency: number(&mapping["ScalingConfig"]["MaximumConcurrency"]),
                timeout: Duration::from_secs_f64(number(&function["Timeout"])),
                memory_mb: number(&function["MemorySize"]) as u32,
            };
            (step.name.clone(), function)
        });
        let throttle = &resources["ApiStage"]["Properties"]["DefaultRouteSettings"];
        Self {
            functions: functions.collect(),
            api: Throttle {
                requests: number(&throttle["ThrottlingRateLimit"]),
                burst: number(&throttle["ThrottlingBurstLimit"]),
            },
            api_memory_mb: number(&resources["CheckoutApiFunction"]["Properties"]["MemorySize"]) as u32,
            reconcile_memory_mb: number(&resources["ReconcileFunction"]["Properties"]["MemorySize"]),
            watchdog_timeout: Duration::from_secs_f64(number(&resources["WatchdogFunction"]["Properties"]["Timeout"])),
            warm_write_units: quotas.dynamodb.new_write_units,
            warm_index_units: quotas.dynamodb.new_write_units,
            warm_read_units: quotas.dynamodb.new_read_units,
            quotas,
            stated,
        }
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("infra/template.yaml has {value} where the model reads a number"))
}
