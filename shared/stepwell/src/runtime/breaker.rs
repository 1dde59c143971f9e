//! The view of one process on the breaker of a service. [`core::breaker`](crate::core::breaker) has the rules.

use crate::{
    core::{
        breaker::{self, Breaker, CACHED_FOR, Evidence, FAILURES_TO_OPEN, Open},
        codes::EngineCode,
        timestamp::Timestamp,
        transition::Transition,
    },
    ports::{Queue, Runtime, Store},
    runtime::engine::Engine,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The log message of a breaker that is opened. The template's alarm searches for it.
pub const BREAKER_OPENED: &str = "breaker opened";

/// The breaker of a service as one process sees it. It outlives the process's invocations.
///
/// A breaker that cannot be read counts as closed, and one that cannot be written stays as it is: it may protect a service, but never
/// stops a workflow by itself.
#[derive(Debug)]
pub struct ServiceBreaker {
    service: String,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    breaker: Breaker,
    read_at: Option<Timestamp>,
    /// The attempts of this process in a row that have failed.
    failures: u32,
}

impl ServiceBreaker {
    /// The breaker of this service, which the workflow file names in `waits_on`.
    pub fn new(service: impl Into<String>) -> Self {
        let seen = Seen { breaker: Breaker::CLOSED, read_at: None, failures: 0 };
        Self { service: service.into(), seen: Mutex::new(seen) }
    }

    /// The service.
    pub fn service(&self) -> &str {
        &self.service
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The breaker as it was at most [`CACHED_FOR`] ago.
    pub(crate) async fn current<S: Store, Q: Queue, A: Runtime>(&self, engine: &Engine<S, Q, A>) -> Breaker {
        let now = engine.now();
        {
            let seen = self.seen();
            if seen.read_at.is_some_and(|read_at| read_at <= now && now < read_at + CACHED_FOR) {
                return seen.breaker;
            }
        }
        let breaker = engine.breaker(&self.service).await.unwrap_or_else(|error| {
            tracing::warn!(service = self.service, %error, "the breaker cannot be read, and counts as closed");
            Breaker::CLOSED
        });
        let mut seen = self.seen();
        (seen.breaker, seen.read_at) = (breaker, Some(now));
        breaker
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
        let failures = self.count(evidence);
        let (now, service) = (engine.now(), &self.service);
        match (evidence, probe) {
            (Evidence::Answered, Some(open)) if self.write(engine, breaker::close(service, open, now)).await => {
                tracing::warn!(service, open_since = %open.since, "breaker closed: a probe has succeeded");
            }
            (Evidence::Failed, None) if failures >= FAILURES_TO_OPEN => {
                if self.write(engine, breaker::open(service, now)).await {
                    let code = EngineCode::BreakerOpen.as_str();
                    tracing::error!(service, code, failures, "{BREAKER_OPENED}");
                }
                self.seen().failures = 0;
            }
            _ => {}
        }
    }

    /// Counts the failures in a row.
    fn count(&self, evidence: Evidence) -> u32 {
        let mut seen = self.seen();
        seen.failures = match evidence {
            Evidence::Failed => seen.failures.saturating_add(1),
            Evidence::Answered | Evidence::Neither => 0,
        };
        seen.failures
    }

    /// Writes the breaker; answers whether the write took effect. What was read before does not hold any more, whoever has written.
    async fn write<S: Store, Q: Queue, A: Runtime>(&self, engine: &Engine<S, Q, A>, transition: Transition) -> bool {
        let written = engine.apply(&transition).await;
        self.seen().read_at = None;
        match written {
            Ok(applied) => applied.is_written(),
            Err(error) => {
                tracing::warn!(service = self.service, write = transition.name, %error, "the breaker cannot be written");
                false
            }
        }
    }
}
