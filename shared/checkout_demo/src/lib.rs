//! Six checkouts through a shop, wherever it runs, and what has to come of them. Every step is shown as it happens.
//!
//! `checkout_local demo` runs them on a shop of its own, and `stepwell demo` on a stack.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value is null where it has no such field, and none of these is a slice"
)]

mod checkout;
mod output;

use checkout::{COMPLETE, Checkout, PERMANENT, RETRYABLE, Wrong, expect, text};
use output::{bold, green, red, say, say_of_checkout};
use serde_json::Value;
use std::io;

/// The customers' API of a shop.
pub trait Shop {
    /// The answer to `GET` of a path.
    fn get(&self, path: &str) -> impl Future<Output = Result<Value, Refused>>;

    /// The answer to `POST` of JSON, or of nothing, to a path.
    fn post(&self, path: &str, body: String) -> impl Future<Output = Result<Value, Refused>>;
}

/// An answer that is not the one that was asked for, or none.
#[derive(Debug)]
pub struct Refused {
    /// What it says.
    pub why: String,
    /// The seconds after which it may be asked again, if it says so.
    pub retry_after: Option<u64>,
}

/// The reason why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Checkouts went otherwise.
    #[error("{wrong} of {all} checkouts did not go as they should")]
    Wrong {
        /// How many.
        wrong: usize,
        /// Of how many.
        all: usize,
    },
    /// Nothing can be shown.
    #[error("nothing can be printed: {0}")]
    Output(io::Error),
}

/// What a scenario has come to: a sentence, or what went otherwise.
type Told = Result<String, Wrong>;

/// Takes the six checkouts through a shop, and shows every step of them as it happens.
///
/// # Errors
/// A checkout went otherwise than it should, or nobody reads what is shown.
pub async fn play(shop: &impl Shop) -> Result<(), DemoError> {
    let (mut number, mut wrong) = (0, 0);
    macro_rules! play {
        ($($title:literal => $scenario:expr,)+) => {$(
            number += 1;
            say(format_args!("\n{}", bold(format_args!("{number}. {}", $title))))?;
            match $scenario(Checkout::new(shop)).await {
                Ok(told) => say_of_checkout(format_args!("{} {told}", green("As it should be:")))?,
                Err(Wrong::Output(error)) => return Err(error),
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
        return Err(DemoError::Wrong { wrong, all: number });
    }
    say(format_args!("\n{}", green(format_args!("All {number} checkouts went as they should."))))
}

async fn succeeds(mut checkout: Checkout<'_, impl Shop>) -> Told {
    checkout.start(include_str!("../../../events/requests/success.json"), "success", None).await?;
    checkout.must_be("completed", None, &[])?;
    let order = checkout.shop.get(text(&checkout.status["redirect_url"])).await?;
    let total = order["total_amount"].as_f64();
    expect(total == Some(100.0), || format!("the total is {}", order["total_amount"]))?;
    let number = text(&order["order_number"]);
    Ok(format!("order {number} over {} USD, every step at its first attempt.", order["total_amount"]))
}

async fn recovers(mut checkout: Checkout<'_, impl Shop>) -> Told {
    checkout.start(include_str!("../../../events/requests/gateway_recovers.json"), "gateway_recovers", None).await?;
    checkout.must_be("completed", None, &[("process_payment", &[RETRYABLE, RETRYABLE, COMPLETE])])?;
    Ok(format!("order {}, paid at the third attempt.", text(&checkout.status["order_number"])))
}

async fn is_declined(mut checkout: Checkout<'_, impl Shop>) -> Told {
    checkout.start(include_str!("../../../events/requests/card_declined.json"), "card_declined", None).await?;
    checkout.must_be("failed", Some("PAYMENT_DECLINED"), &[("process_payment", &[PERMANENT])])?;
    Ok("failed at the first attempt, and nothing after the payment has run.".to_owned())
}

async fn lacks_stock(mut checkout: Checkout<'_, impl Shop>) -> Told {
    let request = include_str!("../../../events/requests/inventory_conflict.json");
    checkout.start(request, "inventory_conflict", None).await?;
    checkout.must_be("failed", Some("INSUFFICIENT_STOCK"), &[("validate_cart", &[PERMANENT])])?;
    Ok("failed at the first attempt, and nothing was held or charged.".to_owned())
}

async fn is_resumed(mut checkout: Checkout<'_, impl Shop>) -> Told {
    checkout.start(include_str!("../../../events/requests/gateway_down.json"), "gateway_down", None).await?;
    checkout.must_be("processing", Some("GATEWAY_TEMPORARY_FAILURE"), &[("process_payment", &[RETRYABLE; 3])])?;
    let retry_url = text(&checkout.status["retrying"]["retry_url"]).to_owned();
    say_of_checkout(format_args!("still processing, to be tried again in a minute. POST {retry_url}"))?;
    checkout.shop.post(&retry_url, String::new()).await?;
    checkout.watch(None).await?;
    let attempts = [RETRYABLE, RETRYABLE, RETRYABLE, COMPLETE];
    checkout.must_be("completed", None, &[("process_payment", &attempts)])?;
    let order = text(&checkout.status["order_number"]);
    Ok(format!("order {order}, charged once; validate_cart has not run again."))
}

async fn is_compensated(mut checkout: Checkout<'_, impl Shop>) -> Told {
    let request = include_str!("../../../events/requests/gateway_rate_limited.json");
    checkout.start(request, "gateway_rate_limited", Some("process_payment")).await?;
    checkout.cancel().await?;
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

/// The elements of a JSON array; none of anything else.
fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
