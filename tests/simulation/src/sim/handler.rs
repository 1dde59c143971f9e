//! The handler of every step: it makes its effect as the scenario's script says.

use super::{
    ledger::{Ending, Place},
    process::SimulatedProcess,
    scenario::{HandlerScript, OutageKind},
    simulation::Simulation,
};
use crate::steps::{Script, StepRun, number_of};
use serde_json::{Value, json};
use std::{panic::resume_unwind, sync::Arc, time::Duration};
use stepwell::{StepError, permanent, refused, retryable, throttled};

/// The script of all handlers in one process.
pub(super) fn script(simulation: &Arc<Simulation>, process: &SimulatedProcess) -> Script {
    let (simulation, process) = (simulation.clone(), process.clone());
    Script::slow(move |run| handle(simulation.clone(), process.clone(), run))
}

async fn handle(simulation: Arc<Simulation>, process: SimulatedProcess, run: StepRun) -> Result<Value, StepError> {
    let StepRun { facts, .. } = &run;
    let number = number_of(&facts.step).expect("the steps of a simulation are numbered");
    let place: Place = (facts.task_id, number);
    let attempt = run.facts.attempt;
    simulation.check_start(&process, &run);
    simulation.check_breaker(&run.facts.step);
    simulation.check_pause(&run.facts.step);
    let scripts = simulation.scripts(place);
    let (script, again) = simulation.ledger.begin(place, attempt, scripts);
    process.note(|| format!("{} attempt {attempt} begins, and is to {script:?}", run.facts.step));
    if again {
        simulation.scheduler.violated(|| format!("attempt {attempt} of {} was run twice", run.facts.step));
    }
    process.point().await;
    if simulation.scheduler.one_in(4) {
        simulation.scheduler.wait(3_000).await;
    }
    let output = json!({ "attempt": attempt });
    let outage = simulation.scenario.outage_of(number, simulation.scheduler.elapsed());
    let (ending, answer) = match script {
        _ if outage == Some(OutageKind::Refuses) => {
            (Ending::Failed, Err(retryable("DOWN", "try again later").from_service()))
        }
        _ if outage == Some(OutageKind::Hangs) => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            (Ending::Failed, Err(retryable("LATE", "no answer in time").from_service()))
        }
        _ if is_turned_away(&simulation, outage) => {
            let wait = Duration::from_secs(30);
            (Ending::Failed, Err(throttled("RATE_LIMITED", "too many calls").retry_after(wait).from_service()))
        }
        HandlerScript::Refuse => (Ending::Failed, Err(retryable("BUSY", "try again"))),
        HandlerScript::FailForGood => (Ending::FailedForGood, Err(permanent("NO", "never"))),
        HandlerScript::Decline if simulation.has_acted(place, &run) => (Ending::Returned, Ok(output)),
        HandlerScript::Decline => (Ending::FailedForGood, Err(refused("SHIPPED", "too late"))),
        HandlerScript::Succeed if simulation.act(place, &run) => (Ending::Returned, Ok(output)),
        HandlerScript::Succeed => {
            (Ending::FailedForGood, Err(permanent("VOID", "it has been undone before it was done")))
        }
        HandlerScript::LoseAnswer => {
            simulation.act(place, &run);
            (Ending::Failed, Err(retryable("UNKNOWN", "no answer came").from_service()))
        }
        HandlerScript::Panic => {
            simulation.act(place, &run);
            // Bypasses the panic hook, which would print a million of these.
            resume_unwind(Box::new("as the scenario wants it"));
        }
        HandlerScript::TakeTooLong => {
            simulation.act(place, &run);
            tokio::time::sleep(Duration::from_secs(60)).await;
            (Ending::Returned, Ok(output))
        }
    };
    process.point().await;
    simulation.ledger.end(place, attempt, ending);
    answer
}

/// Whether the service turns this call away, because others have used up its limit.
fn is_turned_away(simulation: &Simulation, outage: Option<OutageKind>) -> bool {
    match outage {
        Some(OutageKind::TurnsAway(all_but_one_in)) => !simulation.scheduler.one_in(all_but_one_in),
        Some(OutageKind::Refuses | OutageKind::Hangs) | None => false,
    }
}
