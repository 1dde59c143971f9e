//! Compares a store with the memory store: after each transition both have to agree in the answer and in every item and
//! record, and after each of a random sequence in the index, too. So whatever tests show in memory (`stepwell::core`'s
//! own tests, the simulation) holds for DynamoDB, and for SQLite, too. Every transition is made in every state, and
//! random sequences are.

use super::*;
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use std::cell::Cell;
use stepwell::{
    SearchValue, System,
    core::{
        backlog::{self, Note, Taken},
        breaker::{self, Breaker, Open},
        format::READS,
        index::{IndexEntry, IndexPartition, IndexPosition, Page, move_in_index},
        item::Item,
        message::StepQueue,
        plan::{Plan, StepPlan},
        record::{Action, ActionKind, KeyRecord, RerunAs},
        search::task_found,
        snapshot::Loaded,
        state::{End, TaskState},
        step::ClaimRequest,
        task::Termination,
        timer,
        transition::Applied,
    },
    testing::MemoryStore,
};
use stepwell_local::{File, Local, SCHEMA};
use stepwell_simulation::graph::COMPENSATION_OFFSET;
use stepwell_tests::emulator::{in_sandbox, in_sandbox_blocking};
use tokio::runtime::Runtime;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(30);
const TASKS: usize = 2;
const ENDS: [End; 2] = [End::Error, End::Cancelled];

/// A write. Its task, step and lease are chosen from those that exist.
#[derive(Clone, Debug)]
enum Op {
    Wait(u64),
    Create,
    ReserveKey,
    PutSearchKey,
    RepointKey,
    RuleOut,
    ReserveRerun,
    Claim(u8),
    TakeOver(u8),
    Abandon,
    Park(u64),
    MissDeadline,
    Release,
    Withdraw,
    Complete,
    RetryLater(u64),
    Reschedule,
    RunNow,
    Fail,
    ArriveAtStep(usize),
    ArriveAtTask,
    Finish,
    /// With all failed steps, or with one of them left out.
    Redrive {
        all: bool,
        moves_deadline: bool,
    },
    ResolveStep,
    DeadLetter,
    CancelStep,
    Terminate(Termination),
    /// Whether they form a graph, and no chain.
    OrderCompensations(bool),
    FinishCompensation(End),
    Reinstate,
    Relist(u64),
    SetTimer,
    TakeTimer,
    OpenBreaker,
    ClaimProbe,
    CloseBreaker,
    NoteBacklog,
    /// The task, or the step, needs a reader of this format from now on.
    Need(bool, i64),
}

/// A write, its target, and whether it uses records that were read before the previous write.
#[derive(Clone, Debug)]
struct TransitionCall {
    op: Op,
    task: usize,
    step: Index,
    /// The lease that was granted this many grants ago.
    grants_ago: usize,
    stale: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let end = || prop::sample::select(&ENDS[..]);
    prop_oneof![
        4 => (1u64..40).prop_map(Op::Wait),
        1 => Just(Op::Create),
        1 => Just(Op::ReserveKey),
        1 => Just(Op::PutSearchKey),
        1 => Just(Op::RepointKey),
        1 => Just(Op::RuleOut),
        2 => Just(Op::ReserveRerun),
        12 => (0u8..3).prop_map(Op::Claim),
        5 => (0u8..3).prop_map(Op::TakeOver),
        1 => Just(Op::Abandon),
        3 => (0u64..20).prop_map(Op::Park),
        2 => Just(Op::MissDeadline),
        2 => Just(Op::Release),
        1 => Just(Op::Withdraw),
        4 => Just(Op::Complete),
        5 => (0u64..20).prop_map(Op::RetryLater),
        3 => Just(Op::Reschedule),
        2 => Just(Op::RunNow),
        6 => Just(Op::Fail),
        3 => (0usize..6).prop_map(Op::ArriveAtStep),
        2 => Just(Op::ArriveAtTask),
        1 => Just(Op::Finish),
        4 => any::<(bool, bool)>().prop_map(|(all, moves_deadline)| Op::Redrive { all, moves_deadline }),
        3 => Just(Op::ResolveStep),
        2 => Just(Op::DeadLetter),
        3 => Just(Op::CancelStep),
        1 => Just(Op::Terminate(Termination::Cancel)),
        1 => Just(Op::Terminate(Termination::Resolve)),
        3 => end().prop_map(|end| Op::Terminate(Termination::Compensate(end))),
        3 => any::<bool>().prop_map(Op::OrderCompensations),
        2 => end().prop_map(Op::FinishCompensation),
        3 => Just(Op::Reinstate),
        2 => (0u64..100).prop_map(Op::Relist),
        3 => Just(Op::SetTimer),
        2 => Just(Op::TakeTimer),
        1 => Just(Op::OpenBreaker),
        1 => Just(Op::ClaimProbe),
        1 => Just(Op::CloseBreaker),
        1 => Just(Op::NoteBacklog),
        1 => any::<bool>().prop_map(|task| Op::Need(task, READS + 1)),
        2 => any::<bool>().prop_map(|task| Op::Need(task, READS)),
    ]
}

