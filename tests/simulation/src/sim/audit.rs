//! The audit of every write as it is made: only legal transitions, only rising fencing tokens, and no change of
//! existing entries in an audit trail.

use super::{process::SimulatedProcess, scheduler::Scheduler};
use crate::{graph::COMPENSATION_OFFSET, locked::Locked, steps::number_of};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use stepwell::{
    TaskId, Timestamp,
    core::{
        breaker::{Breaker, PROBE_EVERY},
        format::NewerFormat,
        item::Key,
        plan::Plan,
        record::{ActionKind, Outcome, StepRecord, TaskRecord},
        state::{StepEvent, StepState, TaskEvent},
        trail::{FIRST_ATTEMPTS, LAST_ATTEMPTS},
        transition::Event,
    },
    testing::{Records, Written},
};

/// The actor of the engine's own actions.
const ENGINE: &str = "stepwell";

/// The audit's record of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Whether it is done.
    done: bool,
    /// Whether it has failed for good.
    failed: bool,
    /// The attempts that were released before their handler ran. They leave no entry in the audit trail.
    pub(super) put_back: BTreeSet<u32>,
    /// The attempts whose results were given to handlers of dependents.
    pub(super) results: BTreeSet<u64>,
}

/// Checks every write.
#[derive(Debug)]
pub(super) struct Audit {
    scheduler: Arc<Scheduler>,
    seen: Locked<BTreeMap<(TaskId, String), Seen>>,
    /// Whether the message of a failed step always gets to a worker that may act on it: all processes are of one version, and no step is paused.
    is_prompt: bool,
    /// The compensations that have a last attempt.
    optional_compensations: BTreeSet<String>,
    punctual: Locked<u64>,
    latest: Locked<Duration>,
    outages: Locked<Outages>,
}

/// What the breaker has let pass.
#[derive(Debug, Default)]
struct Outages {
    /// How often it was opened.
    opened: u64,
    /// How many probes were claimed.
    probes: u64,
    /// The attempts that began while it had been open for long.
    attempts: u64,
}

/// How much later than planned a redrive or a compensation may begin, apart from the errors of the clocks.
const PUNCTUAL: Duration = Duration::from_secs(60);

/// How long after the last fault a process may still be late: calls that failed hide messages for up to five minutes.
const AFTER_TROUBLE: Duration = Duration::from_secs(10 * 60);

impl Audit {
    pub(super) fn new(scheduler: &Arc<Scheduler>, is_prompt: bool, optional_compensations: BTreeSet<String>) -> Self {
        let (seen, punctual, latest, outages) = Default::default();
        Self { scheduler: scheduler.clone(), seen, is_prompt, optional_compensations, punctual, latest, outages }
    }

    /// How many redrives and compensations had to begin on time, and the longest delay of one.
    pub(super) fn punctual(&self) -> (u64, Duration) {
        (self.punctual.get(), self.latest.get())
    }

    /// Checks that what the engine had planned for a time begins on time: no matter whether the watchdog runs, and though the feeder
    /// stands still for less than 13 minutes. Only a lost message may make it late, or a pause of the step whose
    /// message it is: then the watchdog begins it.
    fn on_time(&self, before: &TaskRecord, after: &TaskRecord) {
        let Some(action) = after.actions.last().filter(|action| action.who == ENGINE) else { return };
        if after.deadline_from != before.deadline_from {
            self.scheduler.violated(|| format!("the engine has moved the deadline of task {}: {action:?}", after.id));
        }
        let so_far = before.actions.iter().filter(|action| action.is_planned_redrive()).count();
        let so_far = u32::try_from(so_far).expect("few actions");
        let wait = match action.what {
            ActionKind::Redrive => before.plan.redrive_delay(so_far),
            _ => before.plan.compensates_failure_after(),
        };
        let planned = before.finished_at.zip(wait).map(|(failed_at, wait)| {
            // Compensation begins at the deadline at the latest.
            let deadline = before.failed_steps.iter().find_map(|step| before.deadline_of(step));
            let cut =
                deadline.filter(|_| action.what == ActionKind::Compensate).map(|deadline| deadline.max(failed_at));
            cut.map_or(failed_at + wait, |cut| cut.min(failed_at + wait))
        });
        let Some(planned) = planned else {
            return self.scheduler.violated(|| format!("the engine made an action that was not planned: {action:?}"));
        };
        // An operator who mends one of several failed steps may make the rest due.
        let due = before.actions.iter().map(|action| action.at).fold(planned, Timestamp::max);
        let late = action.at.since(due);
        let scheduler = &self.scheduler;
        let calm = scheduler.now().before(scheduler.elapsed()) + scheduler.odds().trouble() + AFTER_TROUBLE;
        if due < calm || scheduler.may_lose_messages() || !self.is_prompt {
            return;
        }
        self.punctual.set(self.punctual.get() + 1);
        self.latest.set(self.latest.get().max(late));
        let skew = Duration::from_millis(2 * scheduler.odds().skew_millis());
        if late > PUNCTUAL + skew {
            scheduler.violated(|| format!("{:?} of task {} begins {late:?} late", action.what, after.id));
        }
    }

    /// The record of a step.
    pub(super) fn of(&self, task: TaskId, step: &str) -> Seen {
        self.seen.lock().get(&(task, step.to_owned())).cloned().unwrap_or_default()
    }

    /// Records that a handler was given the result of this attempt of this step.
    pub(super) fn seen(&self, task: TaskId, step: &str, attempt: u64) {
        self.seen.lock().entry((task, step.to_owned())).or_default().results.insert(attempt);
    }

    /// Checks the writes of a process of the shipped version: it may not change an item of the newer format.
    pub(super) fn of_what_is_newer(process: SimulatedProcess) -> impl Fn(&Written<'_>) + Send + Sync + 'static {
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
            (Key::Breaker(_), _) => self.breaker(Breaker::of(written.before), Breaker::of(written.after)),
            _ => {}
        }
    }

