//! The environment of one run: table, queues, outside effects, and the count of those at work.

use super::{
    audit::Audit,
    backend::{Machine, Serving},
    conformance::{Conformance, Rules},
    host::Host,
    ledger::{EffectLedger, Place},
    messages::Messages,
    network::SimulatedQueues,
    oracle::Recorder,
    process::SimulatedProcess,
    queue::MemoryQueues,
    scenario::{HandlerScript, SERVICE, Scenario},
    scheduler::Scheduler,
    store::{ReachedTable, SimulatedStore},
    table::MemoryTable,
    version::{Version, Versioned},
};
use crate::locked::Locked;
use crate::{
    faulty_store::FaultyStore,
    graph::{self, COMPENSATION_OFFSET},
    steps::{StepRun, name},
};
use fastrand::Rng;
use futures::FutureExt;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};
use stepwell::{
    Client, Runtime, Started, TaskId,
    core::{
        breaker::Breaker,
        bulk::BulkRecord,
        index::IndexPartition,
        item::Key,
        message::{QueueName, StepQueue},
        pause::{self, Pauses},
        record::{StepRecord, TaskRecord},
        state::{StepState, TaskState},
    },
    ports::Store,
    runtime::breaker::ServiceBreaker,
};
use tokio::{sync::Notify, task::spawn_local};
use uuid::Uuid;

/// The store as a process reaches it.
pub(super) type ReachedStore = Versioned<SimulatedStore<FaultyStore<SimulatedProcess, ReachedTable>>>;

/// The client of one process.
pub(super) type RemoteClient = Client<ReachedStore, SimulatedQueues, SimulatedProcess>;

/// The environment of one run.
pub(super) struct Simulation {
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) scenario: Scenario,
    pub(super) table: MemoryTable,
    pub(super) queues: Messages,
    pub(super) ledger: EffectLedger,
    pub(super) audit: Arc<Audit>,
    /// The tasks and their numbers, in the order of their start.
    tasks: Locked<BTreeMap<TaskId, usize>>,
    /// The tasks whose start could not send all of its messages.
    unsent: Locked<BTreeSet<TaskId>>,
    /// The ids that were reserved for reruns.
    reruns: Locked<BTreeSet<TaskId>>,
    poisons: Locked<Vec<String>>,
    /// The confirmed actions of operators: the task, and the action's unique reason.
    done: Locked<Vec<(TaskId, String)>>,
    /// The breakers of the processes of a function, of which each has two that live on between invocations.
    breakers: Locked<BTreeMap<(String, u64), Arc<ServiceBreaker>>>,
    waits_on: BTreeSet<String>,
    /// The reasons of the bulk actions that operators were about to start, each with the tasks that had failed then, and how many
    /// entries their audit trails had.
    bulks: Locked<BTreeMap<String, Vec<(TaskId, usize)>>>,
    /// The steps that are paused for certain, each with the time at which its operator was told so.
    paused: Locked<BTreeMap<String, Duration>>,
    pauses: Locked<u64>,
    busy: Locked<usize>,
    quiescent: Notify,
    processes: Locked<u64>,
    /// Draws the version of each process, in a run of two versions.
    versions: Option<Locked<Rng>>,
    newer_met: Arc<Locked<u64>>,
}