fn call() -> impl Strategy<Value = TransitionCall> {
    let grants_ago = prop_oneof![4 => Just(0usize), 1 => 1usize..4];
    let call = (op(), 0..TASKS, any::<Index>(), grants_ago, prop::bool::weighted(0.15));
    call.prop_map(|(op, task, step, grants_ago, stale)| TransitionCall { op, task, step, grants_ago, stale })
}

/// The optional step of a graph that has one.
const OPTIONAL: usize = 5;

/// A graph with a join, an independent step and a leaf, which is optional except under the second policy; two of its steps
/// have compensations, of which the later one is optional under the second policy.
fn graph(policy: u8) -> Graph {
    let edges = [vec![], vec![0], vec![0], vec![1, 2], vec![], vec![0]];
    let graph = Graph::new(edges).with_compensations(BTreeSet::from([0, 1]));
    match policy {
        0 => graph.with_optional(BTreeSet::from([OPTIONAL])).compensate("on_error", Some(90)),
        1 => graph.with_optional_compensations(BTreeSet::from([0])).compensate("on_cancel", None),
        _ => graph.with_optional(BTreeSet::from([OPTIONAL])).compensate("manual", None),
    }
}

/// The arguments of a write: the same on both stores.
struct Given {
    id: TaskId,
    now: Timestamp,
    /// The task and its steps as they were read.
    read: Loaded,
    step: String,
    lease: Option<Lease>,
    /// The task's place in the index; `None` where it has none.
    place: Option<IndexPosition>,
    /// The breaker of the task's own service; `None` where it is closed.
    open: Option<Open>,
}

/// A service that only this task waits on.
fn service_of(id: TaskId) -> String {
    format!("service-{id}")
}

/// The queue of a step of a workflow that only this task has.
fn queue_of(id: TaskId, step: &str) -> StepQueue {
    StepQueue::new(id.to_string(), step)
}

impl Given {
    fn step(&self, name: &str) -> StepRecord {
        self.read.steps.get(name).cloned().unwrap_or_else(|| StepRecord::untouched(name))
    }

    fn action(&self, what: ActionKind) -> Action {
        Action {
            at: self.now,
            what,
            step: None,
            who: "somebody".to_owned(),
            why: "a test".to_owned(),
            bulk: None,
            rerun_as: None,
        }
    }

    fn ended(&self, lease: &Lease, outcome: Outcome) -> AttemptRecord {
        AttemptRecord {
            number: lease.attempt,
            started_at: lease.started_at,
            finished_at: Some(self.now),
            outcome,
            error: (outcome != Outcome::Complete).then(failure),
            next_retry_at: None,
            request_id: "request".to_owned(),
            throttled: false,
            refused: false,
        }
    }
}

/// The breaker of the task's service, if it is open.
fn open(memory: &MemoryStore, id: TaskId) -> Option<Open> {
    match Breaker::of(&memory.item(&Key::Breaker(service_of(id)))) {
        Breaker::Open(open) => Some(open),
        Breaker::Closed { .. } => None,
    }
}

/// The idempotency key of this task.
fn key_of(id: TaskId, created_at: Timestamp) -> KeyRecord {
    let (namespace, key, request_hash) = ("tests".to_owned(), id.to_string(), "hash".to_owned());
    KeyRecord { namespace, key, task: id, request_hash, created_at, newer: None }
}

/// A value that only this task is found by.
fn search_value_of(id: TaskId) -> SearchValue {
    SearchValue::new("number", &id.to_string()).expect("it is not blank")
}

