//! A backend in memory: the real engine's client over a table and queues of maps and lists.

use crate::backend::Backend;
use checkout::{Order, Product, StoreError};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use stepwell::{
    ActionError, By, Client, IdempotencyKey, StartError, Started, System, TaskId, Timestamp, Workflow,
    history::History,
    queue::{Message, Queue, QueueError},
    state::{End, StepEvent, TaskEvent, TaskStatus},
    table::{
        Action, AsRead, AttemptRecord, Claim, ClaimRequest, Creation, Diversion, Failure, Fenced, KeyRecord, Lease,
        Listed, ListedAt, Listing, Loaded, NewTask, Page, StepRecord, Table, TableError, TaskRecord,
    },
};

/// What there is, and what is broken. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    pub(super) tasks: BTreeMap<TaskId, TaskRecord>,
    pub(super) steps: BTreeMap<TaskId, BTreeMap<String, StepRecord>>,
    pub(super) keys: BTreeMap<String, KeyRecord>,
    pub(super) sent: Vec<Message>,
    pub(super) orders: Vec<Order>,
    pub(super) products: Vec<Product>,
    pub(super) outage: Option<Outage>,
}

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    Table,
    Queue,
    Unreadable,
}

/// Words of an outage that no client may read.
pub(super) const INTERNALS: &str = "arn:aws:dynamodb:eu-central-1:123456789012:table/stepwell-dev-tasks";

impl Fake {
    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets something happen to a task that was started.
    pub(super) fn put(&self, history: History) {
        let mut state = self.state();
        let steps = history.steps.into_iter().map(|step| (step.name.clone(), step)).collect();
        state.steps.insert(history.task.id, steps);
        state.tasks.insert(history.task.id, history.task);
    }

    fn client(&self) -> Client<Self, Self, System> {
        Client::new(self.clone(), self.clone(), System)
    }

    fn table(&self) -> Result<(), TableError> {
        let outage = self.state().outage;
        match outage {
            Some(Outage::Table) => Err(TableError::Call { operation: "Query", cause: INTERNALS.to_owned() }),
            Some(Outage::Unreadable) => {
                Err(TableError::Unreadable { key: INTERNALS.to_owned(), cause: INTERNALS.to_owned() })
            }
            Some(Outage::Queue) | None => Ok(()),
        }
    }

    fn store(&self) -> Result<(), StoreError> {
        self.table().map_err(|error| match error {
            TableError::Call { cause, .. } => StoreError::Failed(cause),
            TableError::Unreadable { cause, .. } => StoreError::Unreadable(cause),
        })
    }
}

fn workflow() -> &'static Workflow {
    static WORKFLOW: std::sync::OnceLock<Workflow> = std::sync::OnceLock::new();
    WORKFLOW.get_or_init(|| checkout::workflow().unwrap())
}

impl Backend for Fake {
    async fn start(&self, request: &Value, key: Option<&IdempotencyKey>) -> Result<Started, StartError> {
        self.client().start(workflow(), request, key).await
    }

    async fn history(&self, id: TaskId) -> Result<Option<History>, TableError> {
        self.client().history(id).await
    }

    async fn retry(&self, id: TaskId) -> Result<History, ActionError> {
        self.client().retry(id, &By::new("customer", "a test").unwrap()).await
    }

    async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        self.store()?;
        Ok(self.state().orders.iter().find(|order| order.order_id.to_string() == id).cloned())
    }

    async fn products(&self) -> Result<Vec<Product>, StoreError> {
        self.store()?;
        Ok(self.state().products.clone())
    }
}

impl Queue for Fake {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        let mut state = self.state();
        if state.outage == Some(Outage::Queue) {
            let (queue, cause) = (message.step.clone(), INTERNALS.to_owned());
            return Err(QueueError { operation: "SendMessage", queue, cause });
        }
        state.sent.push(message.clone());
        Ok(())
    }

    async fn hide(&self, _: &str, _: &str, _: Duration) -> Result<(), QueueError> {
        unreachable!("a worker's")
    }

    async fn reject(&self, _: &str, _: &str) -> Result<(), QueueError> {
        unreachable!("a worker's")
    }
}

