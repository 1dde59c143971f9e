//! Random sequences of writes, on the table and on a model of it in plain Rust, which have to agree after each.

use super::*;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use stepwell::table::{AsRead, Claim, Fenced};
use stepwell_tests::emulator::in_sandbox_by_hand;

const LEASE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
enum Op {
    Wait(u64),
    Claim(u8),
    TakeOver(u8),
    /// With the lease that was granted this many grants ago.
    Release(usize),
    Complete(usize),
    RetryLater(usize, u64),
    Fail(usize),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let lease = || prop_oneof![4 => Just(0usize), 1 => 1usize..3];
    prop_oneof![
        2 => (1u64..40).prop_map(Op::Wait),
        4 => (0u8..3).prop_map(Op::Claim),
        2 => (0u8..3).prop_map(Op::TakeOver),
        1 => lease().prop_map(Op::Release),
        1 => lease().prop_map(Op::Complete),
        3 => (lease(), 0u64..20).prop_map(|(lease, wait)| Op::RetryLater(lease, wait)),
        2 => lease().prop_map(Op::Fail),
        2 => Just(Op::Restart),
    ]
}

/// What a write answered.
#[derive(Debug, PartialEq)]
enum Answer {
    Granted(Lease),
    Refused(StepRecord),
    Fenced(bool),
    Restarted(bool),
    Nothing,
}

/// One task of one step, as it should be.
struct Model {
    id: TaskId,
    now: Timestamp,
    status: TaskStatus,
    step: StepRecord,
    leases: Vec<Lease>,
}

impl Model {
    fn new(id: TaskId) -> Self {
        Self { id, now: NOW, status: TaskStatus::Pending, step: StepRecord::untouched(&only()), leases: Vec::new() }
    }

    fn lease_of(&self, grants_ago: usize) -> Option<Lease> {
        self.leases.iter().rev().nth(grants_ago).cloned()
    }

    fn granted(&mut self, owner: &str) -> Answer {
        let lease = Lease {
            task: self.id,
            step: only(),
            attempt: self.step.attempt,
            exempt: self.step.exempt,
            owner: owner.to_owned(),
            started_at: self.step.started_at.unwrap(),
            until: self.step.lease_until.unwrap(),
        };
        self.leases.push(lease.clone());
        Answer::Granted(lease)
    }

    fn take(&mut self, owner: &str) -> Answer {
        self.step.state = StepState::InProgress;
        self.step.attempt += 1;
        self.step.owner = Some(owner.to_owned());
        self.step.started_at = Some(self.now);
        self.step.lease_until = Some(self.now + LEASE);
        self.step.next_retry_at = None;
        self.granted(owner)
    }

    fn refused(&mut self, owner: &str) -> Answer {
        if self.step.state == StepState::InProgress && self.step.owner.as_deref() == Some(owner) {
            return self.granted(owner);
        }
        Answer::Refused(self.step.clone())
    }

    fn claim(&mut self, owner: &str) -> Answer {
        let due = self.step.next_retry_at.is_some_and(|due| due <= self.now);
        match self.step.state {
            StepState::Pending => self.take(owner),
            StepState::Retrying if due => self.take(owner),
            _ => self.refused(owner),
        }
    }

    fn take_over(&mut self, owner: &str) -> Answer {
        let ended = self.step.lease_until.is_some_and(|until| until < self.now);
        if self.step.state != StepState::InProgress || !ended {
            return self.refused(owner);
        }
        let lost = AttemptRecord {
            number: self.step.attempt,
            started_at: self.step.started_at.unwrap(),
            finished_at: self.step.lease_until,
            outcome: Outcome::Lost,
            error: None,
            next_retry_at: None,
            request_id: self.step.owner.clone().unwrap().split('/').next().unwrap().to_owned(),
        };
        self.step.attempts.push(lost);
        self.take(owner)
    }

    /// A fenced write: made where the lease is the one that holds; answered alike where it has been made before.
    fn fenced(&mut self, lease: &Lease, to: StepState, change: impl FnOnce(&mut StepRecord)) -> Answer {
        let mine = self.step.attempt == lease.attempt;
        let holds = mine && self.step.state == StepState::InProgress;
        let made_before = mine && self.step.state == to;
        if holds {
            self.step.state = to;
            self.step.owner = None;
            self.step.lease_until = None;
            change(&mut self.step);
            if to == StepState::Error {
                self.status = TaskStatus::Error;
            }
        }
        Answer::Fenced(holds || made_before)
    }

    fn restart(&mut self) -> Answer {
        let legal = self.status == TaskStatus::Error && self.step.state == StepState::Error;
        if legal {
            self.status = TaskStatus::Pending;
            self.step.state = StepState::Pending;
            self.step.exempt = self.step.attempt;
            self.step.error = None;
            self.step.finished_at = None;
        }
        Answer::Restarted(legal)
    }
}

fn owner(number: u8) -> String {
    format!("request-{number}/message-{number}")
}

