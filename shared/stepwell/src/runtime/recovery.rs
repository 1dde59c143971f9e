//! Carries out the next actions that [`recovery`](crate::core::recovery) decides.

use crate::{
    core::{
        id::TaskId,
        record::{Action, ActionKind, ENGINE_ACTOR, StepRecord, TaskRecord},
        recovery::{self, COMPENSATION_FAILED, NextAction, OPTIONAL_STEP_FAILED},
        snapshot::TaskSnapshot,
        state::{End, StepState},
        task::{self, Termination},
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store},
    runtime::{
        engine::{Engine, Followed},
        spans,
    },
};
use tracing::Instrument;

/// More rounds than there are stages of recovery. If conflicts use them up, the process that caused the conflicts goes on
/// with the recovery.
const MAX_ADVANCE_ROUNDS: usize = 20;

impl<S: Store, Q: Queue, A: Runtime> Engine<S, Q, A> {
    /// Advances the recovery of a task as far as it can go now. Any process may call it at any time. Returns the time at which it
    /// goes on, if the task waits for a redrive or for the begin of its compensation.
    pub(crate) async fn recover(&self, task: TaskId) -> Followed {
        self.advance(task).instrument(spans::of_task(task)).await
    }

    async fn advance(&self, task: TaskId) -> Followed {
        let (mut begun, note) = (false, spans::Note::default());
        for _ in 0..MAX_ADVANCE_ROUNDS {
            let Some(snapshot) = self.snapshot(task).await? else { return Ok(None) };
            note.take(&snapshot.task);
            // A snapshot is not atomic: a step can have been redriven after its item was read and before the task's item was.
            // That cannot happen in a compensating task, so the steps are read once more after the task was seen compensating.
            let was_begun = std::mem::replace(&mut begun, snapshot.task.state.is_compensating());
            if begun && !was_begun {
                continue;
            }
            let now = self.now();
            // A conflict needs no treatment of its own, because the next round reads what has changed.
            match recovery::next_action(&snapshot, now) {
                NextAction::Wait(until) => return Ok(Some(until)),
                NextAction::Nothing | NextAction::InFlight(_) => return Ok(None),
                NextAction::Begin => {
                    let why = "the workflow says compensate: on_error, and the time for a redrive is over";
                    tracing::info!(task_id = %task, "compensation begins");
                    let action = engine_action(now, ActionKind::Compensate, why);
                    self.apply(&task::close_or_compensate(task, Termination::Compensate(End::Error), &action)).await?;
                }
                NextAction::Redrive(failed) => {
                    let why = "it failed with transient errors, and the workflow has a redrive left";
                    let action = engine_action(now, ActionKind::Redrive, why);
                    tracing::info!(task_id = %task, "redriven automatically");
                    let redrive = task::redrive(&snapshot.task, &failed, &action);
                    if let Some(redrive) = redrive
                        && self.apply(&redrive).await?.is_written()
                    {
                        // If a send fails, the watchdog finds that the step is ready and overdue.
                        let messages: Vec<_> = failed.iter().map(|step| snapshot.message(&step.name)).collect();
                        self.send_all(&messages).await?;
                        return Ok(None);
                    }
                }
                NextAction::Close(steps) => {
                    for step in steps {
                        self.apply(&task::cancel_step(task, step, now)).await?;
                    }
                }
                NextAction::Order(graph) => {
                    let order: Vec<&str> = graph.iter().map(|compensation| compensation.name.as_str()).collect();
                    tracing::info!(task_id = %task, ?order, "nothing is in flight any more");
                    self.apply(&task::order_compensations(task, &graph, now)).await?;
                }
                NextAction::Run(open) => {
                    for record in open.iter().filter(|record| record.state == StepState::Error) {
                        tracing::error!(task_id = %task, step = record.name, code = code(record), "{COMPENSATION_FAILED}");
                    }
                    let waiting = open.iter().filter(|record| record.state == StepState::Pending);
                    let messages: Vec<_> = waiting.map(|record| snapshot.message(&record.name)).collect();
                    self.send_all(&messages).await?;
                    return Ok(None);
                }
                NextAction::Reinstate => {
                    let TaskSnapshot { task: record, steps, compensations, .. } = &snapshot;
                    let reinstate = task::reinstate(record, steps, compensations, now);
                    if let Some(reinstate) = reinstate
                        && self.apply(&reinstate).await?.is_written()
                    {
                        let refused = snapshot.failed_compensation();
                        tracing::warn!(task_id = %task, code = refused.and_then(code), "the cancellation was refused");
                        let closed = steps.iter().filter(|step| step.state == StepState::Cancelled);
                        let messages: Vec<_> = closed.map(|step| snapshot.message(&step.name)).collect();
                        self.send_all(&messages).await?;
                        return Ok(None);
                    }
                }
                NextAction::Finish(end) => {
                    let TaskSnapshot { task: record, compensations, .. } = &snapshot;
                    let finish = task::finish_compensation(record, compensations, end, now);
                    if self.apply(&finish).await?.is_written() {
                        tracing::info!(task_id = %task, ?end, "compensated");
                    }
                    return Ok(None);
                }
            }
        }
        tracing::warn!(task_id = %task, "recovery is left to the watchdog: the task keeps changing");
        Ok(None)
    }
}

/// The error code of a failed step.
pub(crate) fn code(step: &StepRecord) -> Option<&str> {
    step.error.as_ref().map(|error| error.code.as_str())
}

/// Logs that a step or compensation has failed for good. An optional one is an error: its task goes on without it, so nothing else shows
/// it. Any other step fails its task. What a failed compensation means is logged by the recovery of its task. Alarms watch for these lines.
pub(crate) fn log_failed(task: &TaskRecord, step: &str, code: &str) {
    let Some(plan) = task.plan.step(step) else { return };
    let (task_id, workflow) = (task.id, task.workflow_name());
    if plan.optional {
        tracing::error!(workflow, %task_id, step, code, "{OPTIONAL_STEP_FAILED}");
    } else if plan.compensates.is_none() {
        tracing::warn!(workflow, %task_id, step, code, "task failed");
    }
}

fn engine_action(at: Timestamp, what: ActionKind, why: &str) -> Action {
    Action { at, what, step: None, who: ENGINE_ACTOR.to_owned(), why: why.to_owned(), bulk: None, rerun_as: None }
}

#[cfg(test)]
mod tests;
