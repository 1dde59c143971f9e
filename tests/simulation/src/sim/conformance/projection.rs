//! What the model's rules know of a stored task: the items of DynamoDB, seen as the model's own.

use crate::model::{Fence, Item, Set, Snapshot, Task};
use std::collections::BTreeMap;
use stepwell::{
    Timestamp,
    core::{
        index::IndexPartition,
        item::{self, attribute},
        plan::Plan,
        record::{StepRecord, TaskRecord},
        state::{StepState, TaskState},
    },
};

/// What a set of steps is kept in. No plan has more steps than it has bits.
pub(super) type Bits = u128;

const _: () = assert!(Plan::MAX_STEPS <= Bits::BITS as usize);

/// What of a plan the rules know, with numbers for names.
#[derive(Debug, Default)]
struct Graph {
    numbers: BTreeMap<String, usize>,
    forward: usize,
    depends_on: Vec<Set<Bits>>,
    leaves: Set<Bits>,
    compensated: Set<Bits>,
    compensates_cancellation: bool,
    retry_limits: Vec<u8>,
}

impl Graph {
    fn of(plan: &Plan) -> Self {
        let forward = plan.steps().len();
        let mut numbers: BTreeMap<String, usize> =
            plan.steps().iter().enumerate().map(|(number, step)| (step.name.clone(), number)).collect();
        let (mut depends_on, mut retry_limits) = (vec![Set::default(); 2 * forward], vec![0; 2 * forward]);
        let limit = |limit: u32| u8::try_from(limit).unwrap_or(u8::MAX);
        for step in plan.steps() {
            let number = numbers[&step.name];
            depends_on[number] = step.depends_on.iter().map(|name| numbers[name]).collect();
            retry_limits[number] = limit(step.max_attempts);
        }
        // By what the steps say, and not by what the engine makes of it.
        let waited_for = depends_on.iter().fold(Set::default(), |all: Set<Bits>, some| all.union(*some));
        let leaves = (0..forward).filter(|step| !waited_for.has(*step)).collect();
        let mut compensated = Set::default();
        for compensation in plan.compensations() {
            let undone = numbers[compensation.compensates.as_deref().expect("a compensation undoes a step")];
            compensated = compensated.with(undone);
            numbers.insert(compensation.name.clone(), forward + undone);
            retry_limits[forward + undone] = limit(compensation.max_attempts);
        }
        let compensates_cancellation = plan.compensates_cancellation();
        Self { numbers, forward, depends_on, leaves, compensated, compensates_cancellation, retry_limits }
    }
}

/// A step's item, and until when it waits for what it waits for.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    item: Item<Bits>,
    until: Option<Timestamp>,
}

impl Entry {
    /// The item as somebody sees it whose clock shows this.
    fn at(self, clock: Option<Timestamp>) -> Item<Bits> {
        let over = match (self.item.state, self.until, clock) {
            (StepState::InProgress, Some(until), Some(now)) => until < now,
            (StepState::Retrying, Some(until), Some(now)) => until <= now,
            _ => false,
        };
        Item { over, ..self.item }
    }
}

/// All of one task, as the model's rules know it.
#[derive(Debug, Default)]
pub(super) struct Projection {
    graph: Graph,
    task: Option<Task<Bits>>,
    /// The compensations in the order that is stored.
    order: Vec<usize>,
    steps: Vec<Entry>,
}

/// How a write has left a task's own item.
#[derive(Debug)]
pub(super) struct TaskWritten {
    /// What the rules know of it.
    pub(super) task: Task<Bits>,
    /// Whether it stands elsewhere in the index than before.
    pub(super) has_moved: bool,
    /// The compensations in the order that is stored.
    pub(super) order: Vec<usize>,
    /// The steps and compensations that it says have failed.
    failed: Set<Bits>,
    /// The graph of a task that is new.
    graph: Option<Graph>,
}

/// How a write has left a step's item.
#[derive(Debug)]
pub(super) struct StepWritten {
    /// The number of the step.
    pub(super) step: usize,
    /// When its last attempt was claimed.
    pub(super) started_at: Option<Timestamp>,
    /// When it came to its end.
    pub(super) finished_at: Option<Timestamp>,
    /// Whether what the write has added to the audit trail is of the attempt that was the last before it.
    pub(super) fence: Fence,
    entry: Entry,
}

impl StepWritten {
    /// What the rules know of the step, at this moment.
    pub(super) fn item(&self, clock: Option<Timestamp>) -> Item<Bits> {
        self.entry.at(clock)
    }
}

impl Projection {
    /// Sees the task's item, and its place in the index.
    pub(super) fn task_written(
        &self,
        task: &TaskRecord,
        before: &item::Item,
        after: &item::Item,
    ) -> Result<TaskWritten, String> {
        let new = self.task.is_none().then(|| Graph::of(&task.plan));
        let graph = new.as_ref().unwrap_or(&self.graph);
        let numbers = |names: &mut dyn Iterator<Item = &String>| {
            let number =
                |name: &String| graph.numbers.get(name).copied().ok_or(format!("its plan has no step `{name}`"));
            names.map(number).collect::<Result<Vec<_>, _>>()
        };
        let moved = |name: &str| before.get(name) != after.get(name);
        let partition = after.get(attribute::STATUS_SHARD).and_then(serde_json::Value::as_str).unwrap_or_default();
        let (listing, _) = partition.split_once('#').unwrap_or_default();
        if !IndexPartition::of(task.state.status()).iter().any(|possible| possible.as_str() == listing) {
            return Err(format!("the index lists it in `{partition}`, and it is {}", task.state.status()));
        }
        Ok(TaskWritten {
            task: Task {
                state: task.state,
                ordered: task.compensations.is_some(),
                arrived: numbers(&mut task.done_deps.iter())?.into_iter().collect(),
            },
            has_moved: moved(attribute::STATUS_SHARD) || moved(attribute::LISTED_AT),
            order: numbers(&mut task.compensations.iter().flatten())?,
            failed: numbers(&mut task.failed_steps.iter())?.into_iter().collect(),
            graph: new,
        })
    }