impl Simulation {
    /// The recorder receives all writes and messages. The rules check the writes. `versions` draws each process's
    /// version; without it all are the shipped one. With a machine, everything is done in its only process.
    pub(super) fn new(
        scheduler: Scheduler,
        scenario: Scenario,
        recorder: Option<Arc<Recorder>>,
        rules: Arc<Rules>,
        versions: Option<Rng>,
        machine: Option<Box<dyn Machine>>,
    ) -> Self {
        let scheduler = Arc::new(scheduler);
        let is_prompt = versions.is_none() && !scenario.pauses;
        let audit = Arc::new(Audit::new(&scheduler, is_prompt, scenario.graph.optional_compensations()));
        let observer = audit.clone();
        let conformance = Arc::new(Conformance::new(&scheduler, rules));
        let table = MemoryTable::observed_by(move |change| observer.observe(change)).held_to(conformance);
        if let Some(recorder) = &recorder {
            table.record(recorder.clone());
        }
        let workflow = scenario.graph.workflow();
        let all = workflow.plan().steps().iter().chain(workflow.plan().compensations()).map(|step| step.name.clone());
        let (waits_on, others): (BTreeSet<String>, BTreeSet<String>) =
            all.partition(|step| workflow.breaker_of(step).is_some());
        let queues = match machine {
            None => Messages::Queues(MemoryQueues::new(&scheduler, recorder)),
            Some(machine) => {
                let serving = |step: &String, claims| Serving {
                    queue: StepQueue::new(graph::WORKFLOW, step).into(),
                    slots: 0,
                    time: scenario.delivery_time(),
                    claims,
                };
                // A guarded worker looks at the breaker before it claims.
                let guarded = waits_on.iter().map(|step| serving(step, false));
                let others = others.iter().map(|step| serving(step, true));
                let time = Duration::from_secs(60);
                let dead_letters = Serving { queue: QueueName::DeadLetters, slots: 0, time, claims: false };
                let served = guarded.chain(others).chain([dead_letters]).collect();
                Messages::Host(Arc::new(Host::new(&scheduler, machine, table.clone(), served)))
            }
        };
        Self {
            table,
            queues,
            ledger: EffectLedger::default(),
            audit,
            scheduler,
            scenario,
            tasks: Locked::default(),
            unsent: Locked::default(),
            reruns: Locked::default(),
            poisons: Locked::default(),
            done: Locked::default(),
            breakers: Locked::default(),
            waits_on,
            bulks: Locked::default(),
            paused: Locked::default(),
            pauses: Locked::new(0),
            busy: Locked::new(0),
            quiescent: Notify::new(),
            processes: Locked::new(0),
            versions: versions.map(Locked::new),
            newer_met: Arc::default(),
        }
    }

    /// A process of this name, once the machine of the run is up.
    pub(super) async fn process(&self, what: &str) -> SimulatedProcess {
        if let Messages::Host(host) = &self.queues {
            return host.up().await.within(self.name(what));
        }
        let drawn = self.versions.as_ref().is_some_and(|versions| versions.lock().bool());
        let version = if drawn { Version::Newer } else { Version::Shipped };
        SimulatedProcess::new(&self.scheduler, self.name(what), version)
    }

    /// Waits until the machine of the run is up, if there is one.
    pub(super) async fn up(&self) {
        if let Messages::Host(host) = &self.queues {
            host.up().await;
        }
    }

    /// Forgets the breakers of all processes, because they are dead.
    pub(super) fn forget_breakers(&self) {
        self.breakers.lock().clear();
    }

    /// A process without faults, of the newest version of the run.
    pub(super) fn reliable(&self, what: &str) -> SimulatedProcess {
        let version = if self.versions.is_some() { Version::Newer } else { Version::Shipped };
        SimulatedProcess::reliable(&self.scheduler, self.name(what), version)
    }

    /// How often a process met an item that only a newer version may act on.
    pub(super) fn newer_met(&self) -> u64 {
        self.newer_met.get()
    }

    /// A name that is unique in this run.
    pub(super) fn name(&self, what: &str) -> String {
        self.processes.set(self.processes.get() + 1);
        format!("{what}-{}", self.processes.get())
    }

    pub(super) fn client(&self, process: &SimulatedProcess) -> RemoteClient {
        let (table, queue) = self.ports(process);
        Client::new(table, queue, process.clone())
    }

