//! Steps that do what a test tells them to.

use futures::future::BoxFuture;
use serde_json::Value;
use std::{fmt, sync::Arc};
use stepwell::{Input, Step, StepContext, StepError, TaskData};

/// The name of the numbered step: `s00`, `s01` and so on.
pub fn name(number: usize) -> String {
    format!("s{number:02}")
}

/// The number in the name of a numbered step.
pub fn number_of(step: &str) -> Option<usize> {
    step.strip_prefix('s')?.parse().ok()
}

/// What was loaded, as it was loaded: the context and the results of the direct dependencies.
#[derive(Clone, Debug)]
pub struct Loaded(TaskData);

impl Input for Loaded {
    fn wanted() -> Vec<&'static str> {
        Vec::new()
    }

    fn from_data(data: &TaskData) -> Result<Self, StepError> {
        Ok(Self(data.clone()))
    }
}

/// One run of a step.
#[derive(Clone, Debug)]
pub struct Run {
    /// The facts about the attempt.
    pub facts: StepContext,
    /// What was loaded for it.
    pub data: TaskData,
}

impl Run {
    /// The task's context.
    pub fn context(&self) -> Value {
        serde_json::from_str(&self.data.context).expect("the context is JSON")
    }

    /// The result of a direct dependency.
    pub fn result_of(&self, step: &str) -> Value {
        serde_json::from_str(&self.data.results[step]).expect("a result is JSON")
    }
}

/// What a step does when it is run. It is itself the step: any JSON is its result.
#[derive(Clone)]
pub struct Script(Arc<dyn Fn(Run) -> BoxFuture<'static, Result<Value, StepError>> + Send + Sync>);

impl Script {
    /// A script that answers at once.
    pub fn new(script: impl Fn(Run) -> Result<Value, StepError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |run| {
            let outcome = script(run);
            Box::pin(async move { outcome })
        }))
    }

    /// A script that takes its time.
    pub fn slow<F>(script: impl Fn(Run) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Value, StepError>> + Send + 'static,
    {
        Self(Arc::new(move |run| Box::pin(script(run))))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Step for Script {
    type Input = Loaded;
    type Output = Value;

    async fn run(&self, Loaded(data): Loaded, facts: &StepContext) -> Result<Value, StepError> {
        // Outside of the future, so that a script may panic before it begins to wait.
        (self.0)(Run { facts: facts.clone(), data }).await
    }
}
