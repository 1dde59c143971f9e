//! What a delivery, or an action from outside, ends with: what is written, and what follows from it.
//!
//! A [`Settlement`] is a value. AWS carries it out in the protocol's order: the transition, then what follows from it, and
//! only then does SQS delete the message. A crash in between is repaired by the message's next delivery. A store that holds
//! its own messages may carry it out in one transaction.

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
    plan::StepPlan,
    state::{StepState, TaskState},
    timestamp::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// A transition, what follows from it, and what becomes of the message that led to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// What is written first. Where it is refused, nothing follows. `None` where it was written before.
    pub transition: Option<Transition>,
    /// What follows, in no order.
    pub then: Vec<Consequence>,
    /// The delivery that ends with it. `None` where none does: a start, an operator's action, recovery.
    pub delivery: Option<Delivery>,
}

/// A delivery of a message, and what becomes of it once everything has followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The delivery's receipt handle.
    pub receipt: String,
    /// What becomes of the message.
    pub disposition: Disposition,
}

/// What becomes of a message that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is deleted.
    Acknowledge,
    /// It is kept, and delivered again at this moment.
    GiveBack {
        /// The moment.
        until: Timestamp,
    },
}

/// How far a store has carried out a settlement.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// The transition was refused by this item: nothing has followed, and the delivery stands as it did.
    Refused(Item),
    /// The transition is written. This is left to be done, and where it is anything, the delivery too.
    Written(Vec<Consequence>),
}

/// Something that follows from a transition. Each may be made again: it is, after a crash.
#[derive(Clone, Debug, PartialEq)]
pub struct Consequence {
    /// It is due only where this arrival is the last that is waited for.
    pub join: Option<Arrival>,
    /// What is due.
    pub due: Due,
}

/// A join hears that something it waits for is done. The task is the join of its leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// Notes it, and answers with all that have arrived.
    pub transition: Transition,
    /// All that the join waits for.
    pub all: BTreeSet<String>,
}

/// What can be due.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// A message is sent.
    Send(Outgoing),
    /// The task ends, at the moment at which this is carried out.
    Finish,
    /// The task's compensation goes on, where it is being compensated.
    AdvanceCompensation,
}

impl From<Due> for Consequence {
    fn from(due: Due) -> Self {
        Self { join: None, due }
    }
}

/// Whether a step is dispatched from for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Right after the step's completion.
    Initial,
    /// On a later delivery of the step's message. A dependent that somebody has claimed has had its message, so only
    /// untouched ones are sent another. That one is marked as a repeat, and a repeat dispatches no further: otherwise one
    /// duplicate would become two at each fork, and a chain of diamonds would make a storm of it.
    Replay,
}

impl Settlement {
    /// A transition that only has to be written.
    pub fn of(transition: Transition) -> Self {
        Self { transition: Some(transition), ..Self::without_transition(Vec::new()) }
    }

    /// What follows from a transition that was written before.
    pub fn without_transition(then: Vec<Consequence>) -> Self {
        Self { transition: None, then, delivery: None }
    }

    /// With something that follows.
    #[must_use]
    pub fn then(mut self, consequences: impl IntoIterator<Item = impl Into<Consequence>>) -> Self {
        self.then.extend(consequences.into_iter().map(Into::into));
        self
    }

    /// As the end of a delivery.
    #[must_use]
    pub fn ending(self, delivery: Option<Delivery>) -> Self {
        Self { delivery, ..self }
    }
}

/// A transaction of a store that holds its own messages.
pub trait Transaction {
    /// Why a call failed. Nothing of the transaction takes effect then.
    type Error;

    /// Makes a transition, as [`Store::apply`](crate::ports::Store::apply) does.
    ///
    /// # Errors
    /// The store's.
    fn apply(&mut self, transition: &Transition) -> Result<Applied, Self::Error>;

    /// Puts a message into the queue of its step.
    ///
    /// # Errors
    /// The store's.
    fn send(&mut self, outgoing: &Outgoing) -> Result<(), Self::Error>;

    /// Ends a delivery. Where the message has been delivered again since, nothing happens.
    ///
    /// # Errors
    /// The store's.
    fn end(&mut self, delivery: &Delivery) -> Result<(), Self::Error>;
}

