//! What the author of a step writes: an input, an output, and what happens in between.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use stepwell::{Context, ResultOf, Step, StepContext, StepError, StepResult, permanent, retryable};
//!
//! #[derive(Deserialize)]
//! struct Request { token: String }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Cart { total_cents: i64 }
//! impl StepResult for Cart { const STEP: &'static str = "validate_cart"; }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Payment { payment_id: String }
//! impl StepResult for Payment { const STEP: &'static str = "process_payment"; }
//!
//! struct ProcessPayment;
//!
//! impl Step for ProcessPayment {
//!     type Input = (Context<Request>, ResultOf<Cart>);
//!     type Output = Payment;
//!
//!     async fn run(&self, (Context(request), ResultOf(cart)): Self::Input, ctx: &StepContext) -> Result<Payment, StepError> {
//!         match request.token.as_str() {
//!             "" => Err(permanent("MISSING_PAYMENT_TOKEN", "payment_info.token is empty")),
//!             "busy" => Err(retryable("RATE_LIMITED", "the gateway is busy").retry_after(std::time::Duration::from_secs(30))),
//!             token => Ok(Payment { payment_id: format!("{token}:{}:{}", cart.total_cents, ctx.idempotency_key()) }),
//!         }
//!     }
//! }
//! ```

use crate::core::{
    codes::{CodeKind, EngineCode, ErrorCode},
    id::TaskId,
    timestamp::Timestamp,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt, time::Duration};

/// One step of a workflow. Its host gives it its name: on AWS its function's `main`, in a test the harness.
///
/// A step is run at least once and its result counts once. What it does to the outside world has to bear repeating:
/// pass [`StepContext::idempotency_key`] on to whatever you call.
pub trait Step: Send + Sync {
    /// What the step takes from its task: [`Context`], [`ResultOf`], an `Option` of it, or a tuple of these.
    type Input: Input;
    /// What it leaves for the steps that depend on it. It is stored as JSON.
    type Output: Serialize + Send;

    /// Does the step's work.
    ///
    /// # Errors
    /// [`retryable`] for what may pass, [`permanent`] for what will not. A panic counts as retryable `PANIC`, an
    /// attempt past its timeout as retryable `TIMEOUT`.
    fn run(
        &self,
        input: Self::Input,
        ctx: &StepContext,
    ) -> impl Future<Output = Result<Self::Output, StepError>> + Send;
}

/// A step's result that other steps take as an input, through [`ResultOf`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which step's result it is",
    note = "implement `StepResult` for it, beside serde's `Serialize` and `Deserialize`"
)]
pub trait StepResult: Serialize + DeserializeOwned + Send {
    /// The name of the step that leaves it, as in the workflow file.
    const STEP: &'static str;
}

/// The facts about the attempt that is running.
#[derive(Clone, Debug)]
pub struct StepContext {
    /// The task.
    pub task_id: TaskId,
    /// When the task was started. The same for every attempt of every step.
    pub task_created_at: Timestamp,
    /// The step's name.
    pub step: String,
    /// The number of this attempt, from 1. It rises with every claim and never falls.
    pub attempt: u32,
    /// When this attempt began.
    pub started_at: Timestamp,
    pub(crate) deadline: tokio::time::Instant,
}

impl StepContext {
    /// A context to call a step with in a test: attempt 1, thirty seconds left.
    pub fn for_test(step: impl Into<String>, task_id: TaskId, task_created_at: Timestamp) -> Self {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        Self { task_id, task_created_at, step: step.into(), attempt: 1, started_at: task_created_at, deadline }
    }

    /// The same for every attempt of this step of this task, and for no other: `task id:step`.
    pub fn idempotency_key(&self) -> String {
        self.idempotency_key_of(&self.step)
    }

    /// The [`idempotency_key`](Self::idempotency_key) of another step of this task. For a compensation: the key that the
    /// compensated step passed on, by which its effect is found, or kept from ever happening.
    pub fn idempotency_key_of(&self, step: &str) -> String {
        format!("{}:{step}", self.task_id)
    }

    /// How long until this attempt is given up as `TIMEOUT`.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(tokio::time::Instant::now())
    }
}

/// Why an attempt failed, and whether another one may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    /// Whether another attempt may help.
    pub kind: ErrorKind,
    /// A word for programs, such as `PAYMENT_DECLINED`. [`error_codes!`](crate::error_codes) keeps a list of them.
    pub code: String,
    /// A sentence for people. It is stored and shown, so it must hold no secret.
    pub message: String,
}

/// The two kinds of step error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It may pass: try again while attempts are left.
    Retryable {
        /// How long to wait, where the other side has said so; otherwise the step's backoff decides.
        retry_after: Option<Duration>,
    },
    /// It will not pass: fail the step now.
    Permanent,
}

