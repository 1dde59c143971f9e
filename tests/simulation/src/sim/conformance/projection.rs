//! Projects a stored task onto the model's items.

use crate::model::{Fence, ModelItem, ModelTask, Set, Snapshot};
use std::{collections::BTreeMap, time::Duration};
use stepwell::{
    Timestamp,
    core::{
        index::IndexPartition,
        item::{self, attribute},
        plan::{Plan, StepPlan},
        record::{StepRecord, TaskRecord},
        state::{StepState, TaskState},
    },
};

/// The integer that stores a set of steps. No plan has more steps than it has bits.
pub(super) type Bits = u128;

const _: () = assert!(Plan::MAX_STEPS <= Bits::BITS as usize);

/// The part of a plan that the rules read, with numbers for names.
#[derive(Debug, Default)]
struct ProjectedPlan {
    numbers: BTreeMap<String, usize>,
    forward: usize,
    depends_on: Vec<Set<Bits>>,
    leaves: Set<Bits>,
    optional: Set<Bits>,
    compensated: Set<Bits>,
    waits_for: Vec<Set<Bits>>,
    compensates_cancellation: bool,
    max_attempts: Vec<u8>,
    /// The steps that the deadline holds for, and how long after the start it is.
    deadline: Option<(Set<Bits>, Duration)>,
}

impl ProjectedPlan {
    fn of(plan: &Plan) -> Self {
        let forward = plan.steps().len();
        let mut numbers: BTreeMap<String, usize> =
            plan.steps().iter().enumerate().map(|(number, step)| (step.name.clone(), number)).collect();
        let (mut depends_on, mut max_attempts) = (vec![Set::default(); 2 * forward], vec![0; 2 * forward]);
        let limit = |limit: u32| u8::try_from(limit).unwrap_or(u8::MAX);
        for step in plan.steps() {
            let number = numbers[&step.name];
            depends_on[number] = step.depends_on.iter().map(|name| numbers[name]).collect();
            max_attempts[number] = limit(step.max_attempts);
        }
        // Taken from the dependencies, independently of the engine's own leaves.
        let waited_for = depends_on.iter().fold(Set::default(), |all: Set<Bits>, some| all.union(*some));
        let leaves = (0..forward).filter(|step| !waited_for.has(*step)).collect();
        let mut optional: Set<Bits> =
            plan.steps().iter().filter(|step| step.optional).map(|step| numbers[&step.name]).collect();
        let mut compensated = Set::default();
        for compensation in plan.compensations() {
            let step = numbers[compensation.compensates.as_deref().expect("a compensation undoes a step")];
            compensated = compensated.with(step);
            numbers.insert(compensation.name.clone(), forward + step);
            max_attempts[forward + step] = limit(compensation.max_attempts);
            if compensation.optional {
                optional = optional.with(forward + step);
            }
        }
        let mut waits_for = vec![Set::default(); 2 * forward];
        for compensation in plan.compensations() {
            let number = numbers[&compensation.name];
            waits_for[number] = match &compensation.after {
                Some(after) => after.iter().map(|name| numbers[name]).collect(),
                None => undone_before(&depends_on[..forward], compensated, number - forward),
            };
        }
        let compensates_cancellation = plan.compensates_cancellation();
        let deadline = plan.deadline().map(|deadline| {
            let holds = match &deadline.point_of_no_return {
                Some(point) => leading_to(&depends_on, numbers[point]),
                None => (0..forward).collect(),
            };
            (holds, Duration::from_secs(deadline.complete_within_seconds.into()))
        });
        Self {
            numbers,
            forward,
            depends_on,
            leaves,
            optional,
            compensated,
            waits_for,
            compensates_cancellation,
            max_attempts,
            deadline,
        }
    }
}

/// The compensations that the one of this step waits for, if its plan does not name them.
fn undone_before(depends_on: &[Set<Bits>], compensated: Set<Bits>, step: usize) -> Set<Bits> {
    let dependents = (0..depends_on.len()).filter(|other| depends_on[*other].has(step));
    let undone = |other: usize| match compensated.has(other) {
        true => Set::default().with(depends_on.len() + other),
        false => undone_before(depends_on, compensated, other),
    };
    dependents.map(undone).fold(Set::default(), Set::union)
}

