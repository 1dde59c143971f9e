//! A small saga: a seat is reserved, the card is declined, and a compensation frees the seat. It runs in memory, in virtual
//! time: `cargo run -p stepwell --features testing --example hello`
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use serde::{Deserialize, Serialize};
use stepwell::testing::{Harness, StepFault};
use stepwell::{Context, ResultOf, Step, StepContext, StepError, StepResult, Workflow, permanent, retryable};

/// The workflow: its steps, their dependencies and their compensations.
const WORKFLOW: &str = "{name: hello, namespace_name: lessons, compensate: on_error, step_templates: [
    {name: reserve_seat, compensation: {name: release_seat}}, {name: charge_card, depends_on_steps: [reserve_seat]}]}";

/// A result that other steps take names its step.
#[derive(Serialize, Deserialize)]
struct Seat(u32);
impl StepResult for Seat {
    const STEP: &'static str = "reserve_seat";
}

/// A step declares its input and its output. This one takes the task's context: the guest's name.
struct ReserveSeat;
impl Step for ReserveSeat {
    type Input = Context<String>;
    type Output = Seat;
    async fn run(&self, Context(guest): Self::Input, ctx: &StepContext) -> Result<Seat, StepError> {
        println!("attempt {}: seat 7 is reserved for {guest}", ctx.attempt);
        Ok(Seat(7))
    }
}

struct ChargeCard;
impl Step for ChargeCard {
    type Input = ResultOf<Seat>;
    type Output = ();
    async fn run(&self, ResultOf(Seat(number)): Self::Input, ctx: &StepContext) -> Result<(), StepError> {
        println!("it tries to charge the card for seat {number}, under the key {}", ctx.idempotency_key());
        Err(permanent("CARD_DECLINED", "no money")) // A permanent error is not retried: the task fails, and the engine compensates it.
    }
}

/// A compensation is a step, too. It may run twice, or before the effect that it undoes.
struct ReleaseSeat;
impl Step for ReleaseSeat {
    type Input = Option<ResultOf<Seat>>;
    type Output = ();
    async fn run(&self, seat: Self::Input, _: &StepContext) -> Result<(), StepError> {
        println!("seat {:?} is free again", seat.map(|ResultOf(Seat(number))| number));
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread", start_paused = true)] // Waits take no time.
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let harness = Harness::new(Workflow::from_yaml(WORKFLOW)?).with("reserve_seat", ReserveSeat);
    let harness = harness.with("charge_card", ChargeCard).with("release_seat", ReleaseSeat);
    harness.fail("reserve_seat", [StepFault::ErrorAfterEffect(retryable("TIMEOUT", "no answer"))]); // The step is retried.
    println!("the task ends as: {}", harness.run(harness.start(&"Ada".into()).await?).await?.status());
    Ok(())
}
