//! Runs the handler once, and decides whether there is a retry.

use crate::{
    core::{
        breaker::Evidence,
        codes::EngineCode,
        limits::{MAX_RESULT_BYTES, THROTTLED_FOR},
        plan::StepPlan,
        record::{Failure, Lease, TaskRecord},
        timestamp::Timestamp,
    },
    runtime::step::{ErrorKind, Input, Step, StepContext, StepError, TaskData},
};
use futures::FutureExt;
use redaction::{is_code, redact_beginning};
use std::{any::Any, panic::AssertUnwindSafe, sync::atomic::Ordering::Relaxed, time::Duration};

/// The consequence of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is a retry.
    Retry {
        /// The wait before it.
        wait: Duration,
        /// Whether the failed attempt was throttled, so that it does not count.
        throttled: bool,
    },
    /// The step fails.
    Fail,
}

/// The data for a verdict besides the error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed<'a> {
    /// The task.
    pub(super) task: &'a TaskRecord,
    /// The step.
    pub(super) plan: &'a StepPlan,
    /// The lease of the failed attempt.
    pub(super) lease: &'a Lease,
    /// The time.
    pub(super) now: Timestamp,
    /// A random number in `0.0..1.0`.
    pub(super) random: f64,
}

impl Failed<'_> {
    /// Decides whether there is a retry after this error, and when.
    pub(super) fn verdict(&self, error: &StepError) -> Verdict {
        let (retry_after, is_throttled) = match error.kind {
            ErrorKind::Retryable { retry_after } => (retry_after, false),
            ErrorKind::Throttled { retry_after } => (retry_after, true),
            ErrorKind::Refused | ErrorKind::Permanent => return Verdict::Fail,
        };
        let throttled = is_throttled && self.may_be_throttled();
        if !throttled && !self.plan.allows_attempt(self.lease.counted_attempt().saturating_add(1)) {
            return Verdict::Fail;
        }
        // A rate limit and an outage meet many tasks at once.
        let meets_many = is_throttled || self.plan.compensates.is_some();
        let backoff = if meets_many { self.plan.backoff.with_full_jitter() } else { self.plan.backoff };
        Verdict::Retry { wait: backoff.delay(self.lease.failures_in_a_row(), retry_after, self.random), throttled }
    }

    /// Whether a throttled attempt costs nothing now.
    fn may_be_throttled(&self) -> bool {
        self.plan.has_no_last_attempt() || self.now < self.task.last_begun_at() + THROTTLED_FOR
    }
}

/// Runs the handler under its timeout, with panics caught. Returns its output as JSON, or its error without the secrets that the handler had.
pub(crate) async fn run<S: Step>(step: &S, data: &TaskData, context: &StepContext) -> Result<String, StepError> {
    redaction::in_scope(async {
        run_unredacted(step, data, context).await.map_err(|mut error| {
            error.message = redact_beginning(&error.message, Failure::MAX_MESSAGE_BYTES).into_owned();
            if !is_code(&error.code) {
                error.code = redact_beginning(&error.code, Failure::MAX_CODE_BYTES).into_owned();
            }
            error
        })
    })
    .await
}

