//! What every step does: its work in the world, in the way the scenario says.

use super::{
    house::House,
    process::Process,
    scenario::Deed,
    world::{Ending, Place},
};
use crate::steps::{Run, Script, number_of};
use serde_json::{Value, json};
use std::{panic::resume_unwind, sync::Arc, time::Duration};
use stepwell::{StepError, permanent, retryable};

/// The script of the handlers in one process.
pub(super) fn script(house: &Arc<House>, process: &Process) -> Script {
    let (house, process) = (house.clone(), process.clone());
    Script::slow(move |run| handle(house.clone(), process.clone(), run))
}

async fn handle(house: Arc<House>, process: Process, run: Run) -> Result<Value, StepError> {
    let Run { facts, .. } = &run;
    let number = number_of(&facts.step).expect("the steps of a simulation are numbered");
    let place: Place = (facts.task_id, number);
    let attempt = run.facts.attempt;
    house.check_start(&process, &run);
    let deeds = house.deeds(place);
    let (deed, again) = house.world.begin(place, attempt, deeds);
    process.note(|| format!("{} attempt {attempt} begins, and is to {deed:?}", run.facts.step));
    if again {
        house.fate.violated(|| format!("attempt {attempt} of {} was run twice", run.facts.step));
    }
    process.point().await;
    if house.fate.one_in(4) {
        house.fate.wait(3_000).await;
    }
    let output = json!({ "attempt": attempt });
    let (ending, answer) = match deed {
        Deed::Refuse => (Ending::Failed, Err(retryable("BUSY", "try again"))),
        Deed::FailForGood => (Ending::FailedForGood, Err(permanent("NO", "never"))),
        Deed::Succeed if house.act(place, &run) => (Ending::Returned, Ok(output)),
        Deed::Succeed => (Ending::FailedForGood, Err(permanent("VOID", "it has been undone before it was done"))),
        Deed::LoseAnswer => {
            house.act(place, &run);
            (Ending::Failed, Err(retryable("UNKNOWN", "no answer came")))
        }
        Deed::Panic => {
            house.act(place, &run);
            // Without the panic hook, which would print a million of them.
            resume_unwind(Box::new("as the scenario wants it"));
        }
        Deed::TakeTooLong => {
            house.act(place, &run);
            tokio::time::sleep(Duration::from_secs(60)).await;
            (Ending::Returned, Ok(output))
        }
    };
    process.point().await;
    house.world.end(place, attempt, ending);
    answer
}
