//! The table in memory, with DynamoDB's semantics: conditional writes, transactions that are made whole or not at all,
//! refusals that say what stands there.
//!
//! It is held to the real one: `tests/tests/it/transitions/model.rs` makes the same writes on both and compares every
//! answer and every record. So what the simulation shows of it holds for DynamoDB.

mod index;
mod intervene;

use super::oracle::{ItemWrite, Recorder, item::Item, stored};
use futures::future::LocalBoxFuture;
use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
    ops::{Deref, DerefMut},
    rc::Rc,
};
use stepwell::{
    TaskId, Timestamp,
    state::{End, StepEvent, StepState, TaskEvent, TaskStatus},
    table::{
        Action, AsRead, AttemptRecord, Claim, ClaimRequest, Creation, Diversion, FIRST_LOOK, Failure, Fenced,
        KeyRecord, Lease, Listed, ListedAt, Listing, Loaded, NewTask, Outcome, Page, StepRecord, Table, TableError,
        TaskRecord,
    },
};

/// What a write changed.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A step's item.
    Step {
        /// Its task.
        task: TaskId,
        /// What happened to it; `None` where it was only told of a dependency that is done.
        event: Option<StepEvent>,
        /// How it stood, untouched where there was no item.
        before: &'a StepRecord,
        /// How it stands.
        after: &'a StepRecord,
    },
    /// A task's item.
    Task {
        /// What happened to it; `None` where it was only told of a last step that is done.
        event: Option<TaskEvent>,
        /// How it stood.
        before: &'a TaskRecord,
        /// How it stands.
        after: &'a TaskRecord,
    },
}

type Observer = Rc<dyn Fn(Change<'_>)>;

/// What somebody else does while a task is being read; an error of theirs is the reader's.
type Meanwhile = LocalBoxFuture<'static, Result<(), TableError>>;

#[derive(Debug)]
struct TaskItem {
    record: TaskRecord,
    listed: (Listing, Timestamp),
}

#[derive(Debug, Default)]
struct Partition {
    task: Option<TaskItem>,
    steps: BTreeMap<String, StepRecord>,
}

#[derive(Default)]
struct Store {
    partitions: BTreeMap<TaskId, Partition>,
    keys: BTreeMap<(String, String), KeyRecord>,
    observer: Option<Observer>,
    recorder: Option<Rc<Recorder>>,
    /// What the call that is being made has written so far, for the recorder.
    written: Vec<ItemWrite>,
    meanwhile: Option<Meanwhile>,
}

/// The engine's table in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryTable(Rc<RefCell<Store>>);

impl fmt::Debug for MemoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTable").finish_non_exhaustive()
    }
}

impl MemoryTable {
    /// A table that tells of every change of a step or a task.
    pub fn observed_by(observer: impl Fn(Change<'_>) + 'static) -> Self {
        Self(Rc::new(RefCell::new(Store { observer: Some(Rc::new(observer)), ..Store::default() })))
    }

    /// Takes down every write from now on.
    pub(super) fn record(&self, recorder: Rc<Recorder>) {
        self.0.borrow_mut().recorder = Some(recorder);
    }

    /// The store, for one call that may write.
    fn writing(&self) -> Writing<'_> {
        Writing(self.0.borrow_mut())
    }

    /// The next reading of a task is torn: its steps are read before this is done, the task itself after it.
    pub fn at_the_next_reading(&self, meanwhile: impl Future<Output = Result<(), TableError>> + 'static) {
        self.0.borrow_mut().meanwhile = Some(Box::pin(meanwhile));
    }

