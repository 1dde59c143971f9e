//! Settlements: the transition that a delivery or an action from outside ends with, and its consequences.
//!
//! A [`Settlement`] is a value. On AWS it is carried out in the protocol's order: first the transition, then its
//! consequences, and only then does SQS delete the message. The next delivery of the message repairs a crash in between. A
//! store that holds its own messages can carry it out in one transaction.

use super::{
    item::Item,
    message::{Message, Outgoing},
    record::{StepRecord, TaskRecord},
    step::record_join_arrival,
    task::{self, record_leaf_arrival},
    transition::{Applied, Transition},
};
use crate::core::{
    id::TaskId,
    plan::{self, StepPlan},
    state::{StepState, TaskState},
    timestamp::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// A transition, its consequences, and what to do with the delivered message.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The search keys of what the transition makes. They are written before it, each by itself. One that is refused was written before.
    pub search_keys: Vec<Transition>,
    /// The transition, which is written before its consequences. If it is refused, there are no consequences. `None` if it was written before.
    pub transition: Option<Transition>,
    /// The consequences, in any order.
    pub then: Vec<Consequence>,
    /// The delivery that ends with the settlement. `None` for a start, an operator's action, and recovery.
    pub delivery: Option<Delivery>,
}

/// A delivery of a message, and what to do with the message after all consequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The delivery's receipt handle.
    pub receipt: String,
    /// What to do with the message.
    pub disposition: Disposition,
}

/// What to do with a delivered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The message is deleted.
    Acknowledge,
    /// The message is kept, and hidden until this time.
    GiveBack {
        /// The time of the next delivery.
        until: Timestamp,
    },
}

/// How much of a settlement a store has carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// This item refused the transition. There are no consequences, and the delivery has not ended.
    Refused(Item),
    /// The transition is written.
    Written {
        /// The consequences that are left to the caller. If there are any, so is the end of the delivery.
        left: Vec<Consequence>,
        /// Whether one of the others has completed the task just now.
        completed: bool,
    },
}

/// A consequence of a transition. It is idempotent, because it is repeated after a crash.
#[derive(Clone, Debug, PartialEq)]
pub struct Consequence {
    /// The arrival at a join, if there is one. Then the consequence is due only after the last arrival.
    pub join: Option<Arrival>,
    /// What is due.
    pub due: Due,
}

/// The arrival of a done dependency at a join. The task is the join of its leaves, and of those of its compensations. There an
/// optional leaf arrives also when it has failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// Records the arrival. The answer has all arrivals so far.
    pub transition: Transition,
    /// All dependencies of the join.
    pub all: BTreeSet<String>,
}

/// What can be due.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// Sends a message.
    Send(Outgoing),
    /// Completes the task, with the time at which this is carried out.
    Finish,
    /// Advances the task's recovery: its redrive, or its compensation.
    AdvanceCompensation,
}

impl From<Due> for Consequence {
    fn from(due: Due) -> Self {
        Self { join: None, due }
    }
}

/// Whether the dependents of a step are dispatched for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// The dispatch right after the step's completion.
    Initial,
    /// A dispatch by a later delivery of the step's message. A dependent that has been claimed has had its message, so only
    /// unclaimed dependents get another. That message is marked as a repeat, and a repeat dispatches no further. Otherwise
    /// one duplicate would become two at each fan-out, and their number would grow exponentially along a chain of diamonds.
    Replay,
}

impl Settlement {
    /// A transition without consequences.
    pub fn of(transition: Transition) -> Self {
        Self { transition: Some(transition), ..Self::without_transition(Vec::new()) }
    }

    /// The consequences of a transition that was written before.
    pub fn without_transition(then: Vec<Consequence>) -> Self {
        Self { search_keys: Vec::new(), transition: None, then, delivery: None }
    }

    /// Sets the search keys, which are written first.
    #[must_use]
    pub fn found_by(self, search_keys: Vec<Transition>) -> Self {
        Self { search_keys, ..self }
    }

    /// Adds consequences.
    #[must_use]
    pub fn then(mut self, consequences: impl IntoIterator<Item = impl Into<Consequence>>) -> Self {
        self.then.extend(consequences.into_iter().map(Into::into));
        self
    }

