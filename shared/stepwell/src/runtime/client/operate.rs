//! The actions of operators. Each is one conditional write, with an entry in the audit trail, followed by idempotent sends.
//! The watchdog repeats sends that were lost.

use super::Client;
use crate::{
    core::{
        bulk::{BulkActor, BulkPage},
        codes::EngineCode,
        format::NewerFormat,
        id::TaskId,
        limits::MAX_RESULT_BYTES,
        record::{Action, ActionKind, AttemptRecord, StepRecord},
        recovery::{deadline_of_failed, planned_redrive},
        rerun::NotRerun,
        search::keys_of_result,
        settlement::{Due, Settlement},
        snapshot::TaskSnapshot,
        state::{End, StepEvent, StepState, TaskEvent, TaskState, TaskStatus},
        step::reschedule,
        task::{self, Termination},
        timestamp::Timestamp,
        workflow::Violation,
    },
    ports::{Queue, QueueError, Runtime, Store, TableError},
    runtime::{engine::Decision, error::EngineError, spans},
};
use std::time::Duration;
use tracing::Instrument;

/// The shortest time from the end of an attempt to the next one that a customer asks for with [`Client::run_now_after_pause`]. Without
/// it a customer who presses a button would use up the attempts within a second.
pub const RUN_NOW_PAUSE: Duration = Duration::from_secs(5);

/// The actor of an action and the reason for it, for the task's audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    who: String,
    why: String,
    /// The page of the bulk action that the actor has started.
    bulk: Option<BulkPage>,
}

/// A name or a reason that is not valid for the audit trail.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has to have 1 to {most} characters, and no control characters among them")]
pub struct InvalidActor {
    what: &'static str,
    most: usize,
}

impl Actor {
    /// The longest name, in characters.
    pub const MAX_WHO: usize = 256;

    /// The longest reason, in characters.
    pub const MAX_WHY: usize = 500;

    /// Makes an actor of a name and a reason.
    ///
    /// # Errors
    /// One of them is empty, too long, or has control characters in it.
    pub fn new(who: impl Into<String>, why: impl Into<String>) -> Result<Self, InvalidActor> {
        let (who, why) = (who.into(), why.into());
        for (what, text, most) in [("who", &who, Self::MAX_WHO), ("why", &why, Self::MAX_WHY)] {
            let length = text.trim().chars().count();
            if length == 0 || length > most || text.chars().any(char::is_control) {
                return Err(InvalidActor { what, most });
            }
        }
        Ok(Self { who, why, bulk: None })
    }

    /// The actor of one page of a bulk action.
    pub(crate) fn of_bulk(by: &BulkActor, page: BulkPage) -> Self {
        Self { who: by.who.clone(), why: by.why.clone(), bulk: Some(page) }
    }