/// An error that may pass: a timeout, a busy table, a lack of stock that a delivery may end.
pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> StepError {
    StepError { kind: ErrorKind::Retryable { retry_after: None }, code: code.into(), message: message.into() }
}

/// An error that will not pass however often it is tried: a declined card, a missing field.
pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> StepError {
    StepError { kind: ErrorKind::Permanent, code: code.into(), message: message.into() }
}

impl StepError {
    /// The error with a code of a list, of the kind that the list says. A code that no attempt reports counts as permanent.
    pub fn new(code: impl ErrorCode, message: impl Into<String>) -> Self {
        let entry = code.entry();
        match entry.kind {
            CodeKind::Retryable => retryable(entry.code, message),
            CodeKind::Permanent | CodeKind::NoAttempt => permanent(entry.code, message),
        }
    }

    /// Waits this long before the next attempt, instead of the backoff. The backoff's cap still holds; a permanent
    /// error stays permanent.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        if let ErrorKind::Retryable { retry_after } = &mut self.kind {
            *retry_after = Some(wait);
        }
        self
    }

    /// Whether another attempt may help.
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Retryable { .. })
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for StepError {}

/// What the engine loaded for an attempt: the context and the results of earlier steps, as JSON text.
#[derive(Clone, Debug, Default)]
pub struct TaskData {
    /// The task's context.
    pub context: String,
    /// The results of the steps that are done, by step name.
    pub results: BTreeMap<String, String>,
}

/// Something a step can take as its input.
#[diagnostic::on_unimplemented(
    message = "a step cannot take `{Self}` as its input",
    note = "it can take `Context<T>`, `ResultOf<T>`, an `Option` or a `Result` of the latter, or a tuple of up to six of these"
)]
pub trait Input: Sized + Send {
    /// The earlier steps whose results are wanted. They are read together with the claim.
    fn wanted() -> Vec<&'static str>;

    /// Reads the input out of what was loaded.
    ///
    /// # Errors
    /// Permanent `INVALID_CONTEXT`, `MISSING_RESULT` or `INVALID_RESULT`, naming the step and the field.
    fn from_data(data: &TaskData) -> Result<Self, StepError>;
}

/// The task's context, read as a `T`.
#[derive(Clone, Debug)]
pub struct Context<T>(pub T);

/// The result of an earlier step. As an input it has to be there; `Option<ResultOf<T>>` leaves the case to the step.
#[derive(Clone, Debug)]
pub struct ResultOf<T>(pub T);

impl<T: DeserializeOwned + Send> Input for Context<T> {
    fn wanted() -> Vec<&'static str> {
        Vec::new()
    }

    fn from_data(data: &TaskData) -> Result<Self, StepError> {
        serde_json::from_str(&data.context).map(Self).map_err(|error| {
            StepError::new(EngineCode::InvalidContext, format!("the task's context does not fit this step: {error}"))
        })
    }
}

impl<T: StepResult> Input for ResultOf<T> {
    fn wanted() -> Vec<&'static str> {
        vec![T::STEP]
    }

    fn from_data(data: &TaskData) -> Result<Self, StepError> {
        <Option<Self> as Input>::from_data(data)?
            .ok_or_else(|| StepError::new(EngineCode::MissingResult, format!("step `{}` has left no result", T::STEP)))
    }
}

impl<T: StepResult> Input for Option<ResultOf<T>> {
    fn wanted() -> Vec<&'static str> {
        vec![T::STEP]
    }

    fn from_data(data: &TaskData) -> Result<Self, StepError> {
        let Some(text) = data.results.get(T::STEP) else { return Ok(None) };
        let result: Option<T> = serde_json::from_str(text).map_err(|error| {
            let message = format!("the result of step `{}` does not fit this step: {error}", T::STEP);
            StepError::new(EngineCode::InvalidResult, message)
        })?;
        Ok(result.map(ResultOf))
    }
}

/// Leaves it to the step what to do where its input cannot be read.
impl<T: Input> Input for Result<T, StepError> {
    fn wanted() -> Vec<&'static str> {
        T::wanted()
    }

    fn from_data(data: &TaskData) -> Result<Self, StepError> {
        Ok(T::from_data(data))
    }
}

macro_rules! input_of_tuple {
    ($($part:ident),+) => {
        impl<$($part: Input),+> Input for ($($part,)+) {
            fn wanted() -> Vec<&'static str> {
                let mut wanted = Vec::new();
                $(wanted.extend($part::wanted());)+
                wanted
            }

            fn from_data(data: &TaskData) -> Result<Self, StepError> {
                Ok(($($part::from_data(data)?,)+))
            }
        }
    };
}

input_of_tuple!(A);
input_of_tuple!(A, B);
input_of_tuple!(A, B, C);
input_of_tuple!(A, B, C, D);
input_of_tuple!(A, B, C, D, E);
input_of_tuple!(A, B, C, D, E, F);