    /// Sets the delivery that ends with the settlement.
    #[must_use]
    pub fn ending(self, delivery: Option<Delivery>) -> Self {
        Self { delivery, ..self }
    }
}

/// A transaction of a store that holds its own messages.
pub trait Transaction {
    /// The error of a call. After it, nothing of the transaction takes effect.
    type Error;

    /// Applies a transition, as [`Store::apply`](crate::ports::Store::apply) does.
    ///
    /// # Errors
    /// The store failed.
    fn apply(&mut self, transition: &Transition) -> Result<Applied, Self::Error>;

    /// Puts a message into the queue of its step.
    ///
    /// # Errors
    /// The store failed.
    fn send(&mut self, outgoing: &Outgoing) -> Result<(), Self::Error>;

    /// Ends a delivery. If the message has been delivered again since, nothing happens.
    ///
    /// # Errors
    /// The store failed.
    fn end(&mut self, delivery: &Delivery) -> Result<(), Self::Error>;
}

impl Settlement {
    /// Carries out the settlement in one transaction. It leaves to the engine what needs to read the whole task, and refused
    /// arrivals. If anything is left, the delivery does not end, because after a crash only the message repeats the rest.
    ///
    /// # Errors
    /// A call of the transaction failed.
    pub fn carry_out<T: Transaction>(self, task: TaskId, tx: &mut T, now: Timestamp) -> Result<Settled, T::Error> {
        for key in &self.search_keys {
            tx.apply(key)?;
        }
        if let Some(transition) = &self.transition
            && let Applied::Refused(item) = tx.apply(transition)?
        {
            return Ok(Settled::Refused(item));
        }
        let (mut left, mut completed) = (Vec::new(), false);
        for consequence in self.then {
            if let Some(join) = &consequence.join {
                let arrival = tx.apply(&join.transition)?;
                if !arrival.is_written() {
                    left.push(consequence);
                    continue;
                }
                if !join.is_last(&arrival) {
                    continue;
                }
            }
            match &consequence.due {
                Due::Send(outgoing) => tx.send(outgoing)?,
                Due::Finish if tx.apply(&task::finish(task, now))?.is_written() => completed = true,
                Due::Finish | Due::AdvanceCompensation => left.push(consequence.due.into()),
            }
        }
        if let Some(delivery) = self.delivery.filter(|_| left.is_empty()) {
            tx.end(&delivery)?;
        }
        Ok(Settled::Written { left, completed })
    }
}

impl Arrival {
    /// Whether all dependencies have arrived, by the answer to this arrival.
    pub fn is_last(&self, arrival: &Applied) -> bool {
        arrival.done_deps().is_superset(&self.all)
    }
}

/// The dependents of `step` in its graph; on a replay, only those that may not have had their message yet. For a replay `found` holds the
/// records of the dependents.
fn dependents<'a>(
    task: &'a TaskRecord,
    step: &'a str,
    dispatch: Dispatch,
    found: &'a BTreeMap<String, StepRecord>,
) -> impl Iterator<Item = &'a StepPlan> {
    // A join may have been claimed too early and released since. So its claim does not prove that it has had its message:
    // this step has to be in its set, where the last dependency to complete will find it.
    let served = move |dependent: &StepPlan, record: &StepRecord| {
        record.state != StepState::Pending && (dependent.depends_on.len() == 1 || record.done_deps.contains(step))
    };
    plan::dependents(task.graph_of(step), step).filter(move |dependent| {
        let record = found.get(&dependent.name).filter(|_| dispatch == Dispatch::Replay);
        !record.is_some_and(|record| served(dependent, record))
    })
}

