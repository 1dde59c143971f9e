//! Runs the handler once, and decides whether there is a retry.

use crate::{
    core::{backoff::Backoff, codes::EngineCode, limits::MAX_RESULT_BYTES},
    runtime::step::{ErrorKind, Input, Step, StepContext, StepError, TaskData},
};
use futures::FutureExt;
use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

/// The consequence of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is a retry after this wait.
    RetryIn(Duration),
    /// The step fails.
    Fail,
}

/// Decides whether there is a retry, and when.
///
/// `attempt` is the number of the failed attempt among those that count, from 1. `random` is a random number in `0.0..1.0`.
pub(super) fn verdict(error: &StepError, attempt: u32, max_attempts: u32, backoff: &Backoff, random: f64) -> Verdict {
    match error.kind {
        ErrorKind::Retryable { retry_after } if attempt < max_attempts => {
            Verdict::RetryIn(backoff.delay(attempt, retry_after, random))
        }
        ErrorKind::Retryable { .. } | ErrorKind::Permanent => Verdict::Fail,
    }
}

/// Runs the handler under its timeout, with panics caught. Returns its output as JSON.
pub(super) async fn run<S: Step>(step: &S, data: &TaskData, context: &StepContext) -> Result<String, StepError> {
    let limit = context.time_left();
    // Reading the input and writing the output is the step author's code, too.
    let handler = AssertUnwindSafe(async {
        let output = step.run(S::Input::from_data(data)?, context).await?;
        serde_json::to_string(&output).map_err(|error| {
            let message = format!("the handler's output cannot be written as JSON: {error}");
            StepError::new(EngineCode::InvalidResult, message)
        })
    });
    let result = match tokio::time::timeout(limit, handler.catch_unwind()).await {
        Ok(Ok(outcome)) => outcome?,
        Ok(Err(panic)) => {
            let message = format!("the handler panicked: {}", panic_text(&*panic));
            return Err(StepError::new(EngineCode::Panic, message));
        }
        Err(_) => {
            let message = format!("the handler took longer than {} ms", limit.as_millis());
            return Err(StepError::new(EngineCode::Timeout, message));
        }
    };
    if result.len() > MAX_RESULT_BYTES {
        let message = format!("the result has {} bytes; at most {MAX_RESULT_BYTES} can be kept", result.len());
        return Err(StepError::new(EngineCode::ResultTooLarge, message));
    }
    Ok(result)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{record::Failure, state::StepState},
        runtime::step::{Context, permanent, retryable},
        testing::fixtures::staged::graph,
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};

    struct ReturnsValueOf<F>(F);

    impl<F: Fn() -> Value + Send + Sync> Step for ReturnsValueOf<F> {
        type Input = Context<Value>;
        type Output = Value;

        async fn run(&self, _: Context<Value>, _: &StepContext) -> Result<Value, StepError> {
            Ok((self.0)())
        }
    }

    /// The state and error of a step after a run of this handler.
    async fn after(handler: impl Fn() -> Value + Send + Sync + 'static) -> (StepState, Option<Failure>) {
        let harness = graph(&[&[]], &[], "").with("s0", ReturnsValueOf(handler));
        let task = harness.begin().await;
        harness.run_for(Duration::ZERO).await.unwrap();
        let step = harness.step(task, "s0");
        (step.state, step.error)
    }

    #[tokio::test(start_paused = true)]
    async fn result_is_limited_to_max_result_bytes() {
        let quotes = 2;
        let largest = MAX_RESULT_BYTES - quotes;
        assert_eq!(after(move || json!("a".repeat(largest))).await, (StepState::Complete, None));
        let (state, error) = after(move || json!("a".repeat(largest + 1))).await;
        let error = error.unwrap();
        assert_eq!((state, error.code.as_str()), (StepState::Error, "RESULT_TOO_LARGE"));
        assert!(error.message.contains(&(MAX_RESULT_BYTES + 1).to_string()), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn panic_message_is_the_error_of_the_attempt() {
        for handler in [|| panic!("a text"), || panic!("{}", "a text".to_owned())] as [fn() -> Value; 2] {
            let (state, error) = after(handler).await;
            let error = error.unwrap();
            assert_eq!((state, error.code.as_str()), (StepState::Retrying, "PANIC"));
            assert_eq!(error.message, "the handler panicked: a text");
        }
    }

    #[test]
    fn max_attempts_counts_the_first_attempt() {
        let error = retryable("BUSY", "");
        let backoff = Backoff::default();
        assert_eq!(verdict(&error, 1, 3, &backoff, 0.5), Verdict::RetryIn(Duration::from_secs(1)));
        assert_eq!(verdict(&error, 2, 3, &backoff, 0.5), Verdict::RetryIn(Duration::from_secs(2)));
        assert_eq!(verdict(&error, 3, 3, &backoff, 0.5), Verdict::Fail);
    }

    proptest! {
        #[test]
        fn permanent_error_is_never_retried(attempt in 1u32..100, limit in 1u32..100, random in 0.0f64..1.0) {
            prop_assert_eq!(verdict(&permanent("NO", ""), attempt, limit, &Backoff::default(), random), Verdict::Fail);
        }

        #[test]
        fn retryable_error_is_retried_below_max_attempts_only(attempt in 1u32..100, limit in 1u32..100, random in 0.0f64..1.0) {
            let again = matches!(verdict(&retryable("BUSY", ""), attempt, limit, &Backoff::default(), random), Verdict::RetryIn(_));
            prop_assert_eq!(again, attempt < limit);
        }
    }
}