/// The transition of this write; `None` where the records do not allow it, or an argument is missing.
fn transition(op: &Op, given: &Given, plan: &Plan) -> Option<Transition> {
    let Given { id, now, ref read, ref step, ref lease, .. } = *given;
    let task = read.task.as_ref()?;
    let record = given.step(step);
    let owner = |number: u8| format!("request-{number}/message-{number}");
    let lease = || lease.as_ref();
    let due = record.next_retry_at.unwrap_or(now);
    Some(match op {
        Op::Wait(_) => return None,
        Op::Create => task::create(&NewTask {
            correlation_id: None,
            id,
            workflow: "another".to_owned(),
            context: "{}",
            plan,
            created_at: now,
        }),
        Op::ReserveKey => task::reserve_key(&key_of(id, now)),
        Op::PutSearchKey => search_value_of(id).put(id, now),
        Op::RepointKey => task::repoint_key(&key_of(id, now), TaskId::new(), now),
        Op::ReserveRerun => {
            let to = RerunAs { task: TaskId::new(), request_hash: "hash".to_owned() };
            task::reserve_rerun(task, &to, &given.action(ActionKind::Rerun))
        }
        Op::RuleOut => task::rule_out(id, "another".to_owned(), now, &given.action(ActionKind::Cancel)),
        Op::Claim(number) => {
            step::claim(&ClaimRequest { task: id, step, owner: &owner(*number), now, lease_until: now + LEASE })
        }
        Op::TakeOver(number) => {
            let request = ClaimRequest { task: id, step, owner: &owner(*number), now, lease_until: now + LEASE };
            step::take_over(&request, &record)
        }
        Op::Abandon => step::abandon(id, &record, now),
        Op::Park(wait) => step::park(id, &record, &failure(), now + Duration::from_secs(*wait), now),
        Op::MissDeadline => task::miss_deadline(task, &record, &failure(), now),
        Op::Release => step::release(lease()?),
        Op::Withdraw => step::delete_orphan_claim(lease()?),
        Op::Complete => step::complete(lease()?, &given.ended(lease()?, Outcome::Complete), "{}"),
        Op::RetryLater(wait) => {
            let next_retry_at = Some(now + Duration::from_secs(*wait));
            let attempt = AttemptRecord { next_retry_at, ..given.ended(lease()?, Outcome::RetryableError) };
            step::retry_later(lease()?, &attempt)
        }
        Op::Reschedule => step::reschedule(id, &record, now),
        Op::RunNow => return task::run_now(task, &[&record], &given.action(ActionKind::RunNow)),
        Op::Fail => step::fail(task, lease()?, &given.ended(lease()?, Outcome::PermanentError)),
        Op::ArriveAtStep(done) => step::record_join_arrival(id, step, &name(*done), now),
        Op::ArriveAtTask => task::record_leaf_arrival(id, step),
        Op::Finish => task::finish(id, now),
        Op::Redrive { all, moves_deadline } => {
            let left_out = usize::from(!all);
            let failed: Vec<StepRecord> =
                task.failed_steps.iter().skip(left_out).map(|name| given.step(name)).collect();
            let failed: Vec<&StepRecord> = failed.iter().collect();
            let action = given.action(ActionKind::Redrive);
            let redrive = if *moves_deadline { task::redrive_with_new_deadline } else { task::redrive };
            return if failed.is_empty() { None } else { redrive(task, &failed, &action) };
        }
        Op::ResolveStep => return task::resolve_step(task, &record, "{}", &given.action(ActionKind::ResolveStep)),
        Op::DeadLetter => task::dead_letter_step(task, &record, &failure(), &given.action(ActionKind::DeadLetter)),
        Op::CancelStep => task::cancel_step(id, &record, now),
        Op::Terminate(to) => task::close_or_compensate(id, *to, &given.action(ActionKind::Compensate)),
        Op::OrderCompensations(is_graph) => task::order_compensations(id, &compensations(task, *is_graph), now),
        Op::Reinstate => {
            let (compensations, steps) =
                read.steps.values().cloned().partition::<Vec<_>, _>(|step| task.plan.is_compensation(&step.name));
            return task::reinstate(task, &steps, &compensations, now);
        }
        Op::FinishCompensation(end) => {
            let compensations: Vec<_> =
                read.steps.values().filter(|step| task.plan.is_compensation(&step.name)).cloned().collect();
            task::finish_compensation(task, &compensations, *end, now)
        }
        Op::Relist(seconds) => {
            let place = given.place.clone()?;
            let to = if seconds % 2 == 0 { place.partition } else { IndexPartition::Error };
            move_in_index(&place, to, now + Duration::from_secs(*seconds))
        }
        Op::SetTimer => timer::set_timer(id, step, due),
        Op::TakeTimer => timer::take_timer(&timer_place(id, step, due)),
        Op::OpenBreaker => breaker::open(&service_of(id), now),
        Op::ClaimProbe => breaker::claim_probe(&service_of(id), &given.open?, now),
        Op::CloseBreaker => breaker::close(&service_of(id), &given.open?, now),
        Op::NoteBacklog => {
            let taken = Taken { sent_at: now.before(Duration::from_secs(30)), at: now };
            backlog::note(&queue_of(id, step), &Note { earlier: taken, last: taken })
        }
        Op::Need(of_task, needs) => {
            // A newer version changes an item, whether or not this one may act on it.
            let key = if *of_task { Key::Task(id) } else { Key::Step(id, step.clone()) };
            put([(key, vec![Change::Set(attribute::NEEDS, (*needs).into())])])
        }
    })
}

