//! The pauses of steps.

use super::{
    answers::{StepStanding, Workflow, Workflows},
    api::Api,
    failure::{Failure, Kind},
    output::{print, say},
};
use serde_json::json;

/// Pauses a step, or lets it go on, as the action says.
pub(super) async fn act(
    api: &Api,
    (workflow, step): (Option<&str>, &str),
    action: &str,
    reason: &str,
    as_json: bool,
) -> Result<(), Failure> {
    let workflow = match workflow {
        Some(named) => named.to_owned(),
        None => the_workflow_of(api, step).await?,
    };
    let answer =
        api.post(&["workflows", &workflow, "steps", step, action], json!({"reason": reason}).to_string()).await?;
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
            "An attempt that has begun comes to its end, and the deadlines of tasks go on. To end the pause: stepwell resume {step}{} \
             --reason WHY",
            api.options
        ));
    }
    Ok(())
}

/// The name of the only workflow that has this step.
async fn the_workflow_of(api: &Api, step: &str) -> Result<String, Failure> {
    let (_, Workflows { workflows }) = api.get_as(&["workflows"]).await?;
    let mut with_it: Vec<&str> =
        workflows.iter().filter(|workflow| has(workflow, step)).map(|found| found.name.as_str()).collect();
    match (with_it.pop(), with_it.is_empty()) {
        (Some(only), true) => Ok(only.to_owned()),
        (Some(last), false) => {
            let all = [with_it.as_slice(), &[last]].concat().join(", ");
            Err(Failure::new(
                Kind::Usage,
                format!("several workflows have a step {step}: say --workflow, one of {all}"),
            ))
        }
        (None, _) => Err(Failure::refused(format!(
            "no workflow has a step {step}; stepwell workflows{} lists them",
            api.options
        ))),
    }
}

fn has(workflow: &Workflow, step: &str) -> bool {
    workflow.steps.iter().chain(&workflow.compensations).any(|planned| planned.name == step)
}
