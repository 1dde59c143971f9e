//! Random sequences of transitions, on a store and in memory, which have to agree after each: in the answer, in every
//! record, and in the index. So whatever the simulation shows of a transition holds for DynamoDB, and for SQLite, too.

use super::*;
use crate::sqlite::File;
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use std::cell::Cell;
use stepwell::{
    core::{
        format::READS,
        history::Loaded,
        index::{Listed, ListedAt, Listing, Page, move_in_index},
        item::{Key, attribute},
        plan::Plan,
        state::End,
        task::Diversion,
        transition::{Answer, Change, Condition, Effect, Write},
    },
    testing::MemoryStore,
};
use stepwell_tests::emulator::in_sandbox_by_hand;
use tokio::runtime::Runtime;

const LEASE: Duration = Duration::from_secs(30);
const TASKS: usize = 2;

/// A write. Where it is of a task, of a step or with a lease, these are picked from those that there are.
#[derive(Clone, Debug)]
enum Op {
    Wait(u64),
    Create,
    Claim(u8),
    TakeOver(u8),
    Release,
    Withdraw,
    Complete,
    RetryLater(u64),
    Fail,
    ArriveAtStep(Index),
    ArriveAtTask,
    Finish,
    /// With all that failed, or with one of it left out.
    Restart(bool),
    ResolveStep,
    GiveUp,
    CancelStep,
    Divert(Diversion),
    OrderCompensations,
    FinishCompensation(End),
    Relist(u64),
    /// The task, or the step, needs a reader of this format from now on.
    Need(bool, i64),
}

/// A write, what it is made to, and whether with records that were read before the write before it.
#[derive(Clone, Debug)]
struct Call {
    op: Op,
    task: usize,
    step: Index,
    /// The lease that was granted this many grants ago.
    grants_ago: usize,
    stale: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let end = || prop_oneof![Just(End::Error), Just(End::Cancelled)];
    prop_oneof![
        4 => (1u64..40).prop_map(Op::Wait),
        1 => Just(Op::Create),
        12 => (0u8..3).prop_map(Op::Claim),
        5 => (0u8..3).prop_map(Op::TakeOver),
        2 => Just(Op::Release),
        1 => Just(Op::Withdraw),
        4 => Just(Op::Complete),
        5 => (0u64..20).prop_map(Op::RetryLater),
        6 => Just(Op::Fail),
        3 => any::<Index>().prop_map(Op::ArriveAtStep),
        2 => Just(Op::ArriveAtTask),
        1 => Just(Op::Finish),
        4 => any::<bool>().prop_map(Op::Restart),
        3 => Just(Op::ResolveStep),
        2 => Just(Op::GiveUp),
        3 => Just(Op::CancelStep),
        1 => Just(Op::Divert(Diversion::Cancel)),
        1 => Just(Op::Divert(Diversion::Resolve)),
        3 => end().prop_map(|end| Op::Divert(Diversion::Compensate(end))),
        3 => Just(Op::OrderCompensations),
        2 => end().prop_map(Op::FinishCompensation),
        2 => (0u64..100).prop_map(Op::Relist),
        1 => any::<bool>().prop_map(|task| Op::Need(task, READS + 1)),
        2 => any::<bool>().prop_map(|task| Op::Need(task, READS)),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let grants_ago = prop_oneof![4 => Just(0usize), 1 => 1usize..4];
    let call = (op(), 0..TASKS, any::<Index>(), grants_ago, prop::bool::weighted(0.15));
    call.prop_map(|(op, task, step, grants_ago, stale)| Call { op, task, step, grants_ago, stale })
}

/// A graph with a join and a step beside it; two of its steps can be undone.
fn graph(policy: u8) -> Graph {
    let graph = Graph::new([vec![], vec![0], vec![0], vec![1, 2], vec![]]).undone(BTreeSet::from([0, 1]));
    match policy {
        0 => graph.compensate("on_error", Some(90)),
        1 => graph.compensate("on_cancel", None),
        _ => graph.compensate("manual", None),
    }
}

/// What a write is made with: the same on both stores.
struct Given {
    id: TaskId,
    now: Timestamp,
    /// The task and its steps, as they were read.
    read: Loaded,
    step: String,
    lease: Option<Lease>,
    /// Where the index lists the task, or does not any more.
    place: Option<ListedAt>,
}

impl Given {
    fn step(&self, name: &str) -> StepRecord {
        self.read.steps.get(name).cloned().unwrap_or_else(|| StepRecord::untouched(name))
    }

    fn action(&self, what: ActionKind) -> Action {
        Action { at: self.now, what, step: None, who: "somebody".to_owned(), why: "a test".to_owned() }
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
        }
    }
}

