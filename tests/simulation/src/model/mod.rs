//! The protocol as a model that is checked state by state, with [`stateright`].
//!
//! A state is all there is: the task's item and its steps', the messages in the queues, two workers in the middle of
//! what they do, a client with messages still to send, and the world with its idempotency keys. An action is one AWS
//! call of one of them, or something that happens to them: a message is delivered, a worker dies, a lease or a backoff
//! ends, a handler goes one way or the other, an answer or a message is lost, an operator steps in. A [`Scope`] says on
//! which graph and what may happen; what may happen may happen any time and any number of times. Nothing is cut off:
//! the state space is finite by itself.
//!
//! The states and their moves are the engine's own ([`StepState`], [`TaskState`]), and so is the graph
//! ([`Plan`](stepwell::core::plan::Plan)). The order of the calls is written down here once more, after the engine's words. So
//! are the writes, as one rule each (`writes.rs`); and every write of every simulated run is held to its rule
//! (`../sim/conformance/`).
//!
//! # What is simpler than the engine
//!
//! * Time is a flag: a lease or a backoff that has begun may end at once or never, and the worker may live on after it.
//!   So every clock is allowed for, and every delay.
//! * Of claim and load, which are made side by side, the load comes first.
//! * A message is delivered whenever it is there. Two that nobody holds and that differ in nothing are one.
//! * The watchdog sends a message only where the queue of the step is empty. A message too many is a fault of its own, the
//!   stray one.
//! * What the watchdog and the operators read and write is one action where all that was read is in the condition of the
//!   write, or final. Reads of several items count as one moment.
//! * Compensations run in the reverse order of the plan.
//! * What SQS gives up on is worked at once, unless a worker holds the step; then SQS does not give up yet. A letter on
//!   which nothing hangs is a lost message.
//!
//! # Completion
//!
//! `stateright` checks safety here. That everything comes to an end is checked by a walk backwards over the whole graph
//! ([`Graph`]): from every state that can be reached, whatever has gone wrong before, what is bound to happen leads to an
//! end with all queues empty.

mod graph;
mod recovery;
mod scope;
mod state;
mod store;
mod verify;
mod worker;
mod writes;

pub use graph::{Ends, Graph};
pub use scope::{Bug, Faults, Scope, large_scopes, small_scopes};
pub use state::{Bits, Item, Set, State, Task};
pub use verify::{Figures, Flaw, verify};
pub use worker::{Call, Run};
pub use writes::{Change, Fence, Rule, Snapshot, Write};

use state::{At, Message, WORKERS};
use stateright::{Model, Property};
use stepwell::core::state::{End, StepState, TaskState};

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message is handed to a worker that has none, perhaps for the second time.
    Deliver {
        /// The step whose queue it is in.
        step: usize,
        /// Where in it.
        slot: usize,
        /// Whether somebody has it in their hands already.
        again: bool,
    },
    /// A worker makes a call.
    Call(usize, Call),
    /// A worker's write takes effect and the answer is lost, so that it makes it again.
    Unanswered(usize, Call),
    /// A worker's handler runs.
    Run(usize, Run),
    /// A worker dies, or gives up its delivery because a call has failed.
    Crash(usize),
    /// A lease, or a backoff, is over.
    Over(usize),
    /// The watchdog finds something overdue and sends a message to this step.
    Watch(usize),
    /// A message that nobody holds is lost.
    Lose(usize, usize),
    /// A message comes from nowhere.
    Stray(usize),
    /// A client sends what it owes.
    ClientSend(usize),
    /// A client dies before it has sent what it owes.
    ClientDies,
    /// An operator retries what failed.
    Retry,
    /// An operator cancels the task.
    Cancel,
    /// An operator puts a result of their own in the place of a step's.
    Resolve(usize),
    /// SQS gives up on a message that nobody holds, and the step fails by it.
    DeadLetter(usize, usize),
    /// Somebody begins to undo a failed task.
    Recover,
    /// Somebody closes a step of a task that is to be undone.
    Close(usize),
    /// Somebody stores the order of the compensations.
    StoreOrder,
    /// Somebody ends a task of which all is undone.
    FinishUndoing,
}

/// Which ends count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Left alone, the task comes to rest: done, undone, or visibly in need of a person.
    Rest,
    /// With an operator who retries, the task is completed, or cancelled or undone where that is what was asked for.
    Mended,
}

/// A scope, and the ends that count in it.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The scope.
    pub scope: Scope,
    /// What is an end.
    pub goal: Goal,
}

impl Protocol {
    /// This scope, in which all has to come to rest.
    pub fn new(scope: Scope) -> Self {
        Self { scope, goal: Goal::Rest }
    }