    /// The store and the queues as this process reaches them.
    pub(super) fn ports(&self, process: &SimulatedProcess) -> (ReachedStore, SimulatedQueues) {
        let table = match process.version() {
            Version::Shipped => self.table.also_observed_by(Audit::of_what_is_newer(process.clone())),
            Version::Newer => self.table.clone(),
        };
        let store = SimulatedStore::new(process, table, self.queues.clone());
        let store = Versioned::new(store, process.version(), self.newer_met.clone());
        (store, SimulatedQueues::new(process, self.queues.clone()))
    }

    /// The breaker of one of the function's processes, if its step waits on the service.
    pub(super) fn breaker_of(&self, step: &str) -> Option<Arc<ServiceBreaker>> {
        if !self.waits_on.contains(step) {
            return None;
        }
        let process = (step.to_owned(), self.scheduler.up_to(1));
        Some(self.breakers.lock().entry(process).or_insert_with(|| Arc::new(ServiceBreaker::new(SERVICE))).clone())
    }

    /// While a breaker has been open for long, only probes are attempted. A delivery that had begun before may be late by its
    /// invocation and a pause.
    pub(super) fn check_breaker(&self, step: &str) {
        const LATE: Duration = Duration::from_secs(3 * 60);
        let breaker = Breaker::of(&self.table.item(&Key::Breaker(SERVICE.to_owned())));
        if let Breaker::Open(open) = breaker
            && self.waits_on.contains(step)
            && open.since + LATE <= self.scheduler.now()
        {
            self.audit.attempted_while_open(step);
        }
    }

    /// Records that a step is paused for certain.
    pub(super) fn paused(&self, step: &str) {
        self.pauses.set(self.pauses.get() + 1);
        self.paused.lock().insert(step.to_owned(), self.scheduler.elapsed());
    }

    /// Records that somebody is about to resume a step.
    pub(super) fn resumes(&self, step: &str) {
        self.paused.lock().remove(step);
    }

    /// How often a step was paused.
    pub(super) fn count_pauses(&self) -> u64 {
        self.pauses.get()
    }

    /// No attempt of a step begins that is paused for certain. A delivery that had begun before may be late by its invocation and a pause of
    /// its process, and a watchdog that had read the step before may have let its queue go on, for some minutes.
    pub(super) fn check_pause(&self, step: &str) {
        const LATE: Duration = Duration::from_secs(10 * 60);
        let since = self.paused.lock().get(step).copied();
        if since.is_some_and(|since| since + LATE <= self.scheduler.elapsed()) {
            self.scheduler.violated(|| format!("{step} is attempted while it is paused, since {since:?}"));
        }
    }

    /// Whether the watchdog has to tell a queue how its step stands.
    pub(super) fn has_pauses_to_tell(&self) -> bool {
        if !self.scenario.pauses {
            return false;
        }
        let items = self.table.range(&pause::first_key(), u16::MAX).now_or_never().expect("it never waits");
        let pauses = Pauses::from_items(items.expect("it never fails"));
        pauses.known.iter().any(|pauses| pauses.is_told(self.scheduler.now()))
    }

