//! The invariants that hold once a run is quiescent.

use super::{actors::OPERATOR_RESULT, fault::Fault, ledger::Ending, messages::Messages, simulation::Simulation};
use std::collections::{BTreeMap, BTreeSet};
use stepwell::{
    TaskId, Timestamp,
    core::{
        bulk::{BulkRecord, BulkResults, BulkState},
        codes::EngineCode,
        index::{IndexPartition, IndexPosition},
        item::Key,
        plan::StepPlan,
        record::{ActionKind, AttemptRecord, Failure, Outcome, StepRecord, TaskRecord},
        recovery::{deadline_of_failed, redrive_at},
        snapshot::TaskSnapshot,
        state::{End, StepState, TaskState},
        trail::FIRST_ATTEMPTS,
    },
};

/// Checks the final state of a run.
pub(super) fn check(simulation: &Simulation) -> Result<(), String> {
    if let Messages::Host(host) = &simulation.queues {
        host.compare_all();
    }
    let known = simulation.tasks();
    // A worker deletes its claim of a step whose task does not exist, unless the message becomes a dead letter first,
    // or the worker was frozen until another one had acknowledged the message. DynamoDB's TTL deletes such a claim.
    let may_be_left = simulation.scheduler.gives_up() || simulation.scheduler.has_struck(Fault::Zombie);
    for task in simulation.table.tasks() {
        if simulation.ruled_out().contains(&task) {
            continue;
        }
        if !may_be_left && !known.contains(&task) {
            return Err(format!("something was written for {task}, which was never started"));
        }
    }
    for task in known {
        check_task(simulation, task).map_err(|problem| format!("task {task}: {problem}"))?;
    }
    for bulk in simulation.bulks() {
        let requests = simulation.bulks().iter().filter(|one| one.started_by == bulk.started_by).count();
        expect(requests, 1, "the number of bulk actions of one request")?;
        check_bulk(simulation, &bulk).map_err(|problem| format!("bulk action {}: {problem}", bulk.id))?;
    }
    check_undeliverable(simulation)
}

/// A bulk action that is over has one result for each task that it has acted on, and counts as its results say. If it was not
/// stopped, no task is left out that had failed before and that nobody else has touched.
fn check_bulk(simulation: &Simulation, bulk: &BulkRecord) -> Result<(), String> {
    let pages = (1..=bulk.page).map(|page| simulation.table.item(&Key::BulkResults(bulk.id, page)));
    let pages = pages.filter(|item| !item.is_empty()).map(BulkResults::from_item);
    let pages = pages.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let results: Vec<_> = pages.into_iter().flat_map(|page| page.results).collect();
    let done: Vec<TaskId> = results.iter().filter(|one| one.refused.is_none()).map(|one| one.task).collect();
    let of =
        |task: &TaskRecord| task.actions.iter().filter(|action| action.bulk.is_some_and(|of| of.id == bulk.id)).count();
    for task in simulation.tasks() {
        let results = done.iter().filter(|done| **done == task).count();
        expect(results, simulation.table.task(task, of), &format!("the number of results of {task}"))?;
    }
    expect(bulk.done, u64::try_from(done.len()).unwrap_or(u64::MAX), "its count of what was done")?;
    expect(bulk.seen(), u64::try_from(results.len()).unwrap_or(u64::MAX), "its count of results")?;
    for (task, before) in simulation.failed_before(bulk) {
        // The filter is bounded by the operator's clock, which may be behind that of the task's start.
        let untouched = simulation.table.task(task, |task| {
            task.created_at < bulk.created_at && task.state == TaskState::Failed && task.actions.len() == before
        });
        let seen = results.iter().any(|one| one.task == task);
        if bulk.state == BulkState::Complete && untouched && !seen {
            return Err(format!("it has left {task} out"));
        }
    }
    Ok(())
}

/// A task and its steps.
struct FinalState<'a> {
    simulation: &'a Simulation,
    task: TaskRecord,
    steps: BTreeMap<String, StepRecord>,
}

