//! Holds deliveries back while the breaker of the service that the step waits on is open.

use super::deliver::{Delivery, Pass, all_done, deadline_missed};
use crate::{
    core::{
        breaker::{Breaker, Evidence, Passage},
        codes::EngineCode,
        message::Message,
        record::{Failure, StepRecord, TaskRecord},
        settlement::{self, Disposition, Settlement, after_failure},
        state::StepState,
        step, task,
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store},
    runtime::{breaker::ServiceBreaker, error::EngineError, recovery::log_failed, step::Step},
};
use std::{
    collections::BTreeSet,
    ops::ControlFlow::{self, Break, Continue},
};

impl<S: Step, T: Store, Q: Queue, A: Runtime> Delivery<'_, S, T, Q, A> {
    /// Asks the breaker before the step is claimed. If the step is ready and has to wait, it is parked, without a claim: a step that
    /// was claimed counts as attempted, and would be compensated. `Break` holds what to do with its message then.
    pub(super) async fn pass(&self, message: &Message) -> Result<ControlFlow<Disposition, Pass>, EngineError> {
        let Some(breaker) = self.worker.breaker.as_deref() else { return Ok(Continue(Pass::Free)) };
        let current = breaker.current(&self.worker.engine).await;
        if current.lets_all_pass(self.now()) {
            return Ok(Continue(Pass::Free));
        }
        let load: BTreeSet<&str> = message.load.iter().map(String::as_str).chain([self.step()]).collect();
        let mut loaded = self.worker.engine.load(message.task_id, &load).await?;
        let Some(task) = loaded.task else { return Ok(Continue(Pass::Checks)) };
        let Some(plan) = task.plan.step(self.step()).filter(|_| self.misdirected(&task).is_none()) else {
            return Ok(Continue(Pass::Checks));
        };
        let Some(waits_for) = task.waits_for(plan) else { return Ok(Continue(Pass::Checks)) };
        self.load_unread(&task, &waits_for, &mut loaded.steps).await?;
        let now = self.now();
        let record = loaded.steps.get(self.step()).filter(|record| is_due(record, now));
        let Some(record) = record.filter(|_| all_done(&waits_for, &loaded.steps)) else {
            return Ok(Continue(Pass::Checks));
        };
        let deadline = task.deadline_of(self.step());
        match deadline.filter(|deadline| *deadline <= now) {
            Some(deadline) if record.attempt == 0 => {
                return self.miss_deadline(&task, record, deadline).await.map(Break);
            }
            Some(_) => return Ok(Continue(Pass::Checks)),
            None => {}
        }
        let random = self.worker.engine.runtime.random();
        let until = match current.passage(plan.compensates.is_some(), now, random) {
            Passage::Free => return Ok(Continue(Pass::Free)),
            Passage::Probe(open) if breaker.claim_probe(&self.worker.engine, &open).await => {
                return Ok(Continue(Pass::Probe(open)));
            }
            Passage::Probe(open) => open.parked_until(now, random),
            Passage::Parked(until) => until,
        };
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        self.park(&task, record, until, &reason(breaker, &current)).await.map(Break)
    }

    /// Parks the step, which ends the delivery. The message is the timer.
    async fn park(
        &self,
        task: &TaskRecord,
        record: &StepRecord,
        until: Timestamp,
        reason: &Failure,
    ) -> Result<Disposition, EngineError> {
        let park = Settlement::of(step::park(task.id, record, reason, until, self.now()));
        let settled = self.settle_unclaimed(task, park, Disposition::GiveBack { until }).await?;
        let Some(disposition) = settled else { return Ok(self.changed_meanwhile()) };
        tracing::info!(code = reason.code, until = %until, "parked without an attempt");
        Ok(disposition)
    }

    /// Fails the step without an attempt, because the deadline of its task was over before the first one. That ends the delivery.
    async fn miss_deadline(
        &self,
        task: &TaskRecord,
        record: &StepRecord,
        deadline: Timestamp,
    ) -> Result<Disposition, EngineError> {
        let code = EngineCode::DeadlineExceeded.as_str();
        let failure = Failure::new(code, &deadline_missed(deadline));
        let missed = Settlement::of(task::miss_deadline(task, record, &failure, self.now()));
        let missed = missed.then(after_failure(task, self.step()));
        let settled = self.settle_unclaimed(task, missed, Disposition::Acknowledge).await?;
        let Some(disposition) = settled else { return Ok(self.changed_meanwhile()) };
        tracing::info!(code, deadline = %deadline, "failed without an attempt");
        log_failed(task, self.step(), code);
        Ok(disposition)
    }

    /// Carries out a settlement of a step that is not claimed, and ends the delivery with it. Returns what to do with the message;
    /// `None` if somebody else has changed the step or its task meanwhile.
    async fn settle_unclaimed(
        &self,
        task: &TaskRecord,
        settlement: Settlement,
        disposition: Disposition,
    ) -> Result<Option<Disposition>, EngineError> {
        let delivery = self.message.receipt.clone().map(|receipt| settlement::Delivery { receipt, disposition });
        let Some(followed) = self.worker.engine.settle(task.id, settlement.ending(delivery)).await? else {
            return Ok(None);
        };
        Ok(Some(followed?.map_or(disposition, |until| Disposition::GiveBack { until })))
    }

    /// The next delivery finds how the step stands.
    fn changed_meanwhile(&self) -> Disposition {
        Disposition::GiveBack { until: self.now() }
    }

    /// Tells the breaker how an attempt has ended.
    pub(super) async fn attempt_ended(&self, evidence: Evidence, pass: &Pass) {
        let Some(breaker) = self.worker.breaker.as_deref() else { return };
        let probe = match pass {
            Pass::Probe(open) => Some(open),
            Pass::Free | Pass::Checks => None,
        };
        breaker.attempt_ended(&self.worker.engine, evidence, probe).await;
    }
}

/// Whether a worker could claim the step now.
fn is_due(record: &StepRecord, now: Timestamp) -> bool {
    match record.state {
        StepState::Pending => true,
        StepState::Retrying => record.next_retry_at.is_some_and(|at| at <= now),
        _ => false,
    }
}

/// Why a step is parked.
fn reason(breaker: &ServiceBreaker, current: &Breaker) -> Failure {
    let service = breaker.service();
    let message = match current {
        Breaker::Open(open) => {
            format!("{service} has not answered since {}; this step waits without an attempt", open.since)
        }
        Breaker::Closed { .. } => {
            format!("{service} is back, and compensations come first; this step waits without an attempt")
        }
    };
    Failure::new(EngineCode::BreakerOpen.as_str(), &message)
}
