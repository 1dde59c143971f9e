//! The pauses of steps.

use super::{
    answers::{Health, Pause, StepStanding, Workflows},
    api::Api,
    failure::{Failure, Kind},
    output::{print, say},
};
use serde_json::json;

/// A time before each pause.
const BEFORE_ALL: &str = "1970-01-01T00:00:00Z";

/// What is to be done to a step.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// No attempt of it begins from then on.
    Pause,
    /// It goes on. If it is paused for several reasons, the person says that `all` are over.
    Resume {
        /// Whether they are.
        all: bool,
    },
}

/// Pauses a step, or lets it go on.
pub(super) async fn act(
    api: &Api,
    (workflow, step): (Option<&str>, &str),
    action: Action,
    reason: &str,
    as_json: bool,
) -> Result<(), Failure> {
    let (workflow, pause) = find(api, workflow, step).await?;
    let (name, body) = match action {
        Action::Pause => ("pause", json!({"reason": reason})),
        Action::Resume { all } => {
            if let Some(pause) = pause.as_ref().filter(|pause| !all && !pause.also.is_empty()) {
                return Err(Failure::refused(format!("{step} is paused {pause}; if all of that is over, say --all")));
            }
            // Nobody ends a pause that was made after the look, also where it has shown none.
            let seen = pause.as_ref().map_or(BEFORE_ALL, Pause::newest);
            ("resume", json!({"reason": reason, "seen": seen}))
        }
    };
    let answer = api.post(&["workflows", &workflow, "steps", step, name], body.to_string()).await?;
    let standing: StepStanding = answer.read()?;
    if as_json {
        print(&answer.text)?;
    } else {
        print(&standing)?;
    }
    if !standing.told {
        say("Its queue does not know yet: the watchdog tells it within a minute, and so does the same command again.");
    }
    if standing.paused.is_some() {
        say(format_args!(
            "An attempt that has begun comes to its end, and the deadlines of tasks go on. To end the pause: stepwell resume {step} --workflow \
             {workflow}{} --reason WHY",
            api.options
        ));
    }
    Ok(())
}

/// The workflow of this step, which is the only one that has it unless one is named, and the pause of the step.
async fn find(api: &Api, workflow: Option<&str>, step: &str) -> Result<(String, Option<Pause>), Failure> {
    let is_named = |name: &str| workflow.is_none_or(|workflow| workflow == name);
    let (_, Workflows { workflows }) = api.get_as(&["workflows"]).await?;
    let mut found = Vec::new();
    for workflow in workflows.into_iter().filter(|workflow| is_named(&workflow.name)) {
        let mut all = workflow.steps.into_iter().chain(workflow.compensations);
        found.extend(all.find(|planned| planned.name == step).map(|planned| (workflow.name, planned.paused)));
    }
    if found.is_empty() {
        // A deployment may have taken a paused step away.
        let (_, Health { paused_steps, .. }) = api.get_as(&["health", "status"]).await?;
        let gone = paused_steps.into_iter().filter(|paused| is_named(&paused.workflow) && paused.step == step);
        found.extend(gone.map(|paused| (paused.workflow, Some(paused.pause))));
    }
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            let names: Vec<&str> = found.iter().chain([&last]).map(|(name, _)| name.as_str()).collect();
            Err(Failure::new(
                Kind::Usage,
                format!("several workflows have a step {step}: say --workflow, one of {}", names.join(", ")),
            ))
        }
        (None, _) => Err(Failure::refused(format!(
            "{} has a step {step}; stepwell workflows{} lists them",
            workflow.map_or("no workflow".to_owned(), |name| format!("no workflow {name}")),
            api.options
        ))),
    }
}
