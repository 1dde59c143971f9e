//! Steps that do what a test tells them to.
//!
//! A step's name is a constant of its output's type, so a test that wants steps by number needs a type for each. They
//! are made here once: [`Numbered`]`<0>` to [`Numbered`]`<99>`, named `s00` to `s99`.

use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fmt, marker::PhantomData, rc::Rc, str};
use stepwell::{Input, Step, StepContext, StepError, StepResult, TaskData};

/// A type that stands for a step's name.
pub trait StepName {
    /// The name.
    const NAME: &'static str;
}

/// The step `s` and two digits.
#[derive(Debug)]
pub struct Numbered<const N: u8>;

impl<const N: u8> Numbered<N> {
    const LETTERS: [u8; 3] = [b's', b'0' + N / 10, b'0' + N % 10];
}

impl<const N: u8> StepName for Numbered<N> {
    const NAME: &'static str = match str::from_utf8(&Self::LETTERS) {
        Ok(name) => name,
        Err(_) => panic!("digits are UTF-8"),
    };
}

/// The name of the numbered step.
pub fn name(number: usize) -> String {
    format!("s{number:02}")
}

/// Any JSON, as the result of the step `N`.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Output<N> {
    value: Value,
    #[serde(skip)]
    step: PhantomData<N>,
}

impl<N> Output<N> {
    /// The result.
    pub fn value(&self) -> &Value {
        &self.value
    }
}

impl<N: StepName> StepResult for Output<N> {
    const STEP: &'static str = N::NAME;
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

/// What a step does when it is run.
#[derive(Clone)]
pub struct Script(Rc<dyn Fn(Run) -> LocalBoxFuture<'static, Result<Value, StepError>>>);

impl Script {
    /// A script that answers at once.
    pub fn new(script: impl Fn(Run) -> Result<Value, StepError> + 'static) -> Self {
        Self(Rc::new(move |run| {
            let outcome = script(run);
            Box::pin(async move { outcome })
        }))
    }

    /// A script that takes its time.
    pub fn slow<F>(script: impl Fn(Run) -> F + 'static) -> Self
    where
        F: Future<Output = Result<Value, StepError>> + 'static,
    {
        Self(Rc::new(move |run| Box::pin(script(run))))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

/// The step of this name, doing what the script says.
#[derive(Debug)]
pub struct Scripted<N> {
    script: Script,
    step: PhantomData<N>,
}

impl<N> Scripted<N> {
    /// The step that does this.
    pub fn new(script: Script) -> Self {
        Self { script, step: PhantomData }
    }
}

impl<N: StepName> Step for Scripted<N> {
    type Input = Loaded;
    type Output = Output<N>;

    async fn run(&self, Loaded(data): Loaded, facts: &StepContext) -> Result<Output<N>, StepError> {
        // Outside of the future, so that a script may panic before it begins to wait.
        let value = (self.script.0)(Run { facts: facts.clone(), data }).await?;
        Ok(Output { value, step: PhantomData })
    }
}
