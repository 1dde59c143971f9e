//! Who acts on the stack from outside: those who start tasks, operators, and strangers with messages of their own.

use super::{
    fault::Fault,
    house::{House, RemoteClient},
};
use crate::steps::name;
use serde_json::json;
use std::sync::Arc;
use stepwell::{
    ActionError, By, Filter, IdempotencyKey, TaskId, Workflow,
    core::{message::Message, plan::Plan, record::TaskRecord, state::TaskStatus},
};
use uuid::Uuid;

/// More tasks than there are in a run.
const MANY: usize = 100;

/// What an operator says that a step has done.
pub(super) const BY_HAND: &str = r#"{"by":"hand"}"#;

/// Starts a task, again and again with the same idempotency key until that has worked.
pub(super) async fn start(house: Arc<House>, workflow: Arc<Workflow>, number: usize) {
    let _at_work = house.at_work();
    let key: IdempotencyKey = format!("task-{number}").parse().expect("a key");
    let context = json!({ "number": number });
    loop {
        let process = house.process("client");
        let started = process.live(house.client(&process).start(&workflow, &context, Some(&key))).await;
        if let Some(Ok(started)) = started {
            process.note(|| format!("has started task {number}, {}", started.task_id));
            house.started(started.task_id, number);
            return;
        }
        house.fate.wait(5_000).await;
    }
}

/// An operator to whom nothing happens gives a failed task another chance, which nothing may refuse.
pub(super) async fn retry(house: &Arc<House>, task: TaskId) {
    let _at_work = house.at_work();
    let process = house.untroubled("operator");
    let (by, why) = reason(house);
    match house.client(&process).retry(task, &by).await {
        Ok(_) => house.done(task, why),
        // Somebody else was quicker, or what is left of it is still being worked.
        Err(ActionError::Status { status, .. }) if status != TaskStatus::Error => {}
        Err(error) => house.fate.violated(|| format!("a task that has failed cannot be retried: {error}")),
    }
}

/// Who acts, and why: no two reasons are alike, by which each act is found again.
fn reason(house: &House) -> (By, String) {
    let why = house.name("reason");
    (By::new("operator", &why).expect("who and why"), why)
}

/// An operator who does now this and now that, at any moment.
pub(super) async fn operate(house: Arc<House>, plan: Plan) {
    let _at_work = house.at_work();
    while house.fate.strikes(Fault::Operator) && !house.fate.one_in(5) {
        house.fate.wait(60_000).await;
        let tasks = house.tasks();
        let Some(&task) = house.pick(&tasks) else { continue };
        let step = house.pick(plan.steps()).map(|step| step.name.clone()).unwrap_or_default();
        let process = house.process("operator");
        let client = house.client(&process);
        let (by, why) = reason(&house);
        let act = async {
            let acted = match house.fate.up_to(10) {
                0 => client.cancel(task, &by).await.map(drop),
                1 => client.compensate(task, &by).await,
                2 => client.resolve(task, &by).await,
                3 | 4 => client.resolve_step(task, &step, BY_HAND, &by).await,
                5 | 6 => return retry_all(&house, &client, &by).await,
                _ => client.retry(task, &by).await.map(drop),
            };
            acted.map(|()| vec![task])
        };
        let outcome = process.live(act).await;
        process.note(|| format!("{outcome:?}"));
        for task in outcome.into_iter().flat_map(Result::unwrap_or_default) {
            house.done(task, why.clone());
        }
    }
}

/// An operator retries all tasks that have failed; which of them that was done to.
async fn retry_all(house: &House, client: &RemoteClient, by: &By) -> Result<Vec<TaskId>, ActionError> {
    let all = client.retry_all(&Filter::default(), None, MANY, Some(by)).await?;
    if let Some(other) = all.found.tasks.iter().find(|task| task.status != TaskStatus::Error) {
        house.fate.violated(|| format!("this was to be retried, though it has not failed: {other:?}"));
    }
    let refused: Vec<TaskId> = all.refused.iter().map(|refusal| refusal.task_id).collect();
    let found = all.found.tasks.iter().map(|task| task.task_id);
    Ok(found.filter(|task| !refused.contains(task)).collect())
}

/// Whoever looks for the tasks of a status, some at a time, finds each of them once, as it stands.
pub(super) async fn find(house: &Arc<House>) {
    let process = house.untroubled("operator");
    let client = house.client(&process);
    for status in TaskStatus::WORDS.into_iter().filter(|status| *status != TaskStatus::InProgress) {
        let (filter, mut from, mut found) = (Filter { status: Some(status), ..Filter::default() }, None, Vec::new());
        loop {
            let some = usize::try_from(1 + house.fate.up_to(2)).unwrap_or(1);
            let page = match client.find(&filter, from.as_ref(), some).await {
                Ok(page) => page,
                Err(error) => return house.fate.violated(|| format!("{filter:?} finds nothing: {error}")),
            };
            found.extend(page.tasks.into_iter().map(|task| (task.task_id, task.failed_steps, task.status)));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        found.sort_by_key(|(task, ..)| *task);
        let as_it_stands = |task: &TaskRecord| (task.id, task.failed_steps.clone(), task.state.status());
        let here = house.tasks_in(|state| state.status().as_str() == status.as_str());
        let expected: Vec<_> = here.into_iter().map(|task| house.table.task(task, as_it_stands)).collect();
        if found != expected {
            house.fate.violated(|| format!("of the tasks in {status}, {expected:?}, these are found: {found:?}"));
        }
    }
}

/// Puts messages into the queues that do not belong there, or not yet.
pub(super) async fn meddle(house: Arc<House>, plan: Plan) {
    if !house.fate.strikes(Fault::Poison) {
        return;
    }
    let _at_work = house.at_work();
    let steps: Vec<_> = plan.steps().iter().chain(plan.compensations()).collect();
    for _ in 0..=house.fate.up_to(5) {
        house.fate.wait(20_000).await;
        let Some(step) = house.pick(&steps) else { return };
        let id = Uuid::from_u128(house.fate.bits());
        match house.fate.up_to(4) {
            0 => house.poison(&step.name, &format!("poison {id}")),
            1 => {
                let nowhere = step.message(TaskId::from(id));
                house.poison(&step.name, &serde_json::to_string(&nowhere).expect("JSON"));
            }
            2 => house.poison(&step.name, &json!({ "task_id": id, "step": name(99) }).to_string()),
            // A message for a task that is there, at any time: too early, too late, or for the second time.
            _ => {
                for task in house.tasks() {
                    let repeat = house.fate.one_in(2);
                    // Whoever sends it need not know what the step depends on.
                    let load = if house.fate.one_in(2) { Vec::new() } else { step.depends_on.clone() };
                    let message = Message { repeat, load, ..step.message(task) };
                    house.queues.put(&step.name, &serde_json::to_string(&message).expect("JSON"));
                }
            }
        }
    }
}