impl Settlement {
    /// Carries it out in one transaction. What has to read the whole task, and an arrival that is refused, is left to the
    /// engine. Where anything is left, so is the delivery: only the message brings it back after a crash.
    ///
    /// # Errors
    /// The transaction's.
    pub fn carry_out<T: Transaction>(self, task: TaskId, tx: &mut T, now: Timestamp) -> Result<Settled, T::Error> {
        if let Some(transition) = &self.transition
            && let Applied::Refused(item) = tx.apply(transition)?
        {
            return Ok(Settled::Refused(item));
        }
        let mut left = Vec::new();
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
                Due::Finish if tx.apply(&task::finish(task, now))?.is_written() => {}
                Due::Finish | Due::AdvanceCompensation => left.push(consequence.due.into()),
            }
        }
        if let Some(delivery) = self.delivery.filter(|_| left.is_empty()) {
            tx.end(&delivery)?;
        }
        Ok(Settled::Written(left))
    }
}

impl Arrival {
    /// Whether everything that the join waits for has arrived, by the answer to the arrival.
    pub fn is_last(&self, arrival: &Applied) -> bool {
        arrival.done_deps().is_superset(&self.all)
    }
}

/// The dependents of `step`, and on a replay those that may not have had their message yet. `found` holds the dependents'
/// records then.
fn dependents<'a>(
    task: &'a TaskRecord,
    step: &'a str,
    dispatch: Dispatch,
    found: &'a BTreeMap<String, StepRecord>,
) -> impl Iterator<Item = &'a StepPlan> {
    // A step with several dependencies may have been claimed before its time, and been put back since: whoever completes
    // the last of them has to find this one among those that are done.
    let served = move |dependent: &StepPlan, record: &StepRecord| {
        record.state != StepState::Pending && (dependent.depends_on.len() == 1 || record.done_deps.contains(step))
    };
    task.plan.dependents(step).filter(move |dependent| {
        let record = found.get(&dependent.name).filter(|_| dispatch == Dispatch::Replay);
        !record.is_some_and(|record| served(dependent, record))
    })
}