    /// The same with an operator who retries.
    pub fn mended(self) -> Self {
        Self { goal: Goal::Mended, ..self }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::started(self.scope.roots)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Faults { crashes, lost_answers, retryable, permanent, .. } = self.scope.faults;
        for (index, worker) in state.workers.iter().enumerate() {
            // Idle workers are all alike, and stand first.
            let redundant = index > 0 && state.workers[index - 1] == *worker;
            if worker.at == At::Idle || redundant {
                continue;
            }
            for call in worker::calls(worker) {
                actions.push(Action::Call(index, call));
                if lost_answers && matches!(call, Call::Claim | Call::Release | Call::Write) {
                    actions.push(Action::Unanswered(index, call));
                }
            }
            if worker.at == At::Running {
                let runs = [
                    (true, Run::Ok),
                    (retryable, Run::Retryable),
                    (retryable, Run::RetryableAfterEffect),
                    (permanent, Run::Permanent),
                ];
                actions.extend(runs.into_iter().filter(|(may, _)| *may).map(|(_, run)| Action::Run(index, run)));
            }
            if crashes {
                actions.push(Action::Crash(index));
            }
        }
        self.around(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let scope = &self.scope;
        let mut state = *before;
        match action {
            Action::Deliver { step, slot, .. } => worker::deliver(&mut state, 0, step, slot),
            Action::Call(index, call) => worker::call(scope, &mut state, index, call, false),
            Action::Unanswered(index, call) => worker::call(scope, &mut state, index, call, true),
            Action::Run(index, run) => worker::run(scope, &mut state, index, run),
            Action::Crash(index) => state.workers[index] = state::Worker::default(),
            Action::Over(step) => state.items[step].over = true,
            Action::Watch(step) | Action::Stray(step) => state.send(step, Message::Plain),
            Action::Lose(step, slot) => state.delete(step, slot),
            Action::ClientSend(step) => {
                state.owed = state.owed.without(step);
                state.send(step, Message::Plain);
            }
            Action::ClientDies => state.owed = state::Set::default(),
            Action::Retry => recovery::retry(scope, &mut state),
            Action::Cancel => recovery::cancel(scope, &mut state),
            Action::Resolve(step) => recovery::resolve(scope, &mut state, step),
            Action::DeadLetter(step, slot) => {
                state.delete(step, slot);
                recovery::give_up(scope, &mut state, step);
            }
            Action::Recover => recovery::recover(scope, &mut state),
            Action::Close(step) => recovery::close(scope, &mut state, step),
            Action::StoreOrder => recovery::store_order(scope, &mut state),
            Action::FinishUndoing => recovery::finish_undoing(scope, &mut state),
        }
        let state = state.canonical();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("steps and task move only along the tables of states", |_, state: &State| {
                !state.wrongs.illegal_move
            }),
            Property::always("a handler begins only after all it depends on is done", |_, state: &State| {
                !state.wrongs.too_early
            }),
            Property::always("nothing begins in a task that was found closed", |_, state: &State| {
                !state.wrongs.after_end
            }),
            Property::always("a step has one result", |_, state: &State| {
                state.items.iter().all(|item| item.results <= 1)
            }),
            Property::always("a step is charged once", |_, state: &State| {
                state.effects.iter().all(|effect| effect.charged <= 1)
            }),
            Property::always("what is complete has had its effect", Self::complete_has_effect),
            Property::always("a task is complete only if all of its steps are done", |model: &Self, state: &State| {
                let done = |step: usize| state.items[step].state.is_done();
                state.task.state != TaskState::Completed || model.scope.forward().all(done)
            }),
            Property::always("a failed step shows in its task, and only that does", Self::failure_shows),
            Property::always(
                "once compensations run no step is waiting or in flight",
                |model: &Self, state: &State| {
                    let settled = |step: usize| writes::is_settled(state.items[step].state);
                    !state.task.ordered || model.scope.forward().all(settled)
                },
            ),
            Property::always("after compensation nothing is charged and kept", |_, state: &State| {
                let kept = state.effects.iter().any(|effect| effect.charged > 0 && !effect.refunded);
                !(matches!(state.task.state, TaskState::Compensated(_)) && kept)
            }),
            Property::always("what is written is what its rule allows", |_, state: &State| !state.wrongs.unruled),
            Property::always("nothing is stuck", |model: &Self, state: &State| {
                model.has_come_to_rest(state) || model.goes_on(state)
            }),
            Property::sometimes("a task comes to its end", |model: &Self, state: &State| model.has_come_to_rest(state)),
        ]
    }
}