/// The transition that this is; `None` where the records do not allow it, or there is nothing to make it with.
fn transition(op: &Op, given: &Given, plan: &Plan) -> Option<Transition> {
    let Given { id, now, ref read, ref step, ref lease, .. } = *given;
    let task = read.task.as_ref()?;
    let record = given.step(step);
    let owner = |number: u8| format!("request-{number}/message-{number}");
    let lease = || lease.as_ref();
    Some(match op {
        Op::Wait(_) => return None,
        Op::Create => {
            task::create(&NewTask { id, workflow: "another".to_owned(), context: "{}", plan, created_at: now })
        }
        Op::Claim(number) => {
            step::claim(&ClaimRequest { task: id, step, owner: &owner(*number), now, lease_until: now + LEASE })
        }
        Op::TakeOver(number) => {
            let request = ClaimRequest { task: id, step, owner: &owner(*number), now, lease_until: now + LEASE };
            step::take_over(&request, &record)
        }
        Op::Release => step::release(lease()?),
        Op::Withdraw => step::delete_orphan_claim(lease()?),
        Op::Complete => step::complete(lease()?, &given.ended(lease()?, Outcome::Complete), "{}"),
        Op::RetryLater(wait) => {
            let next_retry_at = Some(now + Duration::from_secs(*wait));
            let attempt = AttemptRecord { next_retry_at, ..given.ended(lease()?, Outcome::RetryableError) };
            step::retry_later(lease()?, &attempt)
        }
        Op::Fail => step::fail(task, lease()?, &given.ended(lease()?, Outcome::PermanentError)),
        Op::ArriveAtStep(done) => step::record_join_arrival(id, step, &name(done.index(5)), now),
        Op::ArriveAtTask => task::record_leaf_arrival(id, step),
        Op::Finish => task::finish(id, now),
        Op::Restart(all) => {
            let left_out = usize::from(!all);
            let failed: Vec<StepRecord> =
                task.failed_steps.iter().skip(left_out).map(|name| given.step(name)).collect();
            let failed: Vec<&StepRecord> = failed.iter().collect();
            let action = given.action(ActionKind::Retry);
            return if failed.is_empty() { None } else { task::redrive(task, &failed, &action) };
        }
        Op::ResolveStep => return task::resolve_step(task, &record, "{}", &given.action(ActionKind::ResolveStep)),
        Op::GiveUp => task::dead_letter_step(task, &record, &failure(), &given.action(ActionKind::GiveUp)),
        Op::CancelStep => task::cancel_step(id, &record, now),
        Op::Divert(to) => task::divert(id, *to, &given.action(ActionKind::Compensate)),
        Op::OrderCompensations => task::order_compensations(id, &[name(51), name(50)], now),
        Op::FinishCompensation(end) => task::finish_compensation(id, *end, now),
        Op::Relist(seconds) => {
            let place = given.place.clone()?;
            let to = if seconds % 2 == 0 { place.listing } else { Listing::Error };
            move_in_index(&place, to, now + Duration::from_secs(*seconds))
        }
        Op::Need(of_task, needs) => need(if *of_task { Key::Task(id) } else { Key::Step(id, step.clone()) }, *needs),
    })
}

/// A newer version changes an item, whatever this one may do to it.
fn need(key: Key, needs: i64) -> Transition {
    let write = Write {
        key,
        event: None,
        condition: Condition::ALWAYS,
        guard: Condition::ALWAYS,
        effect: Effect::Change(vec![Change::Set(attribute::NEEDS, needs.into())]),
        made_before: None,
        optional: false,
        answer: Answer::Nothing,
    };
    Transition { name: "need", writes: vec![write] }
}

/// What the index lists in this task's part of a listing, page by page.
async fn listed(table: &impl Store, task: TaskId, listing: Listing) -> Vec<Listed> {
    let mut all: Vec<Listed> = Vec::new();
    loop {
        let after = all.last().map(|listed| listed.place.clone());
        let shard = Listing::shard(task);
        let page = Page { listing, shard, until: None, after: after.as_ref(), limit: 25 };
        let found = table.list(&page).await.unwrap();
        let more = found.len() == 25;
        all.extend(found);
        if !more {
            break;
        }
    }
    // Of two at the same moment either may come first.
    all.sort_by_key(|listed| (listed.place.at, listed.place.task));
    all
}

/// The two tables, and all that has been granted.
struct Both<'a, S> {
    real: &'a S,
    memory: &'a MemoryStore,
    ids: Vec<TaskId>,
    plan: &'a Plan,
    now: Timestamp,
    leases: Vec<Lease>,
    /// The tasks as they were before the last write.
    before: Vec<Loaded>,
}

