//! What `replay` is given: a task as the operators' API tells it.

use crate::failure::Failure;
use checkout_local::json;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{collections::BTreeMap, fs, io};
use stepwell::{
    StepResult, TaskId, Timestamp,
    core::{record::Outcome, state::StepState},
};

/// A task with its input, and how that is changed.
#[derive(Deserialize)]
pub(super) struct Source {
    /// The answer of `GET /tasks/ID`.
    pub(super) task: Task,
    /// The answer of `POST /tasks/ID/reveal`.
    revealed: Revealed,
    /// A merge patch of the input.
    #[serde(default)]
    patch: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Task {
    pub(super) task_id: TaskId,
    pub(super) workflow: String,
    pub(super) started_at: Timestamp,
    steps: Vec<Step>,
    compensations: Vec<Step>,
}

/// A step or a compensation.
#[derive(Deserialize)]
pub(super) struct Step {
    name: String,
    status: StepState,
    attempts: Vec<Attempt>,
    result: Option<Box<RawValue>>,
}

/// An attempt of a step.
#[derive(Deserialize)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) started_at: Timestamp,
    finished_at: Option<Timestamp>,
    outcome: Outcome,
    error: Option<Error>,
}

/// The error of an attempt.
#[derive(Deserialize)]
pub(super) struct Error {
    pub(super) code: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
struct Revealed {
    input: Value,
    /// Where something is hidden in the input, as JSON pointers.
    hidden: Vec<String>,
}

/// How an attempt has ended.
pub(super) enum End<'a> {
    Result(&'a str),
    Error(&'a Error),
}

impl Source {
    /// Reads this file, or stdin if it is `-`.
    ///
    /// # Errors
    /// It cannot be read, or is something else.
    pub(super) fn read(file: &str) -> Result<Self, Failure> {
        let text = if file == "-" { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) };
        let text = text.map_err(|source| Failure::Folder { path: file.into(), source })?;
        // Without the text, which has personal data and may have the token of a card.
        serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let parts = "`task`, as GET /tasks/ID answers, `revealed`, as POST /tasks/ID/reveal does, and `patch`, if there is one";
            Failure::Option(format!("{file} is no JSON object with {parts}: see line {line}, column {column}"))
        })
    }

    /// The input of the step: without what is hidden, and then with the patch.
    pub(super) fn input(&self) -> Value {
        let mut input = self.revealed.input.clone();
        for pointer in &self.revealed.hidden {
            json::remove(&mut input, pointer);
        }
        if let Some(patch) = &self.patch {
            tasks_api::merge_patch(&mut input, patch.clone());
        }
        input
    }

    /// Where something is hidden in the input that the patch has not given, as JSON pointers.
    pub(super) fn still_hidden(&self, input: &Value) -> Vec<&str> {
        let hidden = self.revealed.hidden.iter().map(String::as_str);
        hidden.filter(|pointer| input.pointer(pointer).is_none()).collect()
    }
}

impl Task {
    /// The step or the compensation of this name; `None` if the task has none, or does not run the compensation yet.
    pub(super) fn step(&self, name: &str) -> Option<&Step> {
        self.all().find(|step| step.name == name)
    }

    fn all(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(&self.compensations)
    }

    /// The results of all steps and compensations.
    pub(super) fn results(&self) -> BTreeMap<String, String> {
        self.all().filter_map(|step| Some((step.name.clone(), step.result.as_ref()?.get().to_owned()))).collect()
    }

    /// The result of a step; `None` if there is none. One that cannot be read is an error of the step that reads it.
    pub(super) fn result<T: StepResult>(&self) -> Option<T> {
        serde_json::from_str(self.step(T::STEP)?.result.as_ref()?.get()).ok()
    }

    /// The steps and compensations that an attempt had completed by this time, in the order of their ends.
    pub(super) fn completed_by(&self, time: Timestamp) -> Vec<Completed<'_>> {
        let mut completed: Vec<_> =
            self.all().filter_map(Completed::of).filter(|done| done.finished_at <= time).collect();
        completed.sort_by_key(|done| done.finished_at);
        completed
    }
}

/// A step or a compensation that an attempt has completed.
pub(super) struct Completed<'a> {
    step: &'a Step,
    result: &'a str,
    /// The number of its first attempt: what it left at a service outside is found under the key of that, if one was repeated.
    pub(super) first_attempt: u32,
    /// When the attempt began that completed it.
    pub(super) started_at: Timestamp,
    finished_at: Timestamp,
}

impl<'a> Completed<'a> {
    fn of(step: &'a Step) -> Option<Self> {
        let (first, last) = (step.attempts.first()?, step.attempts.last()?);
        let is_complete = step.status == StepState::Complete && last.outcome == Outcome::Complete;
        let (result, finished_at) = (step.result.as_ref()?.get(), last.finished_at?);
        let (first_attempt, started_at) = (first.number, last.started_at);
        is_complete.then_some(Self { step, result, first_attempt, started_at, finished_at })
    }

    /// The name of the step.
    pub(super) fn name(&self) -> &'a str {
        &self.step.name
    }

    /// How the step has ended.
    pub(super) fn end(&self) -> End<'a> {
        End::Result(self.result)
    }
}

impl Step {
    /// The last attempt; `None` if there was none.
    pub(super) fn last_attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// How the last attempt has ended; `None` if there is none that has.
    pub(super) fn end(&self) -> Option<End<'_>> {
        let attempt = self.attempts.last()?;
        match &attempt.error {
            Some(error) => Some(End::Error(error)),
            None if attempt.outcome == Outcome::Complete => Some(End::Result(self.result.as_ref()?.get())),
            None => None,
        }
    }
}
