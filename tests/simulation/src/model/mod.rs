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
//! ([`StateGraph`]): from every state that can be reached, whatever has gone wrong before, what is bound to happen leads to an
//! end with all queues empty.

mod graph;
mod recovery;
mod scope;
mod state;
mod store;
mod verify;
mod worker;
mod writes;

pub use graph::{Ends, StateGraph};
pub use scope::{Bug, Faults, Scope, large_scopes, small_scopes};
pub use state::{Bits, ModelItem, ModelState, ModelTask, Set};
pub use verify::{Figures, Flaw, verify};
pub use worker::{HandlerRun, WorkerCall};
pub use writes::{Change, Fence, Rule, Snapshot, Write};

use state::{ModelMessage, WORKERS, WorkerState};
use stateright::{Model, Property};
use stepwell::core::state::{End, StepState, TaskState};

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelAction {
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
    Call(usize, WorkerCall),
    /// A worker's write takes effect and the answer is lost, so that it makes it again.
    Unanswered(usize, WorkerCall),
    /// A worker's handler runs.
    Run(usize, HandlerRun),
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
    Redrive,
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
    FinishCompensation,
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
    type State = ModelState;
    type Action = ModelAction;

    fn init_states(&self) -> Vec<ModelState> {
        vec![ModelState::started(self.scope.roots)]
    }

    fn actions(&self, state: &ModelState, actions: &mut Vec<ModelAction>) {
        let Faults { crashes, lost_answers, retryable, permanent, .. } = self.scope.faults;
        for (index, worker) in state.workers.iter().enumerate() {
            // Idle workers are all alike, and stand first.
            let redundant = index > 0 && state.workers[index - 1] == *worker;
            if worker.at == WorkerState::Idle || redundant {
                continue;
            }
            for call in worker::calls(worker) {
                actions.push(ModelAction::Call(index, call));
                if lost_answers && matches!(call, WorkerCall::Claim | WorkerCall::Release | WorkerCall::Write) {
                    actions.push(ModelAction::Unanswered(index, call));
                }
            }
            if worker.at == WorkerState::Running {
                let runs = [
                    (true, HandlerRun::Ok),
                    (retryable, HandlerRun::Retryable),
                    (retryable, HandlerRun::RetryableAfterEffect),
                    (permanent, HandlerRun::Permanent),
                ];
                actions.extend(runs.into_iter().filter(|(may, _)| *may).map(|(_, run)| ModelAction::Run(index, run)));
            }
            if crashes {
                actions.push(ModelAction::Crash(index));
            }
        }
        self.around(state, actions);
    }

    fn next_state(&self, before: &ModelState, action: ModelAction) -> Option<ModelState> {
        let scope = &self.scope;
        let mut state = *before;
        match action {
            ModelAction::Deliver { step, slot, .. } => worker::deliver(&mut state, 0, step, slot),
            ModelAction::Call(index, call) => worker::call(scope, &mut state, index, call, false),
            ModelAction::Unanswered(index, call) => worker::call(scope, &mut state, index, call, true),
            ModelAction::Run(index, run) => worker::run(scope, &mut state, index, run),
            ModelAction::Crash(index) => state.workers[index] = state::Worker::default(),
            ModelAction::Over(step) => state.items[step].over = true,
            ModelAction::Watch(step) | ModelAction::Stray(step) => state.send(step, ModelMessage::Plain),
            ModelAction::Lose(step, slot) => state.delete(step, slot),
            ModelAction::ClientSend(step) => {
                state.owed = state.owed.without(step);
                state.send(step, ModelMessage::Plain);
            }
            ModelAction::ClientDies => state.owed = state::Set::default(),
            ModelAction::Redrive => recovery::redrive(scope, &mut state),
            ModelAction::Cancel => recovery::cancel(scope, &mut state),
            ModelAction::Resolve(step) => recovery::resolve(scope, &mut state, step),
            ModelAction::DeadLetter(step, slot) => {
                state.delete(step, slot);
                recovery::dead_letter(scope, &mut state, step);
            }
            ModelAction::Recover => recovery::recover(scope, &mut state),
            ModelAction::Close(step) => recovery::close(scope, &mut state, step),
            ModelAction::StoreOrder => recovery::store_order(scope, &mut state),
            ModelAction::FinishCompensation => recovery::finish_compensation(scope, &mut state),
        }
        let state = state.canonical();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("steps and task move only along the tables of states", |_, state: &ModelState| {
                !state.violations.illegal_move
            }),
            Property::always("a handler begins only after all it depends on is done", |_, state: &ModelState| {
                !state.violations.too_early
            }),
            Property::always("nothing begins in a task that was found closed", |_, state: &ModelState| {
                !state.violations.after_end
            }),
            Property::always("a step has one result", |_, state: &ModelState| {
                state.items.iter().all(|item| item.results <= 1)
            }),
            Property::always("a step is charged once", |_, state: &ModelState| {
                state.effects.iter().all(|effect| effect.charged <= 1)
            }),
            Property::always("what is complete has had its effect", Self::complete_has_effect),
            Property::always(
                "a task is complete only if all of its steps are done",
                |model: &Self, state: &ModelState| {
                    let done = |step: usize| state.items[step].state.is_done();
                    state.task.state != TaskState::Completed || model.scope.forward().all(done)
                },
            ),
            Property::always("a failed step shows in its task, and only that does", Self::failure_shows),
            Property::always(
                "once compensations run no step is waiting or in flight",
                |model: &Self, state: &ModelState| {
                    let settled = |step: usize| writes::is_settled(state.items[step].state);
                    !state.task.ordered || model.scope.forward().all(settled)
                },
            ),
            Property::always("after compensation nothing is charged and kept", |_, state: &ModelState| {
                let kept = state.effects.iter().any(|effect| effect.charged > 0 && !effect.refunded);
                !(matches!(state.task.state, TaskState::Compensated(_)) && kept)
            }),
            Property::always("what is written is what its rule allows", |_, state: &ModelState| {
                !state.violations.unruled
            }),
            Property::always("nothing is stuck", |model: &Self, state: &ModelState| {
                model.has_come_to_rest(state) || model.goes_on(state)
            }),
            Property::sometimes("a task comes to its end", |model: &Self, state: &ModelState| {
                model.has_come_to_rest(state)
            }),
        ]
    }
}

