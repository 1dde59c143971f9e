//! The protocol as a state machine that is checked state by state, with [`stateright`].
//!
//! A state is the whole system: the items of the task and its steps, the messages in the queues, two workers between
//! any two of their calls, a client that still owes messages, and the outside services with their idempotency keys. An
//! action is one AWS call of a worker or client, or an event: a message is delivered, a worker dies, a lease or a
//! backoff ends, a handler succeeds or fails, an answer or a message is lost, an operator acts. A [`Scope`] chooses the
//! graph and the events that are possible; a possible event may happen at any time and any number of times. Nothing is
//! cut off: the state space is finite by itself.
//!
//! The states and transitions are the engine's own ([`StepState`], [`TaskState`]), and so is the DAG
//! ([`Plan`](stepwell::core::plan::Plan)). The model repeats the order of the engine's calls. It also repeats the
//! engine's writes, as one rule each (`writes.rs`); every write of every simulated run is checked against its rule
//! (`../sim/conformance/`).
//!
//! # What is simpler than the engine
//!
//! * Time is a flag: a lease or a backoff that has begun may end at once or never, and the worker may live on after it.
//!   So the model covers every clock and every delay.
//! * The engine makes claim and load concurrently; in the model the load comes first.
//! * A message may be delivered as soon as it is in the queue. Equal messages that no worker holds count as one.
//! * A message that waits is in its queue, whether it is hidden, delayed, or a timer in the index. That of a failed step waits until
//!   the task is recovered.
//! * The watchdog sends a message only where the queue of the step is empty. A surplus message is a fault of its own,
//!   the stray message.
//! * A read and a write of the watchdog or an operator are one action where the write's condition contains all that was
//!   read, or what was read is final. Reads of several items happen at one moment.
//! * The watchdog inspects a completed task whose optional step is open, whether or not the index lists it.
//! * The breaker of a service is open or closed whenever a worker asks. Nobody writes it.
//! * A dead letter is handled at once. SQS makes no dead letter of a message while a worker holds the step. A dead
//!   letter without consequences is a lost message.
//!
//! # Completion
//!
//! `stateright` checks safety here. A walk backwards over the whole graph ([`StateGraph`]) checks liveness: from every
//! reachable state, whatever went wrong before, the actions that are bound to happen lead to an end with all queues
//! empty.

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
use store::Items;

/// An action: one call, or one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelAction {
    /// A message is delivered to an idle worker, perhaps for the second time.
    Deliver {
        /// The step whose queue holds the message.
        step: usize,
        /// The message's slot in the queue.
        slot: usize,
        /// Whether another worker holds it already.
        again: bool,
    },
    /// A worker makes a call.
    Call(usize, WorkerCall),
    /// A worker's write takes effect, its answer is lost, and the worker makes it again.
    Unanswered(usize, WorkerCall),
    /// A worker's handler runs.
    Run(usize, HandlerRun),
    /// A worker dies, or ends its delivery because a call has failed.
    Crash(usize),
    /// A step's lease or backoff ends.
    Over(usize),
    /// The watchdog finds a step overdue and sends it a message.
    Watch(usize),
    /// A message that nobody holds is lost.
    Lose(usize, usize),
    /// A message arrives that nobody had to send.
    Stray(usize),
    /// A client sends a message that it owes.
    ClientSend(usize),
    /// A client dies before it has sent all that it owes.
    ClientDies,
    /// An operator redrives the failed steps.
    Redrive,
    /// An operator cancels the task.
    Cancel,
    /// An operator sets a step's result.
    Resolve(usize),
    /// SQS makes a dead letter of a message that no worker holds, and the step fails.
    DeadLetter(usize, usize),
    /// A worker with the message of a failed step, the watchdog or an operator begins to compensate a failed task.
    Recover,
    /// The watchdog or an operator cancels a step of a task that is being compensated.
    Close(usize),
    /// The watchdog or an operator stores the order of the compensations.
    StoreOrder,
    /// The watchdog or an operator ends a task whose compensations are all complete.
    FinishCompensation,
    /// The deadline of the task is over.
    Deadline,
    /// A worker, the watchdog or an operator completes a task again whose compensations have refused.
    Reinstate,
}

/// The states that count as ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Left alone, the task comes to rest: it is complete, compensated, or visibly needs an operator.
    Rest,
    /// With an operator who redrives, the task is completed; or it is cancelled or compensated where that was asked
    /// for.
    Mended,
}

/// A scope, and its goal.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The graph and the possible events.
    pub scope: Scope,
    /// The states that count as ends.
    pub goal: Goal,
}

impl Protocol {
    /// This scope, in which every task has to come to rest.
    pub fn new(scope: Scope) -> Self {
        Self { scope, goal: Goal::Rest }
    }

    /// The same with an operator who redrives.
    pub fn mended(self) -> Self {
        Self { goal: Goal::Mended, ..self }
    }
}

impl Model for Protocol {
    type State = ModelState;
    type Action = ModelAction;

    fn init_states(&self) -> Vec<ModelState> {
        let mut state = ModelState::started(self.scope.first());
        let kept: Vec<usize> = self.scope.kept.iter().collect();
        let items = Items { scope: &self.scope, state: &state };
        let created = Write::Create(&kept).change(&items).filter(|_| Write::Create(&kept).is_due(&items));
        // A scope whose task nobody may create has no states, and no check passes.
        let Some(Change { task, items }) = created else { return Vec::new() };
        state.task = task.unwrap_or(state.task);
        items.into_iter().for_each(|(step, item)| state.items[step] = item);
        vec![state]
    }