/// The consequences of a step's completion: each dependent that this makes ready gets its message, and the last leaf ends
/// the task. The compensations are a graph of their own, whose last leaf ends the compensation.
///
/// For a replay `found` holds the records of the dependents; for an initial dispatch it is empty.
pub fn dispatch(
    task: &TaskRecord,
    step: &str,
    dispatch: Dispatch,
    found: &BTreeMap<String, StepRecord>,
    now: Timestamp,
) -> Vec<Consequence> {
    if plan::dependents(task.graph_of(step), step).next().is_none() {
        return finish(task, step).into_iter().collect();
    }
    let wake = |dependent: &StepPlan| {
        let message = Message { repeat: dispatch == Dispatch::Replay, ..dependent.message(task.id) };
        let join = (dependent.depends_on.len() > 1).then(|| Arrival {
            transition: record_join_arrival(task.id, &dependent.name, step, now),
            all: dependent.depends_on.iter().cloned().collect(),
        });
        Consequence { join, due: Due::Send(task.outgoing(message)) }
    };
    dependents(task, step, dispatch, found).map(wake).collect()
}

/// Ends the task, or its compensation, after a leaf. If there are several leaves, the task is their join.
fn finish(task: &TaskRecord, leaf: &str) -> Option<Consequence> {
    if task.state == TaskState::Completed {
        return None;
    }
    let leaves: BTreeSet<String> = plan::leaves(task.graph_of(leaf)).map(|leaf| leaf.name.clone()).collect();
    let several = leaves.len() > 1;
    let join = several.then(|| Arrival { transition: record_leaf_arrival(task.id, leaf), all: leaves });
    let due = if task.plan.is_compensation(leaf) { Due::AdvanceCompensation } else { Due::Finish };
    Some(Consequence { join, due })
}

/// The consequences of the failure of a step. The recovery of the task may be due only later; then the message waits for it.
pub fn after_failure(task: &TaskRecord, step: &str) -> Vec<Consequence> {
    arrival_of_failed(task, step).into_iter().chain(after_closing(task)).collect()
}

/// The arrival of a failed step at the end of its task, or of a failed compensation at the end of its task's compensation, if it
/// is optional: the task completes or ends without it.
pub fn arrival_of_failed(task: &TaskRecord, step: &str) -> Option<Consequence> {
    task.plan.is_optional(step).then(|| finish(task, step)).flatten()
}