fn check_task(simulation: &Simulation, id: TaskId) -> Result<(), String> {
    let loaded = simulation.table.all(id);
    let left = FinalState { simulation, task: loaded.task.ok_or("it is gone")?, steps: loaded.steps };
    let plan = &left.task.plan;
    for step in plan.steps().iter().chain(plan.compensations()) {
        let record = left.of(&step.name);
        left.step(step, &record).map_err(|problem| format!("{}: {problem}", step.name))?;
    }
    left.rerun()?;
    left.end()?;
    left.partition()?;
    left.actions()
}

impl FinalState<'_> {
    fn of(&self, name: &str) -> StepRecord {
        self.steps.get(name).cloned().unwrap_or_else(|| StepRecord::untouched(name))
    }

    fn state(&self, name: &str) -> StepState {
        self.of(name).state
    }

    /// The first deadline of the step. An operator may have moved it.
    fn first_deadline_of(&self, step: &str) -> Option<Timestamp> {
        self.task.plan.time_to_start(step).map(|time| self.task.created_at + time)
    }

    fn ready(&self, step: &StepPlan) -> bool {
        step.depends_on.iter().all(|dependency| self.state(dependency).is_done())
    }

    // ---- The task

    /// A rerun is the one whose id its task has reserved. So a task has at most one.
    fn rerun(&self) -> Result<(), String> {
        let Some(of) = &self.task.rerun_of else { return Ok(()) };
        let reserved = self.simulation.table.task(*of, |task| task.rerun_as.as_ref().map(|rerun| rerun.task));
        expect(reserved, Some(self.task.id), "the rerun of its task")
    }

    /// The task has ended, in the state that follows from its steps.
    fn end(&self) -> Result<(), String> {
        let plan = &self.task.plan;
        let states: Vec<StepState> = plan.steps().iter().map(|step| self.state(&step.name)).collect();
        match self.task.state {
            TaskState::Completed => self.completed(),
            TaskState::Compensated(_) => self.compensated(),
            TaskState::Failed if plan.compensates_failure_after().is_none() || self.is_left_to_a_person() => {
                self.failed()
            }
            TaskState::Cancelled if !plan.compensates_cancellation() => Ok(()),
            TaskState::Resolved => Ok(()),
            state => Err(format!("is {state:?} when all is quiet, and its steps are {states:?}")),
        }
    }

    /// SQS gave up on every failed step that is not optional, so the engine may not compensate the task by itself.
    fn is_left_to_a_person(&self) -> bool {
        let failed = self.task.failed_steps.iter().filter(|name| !self.task.plan.is_optional(name));
        let given_up = |error: &Failure| error.code == EngineCode::DeliveryExhausted.as_str();
        { failed }.all(|name| self.of(name).error.as_ref().is_some_and(given_up))
    }

    /// Every step is done, except for optional ones that have failed. The task has a warning for each of these, with its
    /// error.
    fn completed(&self) -> Result<(), String> {
        let records: Vec<StepRecord> = self.task.plan.steps().iter().map(|step| self.of(&step.name)).collect();
        let mut failed = BTreeSet::new();
        for (step, record) in self.task.plan.steps().iter().zip(&records) {
            match record.state {
                StepState::Error if step.optional => failed.insert(step.name.clone()),
                state if state.is_done() => continue,
                state => return Err(format!("is complete, and {} is {state}", step.name)),
            };
        }
        expect(&self.task.failed_steps, &failed, "its failed steps")?;
        let snapshot = TaskSnapshot { task: self.task.clone(), steps: records.clone(), compensations: Vec::new() };
        let errors = records.iter().filter(|record| failed.contains(&record.name));
        let errors: Vec<_> = errors.map(|record| (record.name.as_str(), record.error.as_ref())).collect();
        let warnings: Vec<_> = snapshot.warnings().iter().map(|warning| (warning.step, warning.error)).collect();
        expect(warnings, errors, "its warnings")
    }

    /// Whether a step has failed that is not optional.
    fn required_step_failed(&self) -> bool {
        let mut required = self.task.plan.steps().iter().filter(|step| !step.optional);
        required.any(|step| self.state(&step.name) == StepState::Error)
    }

    /// The task has failed: at least one step has, every step that does not depend on a failed one is done, and nothing
    /// of it is left to be done automatically.
    fn failed(&self) -> Result<(), String> {
        let steps = self.task.plan.steps().iter();
        let records = steps.clone().map(|step| self.of(&step.name)).collect();
        let snapshot = TaskSnapshot { task: self.task.clone(), steps: records, compensations: Vec::new() };
        // A redrive that would come after the deadline is not made.
        let now = self.simulation.scheduler.now();
        let is_over = deadline_of_failed(&snapshot).is_some_and(|deadline| deadline <= now);
        if let Some(at) = redrive_at(&snapshot).filter(|_| !is_over) {
            return Err(format!("it was to be redriven automatically at {at}"));
        }
        let failed: BTreeSet<String> =
            steps.clone().map(|step| &step.name).filter(|name| self.state(name) == StepState::Error).cloned().collect();
        expect(&self.task.failed_steps, &failed, "its failed steps")?;
        if !self.required_step_failed() {
            return Err(format!("has failed, but none of its steps has, or only optional ones: {failed:?}"));
        }
        for step in steps {
            let state = self.state(&step.name);
            let open = matches!(state, StepState::Pending | StepState::InProgress | StepState::Retrying);
            if open && self.ready(step) {
                return Err(format!("{} is {state} when all is quiet, and could run", step.name));
            }
        }
        Ok(())
    }

    /// The task was compensated: every step that may have had an effect is compensated, and nothing is in flight.
    /// In which order, is checked when each compensation runs.
    fn compensated(&self) -> Result<(), String> {
        let plan = &self.task.plan;
        if self.task.state == TaskState::Compensated(End::Error) && !self.required_step_failed() {
            return Err("was compensated as failed, but none of its steps has failed, or only optional ones".to_owned());
        }
        let graph = self.task.compensations.as_deref().unwrap_or_default();
        for step in plan.steps() {
            let record = self.of(&step.name);
            if matches!(record.state, StepState::Pending | StepState::InProgress | StepState::Retrying) {
                return Err(format!("{} is {} in a task that is compensated", step.name, record.state));
            }
            let Some(compensation) = plan.compensation_of(&step.name) else { continue };
            let attempted = record.attempt > 0 || record.state.is_done();
            let is_there = graph.iter().any(|node| node.name == compensation.name);
            expect(is_there, attempted, "whether its compensation is in the graph")?;
            let key = format!("{}:{}", self.task.id, step.name);
            let state = self.state(&compensation.name);
            if attempted && !state.is_done() && !(compensation.optional && state == StepState::Error) {
                return Err(format!("{} is {state}", compensation.name));
            }
            if compensation.optional {
                let failed = state == StepState::Error;
                expect(self.task.failed_steps.contains(&compensation.name), failed, "whether its failure is listed")?;
            }
            if state == StepState::Complete && !self.simulation.ledger.is_void(&key) {
                return Err(format!("what {} has done still stands", step.name));
            }
        }
        Ok(())
    }

    fn partition(&self) -> Result<(), String> {
        let partition = *IndexPartition::of(self.task.state.status()).first().expect("every status has a partition");
        let waits = self.task.state == TaskState::Failed && self.is_left_to_a_person();
        let listed = self.simulation.table.listed(self.task.id).map(|place| place.partition);
        // A failure that waits for nothing is listed without an inspection, by which nobody sees whether it waits for a person.
        let is_inspected = self.task.plan.inspection_after_failure().is_some();
        let partition = if waits && (is_inspected || listed == Some(IndexPartition::NeedsPerson)) {
            IndexPartition::NeedsPerson
        } else {
            partition
        };
        let finished_at = self.task.finished_at.ok_or("it has ended, but says not when")?;
        let place = IndexPosition { task: self.task.id, step: None, partition, at: finished_at };
        expect(self.simulation.table.listed(self.task.id), Some(place), "its place in the index")
    }

    /// Every action that was confirmed to an operator is in the audit trail exactly once.
    fn actions(&self) -> Result<(), String> {
        let mut whys: Vec<&str> = self
            .task
            .actions
            .iter()
            .filter(|action| action.who == "operator")
            .map(|action| action.why.as_str())
            .collect();
        for why in self.simulation.done_to(self.task.id) {
            if !whys.contains(&why.as_str()) {
                return Err(format!("what an operator did for {why} is not in the audit trail"));
            }
        }
        let all = whys.len();
        whys.sort_unstable();
        whys.dedup();
        expect(whys.len(), all, "the number of different acts in its audit trail")
    }

    // ---- A step

    fn step(&self, plan: &StepPlan, step: &StepRecord) -> Result<(), String> {
        let done = matches!(step.state, StepState::Complete | StepState::ResolvedManually | StepState::Error);
        if done && !self.ready(plan) {
            return Err(format!("is {} too early", step.state));
        }
        self.trail(step)?;
        self.effect(step)?;
        if step.state == StepState::Error {
            self.failure(plan, step)?;
        }
        Ok(())
    }

    /// Each attempt is in the audit trail exactly once. Exceptions: attempts that were released, and an attempt whose
    /// worker died in a task that nothing watches any more.
    fn trail(&self, step: &StepRecord) -> Result<(), String> {
        let put_back = self.simulation.audit.of(self.task.id, &step.name).put_back;
        let trail = step.all_attempts();
        let numbers: Vec<u32> = trail.iter().map(|attempt| attempt.number).collect();
        let mut expected: Vec<u32> = (1..=step.attempt).filter(|number| !put_back.contains(number)).collect();
        let omitted = usize::try_from(step.omitted_attempts.values().sum::<u32>()).expect("few attempts");
        if omitted > 0 {
            expected.drain(FIRST_ATTEMPTS..FIRST_ATTEMPTS + omitted);
        }
        expect(numbers, expected, "the numbers in its audit trail")?;
        if let Some(deadline) = self.task.deadline_of(&step.name) {
            let waits_longer =
                |attempt: &&AttemptRecord| attempt.next_retry_at > attempt.finished_at.max(Some(deadline));
            if let Some(attempt) = trail.iter().find(waits_longer) {
                return Err(format!("attempt {} is to be repeated after the deadline", attempt.number));
            }
        }
        for (number, ending) in self.simulation.ledger.effects_of(self.task.id, &step.name).attempts {
            let entry = trail.iter().find(|attempt| attempt.number == number);
            if entry.is_none() && omitted > 0 {
                continue;
            }
            let entry = entry.ok_or(format!("attempt {number} was run, but is not in the audit trail"))?;
            if entry.error.as_ref().is_some_and(is_after_deadline) {
                return Err(format!("attempt {number} was run, and failed because the deadline was over"));
            }
            let agrees = match (entry.outcome, ending) {
                (Outcome::Lost | Outcome::InProgress, _) => true,
                (Outcome::Complete, ending) => ending == Some(Ending::Returned),
                (Outcome::PermanentError, ending) => ending == Some(Ending::FailedForGood),
                // The timeout may have ended it at any moment.
                (Outcome::RetryableError, _) => true,
            };
            if !agrees {
                return Err(format!(
                    "attempt {number} ended as {ending:?}, but the audit trail has {:?}",
                    entry.outcome
                ));
            }
        }
        Ok(())
    }

    /// The outside effects agree with the step's state, and all dependents were given the result of one attempt.
    fn effect(&self, step: &StepRecord) -> Result<(), String> {
        let effects_of = self.simulation.ledger.effects_of(self.task.id, &step.name);
        if let Some(of) = step.kept_from {
            let kept = self.simulation.table.step(of, &step.name).result;
            expect((step.attempt, effects_of.keys.len()), (0, 0), "its attempts and effects")?;
            expect(&step.result, &kept, "the result that it has kept")?;
            let undoing =
                [of, self.task.id].map(|task| self.simulation.table.task(task, |task| task.plan.compensations().len()));
            return expect(undoing, [0, 0], "the compensations of the two tasks");
        }
        let expected = match step.state {
            StepState::Complete => 1..=1,
            _ if step.attempt > 0 => 0..=1,
            _ => 0..=0,
        };
        if !expected.contains(&effects_of.keys.len()) {
            return Err(format!("is {}, but its work was done under the keys {:?}", step.state, effects_of.keys));
        }
        let complete: Vec<&AttemptRecord> =
            step.attempts.iter().filter(|attempt| attempt.outcome == Outcome::Complete).collect();
        expect(complete.len(), usize::from(step.state == StepState::Complete), "the number of attempts that count")?;
        if step.state == StepState::ResolvedManually {
            return expect(step.result.as_deref(), Some(OPERATOR_RESULT), "its result");
        }
        let Some(complete) = complete.first() else { return Ok(()) };
        let result = format!(r#"{{"attempt":{}}}"#, complete.number);
        expect(step.result.as_deref(), Some(result.as_str()), "its result")?;
        let given = self.simulation.audit.of(self.task.id, &step.name).results;
        if given.iter().any(|attempt| *attempt != u64::from(complete.number)) {
            return Err(format!("attempt {} counts, but others were given those of {given:?}", complete.number));
        }
        Ok(())
    }

    /// A failed step has a reason: its own permanent error, no attempts left, a dead letter, or the deadline.
    fn failure(&self, plan: &StepPlan, step: &StepRecord) -> Result<(), String> {
        let error = step.error.as_ref().ok_or("it failed without an error")?;
        if error.code == EngineCode::DeliveryExhausted.as_str() {
            let given_up = |action: &ActionKind| *action == ActionKind::DeadLetter;
            let mut actions = self.task.actions.iter().filter(|action| action.step.as_deref() == Some(&step.name));
            return match actions.any(|action| given_up(&action.what)) {
                true => Ok(()),
                false => Err("SQS gave up on it, but the audit trail does not say so".to_owned()),
            };
        }
        let deadline = self.first_deadline_of(&step.name);
        if is_after_deadline(error) && deadline.is_none_or(|deadline| step.finished_at < Some(deadline)) {
            return Err(format!("it failed at {:?} because of a deadline, which is {deadline:?}", step.finished_at));
        }
        if is_after_deadline(error) && step.attempt == 0 {
            return Ok(());
        }
        let last = step.attempts.last().ok_or("it failed without an attempt")?;
        expect(Some(error), last.error.as_ref(), "its error")?;
        let counted = step.attempt - step.uncounted_attempts;
        let for_good = last.outcome == Outcome::PermanentError;
        let used_up =
            !plan.has_no_last_attempt() && last.outcome == Outcome::RetryableError && counted >= plan.max_attempts;
        if for_good || used_up {
            return Ok(());
        }
        Err(format!("failed with {error:?} after {counted} of {} attempts", plan.max_attempts))
    }
}

fn is_after_deadline(error: &Failure) -> bool {
    error.code == EngineCode::DeadlineExceeded.as_str()
}

/// Every message that belongs to no step is kept as undeliverable, and no other message is.
fn check_undeliverable(simulation: &Simulation) -> Result<(), String> {
    let undeliverable = simulation.queues.undeliverable();
    let poisons = simulation.poisons();
    for poison in &poisons {
        if !undeliverable.iter().any(|message| message.body == *poison) {
            return Err(format!("nothing is left of the message `{poison}`"));
        }
    }
    match undeliverable.iter().find(|message| !poisons.contains(&message.body)) {
        Some(message) => Err(format!("this message was rejected: {message:?}")),
        None => Ok(()),
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(found: T, expected: T, what: &str) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what} should be {expected:?}, but found {found:?}"))
}
