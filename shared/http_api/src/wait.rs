//! Long polling: the answer to a request about a task waits until there is something to tell.

use crate::{CommonError, pointer, query_fields};
use axum::{extract::FromRequestParts, http::request::Parts};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The field of the query.
const FIELD: &str = "wait";

/// The time between the first two looks. Each further pause is half as long again, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest time between two looks. With it 25 s take 20 looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a client is willing to wait for its answer: the field `wait` of the query, in whole seconds from 0 to
/// [`MAX_SECONDS`](Self::MAX_SECONDS). Without the field the answer comes at once.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    until: Instant,
}

impl Wait {
    /// The longest wait. A gateway in front of the API usually ends a request after 30 s.
    pub const MAX_SECONDS: u64 = 25;

    /// How long the client of this request is willing to wait, or `otherwise` where it does not say.
    ///
    /// # Errors
    /// The field is no such number.
    pub fn of(request: &Parts, otherwise: Duration) -> Result<Self, CommonError> {
        Ok(Self { until: Instant::now() + Self::asked(request)?.unwrap_or(otherwise) })
    }

    /// No wait: the answer comes at once.
    pub fn none() -> Self {
        Self { until: Instant::now() }
    }

    /// Whether the client is willing to wait at all.
    pub fn is_asked(self) -> bool {
        self.until > Instant::now()
    }

    /// How long this request is to wait, if it says so.
    pub(crate) fn asked(request: &Parts) -> Result<Option<Duration>, CommonError> {
        let mut fields = query_fields(request).into_iter().filter(|(name, _)| name == FIELD);
        let Some((_, text)) = fields.next() else { return Ok(None) };
        let seconds = text.parse().ok().filter(|seconds| *seconds <= Self::MAX_SECONDS && fields.next().is_none());
        seconds.map(Duration::from_secs).map(Some).ok_or_else(|| {
            let expected = format!("has to be one whole number of seconds from 0 to {}", Self::MAX_SECONDS);
            CommonError::field(pointer("", FIELD), expected)
        })
    }

    /// Looks again and again until `is_told` holds for what was found, or the time is over. Returns what was found last. `changed`
    /// is called before each look. What it returns ends the pause after the look.
    ///
    /// # Errors
    /// A look failed.
    pub async fn poll<T, E, F: Future<Output = Result<T, E>>, C: Future<Output = ()>>(
        self,
        look: impl Fn() -> F,
        changed: impl Fn() -> C,
        is_told: impl Fn(&T) -> bool,
    ) -> Result<T, E> {
        let mut pause = FIRST_PAUSE;
        loop {
            let changed = changed();
            let found = look().await?;
            let now = Instant::now();
            if now >= self.until || is_told(&found) {
                return Ok(found);
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(self.until.min(now + pause)) => pause = LONGEST_PAUSE.min(pause * 3 / 2),
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Wait {
    type Rejection = CommonError;

    async fn from_request_parts(request: &mut Parts, _: &S) -> Result<Self, CommonError> {
        Self::of(request, Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        cell::Cell,
        convert::Infallible,
        future::{pending, ready},
    };
    use test_case::test_case;

    /// Each look is a read of the whole task, which costs money.
    #[test_case(25, None => (25, 20); "the longest wait")]
    #[test_case(1, None => (1, 6); "a second")]
    #[test_case(0, None => (0, 1); "no wait")]
    #[test_case(25, Some(1) => (0, 1); "it is told at once")]
    #[test_case(25, Some(9) => (4, 9); "it is told at the ninth look")]
    #[tokio::test(start_paused = true)]
    async fn wait_takes_few_looks(seconds: u64, told_at: Option<u32>) -> (u64, u32) {
        let (begun, looks) = (Instant::now(), Cell::new(0));
        let wait = Wait { until: begun + Duration::from_secs(seconds) };
        let look = || {
            looks.set(looks.get() + 1);
            ready(Ok::<_, Infallible>(looks.get()))
        };
        let Ok(_) = wait.poll(look, pending, |look| Some(*look) == told_at).await;
        (begun.elapsed().as_secs(), looks.get())
    }

    #[tokio::test(start_paused = true)]
    async fn change_during_or_after_a_look_ends_the_pause() {
        let (begun, looks) = (Instant::now(), Cell::new(0));
        let wait = Wait { until: begun + Duration::from_secs(25) };
        let look = || {
            looks.set(looks.get() + 1);
            ready(Ok::<_, Infallible>(looks.get()))
        };
        // The first pause is cut short, the second is not.
        let changed = || sleep_until(begun + Duration::from_millis(if looks.get() == 0 { 30 } else { 60_000 }));
        let Ok(_) = wait.poll(look, changed, |look| *look == 3).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(130));
    }
}