/// What the completion of a step leads to: each dependent that is ready by it gets its message, and the task ends where it
/// was the last. After a compensation comes the next one, and after the last of these the end of the task.
///
/// `found` holds the records of the dependents for a replay; for an initial dispatch it is empty.
pub fn dispatch(
    task: &TaskRecord,
    step: &str,
    dispatch: Dispatch,
    found: &BTreeMap<String, StepRecord>,
    now: Timestamp,
) -> Vec<Consequence> {
    if task.plan.is_compensation(step) {
        return vec![Due::AdvanceCompensation.into()];
    }
    if task.plan.dependents(step).next().is_none() {
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

/// The task is to its leaves what a step is to its dependencies.
fn finish(task: &TaskRecord, leaf: &str) -> Option<Consequence> {
    if task.state == TaskState::Completed {
        return None;
    }
    let leaves: BTreeSet<String> = task.plan.leaves().map(|leaf| leaf.name.clone()).collect();
    let several = leaves.len() > 1;
    let join = several.then(|| Arrival { transition: record_leaf_arrival(task.id, leaf), all: leaves });
    Some(Consequence { join, due: Due::Finish })
}

/// What the end of a step in flight leads to, however it ended: a compensation may have waited for it.
pub fn after_failure(task: &TaskRecord) -> Vec<Consequence> {
    let any = !task.plan.compensations().is_empty();
    any.then(|| Due::AdvanceCompensation.into()).into_iter().collect()
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
            fixtures::{at, snapshot, undo},
        },
    };

    /// What is due, and after whose arrival at a join.
    fn told(consequences: Vec<Consequence>) -> Vec<(String, Option<Vec<String>>)> {
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
    fn a_join_waits_for_all_that_it_depends_on_and_the_task_for_all_of_its_leaves() {
        let task = snapshot(&[&[], &[], &[0, 1], &[0]], &[0]).task;
        let initial = |step: &str| told(dispatch(&task, step, Dispatch::Initial, &BTreeMap::new(), at(1)));
        assert_eq!(initial("s0"), [due("s2", Some(&["s0", "s1"])), due("s3", None)]);
        assert_eq!(initial("s1"), [due("s2", Some(&["s0", "s1"]))]);
        assert_eq!(initial("s2"), [due("the end", Some(&["s2", "s3"]))]);
        assert_eq!(initial(&undo(0)), [due("compensation", None)]);
        let chain = snapshot(&[&[], &[0]], &[]).task;
        assert_eq!(told(dispatch(&chain, "s1", Dispatch::Initial, &BTreeMap::new(), at(1))), [due("the end", None)]);
    }

    #[test]
    fn a_replay_passes_over_what_has_had_its_message_and_marks_the_others() {
        let task = snapshot(&[&[], &[], &[0, 1], &[0]], &[]).task;
        let replay = |join: StepRecord, single: StepRecord| {
            let found = [("s2".to_owned(), join), ("s3".to_owned(), single)].into();
            let again = dispatch(&task, "s0", Dispatch::Replay, &found, at(1));
            assert!(again.iter().all(|one| matches!(&one.due, Due::Send(outgoing) if outgoing.message.repeat)));
            told(again).into_iter().map(|(due, _)| due).collect::<Vec<_>>()
        };
        let claimed = |done: &[&str]| StepRecord {
            state: StepState::InProgress,
            done_deps: done.iter().map(|&name| name.to_owned()).collect(),
            ..StepRecord::default()
        };
        let pending = StepRecord::default;
        assert_eq!(replay(pending(), pending()), ["s2", "s3"]);
        assert_eq!(replay(claimed(&["s0"]), claimed(&[])), [""; 0]);
        assert_eq!(replay(claimed(&["s1"]), claimed(&[])), ["s2"], "it was claimed before its time");
        let put_back = StepRecord { state: StepState::Pending, ..claimed(&["s0"]) };
        assert_eq!(replay(put_back, claimed(&[])), ["s2"], "it may not have had its message");
    }

    /// A transaction over a store in memory, and what took effect in it.
    #[derive(Debug, Default)]
    struct Told {
        store: MemoryStore,
        told: Vec<String>,
    }

    impl Transaction for Told {
        type Error = TableError;

        fn apply(&mut self, transition: &Transition) -> Result<Applied, TableError> {
            let applied = self.store.apply_observed(transition, |_| ())?;
            self.told.extend(applied.is_written().then(|| transition.name.to_owned()));
            Ok(applied)
        }

        fn send(&mut self, outgoing: &Outgoing) -> Result<(), TableError> {
            self.told.push(format!("send {}", outgoing.message.step));
            Ok(())
        }

        fn end(&mut self, _: &Delivery) -> Result<(), TableError> {
            self.told.push("end".to_owned());
            Ok(())
        }
    }

    impl Told {
        /// Carries it out as the end of a delivery; answers with what took effect, and with what is left.
        fn carry_out(&mut self, task: &TaskRecord, settlement: Settlement) -> (Vec<String>, Settled) {
            let delivery = Delivery { receipt: "receipt".to_owned(), disposition: Disposition::Acknowledge };
            let settled = settlement.ending(Some(delivery)).carry_out(task.id, self, at(1)).unwrap();
            (std::mem::take(&mut self.told), settled)
        }

        fn start(&mut self, task: &TaskRecord) -> (Vec<String>, Settled) {
            let new = NewTask {
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

    fn all_of(told: &[&str]) -> (Vec<String>, Settled) {
        (told.iter().map(|&told| told.to_owned()).collect(), Settled::Written(Vec::new()))
    }

    #[test]
    fn a_transaction_serves_a_join_with_its_last_arrival_and_keeps_nobody_else_waiting() {
        let task = snapshot(&[&[], &[], &[0, 1], &[0]], &[]).task;
        let mut tx = Told::default();
        assert_eq!(tx.start(&task), all_of(&["create", "send s0", "end"]));
        assert_eq!(tx.dispatch(&task, "s0"), all_of(&["record_join_arrival", "send s3", "end"]));
        assert_eq!(tx.dispatch(&task, "s1"), all_of(&["record_join_arrival", "send s2", "end"]));
        assert_eq!(tx.dispatch(&task, "s2"), all_of(&["record_leaf_arrival", "end"]));
        assert_eq!(tx.dispatch(&task, "s3"), all_of(&["record_leaf_arrival", "finish", "end"]));
    }

    #[test]
    fn a_transaction_keeps_the_delivery_where_anything_is_left() {
        let task = snapshot(&[&[]], &[0]).task;
        let mut tx = Told::default();
        tx.start(&task);
        let left = |due: Due| Settled::Written(vec![due.into()]);
        assert_eq!(tx.dispatch(&task, &undo(0)), (Vec::new(), left(Due::AdvanceCompensation)));
        assert_eq!(tx.dispatch(&task, "s0"), all_of(&["finish", "end"]));
        assert_eq!(tx.dispatch(&task, "s0"), (Vec::new(), left(Due::Finish)), "somebody has to see why it is refused");
    }

    #[test]
    fn a_transaction_does_nothing_more_where_the_transition_is_refused() {
        let task = snapshot(&[&[]], &[]).task;
        let mut tx = Told::default();
        tx.start(&task);
        let (told, settled) = tx.start(&task);
        assert_eq!(told, [""; 0]);
        assert!(matches!(settled, Settled::Refused(_)), "{settled:?}");
    }

    #[test]
    fn nothing_follows_from_a_failure_where_nothing_can_be_undone() {
        assert_eq!(told(after_failure(&snapshot(&[&[]], &[0]).task)), [due("compensation", None)]);
        assert_eq!(told(after_failure(&snapshot(&[&[]], &[]).task)), []);
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

    /// A task of these steps that has begun, and a settlement of what the completion of one of them leads to, which ends a
    /// delivery.
    fn settling(depends_on: &[&[usize]], step: &str) -> (Tx, TaskRecord, Settlement) {
        let (tx, task) = (Tx::default(), snapshot(depends_on, &[]).task);
        let new = NewTask {
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
        // s0 is one of two that s2 waits for, and all that s3 does.
        let (mut tx, task, settlement) = settling(&[&[], &[], &[0, 1], &[0]], "s0");
        assert_eq!(settlement.carry_out(task.id, &mut tx, at(1)).unwrap(), Settled::Written(vec![]));
        assert_eq!(tx.1, ["s3", "the delivery"]);
        let then = dispatch(&task, "s1", Dispatch::Initial, &BTreeMap::new(), at(1));
        let settlement = Settlement::without_transition(then);
        assert_eq!(settlement.carry_out(task.id, &mut tx, at(1)).unwrap(), Settled::Written(vec![]));
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
    fn nothing_follows_from_a_transition_that_is_refused() {
        let (mut tx, task, settlement) = settling(&[&[], &[0]], "s0");
        let refused =
            Settlement { transition: Some(task::finish_compensation(task.id, End::Error, at(1))), ..settlement };
        let settled = refused.carry_out(task.id, &mut tx, at(1)).unwrap();
        assert!(matches!(settled, Settled::Refused(_)), "{settled:?}");
        assert_eq!(tx.1, [""; 0]);
    }

    /// What it would have to read more for, the engine does; and only then the delivery ends.
    #[test]
    fn transaction_leaves_what_has_to_read_more_and_the_delivery_with_it() {
        let left = |settlement: Settlement, task: TaskId, tx: &mut Tx| {
            let Settled::Written(left) = settlement.carry_out(task, tx, at(1)).unwrap() else {
                panic!("it is refused")
            };
            assert_eq!(tx.1, [""; 0]);
            told(left)
        };
        let (mut tx, task, settlement) = settling(&[&[], &[0]], "s0");
        let settlement = Settlement { then: vec![Due::AdvanceCompensation.into()], ..settlement };
        assert_eq!(left(settlement, task.id, &mut tx), [due("compensation", None)]);

        // The task has ended otherwise.
        let (mut tx, task, settlement) = settling(&[&[]], "s0");
        let ended = Change::Set(attribute::STATUS, TaskStatus::Cancelled.as_str().into());
        tx.0.force(Key::Task(task.id), vec![ended]).unwrap();
        assert_eq!(left(settlement, task.id, &mut tx), [due("the end", None)]);

        // The task is gone.
        let (_, task, settlement) = settling(&[&[], &[]], "s0");
        assert_eq!(left(settlement, task.id, &mut Tx::default()), [due("the end", Some(&["s0", "s1"]))]);
    }
}