/// The entries of an index partition in this task's shard, page by page.
async fn listed(table: &impl Store, task: TaskId, partition: IndexPartition) -> Vec<IndexEntry> {
    let mut all: Vec<IndexEntry> = Vec::new();
    loop {
        let after = all.last().map(|listed| listed.place.clone());
        let shard = IndexPartition::shard(task);
        let page = Page { partition, shard, until: None, after: after.as_ref(), limit: 25 };
        let found = table.list(&page).await.unwrap();
        let more = found.len() == 25;
        all.extend(found);
        if !more {
            break;
        }
    }
    // Entries of the same time are in any order.
    all.sort_by_key(|listed| (listed.place.at, listed.place.key()));
    all
}

/// A store, and the memory store that it is compared with.
struct Both<'a, S> {
    real: &'a S,
    memory: MemoryStore,
    plan: Plan,
}

impl<'a, S: Store> Both<'a, S> {
    fn new(real: &'a S, policy: u8) -> Self {
        Self { real, memory: MemoryStore::default(), plan: graph(policy).workflow().plan().clone() }
    }

    fn new_task(&self, id: TaskId, created_at: Timestamp) -> NewTask<'_> {
        NewTask {
            correlation_id: None,
            id,
            workflow: "tests/graph@1".to_owned(),
            context: "{}",
            plan: &self.plan,
            created_at,
        }
    }

    async fn create(&self, id: TaskId, created_at: Timestamp) {
        self.apply(&task::create(&self.new_task(id, created_at)), "at the start").await;
    }

    async fn apply(&self, transition: &Transition, when: &str) -> Applied {
        let answer = self.real.apply(transition).await;
        let answer = answer.unwrap_or_else(|error| panic!("{} {when}: {error}: {transition:?}", transition.name));
        assert_eq!(answer, self.memory.apply(transition).await.unwrap(), "the answer {when}");
        answer
    }

    /// Compares the items of the task and of this step.
    async fn compare(&self, id: TaskId, step: &str, when: &str) {
        for key in [
            Key::Task(id),
            Key::Step(id, step.to_owned()),
            Key::Breaker(service_of(id)),
            search_value_of(id).key(id),
            Key::Backlog(queue_of(id, step)),
        ] {
            let read = self.real.read(&key).await.unwrap();
            assert_eq!(read, self.memory.item(&key), "{key} {when}");
            self.apply(&read_only(key), when).await;
        }
        let first = backlog::first_key(&queue_of(id, step).workflow);
        let (found, expected) =
            (self.real.range(&first, 10).await.unwrap(), self.memory.range(&first, 10).await.unwrap());
        assert_eq!(found, expected, "the notes of the backlog {when}");
    }

    async fn compare_index(&self, id: TaskId, partition: IndexPartition, when: &str) {
        let (found, expected) = (listed(self.real, id, partition).await, listed(&self.memory, id, partition).await);
        assert_eq!(found, expected, "the index {when}");
    }
}

/// A transition without writes, whose answer is the current item.
fn read_only(key: Key) -> Transition {
    let mut read_only = put([(key, vec![Change::Remove("nothing")])]);
    read_only.writes[0].condition = Condition::Any(Vec::new());
    read_only
}

// ---- Every transition in every state

/// A task, one of its steps, and what the writer of a transition knows of them.
#[derive(Clone, Copy, Debug)]
struct Fixture {
    task: Option<TaskState>,
    step: Option<StepState>,
    /// The time until the lease, or the backoff, ends, in milliseconds.
    ends_in: i64,
    /// The attempt that was read; the item is at the second.
    read: u32,
    /// Whether the task's item needs a newer reader, or the step's.
    newer: Option<bool>,
    /// Whether the step is the optional one.
    optional: bool,
    /// Whether the order of the compensations is stored in a task that is being cancelled, too.
    ordered: bool,
    /// Whether the breaker of its service is open.
    open: bool,
}

