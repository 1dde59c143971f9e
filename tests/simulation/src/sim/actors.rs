//! The actors outside the engine: clients, operators, and senders of stray messages.

use super::{
    fault::Fault,
    simulation::{RemoteClient, Simulation},
};
use crate::{graph, steps::name};
use futures::future::join;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use stepwell::{
    ActionError, Actor, BulkAction, BulkRequest, Filter, IdempotencyKey, ManualResult, NewBulk, Pace, Paused,
    PendingStart, RUN_NOW_PAUSE, Rerun, RerunRequest, TaskId, Workflow,
    core::{
        message::{Message, StepQueue},
        plan::Plan,
        record::TaskRecord,
        state::{TaskState, TaskStatus},
    },
};
use uuid::Uuid;

/// The result that an operator sets for a step.
pub(super) const OPERATOR_RESULT: &str = r#"{"by":"hand"}"#;

/// Starts a task, under the same idempotency key until the start succeeds.
pub(super) async fn start(simulation: Arc<Simulation>, workflow: Arc<Workflow>, number: usize) {
    let _at_work = simulation.busy_guard();
    let key: IdempotencyKey = format!("task-{number}").parse().expect("a key");
    let context = json!({ "number": number });
    loop {
        let process = simulation.process("client").await;
        let started = process.live(simulation.client(&process).start(&workflow, &context, Some(&key))).await;
        if let Some(Ok(started)) = started {
            process.note(|| format!("has started task {number}, {}", started.task_id));
            simulation.started(&started, number);
            return;
        }
        simulation.scheduler.wait(5_000).await;
    }
}

/// Redrives a failed task through a process without faults. No error is allowed.
pub(super) async fn retry(simulation: &Arc<Simulation>, task: TaskId) {
    let _at_work = simulation.busy_guard();
    let process = simulation.reliable("operator");
    let (actor, why) = reason(simulation);
    match simulation.client(&process).redrive(task, &actor).await {
        Ok(_) => simulation.done(task, why),
        // Another actor was quicker, or a step of the task is still in flight.
        Err(ActionError::Status { status, .. }) if status != TaskStatus::Error => {}
        Err(error) => simulation.scheduler.violated(|| format!("a task that has failed cannot be redriven: {error}")),
    }
}

/// Cancels a complete task, whose compensations may refuse that.
pub(super) async fn cancel(simulation: Arc<Simulation>, task: TaskId) {
    let _at_work = simulation.busy_guard();
    simulation.scheduler.wait(5_000).await;
    let process = simulation.process("customer").await;
    let (actor, why) = reason(&simulation);
    let outcome = process.live(simulation.client(&process).cancel(task, &actor)).await;
    process.note(|| format!("cancels a complete task: {outcome:?}"));
    if let Some(Ok(_)) = outcome {
        simulation.done(task, why);
    }
}

/// Does a failed compensation of a task by hand, through a process without faults. No error is allowed.
pub(super) async fn resolve_compensation(simulation: &Arc<Simulation>, task: TaskId) {
    let _at_work = simulation.busy_guard();
    let process = simulation.reliable("operator");
    let (actor, why) = reason(simulation);
    let failed = simulation.table.task(task, |task| {
        task.plan.compensations().iter().map(|step| step.name.clone()).find(|name| task.failed_steps.contains(name))
    });
    let Some(failed) = failed else { return };
    let by_hand = ManualResult { json: OPERATOR_RESULT, attempts_checked: true };
    match simulation.client(&process).resolve_step(task, &failed, by_hand, &actor).await {
        Ok(()) => simulation.done(task, why),
        Err(error) => simulation.scheduler.violated(|| format!("{failed} cannot be done by hand: {error}")),
    }
}

/// The actor and a reason that no other action has, so that the audit trail shows which action it was.
fn reason(simulation: &Simulation) -> (Actor, String) {
    let why = simulation.name("reason");
    (Actor::new("operator", &why).expect("who and why"), why)
}