    fn actions(&self, state: &ModelState, actions: &mut Vec<ModelAction>) {
        let Faults { crashes, lost_answers, retryable, throttled, permanent, refuses, .. } = self.scope.faults;
        for (index, worker) in state.workers.iter().enumerate() {
            // Idle workers are interchangeable, and sorted first.
            let redundant = index > 0 && state.workers[index - 1] == *worker;
            if worker.at == WorkerState::Idle || redundant {
                continue;
            }
            for call in worker::calls(&self.scope, worker) {
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
                    (throttled, HandlerRun::Throttled),
                    (permanent, HandlerRun::Permanent),
                    (refuses && self.scope.is_compensation(worker.step.into()), HandlerRun::Refused),
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
            ModelAction::Deadline => state.overdue = true,
            ModelAction::Reinstate => recovery::reinstate(scope, &mut state),
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
            Property::always("nothing that the deadline holds for begins after it", |_, state: &ModelState| {
                !state.violations.after_deadline
            }),
            Property::always("a step has one result", |_, state: &ModelState| {
                state.items.iter().all(|item| item.results <= 1)
            }),
            Property::always("a step is charged once", |_, state: &ModelState| {
                state.effects.iter().all(|effect| effect.charged <= 1)
            }),
            Property::always("what is complete has had its effect", Self::complete_has_effect),
            Property::always(
                "what was never attempted has no effect and no counted attempt",
                Self::unattempted_is_untouched,
            ),
            Property::always(
                "a task is complete only if all of its steps are done, or optional",
                |model: &Self, state: &ModelState| {
                    let done = |step: usize| state.items[step].state.is_done() || model.scope.optional.has(step);
                    state.task.state != TaskState::Completed || model.scope.forward().all(done)
                },
            ),
            Property::always(
                "a failed step shows in its task unless it is optional, and only that does",
                Self::failure_shows,
            ),
            Property::always(
                "once compensations run no step is waiting or in flight",
                |model: &Self, state: &ModelState| {
                    let settled = |step: usize| writes::is_settled(state.items[step].state);
                    !state.task.ordered || model.scope.forward().all(settled)
                },
            ),
            Property::always("after compensation nothing is charged and kept", |model: &Self, state: &ModelState| {
                let kept = |step: usize| state.effects[step].charged > 0 && !state.effects[step].refunded;
                let given_up = |compensation: usize| {
                    model.scope.optional.has(compensation) && state.items[compensation].state == StepState::Error
                };
                let closed = matches!(state.task.state, TaskState::Compensated(_));
                !(closed && model.scope.forward().any(|step| kept(step) && !given_up(step + model.scope.forward)))
            }),
            Property::always("of a complete task nothing is undone", |_, state: &ModelState| {
                state.task.state != TaskState::Completed || !state.effects.iter().any(|effect| effect.voided)
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
    /// Adds the actions that are not a worker's own.
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
            (recovery::may_recover(scope, state), ModelAction::Recover),
            (recovery::may_order(scope, state), ModelAction::StoreOrder),
            (recovery::may_finish_compensation(scope, state), ModelAction::FinishCompensation),
            (scope.faults.deadline && !state.overdue, ModelAction::Deadline),
            (recovery::may_reinstate(scope, state), ModelAction::Reinstate),
        ];
        actions.extend(others.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
    }

    fn complete_has_effect(&self, state: &ModelState) -> bool {
        let charged = |step: usize| {
            let is_done = state.items[step].state == StepState::Complete && !self.scope.kept.has(step);
            !is_done || state.effects[step].charged > 0
        };
        self.scope.forward().all(charged)
    }

    fn unattempted_is_untouched(&self, state: &ModelState) -> bool {
        let untouched = |step: usize| {
            let has_effect = match step.checked_sub(self.scope.forward) {
                Some(undone) => state.effects[undone].voided,
                None => state.effects[step].charged > 0,
            };
            state.items[step].attempted || !has_effect && state.items[step].counted == 0
        };
        self.scope.steps().all(untouched)
    }

    fn failure_shows(&self, state: &ModelState) -> bool {
        let required = |step: &usize| !self.scope.optional.has(*step);
        let failed = self.scope.forward().filter(required).any(|step| state.items[step].state == StepState::Error);
        match state.task.state {
            TaskState::Running | TaskState::Completed => !failed,
            // Compensation never closes a failed step, so the failure still shows in the compensated task.
            TaskState::Failed | TaskState::Compensated(End::Error) => failed,
            _ => true,
        }
    }

    /// Whether nothing happens any more unless an operator acts.
    pub fn has_come_to_rest(&self, state: &ModelState) -> bool {
        state.is_quiet()
            && match state.task.state {
                TaskState::Completed => self.scope.forward().all(|step| writes::is_settled(state.items[step].state)),
                TaskState::Cancelled | TaskState::Resolved | TaskState::Compensated(_) => true,
                TaskState::Failed => !recovery::may_compensate(&self.scope, state),
                TaskState::Compensating(_) => {
                    recovery::needs_operator(&self.scope, state) && !recovery::may_reinstate(&self.scope, state)
                }
                TaskState::Running => false,
            }
    }

    /// Whether any action is possible that is bound to happen.
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
            | ModelAction::FinishCompensation
            | ModelAction::Reinstate => true,
            ModelAction::Redrive => self.goal == Goal::Mended,
            ModelAction::Unanswered(..)
            | ModelAction::Crash(_)
            | ModelAction::Lose(..)
            | ModelAction::Stray(_)
            | ModelAction::ClientDies
            | ModelAction::Cancel
            | ModelAction::Resolve(_)
            | ModelAction::DeadLetter(..)
            | ModelAction::Deadline => false,
        }
    }

    fn has_ended(&self, state: &ModelState) -> bool {
        let waits_for_person = matches!(state.task.state, TaskState::Failed | TaskState::Compensating(_));
        self.has_come_to_rest(state) && (self.goal == Goal::Rest || !waits_for_person)
    }
}
