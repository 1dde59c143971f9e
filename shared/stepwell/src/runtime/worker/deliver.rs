//! The protocol of one delivery.

use super::{
    Invocation, Worker,
    attempt::{self, Failed, Verdict},
};
use crate::{
    core::{
        breaker::Open,
        codes::EngineCode,
        limits::SETTLE_RESERVE,
        message::{Message, printable},
        plan::{Plan, StepPlan, is_name},
        record::{AttemptRecord, Failure, Lease, Outcome, StepRecord, TaskRecord},
        search::keys_of_result,
        settlement::{self, Dispatch, Disposition, Settlement, after_closing, after_failure, dispatch},
        snapshot::Loaded,
        state::StepState,
        step::{self, Claim, ClaimRequest},
        timestamp::Timestamp,
    },
    ports::{Queue, Received, Runtime, Store},
    runtime::{
        backlog,
        error::EngineError,
        recovery::log_failed,
        spans,
        step::{ErrorKind, Input, Step, StepContext, StepError, TaskData},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::Duration,
};

/// What the breaker lets a delivery do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// All of the protocol.
    Free,
    /// All of it, as the probe.
    Probe(Open),
    /// All but an attempt: the step was not ready when the delivery came, so there was nothing to park.
    Checks,
}

/// One delivery of a message to a worker.
pub(super) struct Delivery<'a, S, T, Q, A> {
    pub(super) worker: &'a Worker<S, T, Q, A>,
    pub(super) message: &'a Received,
    invocation: &'a Invocation,
    /// Identifies this delivery in the step's item, so that a claim whose answer was lost is recognized when it is repeated.
    owner: String,
}

impl<'a, S: Step, T: Store, Q: Queue, A: Runtime> Delivery<'a, S, T, Q, A> {
    pub(super) fn new(worker: &'a Worker<S, T, Q, A>, message: &'a Received, invocation: &'a Invocation) -> Self {
        let owner = step::owner(&invocation.request_id, &message.id);
        Self { worker, message, invocation, owner }
    }