    /// The name.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// The reason.
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// The reason why an action was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The task does not exist.
    #[error("there is no task {0}")]
    NotFound(TaskId),
    /// The task's plan does not have the step.
    #[error("the task has no step `{0}`")]
    NoStep(String),
    /// The task's status does not allow the action.
    #[error("cannot {} task in {status} status{}", verb(*.action), if .status.is_compensated() { ": it has been compensated" } else { "" })]
    Status {
        /// The action.
        action: ActionKind,
        /// The task's status.
        status: TaskStatus,
    },
    /// No step of the task waits for a retry.
    #[error("no step of the task waits for a retry: it is {0}")]
    NothingWaits(TaskStatus),
    /// The step is parked, because a service is out. It would only be parked again.
    #[error(
        "step `{step}` waits for a service that is out, and no attempt is made before it is back: the engine looks again by itself, for this \
         step at {until}"
    )]
    ServiceOut {
        /// The step.
        step: String,
        /// When it looks whether the service is back.
        until: Timestamp,
    },
    /// The step does not wait any more: it is due, and its attempt is on its way.
    #[error("step `{step}` is due since {since}: its attempt is on its way")]
    IsDue {
        /// The step.
        step: String,
        /// Since when.
        since: Timestamp,
    },
    /// The part of the task's audit trail that keeps what was run now has no room for more.
    #[error(
        "what waits in the task was run now too often for its audit trail to keep more of it: it is attempted when it is due"
    )]
    RunTooOften,
    /// The step's state does not allow the action.
    #[error("cannot resolve step `{step}` in {state} state")]
    StepState {
        /// The step.
        step: String,
        /// The step's state.
        state: StepState,
    },
    /// The step waits for other steps.
    #[error("cannot resolve step `{step}`: it waits for {}", .waits_for.join(", "))]
    NotReady {
        /// The step.
        step: String,
        /// The steps that are not done.
        waits_for: Vec<String>,
    },
    /// The task's audit trail, which keeps every redrive and every cancellation, has no room for more.
    #[error(
        "the audit trail of the task has no room for more: it was redriven or cancelled too often; do by hand what is left to do"
    )]
    TrailFull,
    /// The task's deadline is over, so none of its failed steps would start. An operator's redrive moves the deadline.
    #[error("cannot redrive: the task had to be complete by {0}, and only an operator can give it more time")]
    DeadlineExceeded(Timestamp),
    /// The step was attempted, so it may have had its effect, and nobody has checked.
    #[error("cannot resolve step `{step}`: it was attempted, so it may have had its effect: {}", in_words(*.count, .attempts))]
    Attempted {
        /// The step.
        step: String,
        /// How many attempts were made.
        count: u32,
        /// Those that are on record, oldest first.
        attempts: Vec<AttemptRecord>,
    },
    /// A worker runs a step of the task.
    #[error(
        "cannot resolve task: step `{step}` is in flight until {until} at the latest; cancel the task or wait until then"
    )]
    InFlight {
        /// The step.
        step: String,
        /// The end of its lease.
        until: Timestamp,
    },
    /// The result does not fit the step's type.
    #[error("the result does not fit step `{step}`: {}", .violation.message)]
    ResultMismatch {
        /// The step.
        step: String,
        /// The place in the result, and what is wrong with it.
        violation: Violation,
    },
    /// The result is larger than a step's item can hold.
    #[error("the result has {0} bytes; at most {max} can be kept", max = MAX_RESULT_BYTES)]
    ResultTooLarge(usize),
    /// The task cannot be rerun.
    #[error("cannot rerun task: {0}")]
    NotRerun(NotRerun),
    /// The bulk action has acted on the task before, on this page.
    #[error("the bulk action {} has acted on the task before, on its page {}", .0.id, .0.page)]
    ActedOn(BulkPage),
    /// Conflicts with other writers persist.
    #[error("the task {0} keeps changing; try again")]
    KeepsChanging(TaskId),
    /// The store or a queue failed. If the write took effect and a send failed, the watchdog repeats the send.
    #[error(transparent)]
    Engine(EngineError),
    /// The task needs a newer reader. Nothing was done.
    #[error(transparent)]
    Newer(NewerFormat),
}

/// The attempts of a step in words: how many there were, and how each of the last ones ended.
fn in_words(count: u32, attempts: &[AttemptRecord]) -> String {
    let shown = attempts.iter().rev().take(SHOWN_ATTEMPTS).rev().map(|attempt| {
        let ended = attempt.error.as_ref().map_or("was lost".to_owned(), |error| format!("ended with {}", error.code));
        format!("attempt {} {ended} at {}", attempt.number, attempt.finished_at.unwrap_or(attempt.started_at))
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    let all = usize::try_from(count).is_ok_and(|count| count <= SHOWN_ATTEMPTS);
    if all { shown } else { format!("{count} attempts, the last of which are: {shown}") }
}

/// How many attempts the refusal of a result names. The task has them all.
const SHOWN_ATTEMPTS: usize = 5;

const fn verb(action: ActionKind) -> &'static str {
    match action {
        ActionKind::Redrive => "redrive",
        ActionKind::Cancel => "cancel",
        ActionKind::Resolve => "resolve",
        ActionKind::ResolveStep => "resolve a step of a",
        ActionKind::Compensate => "compensate",
        ActionKind::DeadLetter => "dead-letter a step of a",
        ActionKind::RunNow | ActionKind::RedriveNow => "run now what waits in a",
        ActionKind::Rerun => "rerun",
    }
}

impl From<EngineError> for ActionError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Newer(newer) => Self::Newer(newer),
            EngineError::Table(_) | EngineError::Queue(_) => Self::Engine(error),
        }
    }
}