impl<S: Store> Both<'_, S> {
    async fn start(&self) {
        for &id in &self.ids {
            let (workflow, created_at) = ("tests/graph@1".to_owned(), self.now);
            let task = NewTask { id, workflow, context: "{}", plan: self.plan, created_at };
            let create = task::create(&task);
            let answers = (self.real.apply(&create).await.unwrap(), self.memory.apply(&create).await.unwrap());
            assert_eq!(answers.0, answers.1);
        }
    }

    fn given(&self, call: &Call) -> Given {
        let id = self.ids[call.task];
        let read = if call.stale { self.before[call.task].clone() } else { self.memory.all(id) };
        let steps: Vec<&str> =
            self.plan.steps().iter().chain(self.plan.compensations()).map(|step| step.name.as_str()).collect();
        let lease = self.leases.iter().rev().filter(|lease| lease.task == id).nth(call.grants_ago).cloned();
        let place = self.memory.listed(id);
        let place = if call.stale { place.map(|place| ListedAt { at: self.now, ..place }) } else { place };
        Given { id, now: self.now, read, step: (*call.step.get(&steps)).to_owned(), lease, place }
    }

    async fn make(&mut self, call: &Call) {
        let seconds = if let Op::Wait(seconds) = call.op { seconds } else { 0 };
        self.now = self.now + Duration::from_secs(seconds) + Duration::from_millis(1);
        let given = self.given(call);
        self.before = self.ids.iter().map(|id| self.memory.all(*id)).collect();
        let Some(transition) = transition(&call.op, &given, self.plan) else { return };
        let answer = self.real.apply(&transition).await.unwrap();
        assert_eq!(answer, self.memory.apply(&transition).await.unwrap(), "the answer to {call:?}");
        self.remember(given.id, &given.step);
        self.compare(given.id, &format!("after {call:?}")).await;
    }

    /// The lease that the last write granted, if it granted one.
    fn remember(&mut self, task: TaskId, step: &str) {
        let record = self.memory.step(task, step);
        let known =
            self.leases.iter().any(|lease| (&*lease.step, lease.attempt, lease.task) == (step, record.attempt, task));
        if let (false, Some(owner)) = (known, record.owner) {
            self.leases.push(Lease {
                task,
                step: step.to_owned(),
                attempt: record.attempt,
                exempt: record.exempt,
                owner,
                started_at: record.started_at.unwrap(),
                until: record.lease_until.unwrap(),
            });
        }
    }

    async fn compare(&self, id: TaskId, when: &str) {
        let (found, expected) = (self.real.load_all(id).await.unwrap(), self.memory.load_all(id).await.unwrap());
        assert_eq!(found.task, expected.task, "the task {when}");
        assert_eq!(found.steps, expected.steps, "the steps {when}");
        let listing = self.memory.listed(id).unwrap().listing;
        let (found, expected) = (listed(self.real, id, listing).await, listed(self.memory, id, listing).await);
        assert_eq!(found, expected, "the index {when}");
    }

    async fn compare_index(&self) {
        for &id in &self.ids {
            for listing in Listing::ALL {
                let (found, expected) = (listed(self.real, id, listing).await, listed(self.memory, id, listing).await);
                assert_eq!(found, expected, "the index in the end");
            }
        }
    }
}

/// Makes some sequences on this store and in memory.
fn agrees_with_memory(real: &impl Store, runtime: &Runtime) {
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let calls = (0u8..3, prop::collection::vec(call(), 1..40));
    let memory = MemoryStore::default();
    // No two cases write at the same time, so that each has its own moments in the index.
    let cases = Cell::new(0);
    let outcome = TestRunner::new(config).run(&calls, |(policy, calls)| {
        cases.set(cases.get() + 1);
        let workflow = graph(policy).workflow();
        let mut both = Both {
            real,
            memory: &memory,
            ids: (0..TASKS).map(|_| TaskId::new()).collect(),
            plan: workflow.plan(),
            now: NOW + Duration::from_secs(10_000 * cases.get()),
            leases: Vec::new(),
            before: vec![Loaded::default(); TASKS],
        };
        runtime.block_on(async {
            both.start().await;
            for call in &calls {
                both.make(call).await;
            }
            both.compare_index().await;
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_table_does_what_the_simulations_table_does() {
    in_sandbox_by_hand(&[], |runtime, sandbox| agrees_with_memory(&sandbox.table, runtime));
}

#[test]
fn sqlite_does_what_the_simulations_table_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    agrees_with_memory(&File::new().store(), &runtime);
}