    /// What was read of the steps, and the task as it stands when nothing else happens any more.
    async fn with_task(&self, task: TaskId, steps: BTreeMap<String, StepRecord>) -> Result<Loaded, TableError> {
        let meanwhile = self.0.borrow_mut().meanwhile.take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await?;
        }
        Ok(Loaded { steps, ..self.all(task) })
    }

    /// The step's record as it stands.
    pub fn step(&self, task: TaskId, step: &str) -> StepRecord {
        self.0.borrow().step(task, step)
    }

    /// All that is there of a task.
    pub fn all(&self, task: TaskId) -> Loaded {
        let store = self.0.borrow();
        let Some(partition) = store.partitions.get(&task) else { return Loaded::default() };
        Loaded { task: partition.task.as_ref().map(|item| item.record.clone()), steps: partition.steps.clone() }
    }

    /// Looks at a task.
    ///
    /// # Panics
    /// Where there is none.
    pub(super) fn task<R>(&self, task: TaskId, look: impl FnOnce(&TaskRecord) -> R) -> R {
        let store = self.0.borrow();
        let item = store.partitions.get(&task).and_then(|partition| partition.task.as_ref());
        look(&item.expect("the task is there").record)
    }

    /// Where the index lists the task.
    pub fn listed(&self, task: TaskId) -> Option<(Listing, Timestamp)> {
        Some(self.0.borrow().partitions.get(&task)?.task.as_ref()?.listed)
    }

    /// The first moment at which the watchdog has to look at anything.
    pub(super) fn first_look(&self) -> Option<Timestamp> {
        self.0.borrow().first_look()
    }

    /// Whether the watchdog has a task to look after, now or later.
    pub fn is_watched(&self) -> bool {
        self.first_look().is_some()
    }

    /// Whether the index lists any task there.
    pub fn lists_any(&self, listing: Listing, shard: u8) -> bool {
        self.0.borrow().lists_any(listing, shard)
    }

    /// The tasks whose partitions hold anything.
    pub fn tasks(&self) -> Vec<TaskId> {
        let store = self.0.borrow();
        let held = store.partitions.iter().filter(|(_, held)| held.task.is_some() || !held.steps.is_empty());
        held.map(|(id, _)| *id).collect()
    }
}

/// One call that may write.
struct Writing<'a>(RefMut<'a, Store>);

impl Deref for Writing<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut Store {
        &mut self.0
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let written = std::mem::take(&mut self.0.written);
        if let Some(recorder) = &self.0.recorder {
            recorder.written(written);
        }
    }
}

impl Store {
    /// A task's item, as the recorder takes it down.
    fn task_item(&self, task: TaskId) -> Option<Item> {
        let item = self.partitions.get(&task)?.task.as_ref()?;
        Some(stored::task(&item.record, item.listed))
    }

    /// The same of a step's item.
    fn step_item(&self, task: TaskId, step: &str) -> Option<Item> {
        self.partitions.get(&task)?.steps.get(step).map(stored::step)
    }

    /// Takes down a write, where that is wanted. `items` are the item before it and after it.
    fn wrote(&mut self, key: impl FnOnce() -> String, items: impl FnOnce(&Self) -> [Option<Item>; 2]) {
        if self.recorder.is_some() {
            let [before, after] = items(self);
            self.written.push(ItemWrite { key: key(), before, after });
        }
    }

    fn step(&self, task: TaskId, step: &str) -> StepRecord {
        let found = self.partitions.get(&task).and_then(|partition| partition.steps.get(step));
        found.cloned().unwrap_or_else(|| StepRecord::untouched(step))
    }

    fn task(&mut self, task: TaskId) -> Option<&mut TaskItem> {
        self.partitions.get_mut(&task)?.task.as_mut()
    }

    fn put_step(&mut self, task: TaskId, event: Option<StepEvent>, before: &StepRecord, after: StepRecord) {
        if let Some(observer) = &self.observer {
            observer(Change::Step { task, event, before, after: &after });
        }
        let name = after.name.clone();
        let before = self.partitions.entry(task).or_default().steps.insert(name.clone(), after);
        self.wrote(
            || stored::step_key(task, &name),
            |store| [before.as_ref().map(stored::step), store.step_item(task, &name)],
        );
    }

    /// Changes a task that is there.
    fn put_task(&mut self, task: TaskId, event: Option<TaskEvent>, change: impl FnOnce(&mut TaskItem)) {
        let observer = self.observer.clone();
        let before = self.task(task).zip(observer.as_ref()).map(|(item, _)| item.record.clone());
        self.change_task(task, change);
        if let (Some(observer), Some(before), Some(item)) = (observer, before, self.task(task)) {
            observer(Change::Task { event, before: &before, after: &item.record });
        }
    }

    /// The same for what is no event of the task.
    fn change_task(&mut self, task: TaskId, change: impl FnOnce(&mut TaskItem)) {
        let before = self.recorder.as_ref().and_then(|_| self.task_item(task));
        let Some(item) = self.task(task) else { return };
        change(item);
        self.wrote(|| stored::task_key(task), |store| [before, store.task_item(task)]);
    }

    /// Grants a claim: a new attempt for this owner.
    fn take(&mut self, request: &ClaimRequest<'_>, before: &StepRecord, lost: Option<AttemptRecord>) -> Claim {
        let mut after = StepRecord {
            state: StepState::InProgress,
            attempt: before.attempt + 1,
            owner: Some(request.owner.to_owned()),
            started_at: Some(request.now),
            lease_until: Some(request.lease_until),
            next_retry_at: None,
            ..before.clone()
        };
        after.attempts.extend(lost);
        let lease = lease(request, &after);
        self.put_step(request.task, Some(StepEvent::Claim), before, after);
        Claim::Granted(lease)
    }

