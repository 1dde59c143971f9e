//! The engine's table in memory.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};
use stepwell::{
    TaskId, Timestamp,
    state::{End, StepState, TaskEvent, TaskStatus},
    table::{
        Action, AsRead, AttemptRecord, Claim, ClaimRequest, Creation, Diversion, FIRST_LOOK, Failure, Fenced,
        KeyRecord, Lease, Listed, ListedAt, Listing, Loaded, NewTask, Outcome, Page, StepRecord, Table, TableError,
        TaskRecord,
    },
};

type Shard = BTreeSet<(Timestamp, TaskId)>;

/// Tasks, steps and keys.
#[derive(Debug, Default)]
pub struct MemoryTable {
    tasks: RefCell<BTreeMap<TaskId, TaskRecord>>,
    listed: RefCell<BTreeMap<TaskId, (Listing, Timestamp)>>,
    index: RefCell<BTreeMap<(Listing, u8), Shard>>,
    steps: RefCell<BTreeMap<(TaskId, String), StepRecord>>,
    keys: RefCell<BTreeMap<String, KeyRecord>>,
}

impl MemoryTable {
    /// Whether the watchdog has a task to look after, now or later.
    pub fn is_watched(&self) -> bool {
        let index = self.index.borrow();
        index.iter().any(|((listing, _), tasks)| Listing::WATCHED.contains(listing) && !tasks.is_empty())
    }

    fn step<R>(&self, task: TaskId, name: &str, act: impl FnOnce(&mut StepRecord) -> R) -> R {
        let mut steps = self.steps.borrow_mut();
        act(steps.entry((task, name.to_owned())).or_insert_with(|| StepRecord::untouched(name)))
    }

    fn fenced(&self, lease: &Lease, to: StepState, write: impl FnOnce(&mut StepRecord)) -> Fenced {
        self.step(lease.task, &lease.step, |found| {
            if found.attempt == lease.attempt && found.state == to {
                return Fenced::Written;
            }
            if found.attempt != lease.attempt || found.state != StepState::InProgress {
                return Fenced::Superseded;
            }
            found.state = to;
            (found.owner, found.lease_until) = (None, None);
            write(found);
            Fenced::Written
        })
    }

    fn list_at(&self, task: TaskId, listing: Listing, at: Timestamp) {
        let (mut index, shard) = (self.index.borrow_mut(), Listing::shard(task));
        if let Some((listing, at)) = self.listed.borrow_mut().insert(task, (listing, at)) {
            index.entry((listing, shard)).or_default().remove(&(at, task));
        }
        index.entry((listing, shard)).or_default().insert((at, task));
    }

    fn task<R>(&self, task: TaskId, act: impl FnOnce(&mut TaskRecord) -> R) -> R {
        act(self.tasks.borrow_mut().get_mut(&task).expect("a task that was read"))
    }

    fn grant(&self, request: &ClaimRequest<'_>, free: impl FnOnce(&mut StepRecord) -> bool) -> Claim {
        self.step(request.task, request.step, |found| {
            let ours = found.state == StepState::InProgress && found.owner.as_deref() == Some(request.owner);
            if !ours {
                if !free(found) {
                    return Claim::Refused(Box::new(found.clone()));
                }
                found.state = StepState::InProgress;
                found.attempt += 1;
                found.owner = Some(request.owner.to_owned());
                (found.started_at, found.lease_until) = (Some(request.now), Some(request.lease_until));
                found.next_retry_at = None;
            }
            Claim::Granted(Lease {
                task: request.task,
                step: request.step.to_owned(),
                attempt: found.attempt,
                exempt: found.exempt,
                owner: request.owner.to_owned(),
                started_at: found.started_at.unwrap_or(request.now),
                until: found.lease_until.unwrap_or(request.lease_until),
            })
        })
    }
}

impl Table for MemoryTable {
    async fn create(&self, task: &NewTask<'_>) -> Result<Creation, TableError> {
        let mut tasks = self.tasks.borrow_mut();
        if tasks.contains_key(&task.id) {
            return Ok(Creation::AlreadyThere);
        }
        let record = TaskRecord::from(task);
        self.list_at(task.id, Listing::Pending, task.created_at + FIRST_LOOK);
        tasks.insert(task.id, record);
        Ok(Creation::Created)
    }