impl From<TableError> for ActionError {
    fn from(error: TableError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<QueueError> for ActionError {
    fn from(error: QueueError) -> Self {
        Self::Engine(error.into())
    }
}

/// A result that a person gives in the place of a step's.
#[derive(Clone, Copy, Debug)]
pub struct ManualResult<'a> {
    /// The result, JSON as text.
    pub json: &'a str,
    /// Whether the person has made sure that no attempt of the step has had an effect that is to be undone, such as a charge
    /// whose answer was lost. Nothing undoes the attempts of a step that is resolved, if the task completes.
    pub attempts_checked: bool,
}

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// Redrives a task: gives the failed steps of a task in `error`, or the failed compensations of a `compensating` task, a
    /// fresh set of attempts and sends their messages. Completed steps keep their results. A deadline counts from now on. Returns
    /// the task as it was before.
    ///
    /// # Errors
    /// See [`ActionError`].
    pub async fn redrive(&self, id: TaskId, operator: &Actor) -> Result<TaskSnapshot, ActionError> {
        self.redrive_as(id, operator, true).await
    }

    /// Redrives a task, as [`redrive`](Self::redrive) does, for somebody who may not move its deadline, such as a customer.
    ///
    /// # Errors
    /// [`ActionError::DeadlineExceeded`] after the deadline. See [`ActionError`] for the others.
    pub async fn redrive_before_deadline(&self, id: TaskId, actor: &Actor) -> Result<TaskSnapshot, ActionError> {
        self.redrive_as(id, actor, false).await
    }

    async fn redrive_as(&self, id: TaskId, actor: &Actor, moves_deadline: bool) -> Result<TaskSnapshot, ActionError> {
        self.act(id, actor, |snapshot| {
            let failed = snapshot.to_redrive();
            if snapshot.task.state.on(TaskEvent::Redrive).is_none() || failed.is_empty() {
                return Err(refused(ActionKind::Redrive, snapshot));
            }
            // A snapshot is not atomic: the task can be read as failed, but its step as it was before the failure.
            if failed.iter().any(|step| step.state != StepState::Error) {
                return Ok(None);
            }
            if !snapshot.task.has_room_for_redrive() {
                return Err(ActionError::TrailFull);
            }
            let deadline = deadline_of_failed(snapshot).filter(|deadline| *deadline <= self.engine.now());
            if let Some(deadline) = deadline.filter(|_| !moves_deadline) {
                return Err(ActionError::DeadlineExceeded(deadline));
            }
            let action = self.action(ActionKind::Redrive, None, actor);
            // The messages name the dependencies of the steps, which the redrive does not change.
            let messages = failed.iter().map(|step| Due::Send(snapshot.message(&step.name)));
            let redrive = if moves_deadline { task::redrive_with_new_deadline } else { task::redrive };
            let redrive = redrive(&snapshot.task, &failed, &action);
            Ok(redrive.map(|redrive| Settlement::of(redrive).then(messages)))
        })
        .await
    }