/// An operator who makes random actions at random times.
pub(super) async fn operate(simulation: Arc<Simulation>, workflow: Arc<Workflow>) {
    let _at_work = simulation.busy_guard();
    let plan = workflow.plan();
    while simulation.scheduler.strikes(Fault::Operator) && !simulation.scheduler.one_in(5) {
        simulation.scheduler.wait(60_000).await;
        let tasks = simulation.tasks();
        let Some(&task) = simulation.pick(&tasks) else { continue };
        let step = simulation.pick(plan.steps()).map(|step| step.name.clone()).unwrap_or_default();
        let process = simulation.process("operator").await;
        let client = simulation.client(&process);
        let (actor, why) = reason(&simulation);
        let by_hand = ManualResult { json: OPERATOR_RESULT, attempts_checked: true };
        let act = async {
            let acted = match simulation.scheduler.up_to(10) {
                0 => client.cancel(task, &actor).await.map(drop),
                // What has ended so can be neither compensated nor resolved.
                1 | 2 if simulation.table.task(task, has_ended) => {
                    return rerun(&simulation, &client, &workflow, task, &actor).await;
                }
                1 => client.compensate(task, &actor).await,
                2 => client.resolve(task, &actor).await,
                3 | 4 => client.resolve_step(task, &step, by_hand, &actor).await,
                5 | 6 => {
                    start_bulk(&simulation, &client, &actor).await;
                    return Ok(Vec::new());
                }
                7 => return run_now(&simulation, &client, task, plan, &actor).await,
                8 => client.redrive_before_deadline(task, &actor).await.map(drop),
                _ => client.redrive(task, &actor).await.map(drop),
            };
            acted.map(|()| vec![task])
        };
        let outcome = process.live(act).await;
        process.note(|| format!("{outcome:?}"));
        for task in outcome.into_iter().flat_map(Result::unwrap_or_default) {
            simulation.done(task, why.clone());
        }
    }
}

/// An operator who pauses steps and compensations, and resumes each after a while. Whoever is not told that it was done asks again.
pub(super) async fn pause(simulation: Arc<Simulation>, plan: Plan) {
    let _at_work = simulation.busy_guard();
    let steps: Vec<_> = plan.steps().iter().chain(plan.compensations()).collect();
    for _ in 0..=simulation.scheduler.up_to(2) {
        let Some(step) = simulation.pick(&steps).map(|step| step.name.clone()) else { return };
        simulation.scheduler.wait([100, 60_000][usize::from(simulation.scheduler.one_in(2))]).await;
        set_pause(&simulation, &step, true).await;
        simulation.paused(&step);
        simulation.scheduler.wait(7_200_000).await;
        simulation.resumes(&step);
        set_pause(&simulation, &step, false).await;
    }
}

/// Pauses or resumes a step, again and again until an answer says that its queue was told.
async fn set_pause(simulation: &Arc<Simulation>, step: &str, pauses: bool) {
    let queue = StepQueue::new(graph::WORKFLOW, step);
    loop {
        let process = simulation.process("operator").await;
        let (client, (_, deliveries)) = (simulation.client(&process), simulation.ports(&process));
        let (actor, _) = reason(simulation);
        let acted = async {
            match pauses {
                true => client.pause(&deliveries, &queue, &actor).await,
                false => client.resume(&deliveries, &queue, &actor, None).await,
            }
        };
        let acted = process.live(acted).await;
        process.note(|| format!("{} {step}: {acted:?}", if pauses { "pauses" } else { "resumes" }));
        if let Some(Ok(Paused { pauses: found, told: true })) = acted {
            if found.in_force().is_some() != pauses {
                simulation.scheduler.violated(|| format!("{step} stands otherwise: {found:?}"));
            }
            return;
        }
        simulation.scheduler.wait(30_000).await;
    }
}