    /// Spawns a task. A panic in it is a bug of the simulation.
    pub(super) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + 'static) {
        let simulation = self.clone();
        spawn_local(async move {
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                simulation.scheduler.violated(|| "the simulation panicked".to_owned());
                simulation.quiescent.notify_one();
            }
        });
    }

    /// One of these at random.
    pub(super) fn pick<'a, T>(&self, among: &'a [T]) -> Option<&'a T> {
        let last = u64::try_from(among.len().checked_sub(1)?).ok()?;
        among.get(usize::try_from(self.scheduler.up_to(last)).ok()?)
    }

    /// Counts somebody as at work until the guard is dropped.
    pub(super) fn busy_guard(self: &Arc<Self>) -> BusyGuard {
        self.busy.set(self.busy.get() + 1);
        BusyGuard(self.clone())
    }

    /// Waits until nobody is at work and the queues are empty, or until there is a violation.
    pub(super) async fn quiescent(&self) {
        while !self.is_quiescent() && self.scheduler.violation().is_none() {
            self.quiescent.notified().await;
        }
    }

    fn is_quiescent(&self) -> bool {
        if self.busy.get() > 0 || !self.queues.are_none() || self.has_open_bulks() {
            return false;
        }
        // The watchdog is needed after a lost message, an operator's death, a start whose messages could not be sent, or one
        // that an older version was asked to repeat. Nothing else may need it.
        if !self.scheduler.may_lose_messages() && self.versions.is_none() {
            for task in self.tasks_in(|state| state == TaskState::Running) {
                // The watchdog may have redriven the task itself, and have died before its sends.
                let may_wait = self.unsent.lock().contains(&task);
                if !may_wait
                    && !self.table.has_timer(task)
                    && self.table.task(task, |task| task.plan.redrive_delay(0).is_none())
                {
                    self.scheduler.violated(|| format!("task {task} is pending, and no message of it is left"));
                }
            }
        }
        self.tasks().into_iter().all(|task| self.is_settled(task))
    }

    /// Whether the task changes no more without an actor.
    fn is_settled(&self, task: TaskId) -> bool {
        let listed = self.table.listed(task);
        let Some(task) = self.table.all(task).task else { return false };
        match task.state {
            TaskState::Completed => listed.is_some_and(|place| place.partition == IndexPartition::Complete),
            TaskState::Cancelled | TaskState::Resolved | TaskState::Compensated(_) => true,
            TaskState::Failed => listed
                .is_some_and(|place| matches!(place.partition, IndexPartition::Error | IndexPartition::NeedsPerson)),
            TaskState::Compensating(_) => self.waits_for_a_person(&task),
            TaskState::Running => false,
        }
    }

    /// Whether every compensation that is not done has failed for good, or waits for such a one. As long as there is another one, it
    /// has to run: no failed compensation may keep it from that. An optional one that has failed is over.
    fn waits_for_a_person(&self, task: &TaskRecord) -> bool {
        let is_over = |name: &String| {
            let state = self.table.step(task.id, name).state;
            state.is_done() || state == StepState::Error && task.plan.is_optional(name)
        };
        let compensations = task.compensations.iter().flatten().map(|compensation| compensation.name.clone());
        let open: Vec<String> = compensations.filter(|name| !is_over(name)).collect();
        let failed = |name: &String| task.failed_steps.contains(name);
        let is_stuck = |name: &String| failed(name) || self.scenario.graph.undone_before(name).iter().any(failed);
        !open.is_empty() && open.iter().all(is_stuck)
    }

    /// The tasks in a matching state.
    pub(super) fn tasks_in(&self, fits: impl Fn(TaskState) -> bool) -> Vec<TaskId> {
        self.tasks_that(|task| fits(task.state))
    }

    /// The matching tasks.
    pub(super) fn tasks_that(&self, fits: impl Fn(&TaskRecord) -> bool) -> Vec<TaskId> {
        self.tasks().into_iter().filter(|id| self.table.task(*id, &fits)).collect()
    }

    pub(super) fn started(&self, Started { task_id, messages_sent, .. }: &Started, number: usize) {
        self.tasks.lock().insert(*task_id, number);
        if !messages_sent {
            self.unsent.lock().insert(*task_id);
        }
    }

    /// Records that this id is reserved for a rerun, which is started or not.
    pub(super) fn reserved(&self, rerun: TaskId) {
        self.reruns.lock().insert(rerun);
        // Whoever starts it may die before the sends.
        self.unsent.lock().insert(rerun);
    }

    /// The tasks that were started, reruns among them.
    pub(super) fn tasks(&self) -> Vec<TaskId> {
        let mut tasks: BTreeSet<TaskId> = self.tasks.lock().keys().copied().collect();
        tasks.extend(self.reruns_that(|rerun| !rerun.never_starts()));
        tasks.into_iter().collect()
    }

    /// The reserved ids that are ruled out.
    pub(super) fn ruled_out(&self) -> Vec<TaskId> {
        self.reruns_that(TaskRecord::never_starts)
    }

    fn reruns_that(&self, fits: impl Fn(&TaskRecord) -> bool) -> Vec<TaskId> {
        let reserved = self.reruns.lock().clone();
        reserved.into_iter().filter(|id| self.table.all(*id).task.is_some_and(|task| fits(&task))).collect()
    }

    /// The number of a task, which a rerun shares with what it is a rerun of.
    pub(super) fn number(&self, task: TaskId) -> Option<usize> {
        // A worker may run before the client that started the task has its answer.
        self.tasks.lock().get(&task).copied().or_else(|| self.number_in_context(task))
    }

    /// The scripts of this step's handler.
    pub(super) fn scripts(&self, (task, step): Place) -> &[HandlerScript] {
        self.number(task).map_or(&[], |number| self.scenario.scripts(number, step))
    }

    fn number_in_context(&self, task: TaskId) -> Option<usize> {
        let context: Value = serde_json::from_str(&self.table.all(task).task?.context).ok()?;
        usize::try_from(context["number"].as_u64()?).ok()
    }

    /// Sends a message that belongs to no step.
    pub(super) fn poison(&self, queue: &str, body: &str) {
        self.scheduler.note(|| format!("somebody puts into {queue}: {body}"));
        self.poisons.lock().push(body.to_owned());
        self.queues.put(queue, body);
    }

    /// Records an action that was confirmed to an operator.
    pub(super) fn done(&self, task: TaskId, why: String) {
        self.done.lock().push((task, why));
    }

    /// Records that a bulk action is about to be started.
    pub(super) fn begin_bulk(&self, why: &str) {
        let failed = self.tasks_in(|state| state == TaskState::Failed);
        let failed = failed.into_iter().map(|id| (id, self.table.task(id, |task| task.actions.len()))).collect();
        self.bulks.lock().insert(why.to_owned(), failed);
    }

    /// The tasks that had failed when this bulk action was about to be started, with the length of their audit trails.
    pub(super) fn failed_before(&self, bulk: &BulkRecord) -> Vec<(TaskId, usize)> {
        self.bulks.lock().get(&bulk.started_by.why).cloned().unwrap_or_default()
    }

    /// The bulk actions in the table.
    pub(super) fn bulks(&self) -> Vec<BulkRecord> {
        if self.bulks.lock().is_empty() {
            return Vec::new();
        }
        let first = Key::Bulk(TaskId::from(Uuid::nil()).into());
        let items = self.table.range(&first, u16::MAX).now_or_never().expect("it never waits").expect("it never fails");
        items.into_iter().map(|item| BulkRecord::from_item(item).expect("a bulk action")).collect()
    }

    /// Whether there is a bulk action to carry on.
    pub(super) fn has_open_bulks(&self) -> bool {
        self.bulks().iter().any(|bulk| !bulk.state.is_over())
    }

    /// The confirmed actions on a task, by their reasons.
    pub(super) fn done_to(&self, task: TaskId) -> Vec<String> {
        self.done.lock().iter().filter(|(to, _)| *to == task).map(|(_, why)| why.clone()).collect()
    }

    pub(super) fn poisons(&self) -> Vec<String> {
        self.poisons.lock().clone()
    }

    /// Makes the step's effect; answers whether that was possible.
    pub(super) fn act(&self, place: Place, run: &StepRun) -> bool {
        let compensated = place.1.checked_sub(COMPENSATION_OFFSET);
        if let Some(compensated) = compensated {
            self.ledger.void(place, run.facts.idempotency_key_of(&name(compensated)));
            return true;
        }
        let key = run.facts.idempotency_key();
        let owner = self.ledger.act(place, key.clone());
        if owner.is_some_and(|owner| owner != place) {
            self.scheduler.violated(|| format!("{} used the idempotency key {key} of another step", run.facts.step));
        }
        owner.is_some()
    }

    /// Whether this compensation has made its effect already.
    pub(super) fn has_acted(&self, (_, number): Place, run: &StepRun) -> bool {
        let compensated = number.checked_sub(COMPENSATION_OFFSET);
        compensated.is_some_and(|step| self.ledger.is_void(&run.facts.idempotency_key_of(&name(step))))
    }

    /// Checks the invariants at the start of a handler.
    pub(super) fn check_start(&self, process: &SimulatedProcess, run: &StepRun) {
        let (task, step) = (run.facts.task_id, run.facts.step.as_str());
        let Some(record) = self.table.all(task).task else {
            return self.scheduler.violated(|| format!("{step} was run for a task that does not exist"));
        };
        let Some(plan) = record.plan.step(step) else {
            return self.scheduler.violated(|| format!("{step} was run for a task without such a step"));
        };
        let needed: Vec<StepRecord> = plan.depends_on.iter().map(|name| self.table.step(task, name)).collect();
        // A newer version may have added an arrival to the step after it was claimed. The claim was refused if it did so before.
        let newer = record.newer.as_ref().or_else(|| needed.iter().find_map(|step| step.newer.as_ref()));
        if let Some(newer) = newer.filter(|_| process.version() == Version::Shipped) {
            self.scheduler.violated(|| format!("{step} was run by an older version: {newer}"));
        }
        let claimed = self.table.step(task, step);
        let counted = claimed.attempt - claimed.uncounted_attempts;
        let is_compensation = plan.compensates.is_some();
        if claimed.attempt == run.facts.attempt && !plan.has_no_last_attempt() && counted > plan.max_attempts {
            self.scheduler.violated(|| format!("{step} was run more than {} times", plan.max_attempts));
        }
        if is_compensation {
            return self.check_compensation(&record, step);
        }
        if let Some(deadline) = record.deadline_of(step).filter(|deadline| *deadline <= process.now()) {
            self.scheduler.violated(|| format!("{step} was run after {deadline}, the deadline of its task"));
        }
        for dependency in &plan.depends_on {
            let found = self.table.step(task, dependency);
            if !found.state.is_done() {
                self.scheduler.violated(|| format!("{step} was run while {dependency} was {}", found.state));
            }
            if run.data.results.get(dependency) != found.result.as_ref() {
                self.scheduler
                    .violated(|| format!("{step} was given a result of {dependency} that is not the one that stands"));
            }
            let result = run.data.results.contains_key(dependency).then(|| run.result_of(dependency));
            if let Some(attempt) = result.and_then(|result| result["attempt"].as_u64()) {
                self.audit.seen(task, dependency, attempt);
            }
        }
    }

    /// A compensation runs after every step has ended, and after all compensations that the scenario's graph lets it wait for,
    /// directly or not.
    fn check_compensation(&self, task: &TaskRecord, step: &str) {
        for plan in task.plan.steps() {
            let state = self.table.step(task.id, &plan.name).state;
            if matches!(state, StepState::Pending | StepState::InProgress | StepState::Retrying) {
                self.scheduler.violated(|| format!("{step} was run while {} was {state}", plan.name));
            }
        }
        let runs = |name: &str| task.compensations.iter().flatten().any(|compensation| compensation.name == name);
        for earlier in self.scenario.graph.undone_before(step).into_iter().filter(|name| runs(name)) {
            let state = self.table.step(task.id, &earlier).state;
            if !state.is_done() {
                self.scheduler.violated(|| format!("{step} was run before {earlier}, which is {state}"));
            }
        }
        if !runs(step) {
            self.scheduler.violated(|| format!("{step} was run, which is not to be run"));
        }
    }
}

/// Counts somebody as at work until it is dropped.
pub(super) struct BusyGuard(Arc<Simulation>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
        self.0.quiescent.notify_one();
    }
}
