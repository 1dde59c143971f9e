//! A checkout written in one piece: one request handler that does everything while the customer waits.
//!
//! It is meant to be as good as a competent developer makes it without an engine, and it runs the very code of our
//! steps, so that nothing differs but what holds them together:
//!
//! * each call is made by the same client library as ours, which tries several times, and under an idempotency key that
//!   is made for the request: so a try that is made again within the request charges, takes and orders nothing twice;
//! * where something fails from the charge on, it cancels the order, puts the stock back and refunds the payment before it
//!   says so, also where it does not know whether they were made: the same keys rule them out;
//! * a letter that cannot be sent fails no checkout: the order is there, and a log line says so.
//!
//! What it cannot do: go on after its process has died, wait longer than the API's limit of 29 s, or undo anything while
//! the service that would have to is out. And nobody comes back later to what is left behind.

use super::{process::Process, services::Services, world::World};
use checkout::{CheckoutRequest, ConfigError, Gateway, Orders, RefundRequest, Stock};
use std::{sync::Arc, time::Duration};
use stepwell::{Context, ResultOf, Step, StepContext, StepError, TaskId, Timestamp};

/// How long a request may take: API Gateway waits no longer.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(29);

/// Handles one request in one process.
///
/// # Errors
/// Why the customer was told that there is no order, in a word or a few.
pub async fn handle(
    world: &Arc<World>,
    process: &Arc<Process>,
    request: CheckoutRequest,
    now: Timestamp,
) -> Result<(), String> {
    let services = Services::new(world, process);
    match process.live(REQUEST_LIMIT, sell(&services, request, now)).await {
        Some(answer) => answer.map_err(|error| error.code),
        None => Err("the process died or ran out of time".to_owned()),
    }
}

async fn sell(services: &Services, request: CheckoutRequest, now: Timestamp) -> Result<(), StepError> {
    let order = TaskId::new();
    let about = |step| StepContext::for_test(step, order, now);

    let cart =
        ready(checkout_validate_cart::step(services)).run(Context(request.clone()), &about("validate_cart")).await?;

    let (pay, take) = (about("process_payment"), about("update_inventory"));
    let paid_and_ordered = async {
        let payment = ready(checkout_process_payment::step(services));
        let payment = payment.run((Context(request.clone()), ResultOf(cart.clone())), &pay).await?;
        let reservation = ready(checkout_update_inventory::step(services));
        let reservation = reservation.run(Some(ResultOf(cart.clone())), &take).await?;
        let orders = ready(checkout_create_order::step(services));
        let (paid, reserved) = (Some(ResultOf(payment)), Some(ResultOf(reservation)));
        orders.run((Context(request.clone()), ResultOf(cart), paid, reserved), &about("create_order")).await
    };
    let created = match paid_and_ordered.await {
        Ok(created) => created,
        Err(error) if error.code == "PAYMENT_DECLINED" => return Err(error),
        Err(error) => {
            // Each of them, whatever becomes of the others. Where one fails too, a line in the log is all that is left.
            let idempotency_key = &pay.idempotency_key();
            let _ = services.cancel(order, now).await;
            let _ = services.release(&take.idempotency_key(), now).await;
            let _ = services.refund(&RefundRequest { idempotency_key, token: None, at: now }).await;
            return Err(error);
        }
    };

    let confirm = ready(checkout_send_confirmation::step(services));
    let _ = confirm.run((Context(request), ResultOf(created)), &about("send_confirmation")).await;
    Ok(())
}

fn ready<S>(step: Result<S, ConfigError>) -> S {
    step.expect("the defaults make sense")
}