    /// A write that only the holder of the lease may make.
    fn fenced(&mut self, lease: &Lease, event: StepEvent, change: impl FnOnce(&mut StepRecord)) -> Fenced {
        let before = self.step(lease.task, &lease.step);
        if !holds(lease, &before) {
            return fence_answer(lease, event, &before);
        }
        let mut after = before.clone();
        after.state = target(event);
        after.owner = None;
        after.lease_until = None;
        change(&mut after);
        self.put_step(lease.task, Some(event), &before, after);
        Fenced::Written
    }
}

/// Where an event leads that starts at `in_progress`.
fn target(event: StepEvent) -> StepState {
    StepState::InProgress.on(event).expect("an event of the holder of a lease")
}

fn holds(lease: &Lease, found: &StepRecord) -> bool {
    found.state == StepState::InProgress && found.attempt == lease.attempt
}

fn fence_answer(lease: &Lease, event: StepEvent, found: &StepRecord) -> Fenced {
    let written = found.state == target(event) && found.attempt == lease.attempt;
    if written { Fenced::Written } else { Fenced::Superseded }
}

fn lease(request: &ClaimRequest<'_>, record: &StepRecord) -> Lease {
    Lease {
        task: request.task,
        step: request.step.to_owned(),
        attempt: record.attempt,
        exempt: record.exempt,
        owner: request.owner.to_owned(),
        started_at: record.started_at.unwrap_or(request.now),
        until: record.lease_until.unwrap_or(request.lease_until),
    }
}

/// A refused claim; granted all the same where the claim that stands there is this very one, made before.
fn refused(request: &ClaimRequest<'_>, found: StepRecord) -> Claim {
    let ours = found.state == StepState::InProgress && found.owner.as_deref() == Some(request.owner);
    if ours { Claim::Granted(lease(request, &found)) } else { Claim::Refused(Box::new(found)) }
}

fn error(operation: &'static str, cause: &str) -> TableError {
    TableError::Call { operation, cause: cause.to_owned() }
}

impl Table for MemoryTable {
    async fn create(&self, task: &NewTask<'_>) -> Result<Creation, TableError> {
        let mut store = self.writing();
        let partition = store.partitions.entry(task.id).or_default();
        if partition.task.is_some() {
            return Ok(Creation::AlreadyThere);
        }
        let listed = (Listing::Pending, task.created_at + FIRST_LOOK);
        partition.task = Some(TaskItem { record: TaskRecord::from(task), listed });
        store.wrote(|| stored::task_key(task.id), |store| [None, store.task_item(task.id)]);
        Ok(Creation::Created)
    }