    /// The name of the worker's step.
    pub(super) fn step(&self) -> &'a str {
        &self.worker.serves.step
    }

    pub(super) fn now(&self) -> Timestamp {
        self.worker.engine.now()
    }

    /// Runs the protocol of the crate's documentation, up to the acknowledgement.
    pub(super) async fn run(&self) -> Result<Disposition, EngineError> {
        let message = match self.read_message() {
            Ok(message) => message,
            Err(reason) => return self.reject(&reason).await,
        };
        tracing::Span::current().record("task_id", tracing::field::display(message.task_id));
        let pass = match self.pass(&message).await? {
            ControlFlow::Continue(pass) => pass,
            ControlFlow::Break(parked) => return Ok(parked),
        };
        let now = self.now();
        if now >= self.invocation.deadline {
            // The process has slept through its time. A lease that is over would protect nothing.
            return Ok(Disposition::GiveBack { until: now });
        }
        let wanted = S::Input::wanted();
        let steps: BTreeSet<&str> = wanted.iter().copied().chain(message.load.iter().map(String::as_str)).collect();
        let request = ClaimRequest {
            task: message.task_id,
            step: self.step(),
            owner: &self.owner,
            now,
            lease_until: self.invocation.deadline,
        };
        let engine = &self.worker.engine;
        let claim = step::claim(&request);
        let (claim, loaded) = tokio::join!(engine.apply(&claim), engine.load(message.task_id, &steps));
        loaded.iter().filter_map(|loaded| loaded.task.as_ref()).for_each(spans::note_caller);
        let mut claim = Claim::read(&request, claim?)?;
        if let Claim::Refused(found) = &claim
            // Without the task it could not run, and in an outage it could lose one attempt after the other.
            && loaded.is_ok()
            && found.state == StepState::InProgress
            && found.lease_until.is_some_and(|until| until < request.now)
        {
            let taken = engine.apply(&step::take_over(&request, found)).await?;
            claim = Claim::read(&request, taken)?;
        }
        match claim {
            Claim::Granted(lease) => {
                tracing::Span::current().record("attempt", lease.attempt);
                match self.reloaded(loaded, &steps).await {
                    Ok(loaded) => self.granted(&lease, loaded, &pass).await,
                    Err(error) => self.released(&lease, error).await,
                }
            }
            Claim::Refused(found) => self.refused(&message, &found, loaded?).await,
        }
    }

    /// Loads once more what a compensation acts on, after its claim. The first load may be older than a refusal after which the task
    /// was complete again, and what is undone then stays undone.
    async fn reloaded(
        &self,
        loaded: Result<Loaded, EngineError>,
        steps: &BTreeSet<&str>,
    ) -> Result<Loaded, EngineError> {
        let loaded = loaded?;
        match loaded.task.as_ref().filter(|task| task.plan.is_compensation(self.step())) {
            Some(task) => self.worker.engine.load(task.id, steps).await,
            None => Ok(loaded),
        }
    }

    fn read_message(&self) -> Result<Message, String> {
        let message: Message = serde_json::from_str(&self.message.body)
            .map_err(|error| format!("not a message of this engine: {error}"))?;
        if message.step != self.step() {
            return Err(format!("a message for step `{}` in the queue of step `{}`", message.step, self.step()));
        }
        if message.load.len() > Plan::MAX_STEPS || !message.load.iter().all(|name| is_name(name)) {
            return Err("`load` has to be a list of step names, no more than a plan has".to_owned());
        }
        Ok(message)
    }

    /// The reason to reject a message whose task belongs to another workflow than the queue. The message does not name its
    /// workflow, so the task has to be read first.
    pub(super) fn misdirected(&self, task: &TaskRecord) -> Option<String> {
        let (ours, workflow) = (&self.worker.serves.workflow, task.workflow_name());
        (workflow != ours).then(|| format!("a message for workflow `{workflow}` in a queue of workflow `{ours}`"))
    }

    /// Rejects a message that belongs to no step: puts it into the queue of undeliverable messages, and then acknowledges
    /// it.
    async fn reject(&self, reason: &str) -> Result<Disposition, EngineError> {
        let reason = printable(reason);
        tracing::error!(owner = self.owner, reason, "message rejected");
        self.worker.engine.queue.reject(&self.message.body, &reason).await?;
        Ok(Disposition::Acknowledge)
    }

    async fn refused(&self, message: &Message, found: &StepRecord, loaded: Loaded) -> Result<Disposition, EngineError> {
        let Some(task) = loaded.task else {
            return match found.lease_until {
                // Another delivery has claimed a step of no task, and will delete the item. If its worker dies before that, a
                // later delivery of this message takes the claim over.
                Some(until) => Ok(Disposition::GiveBack { until }),
                None => self.reject("the task does not exist").await,
            };
        };
        if let Some(reason) = self.misdirected(&task) {
            return self.reject(&reason).await;
        }
        let back_at = match found.state {
            // A repeat need not dispatch, because the message that completed the step is kept until the dispatch is done. If
            // this is that message after all, it has been received before, so it does dispatch. One case is left: SQS delivered
            // it twice at the same time, and the other worker died after completing the step. Then the watchdog dispatches.
            StepState::Complete if message.repeat && self.message.receives == Some(1) => None,
            StepState::Complete | StepState::ResolvedManually => {
                self.worker.engine.dispatch_again(&task, self.step()).await?;
                None
            }
            // The worker that failed it may have died before the consequences. Or the message has waited for the time at which
            // the task is recovered.
            StepState::Error => self.worker.engine.follow_up(&task, after_failure(&task, self.step())).await?,
            StepState::Cancelled => self.worker.engine.follow_up(&task, after_closing(&task)).await?,
            StepState::InProgress => found.lease_until,
            StepState::Retrying => found.next_retry_at,
            // A claim does not refuse a pending step, so the step has become pending since.
            StepState::Pending => Some(self.now()),
        };
        let disposition = match back_at {
            None => Disposition::Acknowledge,
            Some(until) => Disposition::GiveBack { until },
        };
        tracing::info!(state = %found.state, ?disposition, "claim refused");
        Ok(disposition)
    }

    /// Releases the step, because the load failed or this version may not act on the task.
    async fn released(&self, lease: &Lease, error: EngineError) -> Result<Disposition, EngineError> {
        self.worker.engine.apply(&step::release(lease)).await?;
        Err(error)
    }

    /// The checks before the handler may run.
    async fn granted(&self, lease: &Lease, loaded: Loaded, pass: &Pass) -> Result<Disposition, EngineError> {
        let engine = &self.worker.engine;
        let Loaded { task, mut steps } = loaded;
        let known = task.as_ref().and_then(|task| Some((task, task.plan.step(self.step())?)));
        let Some((task, plan)) = known else {
            engine.apply(&step::delete_orphan_claim(lease)).await?;
            let reason = if task.is_none() { "the task does not exist" } else { "the task's plan has no such step" };
            return self.reject(reason).await;
        };
        if let Some(reason) = self.misdirected(task) {
            // The step exists, and a worker of its own workflow will run it.
            engine.apply(&step::release(lease)).await?;
            return self.reject(&reason).await;
        }
        let Some(waits_for) = task.waits_for(plan) else {
            engine.apply(&step::release(lease)).await?;
            tracing::info!(status = %task.state.status(), "not run: the task has ended");
            self.worker.engine.follow_up(task, after_closing(task)).await?;
            return Ok(Disposition::Acknowledge);
        };
        match self.load_unread(task, &waits_for, &mut steps).await {
            Ok(()) => {}
            Err(newer @ EngineError::Newer(_)) => return self.released(lease, newer).await,
            Err(error) => return Err(error),
        }
        if !all_done(&waits_for, &steps) {
            return self.too_early(lease, &waits_for).await;
        }
        if let Err(undeclared) = task.plan.check_inputs(self.step(), &S::Input::wanted()) {
            let error = StepError::new(EngineCode::UndeclaredDependency, undeclared.to_string());
            return self.failed(lease, task, plan, &error).await;
        }
        if let Some(deadline) = task.deadline_of(self.step()).filter(|deadline| *deadline <= self.now()) {
            let error = StepError::new(EngineCode::DeadlineExceeded, deadline_missed(deadline));
            return self.failed(lease, task, plan, &error).await;
        }
        if !plan.allows_attempt(lease.counted_attempt()) {
            let message = format!("{} attempts ended without an answer", plan.max_attempts);
            let error = StepError::new(EngineCode::AttemptsExhausted, message);
            return self.failed(lease, task, plan, &error).await;
        }
        let results = steps.into_iter().filter(|(_, record)| record.state.is_done());
        let results = results.filter_map(|(name, record)| Some((name, record.result?))).collect();
        let data = TaskData { context: task.context.clone(), results };
        self.attempt(lease, task, plan, &data, pass).await
    }

    /// Loads those of these dependencies that the message did not name.
    pub(super) async fn load_unread(
        &self,
        task: &TaskRecord,
        waits_for: &[&str],
        steps: &mut BTreeMap<String, StepRecord>,
    ) -> Result<(), EngineError> {
        let unread: BTreeSet<&str> = waits_for.iter().copied().filter(|name| !steps.contains_key(*name)).collect();
        if !unread.is_empty() {
            steps.extend(self.worker.engine.load(task.id, &unread).await?.steps);
        }
        Ok(())
    }

    /// Carries out the settlement of this delivery, and ends the delivery with it. Returns what to do with the message: if the
    /// recovery of the failed task waits, the message waits for it.
    async fn settle(
        &self,
        lease: &Lease,
        task: &TaskRecord,
        ended: &AttemptRecord,
        state: StepState,
        settlement: Settlement,
        disposition: Disposition,
    ) -> Result<Disposition, EngineError> {
        let delivery = self.message.receipt.clone().map(|receipt| settlement::Delivery { receipt, disposition });
        let settled = self.worker.engine.settle(task.id, task.workflow_name(), settlement.ending(delivery)).await?;
        let Some(followed) = settled else { return Ok(self.superseded()) };
        self.log(lease, ended, state);
        if state == StepState::Error {
            log_failed(task, self.step(), ended.error.as_ref().map_or("", |error| &error.code));
        }
        Ok(followed?.map_or(disposition, |until| Disposition::GiveBack { until }))
    }

    /// Releases the step. The worker that completes the missing dependency will find the step pending and send a message,
    /// unless that happened after our read and before the release. So this reads the dependencies once more.
    async fn too_early(&self, lease: &Lease, waits_for: &[&str]) -> Result<Disposition, EngineError> {
        let engine = &self.worker.engine;
        engine.apply(&step::release(lease)).await?;
        let dependencies: BTreeSet<&str> = waits_for.iter().copied().collect();
        let steps = engine.load(lease.task, &dependencies).await?.steps;
        tracing::warn!("not run: a dependency is not done");
        let ready = all_done(waits_for, &steps);
        Ok(if ready { Disposition::GiveBack { until: self.now() } } else { Disposition::Acknowledge })
    }

    async fn attempt(
        &self,
        lease: &Lease,
        task: &TaskRecord,
        plan: &StepPlan,
        data: &TaskData,
        pass: &Pass,
    ) -> Result<Disposition, EngineError> {
        let left = self.invocation.deadline.since(self.now()).saturating_sub(SETTLE_RESERVE);
        if left.is_zero() || *pass == Pass::Checks {
            // The invocation has no time left for the handler, or the step became ready while its breaker is open. That is not the
            // handler's fault, so it costs no attempt.
            self.worker.engine.apply(&step::release(lease)).await?;
            return Ok(Disposition::GiveBack { until: self.now() });
        }
        let limit = left.min(Duration::from_secs(plan.timeout_seconds.into()));
        let (of, number) = ((task.id, task.created_at), (lease.attempt, lease.started_at));
        let context = StepContext::of_attempt(of, &task.plan, plan, number, limit);
        let handler = attempt::run(&self.worker.step, data, &context);
        #[cfg(feature = "crash-points")]
        let handler = crate::runtime::crash::around("handler", handler);
        let result = handler.await;
        let evidence = attempt::evidence(&result, &context);
        let settled = match result {
            Ok(result) => self.completed(lease, task, &result).await,
            Err(error) => self.failed(lease, task, plan, &error).await,
        };
        self.attempt_ended(evidence, pass).await;
        settled
    }

    async fn completed(&self, lease: &Lease, task: &TaskRecord, result: &str) -> Result<Disposition, EngineError> {
        let ended = lease.ended(self.now(), Outcome::Complete, None);
        let then = dispatch(task, self.step(), Dispatch::Initial, &BTreeMap::new(), self.now());
        let settlement = Settlement::of(step::complete(lease, &ended, result)).then(then);
        let settlement = settlement.found_by(keys_of_result(task, self.step(), result));
        self.settle(lease, task, &ended, StepState::Complete, settlement, Disposition::Acknowledge).await
    }

    async fn failed(
        &self,
        lease: &Lease,
        task: &TaskRecord,
        plan: &StepPlan,
        error: &StepError,
    ) -> Result<Disposition, EngineError> {
        let now = self.now();
        let outcome = if error.is_retryable() { Outcome::RetryableError } else { Outcome::PermanentError };
        let mut ended = lease.ended(now, outcome, Some(Failure::new(&error.code, &error.message)));
        ended.refused = error.kind == ErrorKind::Refused;
        let random = self.worker.engine.runtime.random();
        match (Failed { task, plan, lease, now, random }).verdict(error) {
            Verdict::Retry { wait, throttled } => {
                // A wait ends at the deadline, and then the next delivery fails the step.
                let deadline = task.deadline_of(self.step()).map(|deadline| deadline.max(now));
                let until = deadline.map_or(now + wait, |deadline| deadline.min(now + wait));
                (ended.next_retry_at, ended.throttled) = (Some(until), throttled);
                let settlement = Settlement::of(step::retry_later(lease, &ended));
                self.settle(lease, task, &ended, StepState::Retrying, settlement, Disposition::GiveBack { until }).await
            }
            Verdict::Fail => {
                let settlement = Settlement::of(step::fail(task, lease, &ended)).then(after_failure(task, self.step()));
                self.settle(lease, task, &ended, StepState::Error, settlement, Disposition::Acknowledge).await
            }
        }
    }

    /// A newer attempt owns the step, by a newer receipt of the same message, so this delivery must not delete the message.
    fn superseded(&self) -> Disposition {
        tracing::warn!("a newer attempt owns the step");
        Disposition::GiveBack { until: self.invocation.deadline }
    }

    /// Logs the outcome of an attempt, in one line. Metrics are made of its seconds: those that the message waited in its queue, if it did not
    /// wait for a time, those that the attempt took, those until its outcome and all that follows from it was written and sent, and those until the next attempt.
    fn log(&self, lease: &Lease, ended: &AttemptRecord, state: StepState) {
        let finished_at = ended.finished_at.unwrap_or(lease.started_at);
        let error = ended.error.as_ref();
        tracing::info!(
            %state,
            queued_seconds = backlog::waited(self.message, lease.started_at).map(|waited| waited.as_secs_f64()),
            attempt_seconds = finished_at.since(lease.started_at).as_secs_f64(),
            settle_seconds = self.now().since(finished_at).as_secs_f64(),
            code = error.map(|error| error.code.as_str()),
            error = error.map(|error| error.message.as_str()),
            next_retry_at = ended.next_retry_at.map(|at| at.to_string()),
            retry_wait_seconds = ended.next_retry_at.map(|at| at.since(finished_at).as_secs_f64()),
            "attempt ended"
        );
    }
}

/// Says that the step did not start, because its task's deadline was over.
pub(super) fn deadline_missed(deadline: Timestamp) -> String {
    format!("not started: the task had to be complete by {deadline}")
}

pub(super) fn all_done(names: &[&str], steps: &BTreeMap<String, StepRecord>) -> bool {
    names.iter().all(|name| steps.get(*name).is_some_and(|record| record.state.is_done()))
}