impl Protocol {
    /// What happens around the workers.
    fn around(&self, state: &State, actions: &mut Vec<Action>) {
        let Self { scope, .. } = self;
        let Faults { slow_workers, duplicates, lost_messages, stray_messages, .. } = scope.faults;
        let Faults { retries, cancels, resolves, dead_letters, .. } = scope.faults;
        let idle = WORKERS > 0 && state.workers[0].at == At::Idle;
        for step in scope.steps() {
            for (slot, _) in state.messages(step) {
                let again = state.held(step, slot);
                if idle && (!again || duplicates) {
                    actions.push(Action::Deliver { step, slot, again });
                }
                if lost_messages && !again {
                    actions.push(Action::Lose(step, slot));
                }
                if dead_letters && !again && recovery::may_give_up(scope, state, step) {
                    actions.push(Action::DeadLetter(step, slot));
                }
            }
            let Item { state: at, over, .. } = state.items[step];
            let may_be_over = match at {
                StepState::InProgress => slow_workers || !state.is_led(step),
                state => state == StepState::Retrying,
            };
            if may_be_over && !over {
                actions.push(Action::Over(step));
            }
            let absent = !state.has_message(step);
            if scope.watchdog && state.has_no_message(step) && recovery::is_due(scope, state, step) {
                actions.push(Action::Watch(step));
            }
            if stray_messages && absent {
                actions.push(Action::Stray(step));
            }
            if state.owed.has(step) {
                actions.push(Action::ClientSend(step));
            }
            if resolves && recovery::may_resolve(scope, state, step) {
                actions.push(Action::Resolve(step));
            }
            if recovery::may_close(scope, state, step) {
                actions.push(Action::Close(step));
            }
        }
        let others = [
            (lost_messages && !state.owed.is_empty(), Action::ClientDies),
            (retries && recovery::may_retry(scope, state), Action::Retry),
            (cancels && recovery::may_cancel(scope, state), Action::Cancel),
            (recovery::may_unwind(scope, state), Action::Recover),
            (recovery::may_order(scope, state), Action::StoreOrder),
            (recovery::may_finish_undoing(scope, state), Action::FinishUndoing),
        ];
        actions.extend(others.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
    }

    fn complete_has_effect(&self, state: &State) -> bool {
        let charged = |step: usize| state.items[step].state != StepState::Complete || state.effects[step].charged > 0;
        self.scope.forward().all(charged)
    }

    fn failure_shows(&self, state: &State) -> bool {
        let failed = self.scope.forward().any(|step| state.items[step].state == StepState::Error);
        match state.task.state {
            TaskState::Running | TaskState::Completed => !failed,
            // What failed is never closed, so it still shows in a task that was compensated for it.
            TaskState::Failed | TaskState::Compensated(End::Error) => failed,
            _ => true,
        }
    }

    /// Whether all is quiet, and whatever is still to come has to come from a person.
    pub fn has_come_to_rest(&self, state: &State) -> bool {
        state.is_quiet()
            && match state.task.state {
                TaskState::Completed | TaskState::Cancelled | TaskState::Resolved | TaskState::Compensated(_) => true,
                TaskState::Failed => !recovery::may_unwind(&self.scope, state),
                TaskState::Compensating(_) => recovery::needs_hands(&self.scope, state),
                TaskState::Running => false,
            }
    }

    /// Whether anything that is bound to happen can.
    fn goes_on(&self, state: &State) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        actions.iter().any(|action| self.is_bound_to_happen(action))
    }
}

impl Ends for Protocol {
    fn is_bound_to_happen(&self, action: &Action) -> bool {
        match action {
            Action::Deliver { again, .. } => !again,
            Action::Run(_, run) => *run == Run::Ok,
            Action::Call(..)
            | Action::Over(_)
            | Action::Watch(_)
            | Action::ClientSend(_)
            | Action::Recover
            | Action::Close(_)
            | Action::StoreOrder
            | Action::FinishUndoing => true,
            Action::Retry => self.goal == Goal::Mended,
            Action::Unanswered(..)
            | Action::Crash(_)
            | Action::Lose(..)
            | Action::Stray(_)
            | Action::ClientDies
            | Action::Cancel
            | Action::Resolve(_)
            | Action::DeadLetter(..) => false,
        }
    }

    fn has_ended(&self, state: &State) -> bool {
        let waits_for_person = matches!(state.task.state, TaskState::Failed | TaskState::Compensating(_));
        self.has_come_to_rest(state) && (self.goal == Goal::Rest || !waits_for_person)
    }
}