    /// Sees a step's item.
    pub(super) fn step_written(&mut self, before: &StepRecord, after: &StepRecord) -> Result<StepWritten, String> {
        let step = self.number(&after.name)?;
        let arrived = after.done_deps.iter().map(|name| self.number(name)).collect::<Result<_, _>>()?;
        let done = after.state.is_done();
        let item = Item {
            state: after.state,
            counted: u8::try_from(after.attempt.saturating_sub(after.uncounted_attempts)).unwrap_or(u8::MAX),
            attempted: after.attempt > 0 || done,
            over: false,
            arrived,
            results: after.result.is_some().into(),
        };
        let until = if after.state == StepState::Retrying { after.next_retry_at } else { after.lease_until };
        let added = after.attempts.get(before.attempts.len()..).unwrap_or_default();
        let is_stale = added.iter().any(|attempt| attempt.number != before.attempt);
        Ok(StepWritten {
            step,
            started_at: after.started_at,
            finished_at: after.finished_at,
            fence: if is_stale { Fence::Stale } else { Fence::Current },
            entry: Entry { item, until },
        })
    }

    /// Sees that a step has no item any more.
    pub(super) fn step_deleted(&mut self, name: &str) -> Result<StepWritten, String> {
        let untouched = StepRecord::untouched(name);
        self.step_written(&untouched, &untouched)
    }

    /// The number of a step. Of a task that does not exist no plan is known, and any name will do.
    fn number(&mut self, name: &str) -> Result<usize, String> {
        match self.graph.numbers.get(name) {
            Some(number) => Ok(*number),
            None if self.task.is_some() => Err(format!("its plan has no step `{name}`")),
            None => {
                let number = self.graph.numbers.len();
                self.graph.numbers.insert(name.to_owned(), number);
                self.graph.forward = number + 1;
                self.graph.depends_on.push(Set::default());
                self.graph.retry_limits.push(u8::MAX);
                Ok(number)
            }
        }
    }

    /// Takes over what was written.
    pub(super) fn apply(&mut self, task: Option<TaskWritten>, steps: Vec<StepWritten>) -> Result<(), String> {
        for written in steps {
            if self.steps.len() <= written.step {
                self.steps.resize_with(written.step + 1, Entry::default);
            }
            self.steps[written.step] = written.entry;
        }
        let Some(TaskWritten { task, order, failed, graph, .. }) = task else { return Ok(()) };
        (self.task, self.order) = (Some(task), order);
        self.graph = graph.unwrap_or_else(|| std::mem::take(&mut self.graph));
        self.check_failed(&task, failed)
    }

    /// A rule takes for failed what is in error. The task says it too, and that has to be the same.
    fn check_failed(&self, task: &Task<Bits>, failed: Set<Bits>) -> Result<(), String> {
        let in_error = |numbers: std::ops::Range<usize>| {
            numbers.filter(|step| self.entry(*step).item.state == StepState::Error).collect::<Set<Bits>>()
        };
        let forward = self.graph.forward;
        let (said, expected) = match task.state {
            TaskState::Running | TaskState::Completed | TaskState::Failed => (failed, in_error(0..forward)),
            // That the steps have failed does not matter any more.
            TaskState::Compensating(_) => {
                (failed.iter().filter(|step| *step >= forward).collect(), in_error(forward..2 * forward))
            }
            _ => return Ok(()),
        };
        if said == expected { Ok(()) } else { Err(format!("it says that {said:?} have failed, and {expected:?} have")) }
    }

    fn entry(&self, step: usize) -> Entry {
        self.steps.get(step).copied().unwrap_or_default()
    }

    /// The task as it stands, to somebody whose clock shows this; with no clock nothing is over.
    pub(super) fn at(&self, clock: Option<Timestamp>) -> Before<'_> {
        Before { all: self, clock }
    }

    /// The name of a step.
    pub(super) fn name(&self, step: usize) -> &str {
        let found = self.graph.numbers.iter().find(|(_, number)| **number == step);
        found.map_or("a step without a name", |(name, _)| name)
    }
}

/// A task as it stands before a write, to the writer's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before<'a> {
    all: &'a Projection,
    clock: Option<Timestamp>,
}

impl Snapshot for Before<'_> {
    type Bits = Bits;

    fn task(&self) -> Option<Task<Bits>> {
        self.all.task
    }

    fn item(&self, step: usize) -> Item<Bits> {
        self.all.entry(step).at(self.clock)
    }

    fn forward(&self) -> usize {
        self.all.graph.forward
    }

    fn depends_on(&self, step: usize) -> Set<Bits> {
        self.all.graph.depends_on[step]
    }

    fn leaves(&self) -> Set<Bits> {
        self.all.graph.leaves
    }

    fn compensated(&self) -> Set<Bits> {
        self.all.graph.compensated
    }

    fn compensates_cancellation(&self) -> bool {
        self.all.graph.compensates_cancellation
    }

    fn max_attempts(&self, step: usize) -> u8 {
        self.all.graph.retry_limits[step]
    }

    fn order(&self) -> impl Iterator<Item = usize> {
        self.all.order.iter().copied()
    }
}