fn ended(lease: &Lease, now: Timestamp, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        number: lease.attempt,
        started_at: lease.started_at,
        finished_at: Some(now),
        outcome,
        error: (outcome != Outcome::Complete).then(failure),
        next_retry_at: None,
        request_id: "request".to_owned(),
    }
}

/// Makes the write on both, and answers with what each said.
async fn both(sandbox: &Sandbox, model: &mut Model, op: &Op) -> (Answer, Answer) {
    let (id, now) = (model.id, model.now);
    let table = &sandbox.table;
    let claim = |owner| ClaimRequest { task: id, step: "s00", owner, now, lease_until: now + LEASE };
    let fenced = |answer| Answer::Fenced(answer == Fenced::Written);
    let of_claim = |claim| match claim {
        Claim::Granted(lease) => Answer::Granted(lease),
        Claim::Refused(found) => Answer::Refused(*found),
    };
    match *op {
        Op::Wait(seconds) => {
            model.now = now + Duration::from_secs(seconds);
            (Answer::Nothing, Answer::Nothing)
        }
        Op::Claim(number) => {
            let owner = owner(number);
            (of_claim(table.claim(&claim(&owner)).await.unwrap()), model.claim(&owner))
        }
        Op::TakeOver(number) => {
            let owner = owner(number);
            let dead = step(sandbox, id, "s00").await;
            (of_claim(table.take_over(&claim(&owner), &dead).await.unwrap()), model.take_over(&owner))
        }
        Op::Restart => {
            let (task, step) = (task(sandbox, id).await, step(sandbox, id, "s00").await);
            let answer = table.restart(&task, &[&step], &retry(now)).await.unwrap();
            (Answer::Restarted(answer == AsRead::Written), model.restart())
        }
        Op::Release(grants_ago) => {
            let Some(lease) = model.lease_of(grants_ago) else { return (Answer::Nothing, Answer::Nothing) };
            let expected = model.fenced(&lease, StepState::Pending, |step| {
                step.exempt += 1;
                step.started_at = None;
            });
            (fenced(table.release(&lease).await.unwrap()), expected)
        }
        Op::Complete(grants_ago) => {
            let Some(lease) = model.lease_of(grants_ago) else { return (Answer::Nothing, Answer::Nothing) };
            let attempt = ended(&lease, now, Outcome::Complete);
            let expected = model.fenced(&lease, StepState::Complete, |step| {
                step.result = Some("{}".to_owned());
                step.error = None;
                step.finished_at = Some(now);
                step.attempts.push(attempt.clone());
            });
            (fenced(table.complete(&lease, &attempt, "{}").await.unwrap()), expected)
        }
        Op::RetryLater(grants_ago, wait) => {
            let Some(lease) = model.lease_of(grants_ago) else { return (Answer::Nothing, Answer::Nothing) };
            let due = Some(now + Duration::from_secs(wait));
            let attempt = AttemptRecord { next_retry_at: due, ..ended(&lease, now, Outcome::RetryableError) };
            let expected = model.fenced(&lease, StepState::Retrying, |step| {
                step.next_retry_at = due;
                step.error = Some(failure());
                step.attempts.push(attempt.clone());
            });
            (fenced(table.retry_later(&lease, &attempt).await.unwrap()), expected)
        }
        Op::Fail(grants_ago) => {
            let Some(lease) = model.lease_of(grants_ago) else { return (Answer::Nothing, Answer::Nothing) };
            let attempt = ended(&lease, now, Outcome::PermanentError);
            let expected = model.fenced(&lease, StepState::Error, |step| {
                step.error = Some(failure());
                step.finished_at = Some(now);
                step.attempts.push(attempt.clone());
            });
            let task = task(sandbox, id).await;
            (fenced(table.fail(&task, &lease, &attempt).await.unwrap()), expected)
        }
    }
}

async fn play(sandbox: &Sandbox, ops: &[Op]) {
    let id = start(sandbox, &Graph::chain(1)).await;
    let mut model = Model::new(id);
    for (number, op) in ops.iter().enumerate() {
        let (answer, expected) = both(sandbox, &mut model, op).await;
        assert_eq!(answer, expected, "the answer to write {number}, {op:?}");
        let found = sandbox.table.load(id, &BTreeSet::from(["s00"])).await.unwrap();
        assert_eq!(found.steps["s00"], model.step, "the step after write {number}, {op:?}");
        let task = found.task.unwrap();
        let failed = if model.status == TaskStatus::Error { BTreeSet::from([only()]) } else { BTreeSet::new() };
        assert_eq!((task.status, task.failed_steps), (model.status, failed), "the task after write {number}, {op:?}");
    }
}

#[test]
fn the_table_does_what_the_model_does() {
    in_sandbox_by_hand(&[], |runtime, sandbox| {
        let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
        let ops = prop::collection::vec(op(), 1..30);
        let outcome = TestRunner::new(config).run(&ops, |ops| {
            runtime.block_on(play(sandbox, &ops));
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    });
}
