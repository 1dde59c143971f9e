//! What every step does: its work in the world, in the way the scenario says.

use super::{
    house::House,
    process::Process,
    scenario::Deed,
    world::{Ending, Place},
};
use crate::steps::{Run, Script};
use serde_json::{Value, json};
use std::{panic::resume_unwind, rc::Rc, time::Duration};
use stepwell::{StepError, permanent, retryable};

/// The script of the handlers in one process.
pub(super) fn script(house: &Rc<House>, process: &Process) -> Script {
    let (house, process) = (house.clone(), process.clone());
    Script::slow(move |run| handle(house.clone(), process.clone(), run))
}

async fn handle(house: Rc<House>, process: Process, run: Run) -> Result<Value, StepError> {
    let place: Place = (run.facts.task_id, run.facts.step);
    let attempt = run.facts.attempt;
    house.check_start(&run);
    let deeds = house.deeds(place);
    let (deed, again) = house.world.begin(place, attempt, deeds);
    process.note(|| format!("{} attempt {attempt} begins, and is to {deed:?}", place.1));
    if again {
        house.fate.violated(|| format!("attempt {attempt} of {} was run twice", place.1));
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