impl Table for Fake {
    async fn create(&self, task: &NewTask<'_>) -> Result<Creation, TableError> {
        self.table()?;
        let mut state = self.state();
        if state.tasks.contains_key(&task.id) {
            return Ok(Creation::AlreadyThere);
        }
        state.tasks.insert(task.id, task.into());
        Ok(Creation::Created)
    }

    async fn reserve_key(&self, key: KeyRecord) -> Result<KeyRecord, TableError> {
        self.table()?;
        Ok(self.state().keys.entry(key.key.clone()).or_insert(key).clone())
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.table()?;
        let state = self.state();
        let steps = state.steps.get(&task).cloned().unwrap_or_default();
        Ok(Loaded { task: state.tasks.get(&task).cloned(), steps })
    }

    async fn restart(&self, task: &TaskRecord, failed: &[&StepRecord], _: &Action) -> Result<AsRead, TableError> {
        let mut state = self.state();
        let names: Vec<&str> = failed.iter().map(|step| step.name.as_str()).collect();
        let steps = state.steps.get_mut(&task.id).unwrap();
        for step in steps.values_mut().filter(|step| names.contains(&step.name.as_str())) {
            step.state = step.state.on(StepEvent::Restart).unwrap();
            (step.error, step.finished_at) = (None, None);
        }
        let task = state.tasks.get_mut(&task.id).unwrap();
        task.status = task.status.on(TaskEvent::Restart).unwrap();
        task.finished_at = None;
        task.failed_steps.clear();
        Ok(AsRead::Written)
    }

    async fn load(&self, _: TaskId, _: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        unreachable!("a worker's")
    }

    async fn claim(&self, _: &ClaimRequest<'_>) -> Result<Claim, TableError> {
        unreachable!("a worker's")
    }

    async fn take_over(&self, _: &ClaimRequest<'_>, _: &StepRecord) -> Result<Claim, TableError> {
        unreachable!("a worker's")
    }

    async fn release(&self, _: &Lease) -> Result<Fenced, TableError> {
        unreachable!("a worker's")
    }

    async fn withdraw(&self, _: &Lease) -> Result<Fenced, TableError> {
        unreachable!("a worker's")
    }

    async fn complete(&self, _: &Lease, _: &AttemptRecord, _: &str) -> Result<Fenced, TableError> {
        unreachable!("a worker's")
    }

    async fn retry_later(&self, _: &Lease, _: &AttemptRecord) -> Result<Fenced, TableError> {
        unreachable!("a worker's")
    }

    async fn fail(&self, _: &TaskRecord, _: &Lease, _: &AttemptRecord) -> Result<Fenced, TableError> {
        unreachable!("a worker's")
    }

    async fn arrive_at_step(&self, _: TaskId, _: &str, _: &str, _: Timestamp) -> Result<BTreeSet<String>, TableError> {
        unreachable!("a worker's")
    }

    async fn arrive_at_task(&self, _: TaskId, _: &str) -> Result<BTreeSet<String>, TableError> {
        unreachable!("a worker's")
    }

    async fn finish(&self, _: TaskId, _: Timestamp) -> Result<TaskStatus, TableError> {
        unreachable!("a worker's")
    }

    async fn resolve_step(&self, _: &TaskRecord, _: &StepRecord, _: &str, _: &Action) -> Result<AsRead, TableError> {
        unreachable!("an operator's")
    }

    async fn give_up(&self, _: &TaskRecord, _: &StepRecord, _: &Failure, _: &Action) -> Result<AsRead, TableError> {
        unreachable!("an operator's")
    }

    async fn cancel_step(&self, _: TaskId, _: &StepRecord, _: Timestamp) -> Result<AsRead, TableError> {
        unreachable!("an operator's")
    }

    async fn divert(&self, _: TaskId, _: Diversion, _: &Action) -> Result<AsRead, TableError> {
        unreachable!("an operator's")
    }

    async fn order_compensations(&self, _: TaskId, _: &[String], _: Timestamp) -> Result<AsRead, TableError> {
        unreachable!("an operator's")
    }

    async fn finish_compensation(&self, _: TaskId, _: End, _: Timestamp) -> Result<AsRead, TableError> {
        unreachable!("an operator's")
    }

    async fn list(&self, _: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        unreachable!("an operator's")
    }

    async fn relist(&self, _: &ListedAt, _: Listing, _: Timestamp) -> Result<AsRead, TableError> {
        unreachable!("the watchdog's")
    }
}
