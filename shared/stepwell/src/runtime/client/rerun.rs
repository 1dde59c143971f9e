//! Reruns: a task that has come to its end is started once more, as a new task, with an edited input.
//!
//! A rerun must not have an effect twice that its customer wants once. So a task has at most one rerun, and reruns form a chain:
//!
//! 1. [`Client::find_rerun`] checks that nothing of the task can run any more. The caller makes the new input of the old one.
//! 2. [`Client::reserve_rerun`] writes the id of the new task to the old one, if that is still as it was read. From then on
//!    [nothing of the old task runs again](task::reserve_rerun), and only a task of this id is its rerun.
//! 3. [`Client::write_start`] starts that task, which names the old one.
//!
//! After a crash between the last two a reservation stands without a task. The same request goes on with it: it has the same input, and puts the
//! same things away under the id. Any other request [rules that id out](Client::rule_out), so that a start of it which is only late is refused,
//! and reserves an id of its own. So the input of one request, and what it has put away, is never mixed with that of another.

use super::{ActionError, Actor, Client, PendingStart};
use crate::{
    core::{
        hex::hex,
        id::TaskId,
        record::{Action, ActionKind, RerunAs, TaskRecord},
        rerun::{NotRerun, check},
        settlement::Settlement,
        snapshot::TaskSnapshot,
        task,
    },
    ports::{Queue, Runtime, Store, TableError},
};
use sha2::{Digest, Sha256};

/// How many reruns of reruns are followed to name the last one. Whoever reruns that one is told of the next.
const MAX_CHAIN: usize = 20;

/// A request to rerun a task. It may be repeated, and starts one task only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RerunRequest {
    hash: String,
    again: bool,
}

impl RerunRequest {
    /// The request of this actor with this text, which tells what the new input is. With `again` a task may be rerun that is complete.
    pub fn new(actor: &Actor, text: &str, again: bool) -> Self {
        let hash = Sha256::new_with_prefix(actor.who()).chain_update([0, again.into()]).chain_update(text);
        Self { hash: hex(hash.finalize()), again }
    }
}

/// How it stands with a reserved id.
enum Standing {
    /// The task was started.
    Started,
    /// It may still be started.
    NotYet,
    /// It was ruled out.
    Never,
}

/// What a request to rerun a task finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Rerun {
    /// The same request was made before, and has started this task.
    Made(TaskId),
    /// The task may be rerun, or the same request has reserved an id for that and goes on.
    Of(Box<TaskRecord>),
}

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// The first part of a rerun: checks whether the task may be rerun, unless the same request was made before. It writes nothing.
    ///
    /// # Errors
    /// [`ActionError::NotRerun`] and [`ActionError::NotFound`]. See [`ActionError`] for the others.
    pub async fn find_rerun(&self, id: TaskId, request: &RerunRequest) -> Result<Rerun, ActionError> {
        let snapshot = self.engine.snapshot(id).await?.ok_or(ActionError::NotFound(id))?;
        if let Some(RerunAs { task: new, request_hash }) = &snapshot.task.rerun_as {
            let is_same = *request_hash == request.hash;
            // Before any rule: what the request has made must not refuse its repetition.
            match self.standing(*new).await? {
                Standing::Started if is_same => return Ok(Rerun::Made(*new)),
                Standing::Started => return Err(self.was_rerun(*new).await?),
                Standing::NotYet if is_same => return Ok(Rerun::Of(Box::new(snapshot.task))),
                Standing::NotYet | Standing::Never => {}
            }
        }
        check(&snapshot, request.again, self.now()).map_err(ActionError::NotRerun)?;
        Ok(Rerun::Of(Box::new(snapshot.task)))
    }

    /// The second part of a rerun: makes this start that of the only rerun of the task, which is as it was [found](Self::find_rerun).
    /// [`write_start`](Self::write_start) starts it.
    ///
    /// # Errors
    /// [`ActionError::NotRerun`], if somebody has rerun the task since, or it may not be rerun any more, and
    /// [`ActionError::TrailFull`]. See [`ActionError`] for the others.
    pub async fn reserve_rerun(
        &self,
        of: &TaskRecord,
        request: &RerunRequest,
        start: PendingStart,
        actor: &Actor,
    ) -> Result<PendingStart, ActionError> {
        let started_as = |task_id| PendingStart { task_id, rerun_of: Some(of.id), ..start.clone() };
        if let Some(before) = &of.rerun_as {
            match self.standing(before.task).await? {
                Standing::Started => return Err(self.was_rerun(before.task).await?),
                Standing::NotYet if before.request_hash == request.hash => return Ok(started_as(before.task)),
                Standing::NotYet => {
                    let snapshot = self.engine.snapshot(of.id).await?.ok_or(ActionError::NotFound(of.id))?;
                    self.check_room(&snapshot, request)?;
                    let rule_out = self.action(ActionKind::Cancel, None, actor);
                    self.engine.rule_out(before.task, start.workflow.clone(), &rule_out).await?;
                    if matches!(self.standing(before.task).await?, Standing::Started) {
                        return Err(self.was_rerun(before.task).await?);
                    }
                }
                Standing::Never => {}
            }
        }
        let to = RerunAs { task: start.task_id, request_hash: request.hash.clone() };
        let action = Action { rerun_as: Some(to.task), ..self.action(ActionKind::Rerun, None, actor) };
        let reserved = self.act(of.id, actor, |snapshot| {
            match &snapshot.task.rerun_as {
                Some(other) if of.rerun_as.as_ref() != Some(other) => {
                    return Err(ActionError::NotRerun(NotRerun::UnderWay(other.clone())));
                }
                _ => self.check_room(snapshot, request)?,
            }
            Ok(Some(Settlement::of(task::reserve_rerun(&snapshot.task, &to, &action))))
        });
        match reserved.await {
            Ok(_) => Ok(started_as(to.task)),
            // The same request, sent twice at once.
            Err(ActionError::NotRerun(NotRerun::UnderWay(other))) if other.request_hash == request.hash => {
                Ok(started_as(other.task))
            }
            Err(refused) => Err(refused),
        }
    }

    /// Checks that the task may be rerun, and that its audit trail can say so.
    fn check_room(&self, snapshot: &TaskSnapshot, request: &RerunRequest) -> Result<(), ActionError> {
        check(snapshot, request.again, self.now()).map_err(ActionError::NotRerun)?;
        if snapshot.task.has_room_for_redrive() { Ok(()) } else { Err(ActionError::TrailFull) }
    }

    /// Whether the task of a reserved id has started.
    async fn standing(&self, id: TaskId) -> Result<Standing, TableError> {
        Ok(match self.snapshot(id).await? {
            None => Standing::NotYet,
            Some(found) if found.task.never_starts() => Standing::Never,
            Some(_) => Standing::Started,
        })
    }

    /// The refusal for a task that was rerun as this one: it names the last rerun of the chain.
    async fn was_rerun(&self, first: TaskId) -> Result<ActionError, TableError> {
        let mut last = first;
        for _ in 0..MAX_CHAIN {
            let next = self.snapshot(last).await?.and_then(|found| found.task.rerun_as);
            let Some(next) = next else { break };
            if !matches!(self.standing(next.task).await?, Standing::Started) {
                break;
            }
            last = next.task;
        }
        Ok(ActionError::NotRerun(NotRerun::Before(last)))
    }
}