impl Protocol {
    /// What happens around the workers.
    fn around(&self, state: &ModelState, actions: &mut Vec<ModelAction>) {
        let Self { scope, .. } = self;
        let Faults { slow_workers, duplicates, lost_messages, stray_messages, .. } = scope.faults;
        let Faults { redrives, cancels, resolves, dead_letters, .. } = scope.faults;
        let idle = WORKERS > 0 && state.workers[0].at == WorkerState::Idle;
        for step in scope.steps() {
            for (slot, _) in state.messages(step) {
                let again = state.held(step, slot);
                if idle && (!again || duplicates) {
                    actions.push(ModelAction::Deliver { step, slot, again });
                }
                if lost_messages && !again {
                    actions.push(ModelAction::Lose(step, slot));
                }
                if dead_letters && !again && recovery::may_dead_letter(scope, state, step) {
                    actions.push(ModelAction::DeadLetter(step, slot));
                }
            }
            let ModelItem { state: at, over, .. } = state.items[step];
            let may_be_over = match at {
                StepState::InProgress => slow_workers || !state.is_led(step),
                state => state == StepState::Retrying,
            };
            if may_be_over && !over {
                actions.push(ModelAction::Over(step));
            }
            let absent = !state.has_message(step);
            if scope.watchdog && state.has_no_message(step) && recovery::is_due(scope, state, step) {
                actions.push(ModelAction::Watch(step));
            }
            if stray_messages && absent {
                actions.push(ModelAction::Stray(step));
            }
            if state.owed.has(step) {
                actions.push(ModelAction::ClientSend(step));
            }
            if resolves && recovery::may_resolve(scope, state, step) {
                actions.push(ModelAction::Resolve(step));
            }
            if recovery::may_close(scope, state, step) {
                actions.push(ModelAction::Close(step));
            }
        }
        let others = [
            (lost_messages && !state.owed.is_empty(), ModelAction::ClientDies),
            (redrives && recovery::may_redrive(scope, state), ModelAction::Redrive),
            (cancels && recovery::may_cancel(scope, state), ModelAction::Cancel),
            (recovery::may_compensate(scope, state), ModelAction::Recover),
            (recovery::may_order(scope, state), ModelAction::StoreOrder),
            (recovery::may_finish_compensation(scope, state), ModelAction::FinishCompensation),
        ];
        actions.extend(others.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
    }

    fn complete_has_effect(&self, state: &ModelState) -> bool {
        let charged = |step: usize| state.items[step].state != StepState::Complete || state.effects[step].charged > 0;
        self.scope.forward().all(charged)
    }

    fn failure_shows(&self, state: &ModelState) -> bool {
        let failed = self.scope.forward().any(|step| state.items[step].state == StepState::Error);
        match state.task.state {
            TaskState::Running | TaskState::Completed => !failed,
            // What failed is never closed, so it still shows in a task that was compensated for it.
            TaskState::Failed | TaskState::Compensated(End::Error) => failed,
            _ => true,
        }
    }

    /// Whether all is quiet, and whatever is still to come has to come from a person.
    pub fn has_come_to_rest(&self, state: &ModelState) -> bool {
        state.is_quiet()
            && match state.task.state {
                TaskState::Completed | TaskState::Cancelled | TaskState::Resolved | TaskState::Compensated(_) => true,
                TaskState::Failed => !recovery::may_compensate(&self.scope, state),
                TaskState::Compensating(_) => recovery::needs_operator(&self.scope, state),
                TaskState::Running => false,
            }
    }

    /// Whether anything that is bound to happen can.
    fn goes_on(&self, state: &ModelState) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        actions.iter().any(|action| self.is_bound_to_happen(action))
    }
}

impl Ends for Protocol {
    fn is_bound_to_happen(&self, action: &ModelAction) -> bool {
        match action {
            ModelAction::Deliver { again, .. } => !again,
            ModelAction::Run(_, run) => *run == HandlerRun::Ok,
            ModelAction::Call(..)
            | ModelAction::Over(_)
            | ModelAction::Watch(_)
            | ModelAction::ClientSend(_)
            | ModelAction::Recover
            | ModelAction::Close(_)
            | ModelAction::StoreOrder
            | ModelAction::FinishCompensation => true,
            ModelAction::Redrive => self.goal == Goal::Mended,
            ModelAction::Unanswered(..)
            | ModelAction::Crash(_)
            | ModelAction::Lose(..)
            | ModelAction::Stray(_)
            | ModelAction::ClientDies
            | ModelAction::Cancel
            | ModelAction::Resolve(_)
            | ModelAction::DeadLetter(..) => false,
        }
    }

    fn has_ended(&self, state: &ModelState) -> bool {
        let waits_for_person = matches!(state.task.state, TaskState::Failed | TaskState::Compensating(_));
        self.has_come_to_rest(state) && (self.goal == Goal::Rest || !waits_for_person)
    }
}