async fn run_unredacted<S: Step>(step: &S, data: &TaskData, context: &StepContext) -> Result<String, StepError> {
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

/// What the end of an attempt says about the service that the step waits on.
pub(super) fn evidence(result: &Result<String, StepError>, context: &StepContext) -> Evidence {
    match result {
        Ok(_) if context.did_without_service.load(Relaxed) => Evidence::Neither,
        Ok(_) => Evidence::Answered,
        Err(error) if error.code == EngineCode::Timeout.as_str() => Evidence::Failed,
        Err(error) if !error.from_service => Evidence::Neither,
        Err(StepError { kind: ErrorKind::Retryable { .. }, .. }) => Evidence::Failed,
        Err(_) => Evidence::Answered,
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            record::Trail,
            record::{Action, ActionKind, AttemptRecord, Outcome},
            state::StepState,
        },
        runtime::step::{Context, permanent, retryable, throttled},
        testing::fixtures::{at, staged::graph},
    };
    use proptest::prelude::*;
    use redaction::Secret;
    use serde_json::{Value, json};
    use test_case::test_case;

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

    /// A handler that fails with its secret: in an error, or in a panic.
    struct Tells {
        panics: bool,
        code: &'static str,
    }

    impl Step for Tells {
        type Input = Context<Secret>;
        type Output = Value;

        async fn run(&self, Context(token): Context<Secret>, _: &StepContext) -> Result<Value, StepError> {
            let message = format!("the bank refuses {} at /charge?key=planted", token.expose());
            drop(token);
            assert!(!self.panics, "{message}");
            Err(permanent(self.code, message))
        }
    }

    /// What the handler had is dropped by then.
    #[tokio::test(start_paused = true)]
    async fn error_and_panic_of_an_attempt_are_stored_without_the_secrets_of_its_input() {
        // Operators decide by an error code, so it stays as it is.
        let codes = [("REFUSED_TOK-4711", "REFUSED_***"), ("REFUSED_TOK_4711", "REFUSED_TOK_4711")];
        for (panics, (code, expected)) in [(false, codes[0]), (false, codes[1]), (true, codes[0])] {
            let harness = graph(&[&[]], &[], "").with("s0", Tells { panics, code });
            let _other = Secret::new("tok_4711");
            let task = harness.start(&json!("tok-4711")).await.unwrap();
            harness.run_for(Duration::ZERO).await.unwrap();
            let stored = harness.step(task, "s0").error.unwrap();
            assert!(stored.message.ends_with("the bank refuses *** at /charge?key=***"), "{stored:?}");
            assert!(panics || stored.code == expected, "{stored:?}");
        }
    }

    /// A type whose own error quotes the value, as that of an amount does.
    #[derive(Debug, serde::Deserialize)]
    #[serde(try_from = "u32")]
    struct Small;

    impl TryFrom<u32> for Small {
        type Error = String;

        fn try_from(number: u32) -> Result<Self, String> {
            Err(format!("`{number}` is too large"))
        }
    }

    /// A type that has no field.
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Empty {}

    #[test]
    fn unknown_field_is_not_quoted() {
        let context = r#"{"a, expected b": 5}"#;
        let error = Context::<Empty>::from_data(&TaskData { context: context.to_owned(), ..TaskData::default() });
        let expected =
            "the task's context does not fit this step: unknown field ***, there are no fields at line 1 column 16";
        assert_eq!(error.unwrap_err().message, expected);
    }

    #[test_case(r#""tok_4711""#, "invalid type: string ***, expected u32 at line 1 column 10")]
    #[test_case(r#""a, expected \"b`""#, "invalid type: string ***, expected u32 at line 1 column 18")]
    #[test_case("5000", "a value that its type refuses"; "an error of the type")]
    #[test_case("-4711", "invalid value: integer ***, expected u32 at line 1 column 5")]
    #[test_case("{}", "invalid type: map, expected u32 at line 1 column 0"; "nothing to hide")]
    fn input_that_does_not_fit_is_not_quoted(context: &str, problem: &str) {
        let data = TaskData { context: context.to_owned(), ..TaskData::default() };
        let error = Context::<Small>::from_data(&data).unwrap_err();
        assert_eq!(error.message, format!("the task's context does not fit this step: {problem}"));
        assert!(!format!("{data:?}").contains(context));
    }

    /// The verdict on attempt `attempt`, of which `throttled` were throttled right before, so many seconds after the start.
    fn verdict(
        error: &StepError,
        (attempt, throttled): (u32, u32),
        max_attempts: u32,
        seconds: i64,
        random: f64,
    ) -> Verdict {
        let task = crate::testing::fixtures::snapshot(&[&[]], &[0]).task;
        let plan = StepPlan { max_attempts, ..task.plan.step("s0").unwrap().clone() };
        verdict_of(error, &task, &plan, (attempt, throttled), seconds, random)
    }

    fn verdict_of(
        error: &StepError,
        task: &TaskRecord,
        plan: &StepPlan,
        (attempt, throttled): (u32, u32),
        seconds: i64,
        random: f64,
    ) -> Verdict {
        let (step, owner, now) = (plan.name.clone(), "request/message".to_owned(), at(seconds));
        let trail = Trail::default();
        let mut lease = Lease {
            task: task.id,
            step,
            attempt,
            uncounted_attempts: throttled,
            trail,
            owner,
            started_at: now,
            until: now,
        };
        let ended = AttemptRecord { throttled: true, ..lease.ended(now, Outcome::RetryableError, None) };
        lease.trail.attempts = (0..throttled).map(|_| ended.clone()).collect();
        Failed { task, plan, lease: &lease, now, random }.verdict(error)
    }

    fn retry(seconds: u64, throttled: bool) -> Verdict {
        Verdict::Retry { wait: Duration::from_secs(seconds), throttled }
    }

    #[test]
    fn max_attempts_counts_the_first_attempt() {
        let error = retryable("BUSY", "");
        assert_eq!(verdict(&error, (1, 0), 3, 0, 0.5), retry(1, false));
        assert_eq!(verdict(&error, (2, 0), 3, 0, 0.5), retry(2, false));
        assert_eq!(verdict(&error, (3, 0), 3, 0, 0.5), Verdict::Fail);
    }

    const HALF_AN_HOUR: i64 = 30 * 60;

    #[test]
    fn throttled_attempt_of_a_step_counts_from_half_an_hour_after_the_start_or_the_last_redrive() {
        let error = throttled("SLOWER", "");
        // The waits grow, although no attempt counts.
        assert_eq!(verdict(&error, (1, 0), 1, 0, 0.5), retry(1, true));
        assert_eq!(verdict(&error, (5, 4), 1, HALF_AN_HOUR - 1, 0.5), retry(16, true));
        assert_eq!(verdict(&error, (6, 5), 2, HALF_AN_HOUR, 0.5), retry(32, false));
        assert_eq!(verdict(&error, (6, 5), 1, HALF_AN_HOUR, 0.5), Verdict::Fail);
        let asked = throttled("SLOWER", "").retry_after(Duration::from_secs(30));
        assert_eq!(verdict(&asked, (6, 5), 1, 0, 0.0), retry(30, true));
        let mut task = crate::testing::fixtures::snapshot(&[&[]], &[]).task;
        let plan = StepPlan { max_attempts: 1, ..task.plan.step("s0").unwrap().clone() };
        let (who, why) = ("somebody".to_owned(), "again".to_owned());
        task.actions.push(Action {
            at: at(HALF_AN_HOUR),
            what: ActionKind::Redrive,
            step: None,
            who,
            why,
            bulk: None,
            rerun_as: None,
        });
        assert_eq!(verdict_of(&error, &task, &plan, (1, 0), 2 * HALF_AN_HOUR - 1, 0.5), retry(1, true));
        assert_eq!(verdict_of(&error, &task, &plan, (1, 0), 2 * HALF_AN_HOUR, 0.5), Verdict::Fail);
    }

    proptest! {
        #[test]
        fn permanent_error_is_never_retried(attempt in 1u32..100, limit in 1u32..100, random in 0.0f64..1.0) {
            prop_assert_eq!(verdict(&permanent("NO", ""), (attempt, 0), limit, 0, random), Verdict::Fail);
        }

        #[test]
        fn retryable_error_is_retried_below_max_attempts_only(attempt in 1u32..100, limit in 1u32..100, random in 0.0f64..1.0) {
            let again = matches!(verdict(&retryable("BUSY", ""), (attempt, 0), limit, 0, random), Verdict::Retry { throttled: false, .. });
            prop_assert_eq!(again, attempt < limit);
        }
    }
}
