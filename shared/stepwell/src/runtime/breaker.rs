//! The view of one process on the breaker of a service. [`core::breaker`](crate::core::breaker) has the rules.

use crate::{
    core::{
        breaker::{self, Breaker, CACHED_FOR, Evidence, FAILURES_TO_OPEN, FAILURES_WITHIN, Open},
        codes::EngineCode,
        timestamp::Timestamp,
        transition::Transition,
    },
    ports::{Queue, Runtime, Store},
    runtime::{cached::Cached, engine::Engine},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The log message of a breaker that is opened, and of each probe that fails, so that the alarm on the metric of it
/// stays on.
pub const BREAKER_OPEN: &str = "breaker open";

/// The breaker of a service as one process sees it. It outlives the process's invocations.
///
/// A breaker that cannot be read counts as closed, and one that cannot be written stays as it is: it may protect a service, but never
/// stops a workflow by itself.
#[derive(Debug)]
pub struct ServiceBreaker {
    service: String,
    seen: Cached<Breaker>,
    failures: Mutex<Failures>,
}

/// The attempts of this process in a row that have failed while the breaker was closed, and when the first of them ended.
#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    since: Option<Timestamp>,
}

impl ServiceBreaker {
    /// The breaker of this service, which the workflow file names in `waits_on`.
    pub fn new(service: impl Into<String>) -> Self {
        Self { service: service.into(), seen: Cached::new(CACHED_FOR), failures: Mutex::default() }
    }

    /// The service.
    pub fn service(&self) -> &str {
        &self.service
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The breaker as it was at most [`CACHED_FOR`] ago.
    pub(crate) async fn current<S: Store, Q: Queue, A: Runtime>(&self, engine: &Engine<S, Q, A>) -> Breaker {
        let read = async {
            let breaker = engine.breaker(&self.service).await.unwrap_or_else(|error| {
                tracing::warn!(service = self.service, %error, "the breaker cannot be read, and counts as closed");
                Breaker::CLOSED
            });
            if matches!(breaker, Breaker::Open(_)) {
                // What failed before has opened it. After it has closed, a row of failures begins anew.
                self.failures().in_a_row = 0;
            }
            breaker
        };
        self.seen.get(engine.now(), read).await
    }

    /// Claims the probe that is due. Answers whether this delivery is the probe.
    pub(crate) async fn claim_probe<S: Store, Q: Queue, A: Runtime>(
        &self,
        engine: &Engine<S, Q, A>,
        open: &Open,
    ) -> bool {
        let is_ours = self.write(engine, breaker::claim_probe(&self.service, open, engine.now())).await;
        if is_ours {
            tracing::info!(service = self.service, open_since = %open.since, "a probe: one attempt although the breaker is open");
        }
        is_ours
    }

    /// Takes note of the end of an attempt. Opens the breaker after too many failures, and closes it after a probe that has
    /// succeeded.
    pub(crate) async fn attempt_ended<S: Store, Q: Queue, A: Runtime>(
        &self,
        engine: &Engine<S, Q, A>,
        evidence: Evidence,
        probe: Option<&Open>,
    ) {
        let (now, service, code) = (engine.now(), &self.service, EngineCode::BreakerOpen.as_str());
        match (evidence, probe) {
            (Evidence::Answered, Some(open)) => {
                if self.write(engine, breaker::close(service, open, now)).await {
                    tracing::warn!(service, open_since = %open.since, "breaker closed: a probe was answered");
                }
            }
            (Evidence::Failed, Some(open)) => {
                tracing::error!(service, code, open_since = %open.since, "{BREAKER_OPEN}");
            }
            (Evidence::Failed, None) => {
                let failures = self.count_failure(now);
                if failures >= FAILURES_TO_OPEN && self.write(engine, breaker::open(service, now)).await {
                    tracing::error!(service, code, failures, "{BREAKER_OPEN}");
                }
            }
            (Evidence::Answered | Evidence::Neither, _) => self.failures().in_a_row = 0,
        }
    }

    /// Counts the failures in a row, those that are long ago left out.
    fn count_failure(&self, now: Timestamp) -> u32 {
        let mut failures = self.failures();
        if failures.in_a_row == 0 || failures.since.is_none_or(|since| since + FAILURES_WITHIN < now) {
            *failures = Failures { in_a_row: 0, since: Some(now) };
        }
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        failures.in_a_row
    }

    /// Writes the breaker; answers whether the write took effect. What was read before does not hold any more, whoever has written.
    async fn write<S: Store, Q: Queue, A: Runtime>(&self, engine: &Engine<S, Q, A>, transition: Transition) -> bool {
        let written = engine.apply(&transition).await;
        self.seen.forget();
        match written {
            Ok(applied) => applied.is_written(),
            Err(error) => {
                tracing::warn!(service = self.service, write = transition.name, %error, "the breaker cannot be written");
                false
            }
        }
    }
}