    /// Runs now what waits for its time: each step or compensation that waits for its next attempt, or else the redrive that the engine has
    /// planned. These are the attempts that were planned for later, so no step gets more of them, and the deadline stays where it is.
    /// With a failed step and another one that waits, only the latter is attempted.
    /// Returns the task as it was before.
    ///
    /// # Errors
    /// [`ActionError::NothingWaits`], if nothing does, [`ActionError::IsDue`], if all that waited is due, as after another such call,
    /// [`ActionError::ServiceOut`], if a step waits only for a service, and [`ActionError::RunTooOften`]. Nothing is written then. See
    /// [`ActionError`] for the others.
    pub async fn run_now(&self, id: TaskId, actor: &Actor) -> Result<TaskSnapshot, ActionError> {
        self.act(id, actor, |snapshot| {
            let now = self.engine.now();
            let (parked, waiting): (Vec<_>, Vec<_>) = snapshot.waiting().partition(|step| is_parked(step));
            let (later, due): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|step| step.next_retry_at > Some(now));
            let (steps, transition) = if !later.is_empty() {
                if !snapshot.task.has_room_for_run_now() {
                    return Err(ActionError::RunTooOften);
                }
                let only = later.first().filter(|_| later.len() == 1).map(|step| step.name.as_str());
                let run_now = task::run_now(&snapshot.task, &later, &self.action(ActionKind::RunNow, only, actor));
                (later, run_now)
            } else if let Some((step, since)) = first_wait(&due) {
                return Err(ActionError::IsDue { step, since });
            } else {
                let failed = planned_redrive(snapshot, now);
                if failed.is_empty() {
                    let nothing = || ActionError::NothingWaits(snapshot.status());
                    let service_out = |(step, until)| ActionError::ServiceOut { step, until };
                    return Err(first_wait(&parked).map_or_else(nothing, service_out));
                }
                // A snapshot is not atomic, as for any redrive. One that is planned has room in the audit trail.
                if failed.iter().any(|step| step.state != StepState::Error) {
                    return Ok(None);
                }
                let action = self.action(ActionKind::RedriveNow, None, actor);
                let redrive = task::redrive_now(&snapshot.task, &failed, &action);
                (failed, redrive)
            };
            let messages = steps.iter().map(|step| Due::Send(snapshot.message(&step.name)));
            Ok(transition.map(|transition| Settlement::of(transition).then(messages)))
        })
        .await
    }

    /// Runs the step that waits for its retry now for a customer: at once, or at [`RUN_NOW_PAUSE`] after its last attempt. The attempt is the one that was
    /// planned for later, so no step gets more attempts by it, and a repeated call changes nothing. Nor does one for a step that is
    /// parked because its service is out. It leaves no entry in
    /// the audit trail of the task; the attempts show when they ran. Returns the time at which the step is due.
    ///
    /// # Errors
    /// [`ActionError::NothingWaits`], if no step waits for a retry. See [`ActionError`] for the others.
    pub async fn run_now_after_pause(&self, id: TaskId) -> Result<Timestamp, ActionError> {
        let now = self.engine.now();
        let decided = self.engine.settle_as_read(id, |snapshot| {
            let Some(snapshot) = snapshot else { return Decision::Leave(Err(ActionError::NotFound(id))) };
            let runs = snapshot.task.state.lets_steps_run();
            let waiting = snapshot.steps.iter().find(|step| runs && step.state == StepState::Retrying);
            let Some((step, planned)) = waiting.and_then(|step| Some((step, step.next_retry_at?))) else {
                return Decision::Leave(Err(ActionError::NothingWaits(snapshot.status())));
            };
            let ended_at = step.attempts.last().and_then(|attempt| attempt.finished_at);
            let due = ended_at.map_or(now, |ended_at| now.max(ended_at + RUN_NOW_PAUSE));
            // A step that is parked would only be parked again.
            if planned <= due || is_parked(step) {
                return Decision::Leave(Ok(planned));
            }
            let message = Due::Send(snapshot.message(&step.name));
            Decision::Settle(Settlement::of(reschedule(id, step, due)).then([message]), Ok(due))
        });
        let (due, followed) = decided.await?.ok_or(ActionError::KeepsChanging(id))?;
        followed.map_err(ActionError::Engine)?;
        due
    }

    /// Cancels a task: steps in flight come to their end, and no other step starts. The task is compensated, unless its
    /// workflow says `compensate: manual`. Returns the new status.
    ///
    /// A task that is complete can be cancelled only if it is compensated. Its compensations may refuse that, and then it is
    /// [complete again](crate::core::recovery).
    ///
    /// # Errors
    /// See [`ActionError`].
    pub async fn cancel(&self, id: TaskId, actor: &Actor) -> Result<TaskStatus, ActionError> {
        let action = self.action(ActionKind::Cancel, None, actor);
        let compensates = |snapshot: &TaskSnapshot| snapshot.task.plan.compensates_cancellation();
        let snapshot = self
            .act(id, actor, |snapshot| {
                let to =
                    if compensates(snapshot) { Termination::Compensate(End::Cancelled) } else { Termination::Cancel };
                let state = snapshot.task.state;
                if state == TaskState::Cancelled || state.on(to.event()).is_none() {
                    return Err(refused(ActionKind::Cancel, snapshot));
                }
                if state == TaskState::Completed && !snapshot.task.has_room_for_redrive() {
                    return Err(ActionError::TrailFull);
                }
                Ok(Some(Settlement::of(task::close_or_compensate(id, to, &action)).then([Due::AdvanceCompensation])))
            })
            .await?;
        Ok(if compensates(&snapshot) { TaskStatus::Compensating } else { TaskStatus::Cancelled })
    }

    /// Compensates a task that has failed or was cancelled, at once and whatever its workflow says.
    ///
    /// # Errors
    /// See [`ActionError`].
    pub async fn compensate(&self, id: TaskId, actor: &Actor) -> Result<(), ActionError> {
        let action = self.action(ActionKind::Compensate, None, actor);
        let compensated = self.act(id, actor, |snapshot| {
            let end = if snapshot.task.state == TaskState::Cancelled { End::Cancelled } else { End::Error };
            if snapshot.task.state.on(TaskEvent::Compensate(end)).is_none() {
                return Err(refused(ActionKind::Compensate, snapshot));
            }
            let close_or_compensate = task::close_or_compensate(id, Termination::Compensate(end), &action);
            Ok(Some(Settlement::of(close_or_compensate).then([Due::AdvanceCompensation])))
        });
        compensated.await.map(drop)
    }

    /// Declares a task done: no step starts any more, and the task is not compensated. It is refused while a step is in flight,
    /// because nothing would undo the effect that the step may still have. A step that is claimed in the same moment comes
    /// to its end.
    ///
    /// # Errors
    /// See [`ActionError`].
    pub async fn resolve(&self, id: TaskId, actor: &Actor) -> Result<(), ActionError> {
        let action = self.action(ActionKind::Resolve, None, actor);
        let resolved = self.act(id, actor, |snapshot| {
            if snapshot.task.state.on(TaskEvent::Resolve).is_none() {
                return Err(refused(ActionKind::Resolve, snapshot));
            }
            if let Some((step, until)) = snapshot.leased_at(self.engine.now()).next() {
                return Err(ActionError::InFlight { step: step.name.clone(), until });
            }
            Ok(Some(Settlement::of(task::close_or_compensate(id, Termination::Resolve, &action))))
        });
        resolved.await.map(drop)
    }

    /// Resolves a step or a compensation with this result, after which its dependents run. Everything that it waits for has to
    /// be done, no worker may own it, the result has to fit its type, and if it was attempted, somebody has to have checked
    /// the attempts.
    ///
    /// # Errors
    /// See [`ActionError`].
    pub async fn resolve_step(
        &self,
        id: TaskId,
        step: &str,
        ManualResult { json: result, attempts_checked }: ManualResult<'_>,
        actor: &Actor,
    ) -> Result<(), ActionError> {
        if result.len() > MAX_RESULT_BYTES {
            return Err(ActionError::ResultTooLarge(result.len()));
        }
        let action = self.action(ActionKind::ResolveStep, Some(step), actor);
        let resolved = self.act(id, actor, |snapshot| {
            let no_step = || ActionError::NoStep(step.to_owned());
            let plan = snapshot.task.plan.step(step).ok_or_else(no_step)?;
            let waits_for = snapshot.missing(plan).ok_or_else(|| refused(ActionKind::ResolveStep, snapshot))?;
            if !waits_for.is_empty() {
                let waits_for = waits_for.into_iter().map(str::to_owned).collect();
                return Err(ActionError::NotReady { step: step.to_owned(), waits_for });
            }
            let record = snapshot.step(step).ok_or_else(no_step)?;
            if record.state.on(StepEvent::Resolve).is_none() {
                return Err(ActionError::StepState { step: step.to_owned(), state: record.state });
            }
            if let Err(violation) = self.result_types.check(snapshot.task.workflow_name(), step, result) {
                return Err(ActionError::ResultMismatch { step: step.to_owned(), violation });
            }
            if record.attempt > 0 && !attempts_checked {
                let attempts = record.attempts.clone();
                return Err(ActionError::Attempted { step: step.to_owned(), count: record.attempt, attempts });
            }
            // The step's own worker finds it done and dispatches its dependents. Those of the other failed steps find whether the
            // engine may redrive them now.
            let others = snapshot.failed_required_steps().into_iter().map(|failed| failed.name.as_str());
            let others = others.filter(|other| *other != step && snapshot.task.state == TaskState::Failed);
            let messages: Vec<_> =
                [step].into_iter().chain(others).map(|name| Due::Send(snapshot.message(name))).collect();
            let resolve = task::resolve_step(&snapshot.task, record, result, &action);
            let keys = keys_of_result(&snapshot.task, step, result);
            Ok(resolve.map(|resolve| Settlement::of(resolve).then(messages).found_by(keys)))
        });
        resolved.await.map(drop)
    }

    /// Carries out the settlement that `decide` makes of a snapshot of the task. `decide` returns `None` for an inconsistent
    /// snapshot. Returns the task as it was before. A bulk action acts on a task once.
    pub(super) async fn act(
        &self,
        id: TaskId,
        actor: &Actor,
        decide: impl Fn(&TaskSnapshot) -> Result<Option<Settlement>, ActionError>,
    ) -> Result<TaskSnapshot, ActionError> {
        let note = spans::Note::default();
        let decided = self.engine.settle_as_read(id, |snapshot| {
            let Some(snapshot) = snapshot else { return Decision::Leave(Err(ActionError::NotFound(id))) };
            note.take(&snapshot.task);
            let acted_on = |bulk: BulkPage| snapshot.acted_on_by(bulk.id);
            if let Some(page) = actor.bulk.and_then(acted_on) {
                return Decision::Leave(Err(ActionError::ActedOn(page)));
            }
            match decide(&snapshot) {
                Ok(Some(settlement)) => Decision::Settle(settlement, Ok(snapshot)),
                Ok(None) => Decision::ReadAgain,
                Err(error) => Decision::Leave(Err(error)),
            }
        });
        let decided = decided.instrument(spans::of_task(id)).await?;
        let (answer, followed) = decided.ok_or(ActionError::KeepsChanging(id))?;
        followed.map_err(ActionError::Engine)?;
        answer
    }

    pub(super) fn action(&self, what: ActionKind, step: Option<&str>, actor: &Actor) -> Action {
        let step = step.map(str::to_owned);
        let (who, why) = (actor.who.clone(), actor.why.clone());
        Action { at: self.engine.now(), what, step, who, why, bulk: actor.bulk, rerun_as: None }
    }
}

/// The first of these steps, and the time of its next attempt.
fn first_wait(steps: &[&StepRecord]) -> Option<(String, Timestamp)> {
    steps.first().and_then(|step| Some((step.name.clone(), step.next_retry_at?)))
}

/// Whether the step waits for a service that is out.
fn is_parked(step: &StepRecord) -> bool {
    step.error.as_ref().is_some_and(|error| error.code == EngineCode::BreakerOpen.as_str())
}

fn refused(action: ActionKind, snapshot: &TaskSnapshot) -> ActionError {
    ActionError::Status { action, status: snapshot.status() }
}