/// The consequences of the end of a step in flight that neither completed nor failed: compensation may have waited for it.
pub fn after_closing(task: &TaskRecord) -> Vec<Consequence> {
    task.plan.recovers().then(|| Due::AdvanceCompensation.into()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            item::{Key, attribute},
            record::NewTask,
            state::{End, TaskStatus},
            transition::Change,
        },
        ports::TableError,
        testing::{
            MemoryStore,
            fixtures::{at, compensation, snapshot, with_optional},
        },
    };

    /// What is due, and for a join its dependencies.
    fn described(consequences: Vec<Consequence>) -> Vec<(String, Option<Vec<String>>)> {
        let due = |due| match due {
            Due::Send(outgoing) => outgoing.message.step,
            Due::Finish => "the end".to_owned(),
            Due::AdvanceCompensation => "compensation".to_owned(),
        };
        let all = |join: Arrival| join.all.into_iter().collect();
        consequences.into_iter().map(|one| (due(one.due), one.join.map(all))).collect()
    }

    fn due(what: &str, after: Option<&[&str]>) -> (String, Option<Vec<String>>) {
        let after = after.map(|all| all.iter().map(|&name| name.to_owned()).collect());
        (what.to_owned(), after)
    }

    #[test]
    fn join_waits_for_all_dependencies_and_the_task_for_all_leaves() {
        let task = snapshot(&[&[], &[], &[0, 1], &[0]], &[0]).task;
        let initial = |step: &str| described(dispatch(&task, step, Dispatch::Initial, &BTreeMap::new(), at(1)));
        assert_eq!(initial("s0"), [due("s2", Some(&["s0", "s1"])), due("s3", None)]);
        assert_eq!(initial("s1"), [due("s2", Some(&["s0", "s1"]))]);
        assert_eq!(initial("s2"), [due("the end", Some(&["s2", "s3"]))]);
        assert_eq!(initial(&compensation(0)), [due("compensation", None)], "its graph is not known");
        let chain = snapshot(&[&[], &[0]], &[]).task;
        assert_eq!(
            described(dispatch(&chain, "s1", Dispatch::Initial, &BTreeMap::new(), at(1))),
            [due("the end", None)]
        );
    }

    #[test]
    fn compensations_are_dispatched_along_their_graph() {
        let mut task = snapshot(&[&[], &[0], &[0], &[]], &[0, 1, 2, 3]).task;
        task.state = TaskState::Compensating(End::Error);
        task.compensations = Some(task.plan.compensation_graph(|_| true));
        let initial =
            |step: usize| described(dispatch(&task, &compensation(step), Dispatch::Initial, &BTreeMap::new(), at(1)));
        assert_eq!(initial(2), [due("u0", Some(&["u1", "u2"]))]);
        assert_eq!(initial(0), [due("compensation", Some(&["u0", "u3"]))]);
    }

    #[test]
    fn replay_skips_dependents_that_had_their_message_and_marks_the_other_messages() {
        let task = snapshot(&[&[], &[], &[0, 1], &[0]], &[]).task;
        let replay = |join: StepRecord, single: StepRecord| {
            let found = [("s2".to_owned(), join), ("s3".to_owned(), single)].into();
            let again = dispatch(&task, "s0", Dispatch::Replay, &found, at(1));
            assert!(again.iter().all(|one| matches!(&one.due, Due::Send(outgoing) if outgoing.message.repeat)));
            described(again).into_iter().map(|(due, _)| due).collect::<Vec<_>>()
        };
        let claimed = |done: &[&str]| StepRecord {
            state: StepState::InProgress,
            done_deps: done.iter().map(|&name| name.to_owned()).collect(),
            ..StepRecord::default()
        };
        let pending = StepRecord::default;
        assert_eq!(replay(pending(), pending()), ["s2", "s3"]);
        assert_eq!(replay(claimed(&["s0"]), claimed(&[])), [""; 0]);
        assert_eq!(replay(claimed(&["s1"]), claimed(&[])), ["s2"], "it was claimed too early");
        let put_back = StepRecord { state: StepState::Pending, ..claimed(&["s0"]) };
        assert_eq!(replay(put_back, claimed(&[])), ["s2"], "it may not have had its message");
    }

    /// A transaction over a store in memory, and a log of what took effect in it.
    #[derive(Debug, Default)]
    struct LoggingTransaction {
        store: MemoryStore,
        log: Vec<String>,
    }

    impl Transaction for LoggingTransaction {
        type Error = TableError;

        fn apply(&mut self, transition: &Transition) -> Result<Applied, TableError> {
            let applied = self.store.apply_observed(transition, |_| ())?;
            self.log.extend(applied.is_written().then(|| transition.name.to_owned()));
            Ok(applied)
        }

        fn send(&mut self, outgoing: &Outgoing) -> Result<(), TableError> {
            self.log.push(format!("send {}", outgoing.message.step));
            Ok(())
        }

        fn end(&mut self, _: &Delivery) -> Result<(), TableError> {
            self.log.push("end".to_owned());
            Ok(())
        }
    }

    impl LoggingTransaction {
        /// Carries out a settlement as the end of a delivery. Returns what took effect, and what is left.
        fn carry_out(&mut self, task: &TaskRecord, settlement: Settlement) -> (Vec<String>, Settled) {
            let delivery = Delivery { receipt: "receipt".to_owned(), disposition: Disposition::Acknowledge };
            let settled = settlement.ending(Some(delivery)).carry_out(task.id, self, at(1)).unwrap();
            (std::mem::take(&mut self.log), settled)
        }

        fn start(&mut self, task: &TaskRecord) -> (Vec<String>, Settled) {
            let new = NewTask {
                correlation_id: None,
                id: task.id,
                workflow: task.workflow.clone(),
                context: "{}",
                plan: &task.plan,
                created_at: at(0),
            };
            let first = Due::Send(task.outgoing(task.plan.steps()[0].message(task.id)));
            self.carry_out(task, Settlement::of(task::create(&new)).then([first]))
        }

        fn dispatch(&mut self, task: &TaskRecord, step: &str) -> (Vec<String>, Settled) {
            let then = dispatch(task, step, Dispatch::Initial, &BTreeMap::new(), at(1));
            self.carry_out(task, Settlement::without_transition(then))
        }
    }

    fn all_of(log: &[&str]) -> (Vec<String>, Settled) {
        let completed = log.contains(&"finish");
        (log.iter().map(|&entry| entry.to_owned()).collect(), Settled::Written { left: Vec::new(), completed })
    }

    #[test]
    fn transaction_dispatches_a_join_with_its_last_arrival() {
        let task = snapshot(&[&[], &[], &[0, 1], &[0]], &[]).task;
        let mut tx = LoggingTransaction::default();
        assert_eq!(tx.start(&task), all_of(&["create", "send s0", "end"]));
        assert_eq!(tx.dispatch(&task, "s0"), all_of(&["record_join_arrival", "send s3", "end"]));
        assert_eq!(tx.dispatch(&task, "s1"), all_of(&["record_join_arrival", "send s2", "end"]));
        assert_eq!(tx.dispatch(&task, "s2"), all_of(&["record_leaf_arrival", "end"]));
        assert_eq!(tx.dispatch(&task, "s3"), all_of(&["record_leaf_arrival", "finish", "end"]));
    }

    #[test]
    fn transaction_with_consequences_left_does_not_end_the_delivery() {
        let task = snapshot(&[&[]], &[0]).task;
        let mut tx = LoggingTransaction::default();
        tx.start(&task);
        let left = |due: Due| Settled::Written { left: vec![due.into()], completed: false };
        assert_eq!(tx.dispatch(&task, &compensation(0)), (Vec::new(), left(Due::AdvanceCompensation)));
        assert_eq!(tx.dispatch(&task, "s0"), all_of(&["finish", "end"]));
        assert_eq!(
            tx.dispatch(&task, "s0"),
            (Vec::new(), left(Due::Finish)),
            "the engine has to see why it is refused"
        );
    }

    #[test]
    fn transaction_with_a_refused_transition_has_no_effect() {
        let task = snapshot(&[&[]], &[]).task;
        let mut tx = LoggingTransaction::default();
        tx.start(&task);
        let (log, settled) = tx.start(&task);
        assert_eq!(log, [""; 0]);
        assert!(matches!(settled, Settled::Refused(_)), "{settled:?}");
    }

    #[test]
    fn failure_has_no_consequence_without_compensations() {
        assert_eq!(described(after_failure(&snapshot(&[&[]], &[0]).task, "s0")), [due("compensation", None)]);
        assert_eq!(described(after_failure(&snapshot(&[&[]], &[]).task, "s0")), []);
    }

    #[test]
    fn failed_optional_step_arrives_at_the_end_of_its_task() {
        let chain = with_optional(snapshot(&[&[], &[0]], &[0]), &["s1"]).task;
        assert_eq!(described(after_failure(&chain, "s1")), [due("the end", None), due("compensation", None)]);
        assert_eq!(described(after_failure(&chain, "s0")), [due("compensation", None)]);
        let fork = with_optional(snapshot(&[&[], &[0], &[0]], &[]), &["s1"]).task;
        assert_eq!(described(after_failure(&fork, "s1")), [due("the end", Some(&["s1", "s2"]))]);
        let completed = TaskRecord { state: TaskState::Completed, ..fork };
        assert_eq!(described(after_failure(&completed, "s1")), []);
    }

    /// A transaction over a store, and what it has sent and ended.
    #[derive(Default)]
    struct Tx(MemoryStore, Vec<String>);

    impl Transaction for Tx {
        type Error = TableError;

        fn apply(&mut self, transition: &Transition) -> Result<Applied, TableError> {
            self.0.apply_observed(transition, |_| ())
        }

        fn send(&mut self, outgoing: &Outgoing) -> Result<(), TableError> {
            self.1.push(outgoing.message.step.clone());
            Ok(())
        }

        fn end(&mut self, delivery: &Delivery) -> Result<(), TableError> {
            self.1.push(delivery.receipt.clone());
            Ok(())
        }
    }

    /// A running task of these steps, and the settlement of the completion of one of them, which ends a delivery.
    fn settling(depends_on: &[&[usize]], step: &str) -> (Tx, TaskRecord, Settlement) {
        let (tx, task) = (Tx::default(), snapshot(depends_on, &[]).task);
        let new = NewTask {
            correlation_id: None,
            id: task.id,
            workflow: task.workflow.clone(),
            context: "{}",
            plan: &task.plan,
            created_at: task.created_at,
        };
        tx.0.apply_observed(&task::create(&new), |_| ()).unwrap();
        let then = dispatch(&task, step, Dispatch::Initial, &BTreeMap::new(), at(1));
        let delivery = Delivery { receipt: "the delivery".to_owned(), disposition: Disposition::Acknowledge };
        (tx, task, Settlement::without_transition(then).ending(Some(delivery)))
    }

    #[test]
    fn transaction_sends_what_is_due_and_ends_the_delivery() {
        // s0 is one of two dependencies of s2, and the only one of s3.
        let (mut tx, task, settlement) = settling(&[&[], &[], &[0, 1], &[0]], "s0");
        let nothing_left = Settled::Written { left: vec![], completed: false };
        assert_eq!(settlement.carry_out(task.id, &mut tx, at(1)).unwrap(), nothing_left);
        assert_eq!(tx.1, ["s3", "the delivery"]);
        let then = dispatch(&task, "s1", Dispatch::Initial, &BTreeMap::new(), at(1));
        let settlement = Settlement::without_transition(then);
        assert_eq!(settlement.carry_out(task.id, &mut tx, at(1)).unwrap(), nothing_left);
        assert_eq!(tx.1[2..], ["s2"], "there is no delivery to end");
    }

    #[test]
    fn transaction_ends_a_task_with_the_last_of_its_leaves() {
        let (mut tx, task, settlement) = settling(&[&[], &[]], "s0");
        let state = |tx: &Tx| tx.0.with_task(task.id, |task| task.state).unwrap();
        settlement.carry_out(task.id, &mut tx, at(1)).unwrap();
        assert_eq!(state(&tx), TaskState::Running);
        let then = dispatch(&task, "s1", Dispatch::Initial, &BTreeMap::new(), at(2));
        Settlement::without_transition(then).carry_out(task.id, &mut tx, at(2)).unwrap();
        assert_eq!(state(&tx), TaskState::Completed);
    }

    #[test]
    fn refused_transition_has_no_consequences() {
        let (mut tx, task, settlement) = settling(&[&[], &[0]], "s0");
        let refused =
            Settlement { transition: Some(task::finish_compensation(&task, &[], End::Error, at(1))), ..settlement };
        let settled = refused.carry_out(task.id, &mut tx, at(1)).unwrap();
        assert!(matches!(settled, Settled::Refused(_)), "{settled:?}");
        assert_eq!(tx.1, [""; 0]);
    }

    #[test]
    fn transaction_leaves_consequences_that_need_more_reads_and_the_delivery_to_the_engine() {
        let left = |settlement: Settlement, task: TaskId, tx: &mut Tx| {
            let Settled::Written { left, .. } = settlement.carry_out(task, tx, at(1)).unwrap() else {
                panic!("it is refused")
            };
            assert_eq!(tx.1, [""; 0]);
            described(left)
        };
        let (mut tx, task, settlement) = settling(&[&[], &[0]], "s0");
        let settlement = Settlement { then: vec![Due::AdvanceCompensation.into()], ..settlement };
        assert_eq!(left(settlement, task.id, &mut tx), [due("compensation", None)]);

        // The task has ended meanwhile.
        let (mut tx, task, settlement) = settling(&[&[]], "s0");
        let ended = Change::Set(attribute::STATUS, TaskStatus::Cancelled.as_str().into());
        tx.0.force(Key::Task(task.id), vec![ended]).unwrap();
        assert_eq!(left(settlement, task.id, &mut tx), [due("the end", None)]);

        // The task does not exist.
        let (_, task, settlement) = settling(&[&[], &[]], "s0");
        assert_eq!(left(settlement, task.id, &mut Tx::default()), [due("the end", Some(&["s0", "s1"]))]);
    }
}