/// This step, and all that it depends on, directly or not.
fn leading_to(depends_on: &[Set<Bits>], step: usize) -> Set<Bits> {
    let earlier = depends_on[step].iter().map(|other| leading_to(depends_on, other));
    earlier.fold(Set::default(), Set::union).with(step)
}

/// The attempts of a step that count.
fn counted(step: &StepRecord) -> u8 {
    u8::try_from(step.attempt.saturating_sub(step.uncounted_attempts)).unwrap_or(u8::MAX)
}

/// A step's item, and the end of its lease or backoff.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    item: ModelItem<Bits>,
    until: Option<Timestamp>,
}

impl Entry {
    /// The item as a writer sees it whose clock shows this time.
    fn at(self, clock: Option<Timestamp>) -> ModelItem<Bits> {
        let over = match (self.item.state, self.until, clock) {
            (StepState::InProgress, Some(until), Some(now)) => until < now,
            (StepState::Retrying, Some(until), Some(now)) => until <= now,
            _ => false,
        };
        ModelItem { over, ..self.item }
    }
}

/// The projection of one task.
#[derive(Debug, Default)]
pub(super) struct Projection {
    graph: ProjectedPlan,
    task: Option<ModelTask<Bits>>,
    /// The time from which the deadline counts.
    deadline_from: Option<Timestamp>,
    /// The compensations of the stored graph, with those that each waits for.
    order: Vec<(usize, Vec<usize>)>,
    steps: Vec<Entry>,
}

/// A task's own item after a write.
#[derive(Debug)]
pub(super) struct TaskWritten {
    /// The part of it that the rules read.
    pub(super) task: ModelTask<Bits>,
    /// The time of the last action in its audit trail.
    pub(super) acted_at: Option<Timestamp>,
    /// Whether its place in the index changed.
    pub(super) has_moved: bool,
    /// Whether its deadline counts from another time than before.
    pub(super) moves_deadline: bool,
    deadline_from: Timestamp,
    /// The compensations of the stored graph, with those that each waits for.
    pub(super) order: Vec<(usize, Vec<usize>)>,
    /// The steps and compensations that the task lists as failed.
    failed: Set<Bits>,
}

/// A step's item after a write.
#[derive(Debug)]
pub(super) struct StepWritten {
    /// The number of the step.
    pub(super) step: usize,
    /// When its last attempt was claimed.
    pub(super) started_at: Option<Timestamp>,
    /// When it ended.
    pub(super) finished_at: Option<Timestamp>,
    /// Whether the entry that the write added to the audit trail belongs to the attempt that was the last before it.
    pub(super) fence: Fence,
    /// Whether the entry that the write added to the audit trail is of a throttled attempt.
    pub(super) is_throttled: bool,
    /// Whether the entry that the write added to the audit trail is of an attempt that refused.
    pub(super) is_refused: bool,
    entry: Entry,
}

impl StepWritten {
    /// The end of its lease or backoff.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.entry.until
    }

    /// The part of the step that the rules read, at this time.
    pub(super) fn item(&self, clock: Option<Timestamp>) -> ModelItem<Bits> {
        self.entry.at(clock)
    }
}

