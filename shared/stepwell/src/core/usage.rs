//! What a task has used of AWS, as its records tell.
//!
//! Nothing is counted while a task runs: a counter would be one more write. So the rules below say what the engine's transitions take, and a test holds them
//! equal to what the metered engine has really used. They know nothing of what leaves no record: messages that came twice, refused writes, and what the
//! watchdog read. So after trouble a task has used a little more.

use crate::core::{
    item::stored,
    plan::{StepPlan, leaves},
    record::{Action, ActionKind, ENGINE_ACTOR, Outcome, StepRecord, TaskRecord},
    search::keys_of_result,
    snapshot::TaskSnapshot,
    state::StepState,
    timer::LONGEST_DELAY,
    trail::LOST,
};
use std::{ops::AddAssign, time::Duration};

/// What tasks have used, on a stack or as they would have there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// DynamoDB's write units, on the table and its indexes.
    pub write_units: u64,
    /// Halves of a read unit.
    pub half_read_units: u64,
    /// SQS requests: to send, to hide, to receive and to delete.
    pub sqs_requests: u64,
    /// Lambda's invocations: one for the start, and one for each attempt.
    pub invocations: u64,
    /// The time of the attempts that have ended.
    pub run: Duration,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.write_units += other.write_units;
        self.half_read_units += other.half_read_units;
        self.sqs_requests += other.sqs_requests;
        self.invocations += other.invocations;
        self.run += other.run;
    }
}

/// An entry of an index: a put, or a deletion. One that moves takes both.
const ENTRY: u64 = 1;
const MOVE: u64 = 2;

/// How often a task with all of its steps is read from the begin of its compensation to its end.
const COMPENSATION_READS: u64 = 4;

/// Each write of a transaction takes twice its units.
const IN_TRANSACTION: u64 = 2;

/// The bytes of an item besides its texts: its key, names and numbers.
const FRAME: usize = 300;

fn bytes_of_task(task: &TaskRecord) -> usize {
    let trail = stored(&(&task.actions, &task.refusals)).to_string().len();
    FRAME + task.context.len() + stored(&task.plan).to_string().len() + trail
}

fn bytes_of_step(step: &StepRecord) -> usize {
    FRAME + step.result.as_ref().map_or(0, String::len) + stored(&(&step.attempts, &step.error)).to_string().len()
}

/// The units of a write: one for each KB of the item, which is as large as it is now. An item grows, so its first writes may have taken less.
fn writes(bytes: usize) -> u64 {
    units(bytes, 1_024)
}

/// The halves of a consistent read: two for each 4 KB of the item.
fn half_reads(bytes: usize) -> u64 {
    2 * units(bytes, 4 * 1_024)
}

fn units(bytes: usize, unit: usize) -> u64 {
    number(bytes.div_ceil(unit).max(1))
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Whether the step of a rerun has not run, because its result was kept.
const fn is_kept(step: &StepRecord) -> bool {
    step.kept_from.is_some()
}

/// The units that parts of a task take.
struct Taken<'a> {
    snapshot: &'a TaskSnapshot,
    /// Of a write of the task's item.
    task: u64,
    /// Halves, of a read of it.
    read: u64,
    /// Halves, of a read of the task with all of its steps.
    read_all: u64,
}

impl Usage {
    /// What a task has used so far. `found_by` is the number of values in its context that it is found by, which the task itself does not know.
    pub fn of(snapshot: &TaskSnapshot, found_by: usize) -> Self {
        let bytes = bytes_of_task(&snapshot.task);
        let steps = || snapshot.steps.iter().chain(&snapshot.compensations);
        let touched = steps().filter(|step| **step != StepRecord::untouched(&step.name));
        let all = bytes + touched.map(bytes_of_step).sum::<usize>();
        let taken = Taken { snapshot, task: writes(bytes), read: half_reads(bytes), read_all: half_reads(all) };
        if snapshot.task.never_starts() {
            return taken.by_ruling_out();
        }
        let mut usage = taken.by_start_and_end(found_by);
        snapshot.task.actions.iter().for_each(|action| usage += taken.by_action(action));
        steps().for_each(|step| usage += taken.by_step(step));
        usage
    }
}

