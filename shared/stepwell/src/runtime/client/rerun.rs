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

use super::{ActionError, Actor, Client, PendingStart, RerunOf};
use crate::{
    core::{
        hex::hex,
        id::TaskId,
        plan::Plan,
        record::{Action, ActionKind, KeptResult, RerunAs, TaskRecord},
        rerun::{self, NotRerun, check},
        search::values_of_result,
        settlement::Settlement,
        snapshot::TaskSnapshot,
        task,
        workflow::Violation,
    },
    ports::{Queue, Runtime, Store, TableError},
};
use sha2::{Digest, Sha256};

/// How many reruns of reruns are followed to name the last one. Whoever reruns that one is told of the next.
const MAX_CHAIN: usize = 20;

/// A request to rerun a task, from its first step or a later one. It may be repeated, and starts one task only. Whoever asks for the same makes the same request: what an operator is
/// called may change between two requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RerunRequest {
    hash: String,
    again: bool,
    from: Option<String>,
}

impl RerunRequest {
    /// The request with this text, which tells what the new input is. With `again` a task may be rerun whose effects stand, or may stand.
    pub fn new(text: &str, again: bool) -> Self {
        let hash = Sha256::new_with_prefix([again.into()]).chain_update(text);
        Self { hash: hex(hash.finalize()), again, from: None }
    }

    /// The request whose rerun begins at this step, and [keeps the results](rerun::kept) of those before it.
    #[must_use]
    pub fn beginning_at(self, from: String) -> Self {
        let hash = Sha256::new_with_prefix(self.hash).chain_update(&from);
        Self { hash: hex(hash.finalize()), from: Some(from), ..self }
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

/// How a request to rerun a task goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Rerun<T> {
    /// The same request was made before, and has started this task.
    Made(TaskId),
    /// The task may be rerun, or the same request has reserved an id for that. It goes on with this.
    Next(T),
}

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// The first part of a rerun: checks whether the task may be rerun, unless the same request was made before. It writes nothing.
    ///
    /// # Errors
    /// [`ActionError::NotRerun`] and [`ActionError::NotFound`]. See [`ActionError`] for the others.
    pub async fn find_rerun(&self, id: TaskId, request: &RerunRequest) -> Result<Rerun<TaskRecord>, ActionError> {
        let snapshot = self.engine.snapshot(id).await?.ok_or(ActionError::NotFound(id))?;
        if let Some(RerunAs { task: new, request_hash }) = &snapshot.task.rerun_as {
            // Before any rule: what the request has made must not refuse its repetition.
            match self.standing(*new).await? {
                Standing::Started if *request_hash == request.hash => return Ok(Rerun::Made(*new)),
                Standing::Started => return Err(self.was_rerun(&snapshot.task, *new).await?),
                Standing::NotYet | Standing::Never => {}
            }
        }
        check(&snapshot, request.again, request.from.as_deref(), self.now()).map_err(ActionError::NotRerun)?;
        Ok(Rerun::Next(snapshot.task))
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
    ) -> Result<Rerun<PendingStart>, ActionError> {
        let kept = self.kept(of.id, request, &start.plan).await?;
        let mut start = start;
        let found_by = kept.iter().flat_map(|kept| values_of_result(&start.plan, &kept.step, &kept.result));
        start.found_by.extend(found_by);
        start.rerun_of = Some(RerunOf { task: of.id, kept });
        let started_as = |task_id| Rerun::Next(PendingStart { task_id, ..start.clone() });
        if let Some(before) = &of.rerun_as {
            match self.standing(before.task).await? {
                Standing::Started if before.request_hash == request.hash => return Ok(Rerun::Made(before.task)),
                Standing::Started => return Err(self.was_rerun(of, before.task).await?),
                Standing::NotYet if before.request_hash == request.hash => return Ok(started_as(before.task)),
                Standing::NotYet => {
                    let snapshot = self.engine.snapshot(of.id).await?.ok_or(ActionError::NotFound(of.id))?;
                    self.check_room(&snapshot, request)?;
                    let rule_out = self.action(ActionKind::Cancel, None, actor);
                    self.engine.rule_out(before.task, start.workflow.clone(), &rule_out).await?;
                    if !matches!(self.standing(before.task).await?, Standing::Never) {
                        return Err(self.was_rerun(of, before.task).await?);
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
                match self.has_started(other.task).await? {
                    true => Ok(Rerun::Made(other.task)),
                    false => Ok(started_as(other.task)),
                }
            }
            Err(refused) => Err(refused),
        }
    }

    /// The results that a rerun with this plan keeps. They do not change any more: each step of the task is done, or closed for good, and nothing
    /// undoes it.
    async fn kept(&self, of: TaskId, request: &RerunRequest, plan: &Plan) -> Result<Vec<KeptResult>, ActionError> {
        let Some(from) = &request.from else { return Ok(Vec::new()) };
        let snapshot = self.engine.snapshot(of).await?.ok_or(ActionError::NotFound(of))?;
        let task = &snapshot.task;
        if !task.plan.has_same_steps(plan) {
            return Err(ActionError::NotRerun(NotRerun::Changed(task.workflow.clone())));
        }
        let kept = rerun::kept(&snapshot, from).map_err(ActionError::NotRerun)?;
        for KeptResult { step, result } in &kept {
            let checked = self.result_types.check(task.workflow_name(), step, result);
            checked.map_err(|Violation { path, .. }| {
                ActionError::NotRerun(NotRerun::OtherType { from: from.clone(), step: step.clone(), path })
            })?;
        }
        Ok(kept)
    }

    /// Checks that the task may be rerun, and that its audit trail can say so.
    fn check_room(&self, snapshot: &TaskSnapshot, request: &RerunRequest) -> Result<(), ActionError> {
        check(snapshot, request.again, request.from.as_deref(), self.now()).map_err(ActionError::NotRerun)?;
        if snapshot.task.has_room_for_redrive() { Ok(()) } else { Err(ActionError::TrailFull) }
    }

    /// Whether the rerun has started whose id a task has reserved. If not, it may still do so, or was ruled out.
    ///
    /// # Errors
    /// The store failed.
    pub async fn has_started(&self, rerun: TaskId) -> Result<bool, TableError> {
        Ok(matches!(self.standing(rerun).await?, Standing::Started))
    }

    /// How it stands with a reserved id.
    async fn standing(&self, id: TaskId) -> Result<Standing, TableError> {
        Ok(match self.snapshot(id).await? {
            None => Standing::NotYet,
            Some(found) if found.task.never_starts() => Standing::Never,
            Some(_) => Standing::Started,
        })
    }

    /// The refusal for a task that was rerun as this one.
    async fn was_rerun(&self, of: &TaskRecord, first: TaskId) -> Result<ActionError, TableError> {
        let last = self.last_rerun(of).await?.unwrap_or(first);
        Ok(ActionError::NotRerun(NotRerun::Before(last)))
    }

    /// The task that this one was rerun as or, if that was rerun as well, the last one; `None` if no rerun of it has started.
    ///
    /// # Errors
    /// The store failed.
    pub async fn last_rerun(&self, of: &TaskRecord) -> Result<Option<TaskId>, TableError> {
        let (mut last, mut next) = (None, of.rerun_as.clone());
        for _ in 0..MAX_CHAIN {
            let Some(RerunAs { task, .. }) = next else { break };
            let found = self.snapshot(task).await?.filter(|found| !found.task.never_starts());
            let Some(found) = found else { break };
            (last, next) = (Some(task), found.task.rerun_as);
        }
        Ok(last)
    }
}