impl Projection {
    /// Projects a write of the task's item and its place in the index.
    pub(super) fn task_written(
        &mut self,
        task: &TaskRecord,
        before: &item::Item,
        after: &item::Item,
    ) -> Result<TaskWritten, String> {
        // The steps that are written together with a new task are numbered as its plan does.
        if self.task.is_none() {
            self.graph = ProjectedPlan::of(&task.plan);
        }
        let graph = &self.graph;
        let numbers = |names: &mut dyn Iterator<Item = &String>| {
            let number =
                |name: &String| graph.numbers.get(name).copied().ok_or(format!("its plan has no step `{name}`"));
            names.map(number).collect::<Result<Vec<_>, _>>()
        };
        let node = |compensation: &StepPlan| {
            let [number] = numbers(&mut [&compensation.name].into_iter())?[..] else {
                return Err("no number".to_owned());
            };
            Ok((number, numbers(&mut compensation.depends_on.iter())?))
        };
        let moved = |name: &str| before.get(name) != after.get(name);
        let partition = after.get(attribute::STATUS_SHARD).and_then(serde_json::Value::as_str).unwrap_or_default();
        let (partition, _) = partition.split_once('#').unwrap_or_default();
        if !IndexPartition::of(task.state.status()).iter().any(|possible| possible.as_str() == partition) {
            return Err(format!("the index lists it in `{partition}`, and it is {}", task.state.status()));
        }
        Ok(TaskWritten {
            task: ModelTask {
                state: task.state,
                ordered: task.compensations.is_some(),
                arrived: numbers(&mut task.done_deps.iter())?.into_iter().collect(),
                rerun: task.rerun_as.is_some(),
            },
            acted_at: task.actions.last().map(|action| action.at),
            moves_deadline: moved(attribute::DEADLINE_FROM),
            deadline_from: task.deadline_from.unwrap_or(task.created_at),
            has_moved: moved(attribute::STATUS_SHARD) || moved(attribute::LISTED_AT),
            order: task.compensations.iter().flatten().map(node).collect::<Result<_, _>>()?,
            failed: numbers(&mut task.failed_steps.iter())?.into_iter().collect(),
        })
    }

    /// Projects a write of a step's item.
    pub(super) fn step_written(&mut self, before: &StepRecord, after: &StepRecord) -> Result<StepWritten, String> {
        let step = self.number(&after.name)?;
        let arrived = after.done_deps.iter().map(|name| self.number(name)).collect::<Result<_, _>>()?;
        let done = after.state.is_done();
        let item = ModelItem {
            state: after.state,
            counted: if self.at(None).has_no_last_attempt(step) { 0 } else { counted(after) },
            attempted: after.attempt > 0 || done,
            over: false,
            arrived,
            results: after.result.is_some().into(),
            may_have_acted: step >= self.graph.forward && after.attempts.last().is_some_and(|last| !last.refused),
        };
        let until = if after.state == StepState::Retrying { after.next_retry_at } else { after.lease_until };
        // A long trail keeps its length, so the entries that are new are told by their numbers.
        let known = before.attempts.last().map_or(0, |attempt| attempt.number);
        let mut added = after.attempts.iter().filter(|attempt| attempt.number > known).peekable();
        let repeats = after.attempts.len() > before.attempts.len() && added.peek().is_none();
        let added: Vec<_> = added.collect();
        let is_stale = repeats || added.iter().any(|attempt| attempt.number != before.attempt);
        Ok(StepWritten {
            step,
            started_at: after.started_at,
            finished_at: after.finished_at,
            fence: if is_stale { Fence::Stale } else { Fence::Current },
            is_throttled: added.iter().any(|attempt| attempt.throttled),
            is_refused: added.iter().any(|attempt| attempt.refused),
            entry: Entry { item, until },
        })
    }

    /// Projects the deletion of a step's item.
    pub(super) fn step_deleted(&mut self, name: &str) -> Result<StepWritten, String> {
        let untouched = StepRecord::untouched(name);
        self.step_written(&untouched, &untouched)
    }

    /// The number of a step. The plan of a task that does not exist is unknown, so any name is numbered.
    fn number(&mut self, name: &str) -> Result<usize, String> {
        match self.graph.numbers.get(name) {
            Some(number) => Ok(*number),
            None if self.task.is_some() => Err(format!("its plan has no step `{name}`")),
            None => {
                let number = self.graph.numbers.len();
                self.graph.numbers.insert(name.to_owned(), number);
                self.graph.forward = number + 1;
                self.graph.depends_on.push(Set::default());
                self.graph.max_attempts.push(u8::MAX);
                Ok(number)
            }
        }
    }