/// Every state of a step in a running and in a failed task, and every state of a task with a claimed and with a failed
/// step; with the leases, backoffs, readers and formats that may forbid a transition.
fn fixtures() -> Vec<Fixture> {
    let (running, failed) = (Some(TaskState::Running), Some(TaskState::Failed));
    let (claimed, error) = (Some(StepState::InProgress), Some(StepState::Error));
    let usual = Fixture {
        task: running,
        step: claimed,
        ends_in: -1,
        read: 2,
        newer: None,
        optional: false,
        ordered: false,
        open: false,
    };
    let mut fixtures = Vec::new();
    for task in TaskState::ALL.map(Some).into_iter().chain([None]) {
        let all = StepState::ALL.map(Some).into_iter().chain([None]);
        let steps = all.filter(|&step| task == running || task == failed || step == claimed || step == error);
        fixtures.extend(steps.map(|step| Fixture { task, step, ..usual }));
    }
    for task in TaskState::ALL.map(Some) {
        let steps = [claimed, error, Some(StepState::Pending)];
        fixtures.extend(steps.map(|step| Fixture { task, step, optional: true, ..usual }));
    }
    for step in [claimed, Some(StepState::Retrying)] {
        fixtures.extend([0, 1].map(|ends_in| Fixture { step, ends_in, ..usual }));
    }
    fixtures.extend([claimed, error].map(|step| Fixture { task: failed, step, read: 1, ..usual }));
    fixtures.push(Fixture { task: Some(TaskState::Compensating(End::Cancelled)), step: error, ordered: true, ..usual });
    fixtures.push(Fixture { open: true, ..usual });
    fixtures.extend([true, false].map(|of_task| Fixture { newer: Some(of_task), ..usual }));
    fixtures
}

impl Fixture {
    /// The step; in a task that is being compensated the compensation.
    fn step_name(self) -> String {
        if self.optional {
            return name(OPTIONAL);
        }
        name(if self.task.is_some_and(|task| task.ends_as().is_some()) { COMPENSATION_OFFSET } else { 0 })
    }

    /// Puts the fixture into both stores.
    async fn set<S: Store>(self, both: &Both<'_, S>) -> Given {
        let (id, step) = (TaskId::new(), self.step_name());
        let until = Timestamp::from_millis(NOW.as_millis() + self.ends_in);
        let mut items = Vec::new();
        if let Some(state) = self.task {
            both.create(id, before(100)).await;
            items.push((Key::Task(id), task_in(state, &step)));
            let of_task = &mut items[0].1;
            if self.ordered {
                of_task.push(Change::Set(attribute::COMPENSATIONS, json!([step])));
            }
            let listed = of_task.iter().any(|change| change.attribute() == attribute::FAILED_STEPS);
            if self.optional && self.step == Some(StepState::Error) && !listed {
                of_task.push(Change::Include(attribute::FAILED_STEPS, step.clone()));
            }
        }
        if self.task.is_none() {
            both.apply(&task::reserve_key(&key_of(id, NOW)), "to the fixture").await;
        }
        items.extend(self.step.map(|state| (Key::Step(id, step.clone()), step_in(state, until))));
        if self.step == Some(StepState::Retrying) && self.ends_in >= 0 {
            items.last_mut().expect("the step").1.extend(timer_of(id, &step, until));
        }
        if let Some(of_task) = self.newer {
            items[usize::from(!of_task)].1.push(Change::Set(attribute::NEEDS, (READS + 1).into()));
        }
        if !items.is_empty() {
            both.apply(&put(items), "to the fixture").await;
        }
        if self.open {
            both.apply(&breaker::open(&service_of(id), before(100)), "to the fixture").await;
        }

        let mut read = both.memory.all(id);
        // The task may have expired since it was read.
        read.task.get_or_insert_with(|| TaskRecord::from(&both.new_task(id, before(100))));
        read.steps.values_mut().for_each(|step| step.attempt = self.read);
        let place =
            both.memory.listed(id).map(|place| if self.read == 2 { place } else { IndexPosition { at: NOW, ..place } });
        let lease = Some(lease(id, &step, self.read));
        Given { id, now: NOW, read, step, lease, place, open: open(&both.memory, id) }
    }
}

/// The place of a step's timer for this time in the index.
fn timer_place(task: TaskId, step: &str, until: Timestamp) -> IndexPosition {
    let (step, partition, at) = (Some(step.to_owned()), IndexPartition::Timer, until.before(timer::FED_BEFORE));
    IndexPosition { task, step, partition, at }
}