/// A customer, or an operator, does not want to wait for a step's next attempt. Steps wait seldom and briefly, so they look for a while: a
/// customer at one task, an operator at all, and also for one that has failed, which the engine may be about to redrive. A customer leaves no entry in the audit trail, so there is none
/// to look for.
async fn run_now(
    simulation: &Simulation,
    client: &RemoteClient,
    task: TaskId,
    plan: &Plan,
    actor: &Actor,
) -> Result<Vec<TaskId>, ActionError> {
    let by_operator = simulation.scheduler.one_in(2);
    let waits = |task: TaskId| {
        let soon = simulation.scheduler.now() + if by_operator { Duration::ZERO } else { RUN_NOW_PAUSE };
        let compensations = plan.compensations().iter().filter(|_| by_operator);
        let mut steps = plan.steps().iter().chain(compensations).map(|step| simulation.table.step(task, &step.name));
        let failed = by_operator && simulation.table.task(task, |task| task.state == TaskState::Failed);
        failed || steps.any(|step| step.next_retry_at.is_some_and(|at| at > soon))
    };
    let mut task = task;
    for _ in 0..100 {
        let seen = if by_operator { simulation.tasks() } else { vec![task] };
        if let Some(found) = seen.into_iter().find(|task| waits(*task)) {
            task = found;
            break;
        }
        simulation.scheduler.wait(1_000).await;
    }
    match by_operator {
        true => client.run_now(task, actor).await.map(|_| vec![task]),
        false => client.run_now_after_pause(task).await.map(|_| Vec::new()),
    }
}

/// Whether a task may be rerun.
const fn has_ended(task: &TaskRecord) -> bool {
    matches!(task.state, TaskState::Completed | TaskState::Compensated(_))
}

/// An operator reruns a task: alone, at the same time as another one, or so slowly that another one reruns it before the start. The other one
/// makes the same request, or another one. Returns the task if the first has certainly reserved its rerun.
async fn rerun(
    simulation: &Simulation,
    client: &RemoteClient,
    workflow: &Workflow,
    task: TaskId,
    actor: &Actor,
) -> Result<Vec<TaskId>, ActionError> {
    let other = Actor::new("another operator", simulation.name("reason")).expect("who and why");
    let is_same = simulation.scheduler.one_in(2);
    let text = if is_same { actor.why() } else { other.why() };
    let reserve = |actor, text| reserve_rerun(simulation, client, workflow, task, actor, text);
    // Whether it was started shows in the table.
    let start = async |start: Option<PendingStart>| {
        if let Some(start) = start {
            drop(client.write_start(start).await);
        }
    };
    let by_other = async || start(reserve(&other, text).await.ok().flatten()).await;
    let reserved = match simulation.scheduler.up_to(2) {
        0 => reserve(actor, actor.why()).await?,
        1 => join(reserve(actor, actor.why()), by_other()).await.0?,
        _ => {
            let reserved = reserve(actor, actor.why()).await?;
            by_other().await;
            reserved
        }
    };
    let is_reserved = reserved.is_some() && !is_same;
    start(reserved).await;
    Ok(Vec::from_iter(is_reserved.then_some(task)))
}

/// Reserves the rerun of a task; `None` if the same request was made before.
async fn reserve_rerun(
    simulation: &Simulation,
    client: &RemoteClient,
    workflow: &Workflow,
    task: TaskId,
    actor: &Actor,
    text: &str,
) -> Result<Option<PendingStart>, ActionError> {
    let context = json!({ "number": simulation.number(task) });
    // Whoever makes the same request begins at the same step.
    let at = text.bytes().map(usize::from).sum::<usize>();
    let steps = workflow.plan().steps();
    let request = RerunRequest::new(text, true);
    // Of a saga nothing is kept, so most of its reruns are whole ones.
    let whole = if workflow.plan().compensations().is_empty() { 1 } else { 9 * steps.len() };
    let request = match steps.get(at % (steps.len() + whole)) {
        Some(from) => request.beginning_at(from.name.clone()),
        None => request,
    };
    let found = match client.find_rerun(task, &request).await? {
        Rerun::Made(_) => return Ok(None),
        Rerun::Next(found) => found,
    };
    let start = client.prepare_start(workflow, &context, None).await.expect("the context fits");
    // Whoever asks may die in the call that reserves it.
    simulation.reserved(start.task_id());
    Ok(match client.reserve_rerun(&found, &request, start, actor).await? {
        Rerun::Next(start) => Some(start),
        Rerun::Made(_) => None,
    })
}