    /// Applies what was written.
    pub(super) fn apply(&mut self, task: Option<TaskWritten>, steps: Vec<StepWritten>) -> Result<(), String> {
        for written in steps {
            if self.steps.len() <= written.step {
                self.steps.resize_with(written.step + 1, Entry::default);
            }
            self.steps[written.step] = written.entry;
        }
        let Some(TaskWritten { task, deadline_from, order, failed, .. }) = task else { return Ok(()) };
        (self.task, self.deadline_from, self.order) = (Some(task), Some(deadline_from), order);
        self.check_failed(&task, failed)
    }

    /// The rules read failed steps off the steps' states. The task's own list has to agree.
    fn check_failed(&self, task: &ModelTask<Bits>, failed: Set<Bits>) -> Result<(), String> {
        let in_error = |numbers: std::ops::Range<usize>| {
            numbers.filter(|step| self.entry(*step).item.state == StepState::Error).collect::<Set<Bits>>()
        };
        let forward = self.graph.forward;
        let (said, expected) = match task.state {
            TaskState::Running | TaskState::Completed | TaskState::Failed => (failed, in_error(0..forward)),
            // Failed steps of the plan do not matter once the task is being compensated, and neither do optional compensations.
            TaskState::Compensating(_) => {
                let required = in_error(forward..2 * forward).iter().filter(|step| !self.graph.optional.has(*step));
                (failed.iter().filter(|step| *step >= forward).collect(), required.collect())
            }
            _ => return Ok(()),
        };
        if said == expected { Ok(()) } else { Err(format!("it says that {said:?} have failed, and {expected:?} have")) }
    }

    fn entry(&self, step: usize) -> Entry {
        self.steps.get(step).copied().unwrap_or_default()
    }

    /// The task for a writer whose clock shows this time. Without a clock no lease or backoff is over.
    pub(super) fn at(&self, clock: Option<Timestamp>) -> Before<'_> {
        Before { all: self, clock }
    }

    /// The end of the step's lease or backoff.
    pub(super) fn until(&self, step: usize) -> Option<Timestamp> {
        self.entry(step).until
    }

    /// The name of a step.
    pub(super) fn name(&self, step: usize) -> &str {
        let found = self.graph.numbers.iter().find(|(_, number)| **number == step);
        found.map_or("a step without a name", |(name, _)| name)
    }
}

/// A task before a write, by the writer's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before<'a> {
    all: &'a Projection,
    clock: Option<Timestamp>,
}

impl Snapshot for Before<'_> {
    type Bits = Bits;

    fn task(&self) -> Option<ModelTask<Bits>> {
        self.all.task
    }

    fn item(&self, step: usize) -> ModelItem<Bits> {
        self.all.entry(step).at(self.clock)
    }

    fn forward(&self) -> usize {
        self.all.graph.forward
    }

    fn depends_on(&self, step: usize) -> Set<Bits> {
        let stored = self.all.order.iter().find(|(compensation, _)| *compensation == step);
        stored.map_or(self.all.graph.depends_on[step], |(_, waits_for)| waits_for.iter().copied().collect())
    }

    fn leaves(&self) -> Set<Bits> {
        self.all.graph.leaves
    }

    fn optional(&self) -> Set<Bits> {
        self.all.graph.optional
    }

    fn compensated(&self) -> Set<Bits> {
        self.all.graph.compensated
    }

    fn compensates_cancellation(&self) -> bool {
        self.all.graph.compensates_cancellation
    }

    fn overdue(&self) -> Set<Bits> {
        let over = |time: Duration| Some(self.all.deadline_from? + time <= self.clock?);
        let completed = self.all.task.is_some_and(|task| task.state == TaskState::Completed);
        let deadline = self.all.graph.deadline.filter(|(_, time)| !completed && over(*time) == Some(true));
        deadline.map_or(Set::default(), |(holds, _)| holds)
    }

    fn max_attempts(&self, step: usize) -> u8 {
        self.all.graph.max_attempts[step]
    }

    fn to_run(&self) -> Set<Bits> {
        self.all.order.iter().map(|(compensation, _)| *compensation).collect()
    }

    fn waits_for(&self, compensation: usize) -> Set<Bits> {
        self.all.graph.waits_for[compensation]
    }
}