/// The attributes of a step with a timer.
fn timer_of(task: TaskId, step: &str, until: Timestamp) -> [Change; 2] {
    let place = timer_place(task, step, until);
    [
        Change::Set(attribute::STATUS_SHARD, place.partition().into()),
        Change::Set(attribute::LISTED_AT, place.at.to_string().into()),
    ]
}

/// The attributes of a task in this state, with this failed step where the state needs one. The order of the
/// compensations is stored, except in a cancelled task.
fn task_in(state: TaskState, failed: &str) -> Vec<Change> {
    let status = match state {
        TaskState::Running => json!("pending"),
        TaskState::Completed => json!("complete"),
        TaskState::Failed => json!("error"),
        TaskState::Compensating(_) => json!("compensating"),
        TaskState::Cancelled => json!("cancelled"),
        TaskState::Resolved => json!("resolved_manually"),
        TaskState::Compensated(end) => json!(end),
    };
    let mut changes = vec![Change::Set(attribute::STATUS, status)];
    changes.extend(state.ends_as().map(|end| Change::Set(attribute::ENDS_AS, json!(end))));
    if state.ends_as().is_some() && state != TaskState::Compensating(End::Cancelled) {
        changes.push(Change::Set(attribute::COMPENSATIONS, json!([failed])));
    }
    if matches!(state, TaskState::Failed | TaskState::Compensating(_)) {
        changes.push(Change::Include(attribute::FAILED_STEPS, failed.to_owned()));
    }
    changes
}

/// Every kind of write; claims also as repeated by the delivery that holds the lease.
fn ops() -> Vec<Op> {
    let terminations = [Termination::Cancel, Termination::Resolve].into_iter().chain(ENDS.map(Termination::Compensate));
    let mut ops = vec![
        Op::Create,
        Op::ReserveKey,
        Op::PutSearchKey,
        Op::RepointKey,
        Op::RuleOut,
        Op::ReserveRerun,
        Op::Claim(1),
        Op::Claim(2),
        Op::TakeOver(1),
        Op::TakeOver(2),
    ];
    ops.extend([
        Op::Abandon,
        Op::Park(5),
        Op::MissDeadline,
        Op::Release,
        Op::Withdraw,
        Op::Complete,
        Op::RetryLater(5),
        Op::Reschedule,
        Op::RunNow,
        Op::Fail,
        Op::Finish,
    ]);
    ops.extend([
        Op::ArriveAtStep(1),
        Op::ArriveAtTask,
        Op::Redrive { all: true, moves_deadline: true },
        Op::ResolveStep,
        Op::DeadLetter,
        Op::CancelStep,
    ]);
    ops.extend(terminations.map(Op::Terminate).chain(ENDS.map(Op::FinishCompensation)));
    ops.extend([true, false].map(Op::OrderCompensations));
    ops.extend([Op::Reinstate, Op::Relist(2), Op::SetTimer, Op::TakeTimer]);
    ops.extend([Op::OpenBreaker, Op::ClaimProbe, Op::CloseBreaker, Op::NoteBacklog]);
    ops
}

/// The names of all transitions of the engine.
fn names() -> BTreeSet<&'static str> {
    const CORE: [&str; 7] = [
        include_str!("../../../../shared/stepwell/src/core/backlog.rs"),
        include_str!("../../../../shared/stepwell/src/core/breaker.rs"),
        include_str!("../../../../shared/stepwell/src/core/index.rs"),
        include_str!("../../../../shared/stepwell/src/core/search.rs"),
        include_str!("../../../../shared/stepwell/src/core/step.rs"),
        include_str!("../../../../shared/stepwell/src/core/task.rs"),
        include_str!("../../../../shared/stepwell/src/core/timer.rs"),
    ];
    let made = |how| CORE.into_iter().flat_map(move |text: &str| text.split(how).skip(1));
    let names = made("Transition::of(\"").chain(made("Transition { name: \""));
    names.filter_map(|text| text.split('"').next()).collect()
}

