//! Looks at every write as it is made: only legal transitions, a fencing token that only rises, an audit trail that is
//! only ever added to.

use super::{process::Process, scheduler::Scheduler};
use crate::locked::Locked;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use stepwell::{
    TaskId,
    core::{
        format::NewerFormat,
        item::Key,
        record::{StepRecord, TaskRecord},
        state::{StepEvent, TaskEvent},
        transition::Event,
    },
    testing::{Records, Written},
};

/// What has been seen of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Whether it is done.
    done: bool,
    /// The attempts that were put back before their handler ran: they leave no entry in the trail.
    pub(super) put_back: BTreeSet<u32>,
    /// The attempts whose results handlers of later steps were given.
    pub(super) results: BTreeSet<u64>,
}

/// Looks at every write.
#[derive(Debug)]
pub(super) struct Audit {
    scheduler: Arc<Scheduler>,
    seen: Locked<BTreeMap<(TaskId, String), Seen>>,
}

impl Audit {
    pub(super) fn new(scheduler: &Arc<Scheduler>) -> Self {
        Self { scheduler: scheduler.clone(), seen: Locked::default() }
    }

    /// What has been seen of a step.
    pub(super) fn of(&self, task: TaskId, step: &str) -> Seen {
        self.seen.lock().get(&(task, step.to_owned())).cloned().unwrap_or_default()
    }

    /// A handler was given the result of this attempt of this step.
    pub(super) fn seen(&self, task: TaskId, step: &str, attempt: u64) {
        self.seen.lock().entry((task, step.to_owned())).or_default().results.insert(attempt);
    }

    /// Looks at the writes of a process of the shipped version: none may change what is newer.
    pub(super) fn of_what_is_newer(process: Process) -> impl Fn(&Written<'_>) + Send + Sync + 'static {
        move |written| {
            if let Some(newer) = NewerFormat::of(written.key, written.before) {
                process
                    .scheduler()
                    .violated(|| format!("an older version has changed {}: {newer}", written.key.sort()));
            }
        }
    }

    pub(super) fn observe(&self, written: Written<'_>) {
        let (of_step, of_task) = match written.event {
            Some(Event::Step(event)) => (Some(event), None),
            Some(Event::Task(event)) => (None, Some(event)),
            None => (None, None),
        };
        match (written.key, written.records) {
            (Key::Step(task, _), Records::Step(before, after)) => self.step(*task, of_step, before, after),
            (_, Records::Task(before, after)) => self.task(of_task, before, after),
            _ => {}
        }
    }

    fn step(&self, task: TaskId, event: Option<StepEvent>, before: &StepRecord, after: &StepRecord) {
        if event.is_some() {
            self.scheduler
                .note(|| format!("{} {} -> {}, attempt {}", after.name, before.state, after.state, after.attempt));
        }
        if event == Some(StepEvent::Release) {
            let mut seen = self.seen.lock();
            seen.entry((task, after.name.clone())).or_default().put_back.insert(before.attempt);
        }
        self.seen.lock().entry((task, after.name.clone())).or_default().done = after.state.is_done();
        self.only_what_is_done(task, after.done_deps.difference(&before.done_deps));
        let legal = match event {
            Some(event) => before.state.on(event) == Some(after.state),
            None => before.state == after.state,
        };
        let claims = u32::from(event == Some(StepEvent::Claim));
        let rules = [
            (legal, "is no legal transition"),
            (after.attempt == before.attempt + claims, "changes the attempt's number by something else than a claim"),
            (
                after.uncounted_attempts >= before.uncounted_attempts && after.uncounted_attempts <= after.attempt,
                "does not keep account of uncounted_attempts attempts",
            ),
            (after.attempts.starts_with(&before.attempts), "changes the audit trail"),
            (!before.state.is_done() || before.result == after.result, "changes a result"),
            (after.state.is_done() == after.result.is_some(), "has a result and is not done, or the other way round"),
            (after.done_deps.is_superset(&before.done_deps), "forgets a dependency that is done"),
        ];
        for (_, what) in rules.iter().filter(|(kept, _)| !kept) {
            self.scheduler.violated(|| format!("{event:?} {what}: {before:?} -> {after:?}"));
        }
    }

    fn task(&self, event: Option<TaskEvent>, before: &TaskRecord, after: &TaskRecord) {
        self.scheduler.note(|| format!("the task {:?} -> {:?} ({event:?})", before.state, after.state));
        let legal = match event {
            Some(event) => before.state.on(event) == Some(after.state),
            None => before.state == after.state,
        };
        if !legal {
            self.scheduler
                .violated(|| format!("a task went from {:?} to {:?} on {event:?}", before.state, after.state));
        }
        self.only_what_is_done(after.id, after.done_deps.difference(&before.done_deps));
        if event == Some(TaskEvent::Finish) {
            self.only_what_is_done(after.id, after.plan.steps().iter().map(|step| &step.name));
        }
    }

    /// Nobody may be told that a step is done before it is.
    fn only_what_is_done<'a>(&self, task: TaskId, mut steps: impl Iterator<Item = &'a String>) {
        if let Some(step) = steps.find(|step| !self.of(task, step).done) {
            self.scheduler.violated(|| format!("{step} of task {task} is taken to be done, and is not"));
        }
    }
}
