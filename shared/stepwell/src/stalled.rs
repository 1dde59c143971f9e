//! What is overdue in a task, and what would set it going again: a pure function of its items and the time.
//!
//! Whatever is missing is mended by a message to a step, for its worker finds out from the table what is to be done: run
//! the step, take it over from a worker that died, or make a hand-over that broke off. A message too many does no harm.

use crate::{
    Timestamp,
    compensation::{self, Next},
    history::History,
    plan::StepPlan,
    queue::Message,
    state::{StepState, TaskStatus},
    table::StepRecord,
    unwind::message,
};
use std::time::Duration;

/// How long something may be due before it counts as overdue. Messages take their time, above all in a queue that is
/// far behind.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The longest time between two looks at a task that waits.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What a look at a task has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The messages that are missing, or may be.
    pub send: Vec<Message>,
    /// Whether its compensation can go on.
    pub unwind: bool,
    /// When to look again; `None` where nothing more happens by itself.
    pub next: Option<Timestamp>,
}

/// Looks at a task.
///
/// The longer it has been quiet, the longer until the next look, from [`PATIENCE`] to [`LONGEST_PAUSE`]: a step whose
/// queue is hours behind does not get a message a minute.
pub fn look(history: &History, now: Timestamp) -> Look {
    let pause = now.since(history.last_event()).clamp(PATIENCE, LONGEST_PAUSE);
    let mut found = Found { history, now, send: Vec::new(), unwind: false, wait: None };
    found.look();
    let Found { send, unwind, wait, .. } = found;
    // Not over and over for the sake of one that is just about to be overdue.
    let wait = wait.map(|wait| wait.max(now + PATIENCE));
    let acted = unwind || !send.is_empty();
    let again = (acted || (wait.is_none() && is_open(history))).then(|| now + pause);
    let next = [again, wait].into_iter().flatten().min();
    Look { send, unwind, next }
}

/// Whether the watchdog has to keep an eye on it.
fn is_open(history: &History) -> bool {
    matches!(history.task.status, TaskStatus::Pending | TaskStatus::Compensating)
}

/// What has been found so far.
struct Found<'a> {
    history: &'a History,
    now: Timestamp,
    send: Vec<Message>,
    unwind: bool,
    /// The earliest moment at which something that is not overdue would be.
    wait: Option<Timestamp>,
}

impl Found<'_> {
    fn look(&mut self) {
        let history = self.history;
        match compensation::next(history, self.now) {
            Next::Begin | Next::Close(_) | Next::Order(_) | Next::Finish(_) => self.unwind = true,
            Next::Wait(until) => {
                self.wait_until(until);
                self.steps();
            }
            Next::InFlight(until) => self.wait_until(until + PATIENCE),
            Next::Run(compensation) => self.step(compensation),
            Next::Nothing if history.task.status == TaskStatus::Pending => self.steps(),
            Next::Nothing => {}
        }
    }

    fn steps(&mut self) {
        let history = self.history;
        let plans = history.task.plan.steps().iter();
        plans.zip(&history.steps).filter(|(plan, _)| history.is_ready(plan)).for_each(|(_, step)| self.step(step));
        if history.steps.iter().all(|step| step.state.is_done()) {
            let names: Vec<String> = history.task.plan.last_steps().map(|step| step.name.clone()).collect();
            names.iter().for_each(|name| self.expect(name, history.last_event()));
        }
    }

    /// A step that nothing hinders.
    fn step(&mut self, step: &StepRecord) {
        let due = match step.state {
            StepState::Pending => Some(self.ready_since(&step.name)),
            StepState::InProgress => step.lease_until,
            StepState::Retrying => step.next_retry_at,
            StepState::Complete | StepState::Error | StepState::Cancelled | StepState::ResolvedManually => None,
        };
        if let Some(due) = due {
            self.expect(&step.name, due);
        }
    }

    /// The worker of this step should have been at it since `due`.
    fn expect(&mut self, name: &str, due: Timestamp) {
        if due + PATIENCE <= self.now {
            self.send.push(message(self.history, name));
        } else {
            self.wait_until(due + PATIENCE);
        }
    }

    /// Since when a step has been ready: since the last of those it waits for was done, or since somebody did something
    /// to the task.
    fn ready_since(&self, name: &str) -> Timestamp {
        let task = &self.history.task;
        let waits_for = task.plan.step(name).and_then(|step: &StepPlan| task.waits_for(step)).unwrap_or_default();
        let done = waits_for.into_iter().filter_map(|name| self.history.step(name)?.finished_at);
        done.chain(task.actions.iter().map(|action| action.at)).fold(task.created_at, Timestamp::max)
    }

    fn wait_until(&mut self, moment: Timestamp) {
        self.wait = Some(self.wait.map_or(moment, |earlier| earlier.min(moment)));
    }
}
