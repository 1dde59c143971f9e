//! What every step does: its work in the world, in the way the scenario says.

use super::{
    process::Process,
    scenario::HandlerScript,
    simulation::Simulation,
    world::{Ending, Place},
};
use crate::steps::{Run, Script, number_of};
use serde_json::{Value, json};
use std::{panic::resume_unwind, sync::Arc, time::Duration};
use stepwell::{StepError, permanent, retryable};

/// The script of the handlers in one process.
pub(super) fn script(simulation: &Arc<Simulation>, process: &Process) -> Script {
    let (simulation, process) = (simulation.clone(), process.clone());
    Script::slow(move |run| handle(simulation.clone(), process.clone(), run))
}

async fn handle(simulation: Arc<Simulation>, process: Process, run: Run) -> Result<Value, StepError> {
    let Run { facts, .. } = &run;
    let number = number_of(&facts.step).expect("the steps of a simulation are numbered");
    let place: Place = (facts.task_id, number);
    let attempt = run.facts.attempt;
    simulation.check_start(&process, &run);
    let scripts = simulation.scripts(place);
    let (script, again) = simulation.world.begin(place, attempt, scripts);
    process.note(|| format!("{} attempt {attempt} begins, and is to {script:?}", run.facts.step));
    if again {
        simulation.scheduler.violated(|| format!("attempt {attempt} of {} was run twice", run.facts.step));
    }
    process.point().await;
    if simulation.scheduler.one_in(4) {
        simulation.scheduler.wait(3_000).await;
    }
    let output = json!({ "attempt": attempt });
    let (ending, answer) = match script {
        HandlerScript::Refuse => (Ending::Failed, Err(retryable("BUSY", "try again"))),
        HandlerScript::FailForGood => (Ending::FailedForGood, Err(permanent("NO", "never"))),
        HandlerScript::Succeed if simulation.act(place, &run) => (Ending::Returned, Ok(output)),
        HandlerScript::Succeed => {
            (Ending::FailedForGood, Err(permanent("VOID", "it has been undone before it was done")))
        }
        HandlerScript::LoseAnswer => {
            simulation.act(place, &run);
            (Ending::Failed, Err(retryable("UNKNOWN", "no answer came")))
        }
        HandlerScript::Panic => {
            simulation.act(place, &run);
            // Without the panic hook, which would print a million of them.
            resume_unwind(Box::new("as the scenario wants it"));
        }
        HandlerScript::TakeTooLong => {
            simulation.act(place, &run);
            tokio::time::sleep(Duration::from_secs(60)).await;
            (Ending::Returned, Ok(output))
        }
    };
    process.point().await;
    simulation.world.end(place, attempt, ending);
    answer
}