/// An operator starts a bulk redrive of all failed tasks, sends the request again if the answer is lost, and stops some of them.
async fn start_bulk(simulation: &Simulation, client: &RemoteClient, actor: &Actor) {
    let filter = Filter { status: Some(TaskStatus::Error), ..Filter::default() };
    let pace = Pace::per_minute(Pace::MAX).unwrap_or(Pace::DEFAULT);
    let key: IdempotencyKey = format!("bulk-{}", actor.why().replace(' ', "-")).parse().expect("a key");
    let request = Some(BulkRequest::new(&key, actor.why()));
    let new = NewBulk { action: BulkAction::Redrive, filter, pace, expected: 0, or_more: true, request };
    simulation.begin_bulk(actor.why());
    let begun = match client.start_bulk(&new, actor, client.now()).await {
        Err(_) => client.start_bulk(&new, actor, client.now()).await,
        begun => begun,
    };
    let Ok(bulk) = begun else { return };
    if simulation.scheduler.one_in(3) {
        simulation.scheduler.wait(100_000).await;
        drop(client.stop_bulk(bulk.id, actor).await);
    }
}

/// Listing the tasks of a status page by page returns each of them once, with its current status.
pub(super) async fn find(simulation: &Arc<Simulation>) {
    let process = simulation.reliable("operator");
    let client = simulation.client(&process);
    for status in TaskStatus::WORDS.into_iter().filter(|status| *status != TaskStatus::InProgress) {
        let (filter, mut from, mut found) = (Filter { status: Some(status), ..Filter::default() }, None, Vec::new());
        loop {
            let some = usize::try_from(1 + simulation.scheduler.up_to(2)).unwrap_or(1);
            let page = match client.find(&filter, from.as_ref(), some).await {
                Ok(page) => page,
                Err(error) => return simulation.scheduler.violated(|| format!("{filter:?} finds nothing: {error}")),
            };
            found.extend(page.tasks.into_iter().map(|task| (task.task_id, task.failed_steps, task.status)));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        found.sort_by_key(|(task, ..)| *task);
        let as_it_stands = |task: &TaskRecord| (task.id, task.failed_steps.clone(), task.state.status());
        let mut here = simulation.tasks_in(|state| state.status().as_str() == status.as_str());
        // What was ruled out counts as cancelled.
        here.extend(simulation.ruled_out().into_iter().filter(|_| status == TaskStatus::Cancelled));
        here.sort_unstable();
        let expected: Vec<_> = here.into_iter().map(|task| simulation.table.task(task, as_it_stands)).collect();
        if found != expected {
            simulation
                .scheduler
                .violated(|| format!("of the tasks in {status}, {expected:?}, these are found: {found:?}"));
        }
    }
}

/// Puts messages into the queues that are invalid or premature.
pub(super) async fn send_stray_messages(simulation: Arc<Simulation>, plan: Plan) {
    if !simulation.scheduler.strikes(Fault::Poison) {
        return;
    }
    let _at_work = simulation.busy_guard();
    let steps: Vec<_> = plan.steps().iter().chain(plan.compensations()).collect();
    for _ in 0..=simulation.scheduler.up_to(5) {
        simulation.scheduler.wait(20_000).await;
        simulation.up().await;
        let Some(step) = simulation.pick(&steps) else { return };
        let id = Uuid::from_u128(simulation.scheduler.bits());
        match simulation.scheduler.up_to(4) {
            0 => simulation.poison(&step.name, &format!("poison {id}")),
            1 => {
                let nowhere = step.message(TaskId::from(id));
                simulation.poison(&step.name, &serde_json::to_string(&nowhere).expect("JSON"));
            }
            2 => simulation.poison(&step.name, &json!({ "task_id": id, "step": name(99) }).to_string()),
            // A message for an existing task at any time: premature, late or repeated.
            _ => {
                for task in simulation.tasks() {
                    let repeat = simulation.scheduler.one_in(2);
                    // The sender need not know the step's dependencies.
                    let load = if simulation.scheduler.one_in(2) { Vec::new() } else { step.depends_on.clone() };
                    let message = Message { repeat, load, ..step.message(task) };
                    simulation.queues.put(&step.name, &serde_json::to_string(&message).expect("JSON"));
                }
            }
        }
    }
}