impl Taken<'_> {
    /// Its only write takes the place of its start, and whoever makes it is shown the task.
    fn by_ruling_out(&self) -> Usage {
        Usage { write_units: self.task + 2 * ENTRY, half_read_units: self.read_all, ..Usage::default() }
    }

    fn by_start_and_end(&self, found_by: usize) -> Usage {
        let task = &self.snapshot.task;
        // The task with its entries in two indexes, and its idempotency key.
        let mut write_units = self.task + 2 * ENTRY + 1 + number(found_by);
        // What it keeps is written in one transaction with it.
        if self.snapshot.steps.iter().any(is_kept) {
            write_units += (IN_TRANSACTION - 1) * (self.task + 2 * ENTRY);
        }
        let mut half_read_units = 0;
        let mut moves = |times: u64| write_units += times * (self.task + MOVE);
        let is_done = |name: &str| self.snapshot.step(name).is_some_and(|step| step.state.is_done() && !is_kept(step));
        let done_leaves = |graph: &[StepPlan]| leaves(graph).filter(|leaf| is_done(&leaf.name)).count();
        // It was complete, also if it was cancelled afterwards.
        if self.snapshot.steps.iter().all(|step| self.snapshot.is_settled(step)) {
            moves(1);
        }
        // Their graph, and their end. Each is decided by what is read, and read once more after it.
        if task.compensations.is_some() {
            moves(1 + u64::from(self.snapshot.status().is_compensated()));
            half_read_units += COMPENSATION_READS * self.read_all;
        }
        moves(2 * number(task.refusals.len()));
        for graph in [task.plan.steps(), task.compensations.as_deref().unwrap_or_default()] {
            if leaves(graph).count() > 1 {
                write_units += (self.task + ENTRY) * number(done_leaves(graph));
            }
        }
        Usage { write_units, half_read_units, invocations: 1, ..Usage::default() }
    }

    /// The number of steps that were redriven together is not in the trail: it is mostly one.
    fn by_action(&self, action: &Action) -> Usage {
        let alone = self.task + MOVE;
        let with_a_step = IN_TRANSACTION * (self.task + 1 + MOVE);
        let (write_units, sqs_requests) = match action.what {
            ActionKind::Cancel | ActionKind::Resolve | ActionKind::Compensate => (alone, 0),
            ActionKind::Rerun => (self.task + ENTRY, 0),
            ActionKind::ResolveStep | ActionKind::DeadLetter => (with_a_step, 0),
            ActionKind::Redrive | ActionKind::RedriveNow => (with_a_step, 1),
            ActionKind::RunNow => (IN_TRANSACTION * (self.task + 1), 1),
        };
        // Whoever acts is shown the task after it.
        let reads = if action.who == ENGINE_ACTOR { 1 } else { 2 };
        Usage { write_units, sqs_requests, half_read_units: reads * self.read_all, ..Usage::default() }
    }

    fn by_step(&self, step: &StepRecord) -> Usage {
        let task = &self.snapshot.task;
        let graph = task.graph_of(&step.name);
        let depends_on = graph.iter().find(|plan| plan.name == step.name).map(|plan| plan.depends_on.as_slice());
        let depends_on = depends_on.unwrap_or_default().iter().filter_map(|name| self.snapshot.step(name));
        let depends_on: Vec<&StepRecord> = depends_on.collect();
        let done: Vec<&StepRecord> = depends_on.iter().copied().filter(|step| step.state.is_done()).collect();
        let unit = writes(bytes_of_step(step));
        let mut usage = Usage::default();
        let kept = depends_on.iter().filter(|step| is_kept(step)).count();
        // A join with all that it waits for has no arrivals; what some of it has at the start is one write.
        let waits = depends_on.len() > 1 && kept < depends_on.len();
        usage.write_units += if waits { unit * number(done.len() - kept) } else { 0 };
        usage.write_units += if is_kept(step) || waits && kept > 0 { IN_TRANSACTION * unit } else { 0 };
        let attempts = u64::from(step.attempt);
        let lost = step.attempts.iter().filter(|attempt| attempt.outcome == Outcome::Lost).count();
        let lost = number(lost) + u64::from(step.omitted_attempts.get(LOST).copied().unwrap_or_default());
        let is_open = u64::from(step.state == StepState::InProgress);
        // A claim each, and an end unless nobody wrote one.
        usage.write_units += unit * (2 * attempts).saturating_sub(lost + is_open);
        let with_dependencies = done.iter().map(|of| half_reads(bytes_of_step(of))).sum::<u64>();
        // A compensation reads once more after its claim.
        let loads = if task.plan.is_compensation(&step.name) { 2 } else { 1 };
        usage.half_read_units += loads * attempts * (self.read + with_dependencies);
        usage.invocations += attempts;
        // It is sent and deleted once, and received for each attempt.
        usage.sqs_requests += if attempts > 0 { 2 + attempts } else { 0 };
        for attempt in &step.attempts {
            usage.run += attempt.finished_at.map_or(Duration::ZERO, |at| at.since(attempt.started_at));
            match (attempt.outcome, attempt.next_retry_at.zip(attempt.finished_at)) {
                // The message is hidden, or the step has a timer: two writes more, and four of an index.
                (Outcome::RetryableError | Outcome::PermanentError, Some((due, at))) => {
                    usage.sqs_requests += 1;
                    usage.write_units += if due.since(at) > LONGEST_DELAY { 2 * unit + 4 * ENTRY } else { 0 };
                }
                (Outcome::RetryableError | Outcome::PermanentError, None) => usage += self.by_failure(step, unit),
                (Outcome::Complete | Outcome::Lost | Outcome::InProgress, _) => {}
            }
        }
        if let Some(result) = step.result.as_ref().filter(|_| step.state == StepState::Complete) {
            usage.write_units += number(keys_of_result(task, &step.name, result).len());
        }
        usage
    }

    /// What the failure of a step for good takes besides the end of its attempt: both items are written in one transaction.
    fn by_failure(&self, step: &StepRecord, unit: u64) -> Usage {
        let plan = &self.snapshot.task.plan;
        let listed = if plan.is_compensation(&step.name) || plan.is_optional(&step.name) { 0 } else { MOVE };
        let write_units = (IN_TRANSACTION - 1) * unit + IN_TRANSACTION * (self.task + listed);
        let is_alone = plan.is_compensation(&step.name) && plan.is_optional(&step.name);
        let half_read_units = if plan.recovers() { self.read_all } else { 0 };
        Usage { write_units: if is_alone { 0 } else { write_units }, half_read_units, ..Usage::default() }
    }
}