    async fn reserve_key(&self, key: KeyRecord) -> Result<KeyRecord, TableError> {
        let mut store = self.writing();
        match store.keys.entry((key.namespace.clone(), key.key.clone())) {
            Entry::Occupied(found) => Ok(found.get().clone()),
            Entry::Vacant(free) => {
                free.insert(key.clone());
                store.wrote(|| stored::idempotency_key(&key), |_| [None, Some(stored::key(&key))]);
                Ok(key)
            }
        }
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        let steps = steps.iter().map(|&name| (name.to_owned(), self.step(task, name))).collect();
        self.with_task(task, steps).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.with_task(task, self.all(task).steps).await
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, TableError> {
        let mut store = self.writing();
        let before = store.step(request.task, request.step);
        let due = before.next_retry_at.is_some_and(|due| due <= request.now);
        Ok(match before.state {
            StepState::Pending => store.take(request, &before, None),
            StepState::Retrying if due => store.take(request, &before, None),
            _ => refused(request, before),
        })
    }

    async fn take_over(&self, request: &ClaimRequest<'_>, lost: &StepRecord) -> Result<Claim, TableError> {
        let mut store = self.writing();
        let before = store.step(request.task, request.step);
        let ended = before.lease_until.is_some_and(|until| until < request.now);
        if before.state != StepState::InProgress || before.attempt != lost.attempt || !ended {
            return Ok(refused(request, before));
        }
        let running = lost.all_attempts().pop().filter(|attempt| attempt.outcome == Outcome::InProgress);
        let entry =
            running.map(|attempt| AttemptRecord { outcome: Outcome::Lost, finished_at: lost.lease_until, ..attempt });
        Ok(store.take(request, &before, entry))
    }

    async fn release(&self, lease: &Lease) -> Result<Fenced, TableError> {
        Ok(self.writing().fenced(lease, StepEvent::Release, |step| {
            step.exempt += 1;
            step.started_at = None;
        }))
    }

    async fn withdraw(&self, lease: &Lease) -> Result<Fenced, TableError> {
        let mut store = self.writing();
        if !holds(lease, &store.step(lease.task, &lease.step)) {
            return Ok(Fenced::Superseded);
        }
        let before = store.partitions.get_mut(&lease.task).and_then(|partition| partition.steps.remove(&lease.step));
        store.wrote(|| stored::step_key(lease.task, &lease.step), |_| [before.as_ref().map(stored::step), None]);
        Ok(Fenced::Written)
    }

    async fn complete(&self, lease: &Lease, attempt: &AttemptRecord, result: &str) -> Result<Fenced, TableError> {
        Ok(self.writing().fenced(lease, StepEvent::Complete, |step| {
            step.result = Some(result.to_owned());
            step.error = None;
            step.finished_at = Some(attempt.finished_at.unwrap_or(lease.until));
            step.attempts.push(attempt.clone());
        }))
    }

    async fn retry_later(&self, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        Ok(self.writing().fenced(lease, StepEvent::RetryLater, |step| {
            step.next_retry_at = Some(attempt.next_retry_at.unwrap_or(lease.until));
            step.error = attempt.error.clone();
            step.attempts.push(attempt.clone());
        }))
    }

    async fn fail(&self, task: &TaskRecord, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        let mut store = self.writing();
        let at = attempt.finished_at.unwrap_or(lease.until);
        let held = holds(lease, &store.step(lease.task, &lease.step));
        let answer = store.fenced(lease, StepEvent::Fail, |step| {
            step.error = attempt.error.clone();
            step.finished_at = Some(at);
            step.attempts.push(attempt.clone());
        });
        // Where the task has been brought out of its course, the step's error is kept all the same.
        if held && store.may_fail(task, &lease.step) {
            store.fail_task(task, &lease.step, at, None);
        }
        Ok(answer)
    }

    async fn arrive_at_step(
        &self,
        task: TaskId,
        step: &str,
        done: &str,
        _: Timestamp,
    ) -> Result<BTreeSet<String>, TableError> {
        let mut store = self.writing();
        let before = store.step(task, step);
        let mut after = before.clone();
        after.done_deps.insert(done.to_owned());
        let arrived = after.done_deps.clone();
        store.put_step(task, None, &before, after);
        Ok(arrived)
    }

    async fn arrive_at_task(&self, task: TaskId, done: &str) -> Result<BTreeSet<String>, TableError> {
        let mut store = self.writing();
        store.put_task(task, None, |item| item.record.done_deps.extend([done.to_owned()]));
        let item = store.task(task).ok_or_else(|| error("UpdateItem", "there is no such task"))?;
        Ok(item.record.done_deps.clone())
    }

    async fn finish(&self, task: TaskId, now: Timestamp) -> Result<TaskStatus, TableError> {
        let mut store = self.writing();
        let item = store.task(task).ok_or_else(|| error("UpdateItem", "there is no such task"))?;
        let Some(status) = item.record.after(TaskEvent::Finish) else { return Ok(item.record.status) };
        store.put_task(task, Some(TaskEvent::Finish), |item| {
            item.record.status = status;
            item.record.finished_at = Some(now);
            item.listed = (Listing::Complete, now);
        });
        Ok(status)
    }

    async fn restart(&self, task: &TaskRecord, failed: &[&StepRecord], action: &Action) -> Result<AsRead, TableError> {
        self.writing().restart(task, failed, action)
    }

    async fn resolve_step(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        result: &str,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        Ok(self.writing().resolve_step(task, step, result, action))
    }

    async fn give_up(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        failure: &Failure,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        Ok(self.writing().give_up(task, step, failure, action))
    }

    async fn cancel_step(&self, task: TaskId, step: &StepRecord, now: Timestamp) -> Result<AsRead, TableError> {
        Ok(self.writing().cancel_step(task, step, now))
    }

    async fn divert(&self, task: TaskId, to: Diversion, action: &Action) -> Result<AsRead, TableError> {
        Ok(self.writing().divert(task, to, action))
    }

    async fn order_compensations(&self, task: TaskId, order: &[String], now: Timestamp) -> Result<AsRead, TableError> {
        Ok(self.writing().order_compensations(task, order, now))
    }

    async fn finish_compensation(&self, task: TaskId, end: End, now: Timestamp) -> Result<AsRead, TableError> {
        Ok(self.writing().finish_compensation(task, end, now))
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        Ok(self.0.borrow().list(page))
    }

    async fn relist(&self, place: &ListedAt, to: Listing, at: Timestamp) -> Result<AsRead, TableError> {
        Ok(self.writing().relist(place, to, at))
    }
}
