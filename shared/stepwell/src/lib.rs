//! Sagas: multi-step workflows that survive crashes, over any store and any queues.
//!
//! A *workflow* is a directed acyclic graph (DAG) of *steps*. Each step has a queue of its own, whose messages wake its
//! worker; on AWS a worker is a Lambda function. There is no orchestrator. A *task* is one run of a workflow. Its state is
//! in one store, every change of it is a conditional write (compare-and-set), and the worker that completes a step sends
//! the messages of the dependents that this made ready. Messages are delivered at least once.
//!
//! `DECISIONS.md` gives the reasons for this design and `ERRORS.md` lists the error codes. Both are beside this crate's
//! `Cargo.toml`.
//!
//! # Modules
//!
//! The crate has three layers. Each depends only on those above it in this table:
//!
//! | layer | module | contents |
//! |---|---|---|
//! | [`core`] | | pure functions and values: no clock, no randomness, no network |
//! | | [`workflow`](core::workflow), [`plan`](core::plan) | the YAML file, and the DAG of one task |
//! | | [`state`](core::state) | the state machines of a step and of a task |
//! | | [`transition`](core::transition), [`step`](core::step), [`task`](core::task) | for each event, the condition on the items and the change to them |
//! | | [`settlement`](core::settlement) | a transition and its consequences |
//! | | [`snapshot`](core::snapshot) | a task and its steps as read |
//! | | [`recovery`](core::recovery), [`inspection`](core::inspection) | the next action for a failed or compensating task; what is overdue in a task |
//! | [`ports`] | | the interface to the outside: a store, its queues, time and randomness |
//! | [`runtime`] | [`worker`](runtime::worker) | takes a batch of messages and returns those to keep |
//! | | [`timer_feeder`](runtime::timer_feeder) | sends the messages of steps that wait for long |
//! | | [`pauses`](runtime::pauses) | holds the queues to the pauses of steps |
//! | | [`watchdog`](runtime::watchdog) | inspects tasks that wait, and replaces lost messages |
//! | | [`dead_letters`](runtime::dead_letters) | turns a dead letter into an error of its step |
//! | | [`Client`] | starts, shows, finds, redrives, cancels, resolves and compensates tasks |
//!
//! The feature `testing` adds [`testing`]: a store and queues in memory, and a harness that runs the whole engine in
//! virtual time. The crate `stepwell_aws` implements the ports on AWS.
//!
//! The author of a step needs three things: the [`Step`] trait with its input types, and the errors [`retryable`], [`throttled`] and
//! [`permanent`]; a compensation also [`refused`].
//!
//! # Terms
//!
//! * *Attempt*: one claim of a step by a worker. Attempts are numbered from 1 and the number only rises, so it is the
//!   *fencing token*: a slow worker that has been replaced cannot write any more. `max_attempts` limits the attempts of a
//!   step and counts the first.
//! * *Lease*: the right to run an attempt. It ends at the deadline of the worker's invocation, because Lambda has killed
//!   the worker by then.
//! * *Redrive*: a fresh set of attempts for failed steps, by a person or by the engine.
//! * *Result*: the JSON that a completed step leaves for later steps.
//! * *Compensation*: the step that undoes another step if the task fails or is cancelled.
//! * *Root*, *leaf*: a step without dependencies, and a step without dependents. A step with several dependencies is a
//!   *join*.
//!
//! # The protocol of one delivery
//!
//! If the step waits on a service outside the stack, its [breaker](core::breaker) is asked first. While it is open, a step that
//! is ready is *parked*: one write makes it `retrying` until a time, without a claim, and its message waits for that time. Only probes go on. If its
//! task's deadline comes first, it fails without a claim, and so is not undone.
//!
//! 1. **Claim and load**, concurrently. The claim is one conditional write on the step's item. It is granted if the step
//!    is `pending` (which is also what a missing item means), or `retrying` and due. It counts the attempt. The load is
//!    one consistent read of the task, of the steps whose results this step takes, and of its dependencies. The message
//!    names the dependencies, because its sender knows the plan. Those that it leaves out are read afterwards. A compensation loads once
//!    more after its claim, because the task may have been [reinstated](core::recovery) between the two.
//!
//!    A refused claim returns the item, and its state decides:
//!    * `complete`, `resolved_manually`: an earlier delivery, or an operator, got this far and may have got no further.
//!      Dispatch (4) and acknowledge.
//!    * `in_progress`: another delivery owns the step. Give the message back until the lease ends. If the lease has ended,
//!      the worker is dead: take the step over with a second conditional write, which also enters the lost attempt into
//!      the audit trail. It takes two writes because only the answer to the first tells what was lost.
//!    * `retrying` and not due: give the message back until it is due.
//!    * `error`, `cancelled`: advance the task's recovery, and acknowledge. If the redrive or the compensation is due only later, give
//!      the message back until then.
//! 2. **Check.** The message is only a hint. The task has to exist; otherwise the item that the claim made is deleted and
//!    the message is rejected. The task has to be open and every dependency done; otherwise the step is released, which
//!    does not count against `max_attempts`. Attempts have to be left; an attempt whose worker died was counted, too. A
//!    compensation always has one left.
//! 3. **Run** the handler under its timeout, with panics caught, and write the outcome, fenced by the attempt's number:
//!    * success: `complete`, with the result;
//!    * a retryable error with attempts left, or a throttled one: `retrying`, and the message is given back until the end of the backoff.
//!      The message is the timer ([`timer`](core::timer)), so there is no second queue and no process that sleeps;
//!    * any other error: `error`, for the step and for the task in one transaction. So an open task never holds a failed
//!      step, and a late worker cannot fail a task that has been redriven meanwhile. The message waits for the redrive or for the
//!      begin of the compensation, and then its worker begins it.
//!
//!    A refused write means that a newer attempt owns the step. Nothing more is written, and the message is kept.
//! 4. **Dispatch.** If a dependent has this step as its only dependency, send its message. Otherwise add this step to the
//!    dependent's set of done dependencies, and send the message if the set is now complete. The task is a join of its
//!    leaves: it ends when all of them are done. The write of 3 and its consequences are one value, a
//!    [`core::settlement::Settlement`], and one place carries them out.
//! 5. **Acknowledge.** Only now is the message deleted.
//!
//! A crash at any point leaves the message in its queue. The next delivery finds what was done and does the rest. A write
//! whose answer was lost is recognized when it is repeated: a claim by its owner, an outcome by its attempt.
//!
//! Sends may be repeated, because only a claim runs a handler. A replayed dispatch skips the dependents that have been
//! claimed (and, for a join, that know of this step), and marks the messages it sends as repeats. A repeat that finds its
//! step complete dispatches no further, so duplicates do not multiply at each fan-out.
//!
//! A message that belongs to no step of any task (not ours, for another step or workflow, for a task that does not exist)
//! goes to the queue `undeliverable`, with a reason.
//!
//! # Recovery
//!
//! The next delivery of the message repairs a delivery that broke off. The engine handles these other failures, too:
//!
//! * **A message is lost.** A start or an operator's action broke off between its write and its sends, or somebody purged
//!   a queue. The index lists every open task, and every failed task that the engine may still act on, at the moment of
//!   its next inspection. The [`watchdog`](runtime::watchdog) sends what [`inspection`](core::inspection) finds overdue
//!   and lists the task again. The longer a task has been quiet, the longer the interval.
//! * **SQS gives up on a message**, after far more deliveries than `max_attempts` allows for: something is broken. The
//!   dead letter comes to [`dead_letters`](runtime::dead_letters), which fails its step with `DELIVERY_EXHAUSTED`. The engine
//!   redrives the task like after an outage. If no redrive is left, the task waits for a person, and an alarm says so. The
//!   message of a compensation is sent again. So is one that was the timer of a step's retries.
//! * **A step uses up its attempts on a transient failure.** Attempts last for seconds, an outage for minutes. If the
//!   workflow sets `redrives`, the engine redrives the failed steps after 1 minute, 2, 4 and so on, before it compensates
//!   anything.
//! * **A step fails for good** after others have had their effect. [`recovery`](core::recovery) compensates them at once,
//!   or after a time in which the task may be redriven, or when somebody asks for it.
//! * **A service turns calls away** without doing anything: a rate limit, a busy table. The attempts are
//!   [`throttled`] and cost none for the first half hour after the task's start or last redrive.
//! * **A service is out.** After five failures in a row in one process its breaker opens. The steps that wait on it are parked, except
//!   for one probe each ten seconds. After a probe has succeeded, compensations begin first, and then the other steps.
//! * **More tasks come in than are processed.** Workers note how long messages wait in their queues. A client asks
//!   [`overload`](Client::overload) before it starts a task that would not be complete in time.
//! * **A compensation meets an outage.** It has no last attempt: it is retried, at the longest wait of its backoff, until it
//!   succeeds or fails with a permanent error. Only an optional one has a last attempt: a task ends without it, with a warning.
//! * **A compensation refuses** to undo a step of a task that was complete: the order was shipped. Before anything is undone, the task is
//!   complete again, with the refusal on record.
//! * **A compensation fails for good.** Only a person can help. The engine logs an error at once and at each inspection
//!   after that, and the watchdog counts the tasks that wait for a person, which keeps an alarm on until somebody has
//!   helped. The compensations that do not wait for it go on.
//! * **A person has to decide.** [`Client`] redrives what failed, cancels a task, puts a result in the place of a step's,
//!   or begins the compensation. Each action is one conditional write, which also enters who and why into the task's audit
//!   trail, followed by sends. A crash between them is the first case above. The trail keeps every action,
//!   so it has a limit: if another one would not fit, a redrive is refused, and the task has to be resolved. Of many attempts of
//!   a step it keeps the first and the last ones, and a count by code of those between ([`trail`](core::trail)).
//! * **A person acts on many tasks.** A [bulk action](core::bulk) is an item that the watchdog's function carries on, page by
//!   page and at a pace. It writes which tasks are on a page before it acts on them, and their results after it. The trail of
//!   each task says whether it has acted, so a crash repeats nothing and leaves nothing out.
//!
//! * **A person stops a step** while something that it needs is down or wrong. A [pause](core::pause) is an item, from which it follows that the step's
//!   queue delivers nothing. No claim reads it. The watchdog holds the queues to these items each minute.
//!
//! The claim and the read of the task are concurrent. So a step whose delivery had begun when its task was cancelled
//! counts as in flight and comes to its end. Compensation waits for it.
//!
//! # Cost
//!
//! A step that succeeds takes two write units and three calls in sequence: claim with load, complete, send. A join adds
//! one write for each incoming edge. The task's item is written at its start and at its end. DynamoDB charges an item by
//! the kilobyte, so contexts and results are worth keeping small. `cargo run -p stepwell-tests --bin cost` counts all of
//! it.

pub mod core;
pub mod ports;
pub mod runtime;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use core::{
    bulk::{BulkAction, BulkId, BulkRecord, BulkState, Pace},
    codes::ErrorCode,
    filter::{Before, Cursor, Filter, NotACursor, StepFilter},
    id::{CorrelationId, IdempotencyKey, NotAKey, NotATaskId, TaskId},
    rerun::NotRerun,
    search::SearchValue,
    timestamp::{NotATimestamp, Timestamp},
    workflow::{TextFormat, Violation, Workflow, WorkflowError},
};
pub use ports::{CallError, FailureKind, Runtime};
pub use runtime::{
    client::{
        ActionError, Actor, BulkCount, BulkError, BulkRequest, Client, Count, Health, InvalidActor, MOST_SAMPLED,
        ManualResult, NewBulk, PauseError, Paused, PendingStart, RUN_NOW_PAUSE, Rerun, RerunRequest, StartError,
        Started, StepSummary, Summary, TaskPage,
    },
    error::EngineError,
    result_types::ResultTypes,
    step::{
        Context, ErrorKind, Input, ResultOf, Step, StepContext, StepError, StepResult, TaskData, permanent, refused,
        retryable, throttled,
    },
    system::System,
};
