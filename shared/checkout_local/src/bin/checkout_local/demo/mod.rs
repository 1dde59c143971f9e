//! `checkout_local demo`: takes six checkouts through a shop of their own and shows every step of them as it happens.
//!
//! `infra/demo.py` does the same on a stack.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value is null where it has no such field, and none of these is a slice"
)]

mod api;
mod checkout;

use crate::{
    failure::Failure,
    say,
    server::{Server, Settings, Slots},
    show::{bold, green, red, say_of_checkout},
};
use api::Api;
use checkout::{COMPLETE, Checkout, PERMANENT, RETRYABLE, Wrong, expect, text};
use checkout_api::Limits;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::oneshot;

/// Takes the six checkouts through a new shop, and deletes it.
///
/// # Errors
/// A checkout went otherwise than it should, or the shop cannot be opened.
pub(crate) async fn demo() -> Result<(), Failure> {
    // It is deleted when it is dropped, also after Ctrl-C.
    let folder = tempfile::Builder::new().prefix("stepwell-demo-").tempdir();
    let folder = folder.map_err(|source| Failure::Folder { path: std::env::temp_dir(), source })?;
    let settings = Settings {
        data: folder.path().to_owned(),
        customers_port: 0,
        operators_port: 0,
        limits: Limits { per_email: 0, per_address: 0 },
        slots: Slots::new(),
    };
    let server = Server::open(&settings).await?;
    let (customers, operators) = (Api::new(server.customers_url()), Api::new(server.operators_url()));
    let operators = operators.with_token(&server.token)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(server.run(async { drop(stopped.await) }));
    let played = tokio::select! {
        played = play(&customers, &operators) => played,
        _ = tokio::signal::ctrl_c() => Err(Failure::Other("interrupted".to_owned())),
    };
    drop(stop);
    server.await.map_err(|error| Failure::Other(error.to_string()))??;
    played
}

/// What a scenario has come to: a sentence, or what went otherwise.
type Told = Result<String, Wrong>;

async fn play(customers: &Api, operators: &Api) -> Result<(), Failure> {
    let (mut number, mut wrong) = (0, 0);
    macro_rules! play {
        ($($title:literal => $scenario:expr,)+) => {$(
            number += 1;
            say(format_args!("\n{}", bold(format_args!("{number}. {}", $title))))?;
            match $scenario(Checkout::new(customers, operators)).await {
                Ok(told) => say_of_checkout(format_args!("{} {told}", green("As it should be:")))?,
                Err(Wrong::Output(failure)) => return Err(failure),
                Err(Wrong::Otherwise(why)) => {
                    wrong += 1;
                    say_of_checkout(format_args!("{} {why}", red("NOT as it should be:")))?;
                }
            }
        )+};
    }
    play! {
        "A checkout that succeeds" => succeeds,
        "A payment that fails, is tried again with backoff, and succeeds" => recovers,
        "A card that is declined" => is_declined,
        "More than is in stock" => lacks_stock,
        "A gateway that stays down until the attempts are used up; then it is back, and the checkout goes on at the payment" =>
            is_resumed,
        "A checkout that is cancelled while its payment waits for the gateway" => is_compensated,
    }
    if wrong > 0 {
        return Err(Failure::Demo { wrong, all: number });
    }
    say(format_args!("\n{}", green(format_args!("All {number} checkouts went as they should."))))
}

async fn succeeds(mut checkout: Checkout<'_>) -> Told {
    checkout.start(include_str!("../../../../../../events/requests/success.json"), "success", None).await?;
    checkout.must_be("completed", None, &[])?;
    let order = checkout.customers.get(text(&checkout.status["redirect_url"])).await?;
    let total = order["total_amount"].as_f64();
    expect(total == Some(100.0), || format!("the total is {}", order["total_amount"]))?;
    let number = text(&order["order_number"]);
    Ok(format!("order {number} over {} USD, every step at its first attempt.", order["total_amount"]))
}

async fn recovers(mut checkout: Checkout<'_>) -> Told {
    checkout
        .start(include_str!("../../../../../../events/requests/gateway_recovers.json"), "gateway_recovers", None)
        .await?;
    checkout.must_be("completed", None, &[("process_payment", &[RETRYABLE, RETRYABLE, COMPLETE])])?;
    Ok(format!("order {}, paid at the third attempt.", text(&checkout.status["order_number"])))
}

async fn is_declined(mut checkout: Checkout<'_>) -> Told {
    checkout.start(include_str!("../../../../../../events/requests/card_declined.json"), "card_declined", None).await?;
    checkout.must_be("failed", Some("PAYMENT_DECLINED"), &[("process_payment", &[PERMANENT])])?;
    Ok("failed at the first attempt, and nothing after the payment has run.".to_owned())
}

async fn lacks_stock(mut checkout: Checkout<'_>) -> Told {
    let request = include_str!("../../../../../../events/requests/inventory_conflict.json");
    checkout.start(request, "inventory_conflict", None).await?;
    checkout.must_be("failed", Some("INSUFFICIENT_STOCK"), &[("validate_cart", &[PERMANENT])])?;
    Ok("failed at the first attempt, and nothing was held or charged.".to_owned())
}

async fn is_resumed(mut checkout: Checkout<'_>) -> Told {
    checkout.start(include_str!("../../../../../../events/requests/gateway_down.json"), "gateway_down", None).await?;
    checkout.must_be("processing", Some("GATEWAY_TEMPORARY_FAILURE"), &[("process_payment", &[RETRYABLE; 3])])?;
    let retry_url = text(&checkout.status["retrying"]["retry_url"]).to_owned();
    say_of_checkout(format_args!("still processing, to be tried again in a minute. POST {retry_url}"))?;
    checkout.customers.post(&retry_url, String::new()).await?;
    checkout.watch(None).await?;
    let attempts = [RETRYABLE, RETRYABLE, RETRYABLE, COMPLETE];
    checkout.must_be("completed", None, &[("process_payment", &attempts)])?;
    let order = text(&checkout.status["order_number"]);
    Ok(format!("order {order}, charged once; validate_cart has not run again."))
}

async fn is_compensated(mut checkout: Checkout<'_>) -> Told {
    let request = include_str!("../../../../../../events/requests/gateway_rate_limited.json");
    checkout.start(request, "gateway_rate_limited", Some("process_payment")).await?;
    checkout.cancel("the customer called").await?;
    checkout.watch(None).await?;
    checkout.must_be("cancelled", None, &[("process_payment", &[RETRYABLE])])?;
    let compensations = checkout.steps("compensations");
    let all = || compensations.iter().map(|step| (text(&step["name"]), text(&step["status"])));
    let is_there = |name| all().any(|(found, _)| found == name);
    let is_whole = is_there("refund_payment") && all().all(|(_, status)| status == COMPLETE);
    expect(is_whole, || format!("its compensations are {:?}", all().collect::<Vec<_>>()))?;
    expect(is_there("release_stock"), || "the held stock was not put back".to_owned())?;
    Ok("cancelled: its units are back in stock, and its payment is ruled out for good.".to_owned())
}

/// A pause in which nothing is asked.
async fn pause(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// The elements of a JSON array; none of anything else.
fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
