//! Reliable multi-step workflows: sagas over any store and any queues.
//!
//! A *workflow* is a graph of *steps*. Each step is woken by messages in a queue of its own; on AWS it is a Lambda function of
//! its own. There is no orchestrator: the state of a *task* (one run of a workflow) is in one store, every change of it is
//! one conditional write, and whoever completes a step sends the messages that this made due. Why it is built so is in
//! `DECISIONS.md`, what its error codes mean in `ERRORS.md`, both beside this crate's `Cargo.toml`.
//!
//! # Where things are
//!
//! Three floors, the lowest first; each knows only those before it:
//!
//! | floor | module | what |
//! |---|---|---|
//! | [`core`] | | pure functions and values: no clock, no chance, no network |
//! | | [`workflow`](core::workflow), [`plan`](core::plan) | the YAML file, and the graph of one task |
//! | | [`state`](core::state) | the states and the only ways between them |
//! | | [`transition`](core::transition), [`step`](core::step), [`task`](core::task) | what is expected of the items and what changes, for every event |
//! | | [`settlement`](core::settlement) | a transition, and what follows from it |
//! | | [`snapshot`](core::snapshot) | a task and its steps as one picture |
//! | | [`recovery`](core::recovery), [`inspection`](core::inspection) | what comes next in undoing a task; what is overdue in it |
//! | [`ports`] | | all that the engine asks of the world: a store, its queues, time and chance |
//! | [`runtime`] | [`worker`](runtime::worker) | one batch of messages in, those to keep out |
//! | | [`watchdog`](runtime::watchdog) | looks after tasks that wait for something which may never come |
//! | | [`dead_letters`](runtime::dead_letters) | makes a message that its queue gave up an error of its step |
//! | | [`Client`] | starting tasks and following them; finding, redriving, cancelling, resolving, undoing them |
//!
//! Beside them, with the feature `testing`, [`testing`] holds a store and queues in memory and a harness that runs all of
//! it in virtual time. What runs on AWS is the crate `stepwell_aws`.
//!
//! The author of a step needs three things of all this: the [`Step`] trait with its input types, and the two errors
//! [`retryable`] and [`permanent`].
//!
//! # Words
//!
//! *Attempt*: one claim of a step by a worker. Attempts are numbered from 1 and the number only rises, so it is the
//! *fencing token*: a worker that was slow and has been replaced cannot write any more. *Retry limit*: how many
//! attempts there may be in all, the first one included. *Lease*: the right to run an attempt; it ends when the
//! worker's invocation does, because Lambda has killed the worker by then. *Result*: the JSON a completed step leaves
//! for later ones. *Compensation*: the step that undoes another one, should its task fail or be cancelled.
//!
//! # The protocol of one delivery
//!
//! 1. **Claim and load**, side by side. The claim is one conditional write on the step's item; it is granted where the
//!    step is `pending` (which is also what no item means), or `retrying` and due. It counts the attempt. The load is
//!    one consistent read of the task and of those steps whose results this one takes or whose completion it waits
//!    for. The message names the latter, because its sender knows the plan; what it leaves out is read afterwards.
//!
//!    A refused claim says in the same answer what stands there instead:
//!    * `complete`, `resolved_manually`: an earlier delivery, or an operator, got that far and no further. Dispatch (4) and
//!      acknowledge.
//!    * `in_progress`: somebody else is at it. Give the message back until the lease ends. If it has ended, the worker
//!      is dead: take the step over with a second conditional write, which also enters the lost attempt into the
//!      audit trail. Two writes instead of one, because only the answer to the first tells what was lost.
//!    * `retrying` and not due: give the message back until it is.
//!    * `error`, `cancelled`: go on with undoing the task, where it is being undone, and acknowledge.
//! 2. **Check.** A message is never trusted. The task has to exist (else the item that the claim made is taken away
//!    and the message rejected) and to be open, every dependency has to be done, and attempts have to be left: a
//!    worker that dies each time was counted each time. A step that is not ready is put back, at no cost to its limit.
//! 3. **Run** the handler under its timeout, with panics caught, and write how it went, fenced by the attempt's number:
//!    * it returned: `complete`, with the result;
//!    * a retryable error and attempts left: `retrying`, and the message is hidden for the length of the backoff. The
//!      message is the timer; there is no second queue and nobody sleeps;
//!    * any other error: `error`, for the step and for the task in one transaction. So a task never stands open with a
//!      failed step in it, and a late worker cannot fail a task that has been redriven meanwhile.
//!
//!    A refused fence means that a newer attempt owns the step. Nothing more is written, and the message stays.
//! 4. **Dispatch.** For every dependent: where this step is its only dependency, send its message. Else add this step
//!    to the dependent's set of done dependencies, and send if the set is whole now. The task is to the leaves what a
//!    dependent is to the others: it ends when they all have. What is written in 3 and what follows from it are one value,
//!    a [`core::settlement::Settlement`], and are carried out in one place.
//! 5. **Acknowledge.** Only now may SQS delete the message.
//!
//! A crash anywhere leaves the message where it is; its next delivery finds what was done and does the rest. A write
//! whose answer was lost is recognized when it is made again: a claim by its owner, an outcome by its attempt. Sends
//! may be repeated, since only a claim runs a handler. A dispatch that is made again skips the dependents that have been
//! claimed (and, with several dependencies, know of this one), and marks the messages it sends as repeats. A repeat that
//! finds its step complete dispatches no further, so duplicates do not multiply from fork to fork.
//!
//! Messages that no step can use (not ours, for another step or workflow, for a task that does not exist) are kept in the queue
//! `undeliverable` with a reason.
//!
//! # Recovery
//!
//! A delivery that breaks off is made good by the message, which comes again. What can go wrong beside that:
//!
//! * **A message is gone**: a start or an operator's action broke off between its write and its sends, or somebody purged
//!   a queue. The index lists every open task, and every failed one of which something may still go on by itself, at the
//!   moment at which the [`watchdog`](runtime::watchdog) has to look at it next; it sends what [`inspection`](core::inspection)
//!   finds overdue, and lists the task again, the later the longer it has been quiet.
//! * **SQS gives up on a message**, after far more deliveries than retry limits use: something is broken. It comes to
//!   [`dead_letters`](runtime::dead_letters), which makes it the error `DELIVERY_EXHAUSTED` of its step. Nothing is lost, and
//!   somebody can see it.
//! * **A step uses up its attempts** at something that may pass: they last for seconds, an outage for minutes. Where the
//!   workflow says `redrives`, the failed steps of the task get a fresh set of attempts by themselves, after 1 minute, 2,
//!   4 and so on, before anything is undone.
//! * **A step fails for good** after others have had their effect. Then these are undone by
//!   [`recovery`](core::recovery): at once, or after a time in which the task may be redriven, or when somebody says so.
//! * **A compensation fails for good**, and only people can help. It is an error in the log, at once and at each look of
//!   the watchdog after that, so that an alarm is on until they have come.
//! * **It takes a person** to know what to do: [`Client`] redrives what failed, cancels a task, puts a result in the place
//!   of a step's, begins the undoing. Each is one conditional write that also enters who and why into the task's audit
//!   trail, and then sends; a crash between them is the first case. The trail keeps every attempt and every action, so it
//!   has an end: where another set of attempts would not fit, a redrive is refused, and the step or the task is resolved.
//!
//! A claim and the reading of the task are made side by side. So a step whose delivery had begun when its task was
//! cancelled counts as in flight, and comes to its end; undoing waits for it.
//!
//! # What it costs
//!
//! A step that succeeds is two write units and three calls in sequence: claim with load, complete, send. A join adds
//! one write for each incoming edge. The task is written at its start and at its end. An item is paid for by the
//! kilobyte, so contexts and results are worth keeping small. `cargo run -p stepwell-tests --bin cost` counts all of it.

pub mod core;
pub mod ports;
pub mod runtime;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use core::{
    codes::ErrorCode,
    id::{IdempotencyKey, NotAKey, NotATaskId, TaskId},
    timestamp::{NotATimestamp, Timestamp},
    workflow::{TextFormat, Violation, Workflow, WorkflowError},
};
pub use ports::{CallError, FailureKind, Runtime};
pub use runtime::{
    client::{
        ActionError, Actor, BulkRedriveReport, Client, Cursor, Filter, InvalidActor, NotACursor, RefusedTask,
        StartError, Started, Summary, TaskPage,
    },
    error::EngineError,
    step::{
        Context, ErrorKind, Input, ResultOf, Step, StepContext, StepError, StepResult, TaskData, permanent, retryable,
    },
    system::System,
};