/// Makes every transition in every state, and each one that took effect once more, as after a lost answer.
async fn agrees_in_every_state(real: &impl Store) {
    let both = Both::new(real, 0);
    let mut made = BTreeSet::new();
    for fixture in fixtures() {
        let mut given = fixture.set(&both).await;
        for op in ops() {
            let Some(transition) = transition(&op, &given, &both.plan) else { continue };
            let mut apply = async |time: &str| {
                let when = format!("after {op:?} {time} in {fixture:?}");
                let written = both.apply(&transition, &when).await.is_written();
                both.compare(given.id, &given.step, &when).await;
                made.insert((transition.name, written));
                written
            };
            if apply("once").await {
                apply("again").await;
                given = fixture.set(&both).await;
            }
        }
    }
    let both_ways = names().into_iter().flat_map(|name| [(name, false), (name, true)]);
    // A note has no condition.
    let expected = both_ways.filter(|one| *one != ("note_backlog", false)).collect();
    assert_eq!(made, expected, "each other is refused somewhere, and each is written somewhere");
}

// ---- Sequences

/// The tasks of a sequence, and all leases granted in it.
struct Sequence<'a, S> {
    both: &'a Both<'a, S>,
    ids: Vec<TaskId>,
    now: Timestamp,
    leases: Vec<Lease>,
    /// The tasks before the last write.
    before: Vec<Loaded>,
}

impl<S: Store> Sequence<'_, S> {
    fn given(&self, call: &TransitionCall) -> Given {
        let id = self.ids[call.task];
        let Both { memory, plan, .. } = self.both;
        let read = if call.stale { self.before[call.task].clone() } else { memory.all(id) };
        let steps: Vec<&str> = plan.steps().iter().chain(plan.compensations()).map(|step| step.name.as_str()).collect();
        let lease = self.leases.iter().rev().filter(|lease| lease.task == id).nth(call.grants_ago).cloned();
        let place = memory.listed(id);
        let place = if call.stale { place.map(|place| IndexPosition { at: self.now, ..place }) } else { place };
        Given {
            id,
            now: self.now,
            read,
            step: (*call.step.get(&steps)).to_owned(),
            lease,
            place,
            open: open(memory, id),
        }
    }

    async fn make(&mut self, call: &TransitionCall) {
        let seconds = if let Op::Wait(seconds) = call.op { seconds } else { 0 };
        self.now = self.now + Duration::from_secs(seconds) + Duration::from_millis(1);
        let given = self.given(call);
        let memory = &self.both.memory;
        self.before = self.ids.iter().map(|id| memory.all(*id)).collect();
        let Some(transition) = transition(&call.op, &given, &self.both.plan) else { return };
        let when = format!("after {call:?}");
        self.both.apply(&transition, &when).await;
        self.both.compare(given.id, &given.step, &when).await;
        let (found, expected) = (self.both.real.load_all(given.id).await.unwrap(), memory.all(given.id));
        assert_eq!((found.task, found.steps), (expected.task, expected.steps), "the records {when}");
        self.both.compare_index(given.id, memory.listed(given.id).unwrap().partition, &when).await;
        self.remember(given.id, &given.step);
    }

    /// Keeps the lease that the last write granted, if it granted one.
    fn remember(&mut self, task: TaskId, step: &str) {
        let record = self.both.memory.step(task, step);
        let known =
            self.leases.iter().any(|lease| (&*lease.step, lease.attempt, lease.task) == (step, record.attempt, task));
        if let (false, Some(owner)) = (known, record.owner.clone()) {
            self.leases.push(Lease {
                task,
                step: step.to_owned(),
                attempt: record.attempt,
                uncounted_attempts: record.uncounted_attempts,
                trail: record.trail(),
                owner,
                started_at: record.started_at.unwrap(),
                until: record.lease_until.unwrap(),
            });
        }
    }
}

