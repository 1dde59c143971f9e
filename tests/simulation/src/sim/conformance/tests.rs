use super::*;
use crate::{
    graph::Graph,
    sim::{MemoryTable, Mode, fault::Odds, run_recorded},
};
use fastrand::Rng;
use stepwell::{
    core::{
        record::{AttemptRecord, Lease, NewTask, Outcome},
        step::{Claim, ClaimRequest, abandon, claim, complete, release},
        task::create,
        transition::{Effect, Transition},
    },
    ports::Store,
};

/// Runs that together make every kind of write.
const SEEDS: [u64; 11] = [11007, 10382, 19636, 19959, 6052, 326, 335, 864, 11, 1613, 128];

#[test]
fn each_rule_is_the_only_one_for_some_write_and_without_it_a_run_fails() {
    let explained = |seed: u64| {
        let rules = Arc::new(Rules { explained: Some(Locked::default()), ..Rules::default() });
        let report = run_recorded(seed, Mode::Split, false, None, rules.clone());
        assert_eq!(report.problem, None, "seed {seed}");
        let explained = rules.explained.as_ref().unwrap().take();
        (seed, explained)
    };
    let runs = SEEDS.map(explained);
    // Only a process that shares its store with its workers abandons their claims. That leaves a step's item as a release does.
    let is_made = |rule: &Rule| *rule != Rule::Abandon;
    for rule in Rule::ALL.into_iter().filter(is_made) {
        let only_it = |rules: &Vec<Rule>| rules.iter().copied().filter(is_made).eq([rule]);
        let only_by_it = runs.iter().find(|(_, explained)| explained.iter().any(only_it));
        let (seed, _) = only_by_it.unwrap_or_else(|| panic!("no run makes a write that only {rule:?} allows"));
        let without = Rules { without: Some(rule), ..Rules::default() };
        let problem = run_recorded(*seed, Mode::Split, false, None, without.into()).problem.unwrap_or_default();
        assert!(problem.contains(&format!("there is no rule {rule:?}")), "seed {seed} without {rule:?}: {problem}");
    }
}

#[test]
fn each_write_of_a_whole_settlement_is_held() {
    for rule in [Rule::Complete, Rule::RecordJoinArrival, Rule::RecordLeafArrival, Rule::Finish] {
        let without = || Rules { without: Some(rule), ..Rules::default() };
        let fails = |seed: u64| {
            let problem = run_recorded(seed, Mode::Whole, false, None, without().into()).problem.unwrap_or_default();
            problem.contains(&format!("there is no rule {rule:?}"))
        };
        assert!(SEEDS.into_iter().any(fails), "no whole run fails without {rule:?}");
    }
}

/// A task of one step in a table whose writes are checked.
struct Held {
    scheduler: Arc<Scheduler>,
    table: MemoryTable,
    task: TaskId,
}

impl Held {
    async fn new() -> Self {
        Self::to(Rules::default()).await
    }

    async fn to(rules: Rules) -> Self {
        let mut rng = Rng::with_seed(0);
        let odds = Odds::random(&mut rng);
        let scheduler = Arc::new(Scheduler::new(rng, odds, false));
        let conformance = Arc::new(Conformance::new(&scheduler, rules.into()));
        let held = Self { scheduler, table: MemoryTable::default().held_to(conformance), task: TaskId::new() };
        let workflow = Graph::chain(1).workflow();
        let (context, created_at) = ("{}", held.scheduler.now());
        let new = NewTask {
            correlation_id: None,
            id: held.task,
            workflow: workflow.id().to_string(),
            context,
            plan: workflow.plan(),
            created_at,
        };
        held.make(create(&new)).await;
        held
    }

    async fn make(&self, transition: Transition) {
        assert!(self.table.apply(&transition).await.unwrap().is_written());
    }

    fn request(&self) -> ClaimRequest<'static> {
        let now = self.scheduler.now();
        ClaimRequest { task: self.task, step: "s00", owner: "request/message", now, lease_until: now }
    }

    async fn claimed(&self) -> Lease {
        let request = self.request();
        let applied = self.table.apply(&claim(&request)).await.unwrap();
        let Claim::Granted(lease) = Claim::read(&request, applied).unwrap() else { panic!("nobody has claimed it") };
        assert_eq!(self.scheduler.violation(), None);
        lease
    }

    /// Says what was wrong with the last write.
    #[track_caller]
    fn finds(&self, problem: &str) {
        let found = self.scheduler.violation().unwrap_or_default();
        assert!(found.contains(problem), "{found}");
    }
}

#[tokio::test]
async fn write_under_the_name_of_another_is_found() {
    for (name, problem) in [
        ("release", "Release(0, Current) would be refused"),
        ("resolve_step", "ResolveStep(0) the task would be left as"),
        ("record_join_arrival", "it has not the items that its rule writes"),
        ("renew", "it has no rule of this name"),
    ] {
        let held = Held::new().await;
        held.make(Transition { name, ..claim(&held.request()) }).await;
        held.finds(problem);
    }
}

#[tokio::test]
async fn write_with_another_outcome_is_found() {
    let held = Held::new().await;
    let lease = held.claimed().await;
    // The attempt is released, and counts all the same.
    let mut counted = release(&lease);
    let Effect::Change(changes) = &mut counted.writes[0].effect else { panic!("a release changes the step") };
    changes.retain(|change| change.attribute() != "exempt");
    held.make(counted).await;
    held.finds("Release(0, Current) the steps would be left as");
}

#[tokio::test]
async fn abandoned_claim_is_held_to_a_rule_of_its_own() {
    let abandoned = async |held: &Held| {
        let lease = held.claimed().await;
        let claimed = held.table.step(held.task, &lease.step);
        held.make(abandon(held.task, &claimed, held.scheduler.now())).await;
    };
    let held = Held::new().await;
    abandoned(&held).await;
    assert_eq!(held.scheduler.violation(), None);
    let held = Held::to(Rules { without: Some(Rule::Abandon), ..Rules::default() }).await;
    abandoned(&held).await;
    held.finds("there is no rule Abandon");
}

#[tokio::test]
async fn outcome_of_an_attempt_that_is_not_the_last_is_found() {
    let held = Held::new().await;
    let lease = held.claimed().await;
    let old = AttemptRecord {
        number: lease.attempt - 1,
        started_at: lease.started_at,
        finished_at: Some(held.scheduler.now()),
        outcome: Outcome::Complete,
        error: None,
        next_retry_at: None,
        request_id: "request".to_owned(),
        throttled: false,
        refused: false,
    };
    held.make(complete(&lease, &old, "null")).await;
    held.finds("Complete(0, Stale) would be refused");
}