    async fn reserve_key(&self, key: KeyRecord) -> Result<KeyRecord, TableError> {
        Ok(self.keys.borrow_mut().entry(key.key.clone()).or_insert(key).clone())
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        let found = self.steps.borrow();
        let record =
            |name: &str| found.get(&(task, name.to_owned())).cloned().unwrap_or_else(|| StepRecord::untouched(name));
        let steps = steps.iter().map(|name| ((*name).to_owned(), record(name))).collect();
        Ok(Loaded { task: self.tasks.borrow().get(&task).cloned(), steps })
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        let found = self.steps.borrow();
        let steps =
            found.iter().filter(|((of, _), _)| *of == task).map(|((_, name), step)| (name.clone(), step.clone()));
        Ok(Loaded { task: self.tasks.borrow().get(&task).cloned(), steps: steps.collect() })
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, TableError> {
        Ok(self.grant(request, |found| match found.state {
            StepState::Pending => true,
            StepState::Retrying => found.next_retry_at.is_none_or(|at| at <= request.now),
            _ => false,
        }))
    }

    async fn take_over(&self, request: &ClaimRequest<'_>, lost: &StepRecord) -> Result<Claim, TableError> {
        Ok(self.grant(request, |found| {
            let free = found.state == StepState::InProgress
                && found.attempt == lost.attempt
                && found.lease_until.is_some_and(|until| until < request.now);
            if free && let Some(open) = found.all_attempts().pop() {
                found.attempts.push(AttemptRecord { outcome: Outcome::Lost, finished_at: found.lease_until, ..open });
            }
            free
        }))
    }

    async fn release(&self, lease: &Lease) -> Result<Fenced, TableError> {
        Ok(self.fenced(lease, StepState::Pending, |found| found.exempt += 1))
    }

    async fn withdraw(&self, lease: &Lease) -> Result<Fenced, TableError> {
        self.steps.borrow_mut().remove(&(lease.task, lease.step.clone()));
        Ok(Fenced::Written)
    }

    async fn complete(&self, lease: &Lease, attempt: &AttemptRecord, result: &str) -> Result<Fenced, TableError> {
        Ok(self.fenced(lease, StepState::Complete, |found| {
            (found.result, found.error, found.finished_at) = (Some(result.to_owned()), None, attempt.finished_at);
            found.attempts.push(attempt.clone());
        }))
    }

    async fn retry_later(&self, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        Ok(self.fenced(lease, StepState::Retrying, |found| {
            (found.next_retry_at, found.error) = (attempt.next_retry_at, attempt.error.clone());
            found.attempts.push(attempt.clone());
        }))
    }

    async fn fail(&self, task: &TaskRecord, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        let at = attempt.finished_at.unwrap_or(lease.until);
        let fenced = self.fenced(lease, StepState::Error, |found| {
            (found.finished_at, found.error) = (attempt.finished_at, attempt.error.clone());
            found.attempts.push(attempt.clone());
        });
        if fenced == Fenced::Superseded {
            return Ok(fenced);
        }
        let is_compensation = task.plan.step(&lease.step).is_some_and(|step| step.undoes.is_some());
        let wanted = if is_compensation { TaskStatus::Compensating } else { TaskStatus::Error };
        let failed = self.task(lease.task, |task| {
            let failed = task.after(TaskEvent::Fail) == Some(wanted);
            if failed {
                task.status = wanted;
                task.failed_steps.insert(lease.step.clone());
            }
            if failed && !is_compensation {
                task.finished_at = Some(at);
            }
            failed
        });
        if failed && !is_compensation {
            match task.plan.looks_after_failure_in() {
                Some(wait) => self.list_at(lease.task, Listing::Compensating, at + wait),
                None => self.list_at(lease.task, Listing::Error, at),
            }
        }
        Ok(fenced)
    }

    async fn arrive_at_step(
        &self,
        task: TaskId,
        step: &str,
        done: &str,
        _: Timestamp,
    ) -> Result<BTreeSet<String>, TableError> {
        Ok(self.step(task, step, |found| {
            found.done_deps.insert(done.to_owned());
            found.done_deps.clone()
        }))
    }

    async fn arrive_at_task(&self, task: TaskId, done: &str) -> Result<BTreeSet<String>, TableError> {
        let mut tasks = self.tasks.borrow_mut();
        let found = tasks.get_mut(&task).expect("a task that a step belongs to");
        found.done_deps.insert(done.to_owned());
        Ok(found.done_deps.clone())
    }

    async fn finish(&self, task: TaskId, now: Timestamp) -> Result<TaskStatus, TableError> {
        Ok(self.task(task, |found| {
            if let Some(to) = found.after(TaskEvent::Finish) {
                (found.status, found.finished_at) = (to, Some(now));
                self.list_at(task, Listing::Complete, now);
            }
            found.status
        }))
    }

    async fn restart(&self, task: &TaskRecord, failed: &[&StepRecord], action: &Action) -> Result<AsRead, TableError> {
        let restarted = self.task(task.id, |found| {
            let Some(to) = found.after(TaskEvent::Restart) else { return false };
            if found.failed_steps != task.failed_steps {
                return false;
            }
            (found.status, found.finished_at) = (to, None);
            found.failed_steps.clear();
            found.actions.push(action.clone());
            let listing = if to == TaskStatus::Compensating { Listing::Compensating } else { Listing::Pending };
            self.list_at(task.id, listing, action.at + FIRST_LOOK);
            true
        });
        if !restarted {
            return Ok(AsRead::Changed);
        }
        for record in failed {
            self.step(task.id, &record.name, |step| {
                (step.state, step.exempt, step.error, step.finished_at) =
                    (StepState::Pending, step.attempt, None, None);
            });
        }
        Ok(AsRead::Written)
    }

    async fn resolve_step(&self, _: &TaskRecord, _: &StepRecord, _: &str, _: &Action) -> Result<AsRead, TableError> {
        panic!("no operator is at work in the headline's runs")
    }

    async fn give_up(&self, _: &TaskRecord, _: &StepRecord, _: &Failure, _: &Action) -> Result<AsRead, TableError> {
        panic!("dead letters are only counted in the headline's runs")
    }

    async fn cancel_step(&self, task: TaskId, step: &StepRecord, now: Timestamp) -> Result<AsRead, TableError> {
        Ok(self.step(task, &step.name, |found| {
            let over = found.state != StepState::InProgress || found.lease_until.is_some_and(|until| until < now);
            if found.state != step.state || found.attempt != step.attempt || !over {
                return AsRead::Changed;
            }
            if found.state == StepState::InProgress
                && let Some(open) = found.all_attempts().pop()
            {
                found.attempts.push(AttemptRecord { outcome: Outcome::Lost, finished_at: found.lease_until, ..open });
            }
            (found.state, found.finished_at) = (StepState::Cancelled, Some(now));
            (found.owner, found.lease_until, found.next_retry_at) = (None, None, None);
            AsRead::Written
        }))
    }

    async fn divert(&self, task: TaskId, to: Diversion, action: &Action) -> Result<AsRead, TableError> {
        Ok(self.task(task, |found| {
            if found.actions.contains(action) {
                return AsRead::Written;
            }
            let (Some(status), Diversion::Compensate(end)) = (found.after(to.event()), to) else {
                return AsRead::Changed;
            };
            (found.status, found.ends_as) = (status, Some(end));
            found.actions.push(action.clone());
            self.list_at(task, Listing::Compensating, action.at + FIRST_LOOK);
            AsRead::Written
        }))
    }

    async fn order_compensations(&self, task: TaskId, order: &[String], now: Timestamp) -> Result<AsRead, TableError> {
        Ok(self.task(task, |found| {
            if found.status != TaskStatus::Compensating || found.compensations.is_some() {
                return AsRead::Changed;
            }
            found.compensations = Some(order.to_vec());
            self.list_at(task, Listing::Compensating, now + FIRST_LOOK);
            AsRead::Written
        }))
    }

    async fn finish_compensation(&self, task: TaskId, end: End, now: Timestamp) -> Result<AsRead, TableError> {
        Ok(self.task(task, |found| {
            let Some(to) = found.after(TaskEvent::Compensated(end)) else { return AsRead::Changed };
            (found.status, found.finished_at) = (to, Some(now));
            let listing = if end == End::Error { Listing::Error } else { Listing::Cancelled };
            self.list_at(task, listing, now);
            AsRead::Written
        }))
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        let (index, tasks) = (self.index.borrow(), self.tasks.borrow());
        let listed = index.get(&(page.listing, page.shard)).into_iter().flatten();
        let due = listed.filter(|(at, _)| page.until.is_none_or(|until| *at <= until)).take(page.limit.into());
        let listed = |&(at, task): &(Timestamp, TaskId)| Listed {
            place: ListedAt { task, listing: page.listing, at },
            workflow: tasks[&task].workflow.clone(),
            status: tasks[&task].status,
            created_at: tasks[&task].created_at,
            failed_steps: tasks[&task].failed_steps.clone(),
        };
        Ok(due.map(listed).collect())
    }

    async fn relist(&self, place: &ListedAt, at: Timestamp) -> Result<AsRead, TableError> {
        let listed = self.listed.borrow().get(&place.task).copied();
        if listed != Some((place.listing, place.at)) {
            return Ok(AsRead::Changed);
        }
        self.list_at(place.task, place.listing, at);
        Ok(AsRead::Written)
    }
}