/// Runs random sequences.
fn agrees_in_sequences(real: &impl Store, runtime: &Runtime) {
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let calls = (0u8..3, prop::collection::vec(call(), 1..40));
    let memory = MemoryStore::default();
    // Each case has its own times in the index, because no two cases write at the same time.
    let cases = Cell::new(0);
    let outcome = TestRunner::new(config).run(&calls, |(policy, calls)| {
        cases.set(cases.get() + 1);
        let both = Both { memory: memory.clone(), ..Both::new(real, policy) };
        let mut sequence = Sequence {
            both: &both,
            ids: (0..TASKS).map(|_| TaskId::new()).collect(),
            now: NOW + Duration::from_secs(10_000 * cases.get()),
            leases: Vec::new(),
            before: vec![Loaded::default(); TASKS],
        };
        runtime.block_on(async {
            for &id in &sequence.ids {
                both.create(id, sequence.now).await;
            }
            for call in &calls {
                sequence.make(call).await;
            }
            for &id in &sequence.ids {
                for partition in IndexPartition::ALL.into_iter().chain([IndexPartition::Timer]) {
                    both.compare_index(id, partition, "in the end").await;
                }
            }
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Lists tasks and search keys that are written in no order, page by page.
async fn lists_the_newest_first(real: &impl Store) {
    let both = Both::new(real, 0);
    let id = |number: u128| TaskId::from(Uuid::from_u128((0x018f_4e4e_7c1a_u128 << 80) + number));
    let value = SearchValue::new("email", "ann@example.com").expect("it is not blank");
    for number in (0..50).map(|number| number * 17 % 50) {
        both.create(id(number), NOW).await;
        // Two of three tasks have the key, and an orphan leads nowhere.
        if number % 3 > 0 {
            both.apply(&value.put(id(number), NOW), "at the start").await;
        }
    }
    both.apply(&value.put(id(60), NOW), "of an orphan").await;
    let reversed = |from: u128| (0..from).rev().map(id);
    for (before, limit) in [(100, 100), (50, 3), (47, 40), (1, 1), (0, 10)] {
        let newest: Vec<TaskId> = reversed(before.min(50)).take(limit.into()).collect();
        for found in
            [real.newest(id(before), limit).await.unwrap(), both.memory.newest(id(before), limit).await.unwrap()]
        {
            assert_eq!(found, newest, "{limit} before {before}");
        }
    }
    for (from, limit) in [(100, 100), (46, 3), (0, 10)] {
        let from = value.key(id(from));
        let found = real.range(&from, limit).await.unwrap();
        assert_eq!(found, both.memory.range(&from, limit).await.unwrap(), "{limit} from {from}");
        assert!(found.len() <= limit.into());
    }
    let found = real.range(&value.key(id(100)), 100).await.unwrap();
    let found: Vec<TaskId> = found.iter().map(|item| task_found(item).unwrap()).collect();
    let expected = [60].into_iter().chain((0..50).rev().filter(|number| number % 3 > 0)).map(id);
    assert_eq!(found, expected.collect::<Vec<_>>());

    let in_order = |mut items: Vec<(Key, Item)>| {
        items.sort_by(|(one, _), (other, _)| one.cmp(other));
        items
    };
    let all: Vec<Key> = (0..150).map(|number| Key::Task(id(number))).collect();
    let only = [attribute::STATUS, attribute::WORKFLOW];
    let found = in_order(real.read_all(&all, &only).await.unwrap());
    assert_eq!(found, in_order(both.memory.read_all(&all, &only).await.unwrap()));
    let of = |(key, item): &(Key, Item)| (key.clone(), item.keys().cloned().collect::<Vec<_>>());
    let expected = all[..50].iter().map(|key| (key.clone(), only.map(str::to_owned).to_vec()));
    assert_eq!(found.iter().map(of).collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "the others do not exist");
}

#[tokio::test]
async fn dynamodb_lists_the_newest_first() {
    in_sandbox(&[], async |sandbox| lists_the_newest_first(&sandbox.table).await).await;
}

#[tokio::test]
async fn dynamodb_agrees_with_the_memory_store_in_every_state() {
    in_sandbox(&[], async |sandbox| agrees_in_every_state(&sandbox.table).await).await;
}

#[test]
fn dynamodb_agrees_with_the_memory_store_in_sequences() {
    in_sandbox_blocking(&[], |runtime, sandbox| agrees_in_sequences(&sandbox.table, runtime));
}

#[test]
fn sqlite_agrees_with_the_memory_store() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let local = |name: &str| {
        let file = File::open_on_caller(&folder.path().join(name), &[SCHEMA], || false).unwrap();
        runtime.block_on(Local::new(file, System)).unwrap()
    };
    runtime.block_on(agrees_in_every_state(&local("states")));
    runtime.block_on(lists_the_newest_first(&local("lists")));
    agrees_in_sequences(&local("sequences"), &runtime);
}

/// Three compensations: one after another, or the last two side by side.
fn compensations(task: &TaskRecord, is_graph: bool) -> Vec<StepPlan> {
    let first = COMPENSATION_OFFSET;
    let nodes =
        [(first, vec![]), (first + 1, vec![first]), (first + 2, vec![if is_graph { first } else { first + 1 }])];
    let usual = task.plan.steps().first().expect("a step");
    let node = |(number, waits_for): (usize, Vec<usize>)| StepPlan {
        name: name(number),
        depends_on: waits_for.into_iter().map(name).collect(),
        ..usual.clone()
    };
    nodes.map(node).into()
}