    /// Probes are ten seconds apart, by the clocks of those that claim them.
    fn breaker(&self, before: Breaker, after: Breaker) {
        self.scheduler.note(|| format!("the breaker {before:?} -> {after:?}"));
        let mut outages = self.outages.lock();
        match (before, after) {
            (Breaker::Closed { .. }, Breaker::Open(_)) => outages.opened += 1,
            (Breaker::Open(before), Breaker::Open(after)) => {
                outages.probes += 1;
                if after.probe_at < before.probe_at + PROBE_EVERY {
                    self.scheduler.violated(|| format!("a probe came too early: {before:?} -> {after:?}"));
                }
            }
            (_, Breaker::Closed { .. }) => {}
        }
    }

    /// Checks that an attempt which begins while the breaker has been open for long is a probe.
    pub(super) fn attempted_while_open(&self, step: &str) {
        let mut outages = self.outages.lock();
        outages.attempts += 1;
        if outages.attempts > outages.probes {
            self.scheduler.violated(|| format!("{step} is attempted while the breaker is open: {outages:?}"));
        }
    }

    /// How often the breaker was opened, and how many probes were claimed.
    pub(super) fn outages(&self) -> (u64, u64) {
        let outages = self.outages.lock();
        (outages.opened, outages.probes)
    }

    fn step(&self, task: TaskId, event: Option<StepEvent>, before: &StepRecord, after: &StepRecord) {
        if event.is_some() {
            self.scheduler
                .note(|| format!("{} {} -> {}, attempt {}", after.name, before.state, after.state, after.attempt));
        }
        // An abandoned attempt leaves its entry, a released one none.
        if event == Some(StepEvent::Release) && after.attempts.len() == before.attempts.len() {
            let mut seen = self.seen.lock();
            seen.entry((task, after.name.clone())).or_default().put_back.insert(before.attempt);
        }
        {
            let mut seen = self.seen.lock();
            let seen = seen.entry((task, after.name.clone())).or_default();
            (seen.done, seen.failed) = (after.state.is_done(), after.state == StepState::Error);
        }
        self.only_what_is_done(task, None, after.done_deps.difference(&before.done_deps));
        let legal = match event {
            Some(event) => before.state.on(event) == Some(after.state),
            None if after.kept_from.is_some() => before.state == StepState::Pending && before.attempt == 0,
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
            (keeps_trail(before, after), "changes the audit trail"),
            (
                self.optional_compensations.contains(&after.name) || !gives_up_on_refund(event, after),
                "gives up on a compensation that was not refused for good",
            ),
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
        let plan = Some(&after.plan);
        self.only_what_is_done(after.id, plan, after.done_deps.difference(&before.done_deps));
        if event == Some(TaskEvent::Finish) {
            self.only_what_is_done(after.id, plan, after.plan.steps().iter().map(|step| &step.name));
        }
        if matches!(event, Some(TaskEvent::Redrive | TaskEvent::Compensate(_))) {
            self.on_time(before, after);
        }
        if event == Some(TaskEvent::Fail) {
            let new = after.failed_steps.difference(&before.failed_steps);
            if let Some(step) = new.into_iter().find(|step| after.plan.is_optional(step)) {
                self.scheduler
                    .violated(|| format!("task {} has failed because of {step}, which is optional", after.id));
            }
        }
    }

    /// Checks that these steps are done, or at the end of the task with this plan optional and failed: nothing may record a
    /// completion before it is written.
    fn only_what_is_done<'a>(&self, task: TaskId, plan: Option<&Plan>, mut steps: impl Iterator<Item = &'a String>) {
        let has_passed = |step: &str| {
            let seen = self.of(task, step);
            seen.done || seen.failed && plan.is_some_and(|plan| plan.is_optional(step))
        };
        if let Some(step) = steps.find(|step| !has_passed(step)) {
            self.scheduler.violated(|| format!("{step} of task {task} is taken to be done, and is not"));
        }
    }
}

/// Whether a write keeps the audit trail, but for at most one new attempt: the first and the last entries in full, and a count
/// of those between.
fn keeps_trail(before: &StepRecord, after: &StepRecord) -> bool {
    let count = |step: &StepRecord| step.attempts.len() + step.omitted_attempts.values().sum::<u32>() as usize;
    if after.attempts.starts_with(&before.attempts) && after.omitted_attempts == before.omitted_attempts {
        return after.attempts.len() <= FIRST_ATTEMPTS + LAST_ATTEMPTS;
    }
    let last = |step: &StepRecord, number: usize| step.attempts[step.attempts.len().saturating_sub(number)..].to_vec();
    let mut kept = last(after, LAST_ATTEMPTS);
    kept.pop();
    count(after) == count(before) + 1
        && after.attempts.len() == FIRST_ATTEMPTS + LAST_ATTEMPTS
        && after.attempts[..FIRST_ATTEMPTS] == before.attempts[..FIRST_ATTEMPTS]
        && kept == last(before, LAST_ATTEMPTS - 1)
}

/// Whether this write gives up on a compensation that is due. Only a refusal for good ends one, so that every refund is made once
/// the service is back.
fn gives_up_on_refund(event: Option<StepEvent>, after: &StepRecord) -> bool {
    let is_compensation = number_of(&after.name).is_some_and(|number| number >= COMPENSATION_OFFSET);
    let was_refused = after.attempts.last().is_some_and(|attempt| attempt.outcome == Outcome::PermanentError);
    match event {
        Some(StepEvent::DeadLetter) => is_compensation,
        Some(StepEvent::Fail) => is_compensation && !was_refused,
        _ => false,
    }
}
