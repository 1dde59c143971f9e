//! What a completed step owes to the steps that depend on it, and the last step to the task.

use crate::{
    Ambient, EngineError, Timestamp,
    core::{step, task},
    plan::StepPlan,
    queue::{Message, Queue},
    state::{StepState, TaskStatus},
    table::{StepRecord, Store, TaskRecord},
    unwind::unwind,
};
use futures::future::try_join_all;
use std::collections::BTreeSet;

/// Whether this is the first hand-over of a step, or one that may have been made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Right after the step's completion.
    First,
    /// On a later delivery of the step's message. A dependent that somebody has claimed has had its message, so only
    /// untouched ones are sent another, and that one says that it is a repeat, so that it makes no others: otherwise one
    /// duplicate would become two at each fork, and a chain of diamonds would make a storm of it.
    Again,
}

/// Wakes every dependent of `step` that is ready by it, or ends the task where `step` was the last. After a compensation
/// comes the next one, and after the last of these the end of the task.
///
/// Every write in it is idempotent and every send may be repeated, so after a crash it is made again from the start.
pub(super) async fn hand_over<T: Store, Q: Queue>(
    table: &T,
    queue: &Q,
    clock: &impl Ambient,
    task: &TaskRecord,
    step: &str,
    turn: Turn,
) -> Result<(), EngineError> {
    if task.plan.is_compensation(step) {
        return unwind(table, queue, clock, task.id).await;
    }
    let mut dependents: Vec<&StepPlan> = task.plan.dependents(step).collect();
    if dependents.is_empty() {
        return finish(table, queue, clock, task, step).await;
    }
    let now = clock.now();
    if turn == Turn::Again {
        let names: BTreeSet<&str> = dependents.iter().map(|dependent| dependent.name.as_str()).collect();
        let found = table.load(task.id, &names).await?.steps;
        // A step with several dependencies may have been claimed before its time, and been put back since: whoever
        // completes the last of them has to find this one among those that are done.
        let served = |dependent: &StepPlan, record: &StepRecord| {
            record.state != StepState::Pending && (dependent.depends_on.len() == 1 || record.done_deps.contains(step))
        };
        dependents.retain(|dependent| !found.get(&dependent.name).is_some_and(|record| served(dependent, record)));
    }
    let woken = dependents.into_iter().map(|dependent| wake(table, queue, task, step, dependent, turn, now));
    try_join_all(woken).await.map(drop)
}

async fn wake<T: Store, Q: Queue>(
    table: &T,
    queue: &Q,
    task: &TaskRecord,
    done: &str,
    dependent: &StepPlan,
    turn: Turn,
    now: Timestamp,
) -> Result<(), EngineError> {
    let ready = match dependent.depends_on.len() {
        1 => true,
        _ => {
            let arrival = step::record_join_arrival(task.id, &dependent.name, done, now);
            let arrived = table.apply(&arrival).await?.done_deps();
            dependent.depends_on.iter().all(|dependency| arrived.contains(dependency))
        }
    };
    if ready {
        queue.send(&Message { repeat: turn == Turn::Again, ..Message::new(task.id, dependent) }).await?;
    }
    Ok(())
}

async fn finish<T: Store, Q: Queue>(
    table: &T,
    queue: &Q,
    clock: &impl Ambient,
    task: &TaskRecord,
    done: &str,
) -> Result<(), EngineError> {
    if task.status == TaskStatus::Complete {
        return Ok(());
    }
    let last_steps: Vec<&StepPlan> = task.plan.last_steps().collect();
    if last_steps.len() > 1 {
        let arrival = table.apply(&task::record_leaf_arrival(task.id, done)).await?;
        if !arrival.is_written() {
            return Err(task::gone(task.id).into());
        }
        let arrived = arrival.done_deps();
        if !last_steps.iter().all(|step| arrived.contains(&step.name)) {
            return Ok(());
        }
    }
    // Now, and not when `done` was: another last step may have been done after it, and arrived before it.
    let finished = table.apply(&task::finish(task.id, clock.now())).await?;
    let status = task::status_after_finish(task.id, finished)?;
    if status != TaskStatus::Complete {
        tracing::warn!(task_id = %task.id, %status, "the last step is done, but the task had ended before it");
    }
    if status == TaskStatus::Compensating {
        // It may have waited for this step.
        unwind(table, queue, clock, task.id).await?;
    }
    Ok(())
}
