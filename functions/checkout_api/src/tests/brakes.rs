//! The brakes for one e-mail address and for one IP address.

use super::*;
use checkout::{StoreError, testing::Outage};
use http_api::ClientAddress;
use std::time::Duration;
use stepwell::{permanent, testing::StepFault};

const TEN_MINUTES: Duration = Duration::from_secs(10 * 60);

fn braked(per_email: u32, per_address: u32) -> Api {
    Api { limits: Limits { per_email, per_address }, ..Api::new() }
}

/// A checkout of this customer.
fn of(email: &str) -> String {
    with("/checkout/customer_info/email", &format!("\"{email}\""))
}

async fn from(api: &Api, address: &str, email: &str) -> ApiAnswer {
    let request = Request::post("/checkout").extension(ClientAddress(Some(address.parse().unwrap())));
    api.send_as_it_is(request, &[("Content-Type", "application/json")], of(email)).await
}

#[tokio::test(start_paused = true)]
async fn email_address_starts_so_many_checkouts_and_the_next_one_leaves_nothing() {
    let api = braked(2, 0);
    for email in ["a@example.com", "A+2@example.com", "b@example.com"] {
        assert_eq!(api.checkout(of(email)).await.status, 202, "{email}");
    }
    let refused = api.checkout(of("a@example.com")).await;
    let error = "There were too many checkouts in a short time; please try again in some minutes";
    assert_eq!(refused.refusal(), (429, error.to_owned()));
    assert_eq!((api.harness.memory().store.tasks().len(), api.shop.tasks_with_tokens().len()), (3, 3));
    let wait = Duration::from_secs(refused.header("Retry-After").parse().unwrap());
    assert!(wait <= TEN_MINUTES);
    api.harness.skip(wait).await;
    assert_eq!(api.checkout(of("a@example.com")).await.status, 202, "after the wait that the answer asks for");
}

#[tokio::test(start_paused = true)]
async fn ip_address_starts_so_many_checkouts_whatever_e_mail_addresses_they_have() {
    let api = braked(0, 2);
    for (address, status) in [
        ("2001:db8:0:1::1", 202),
        ("2001:db8:0:1::2", 202),
        ("2001:db8:0:1::3", 429),
        ("2001:db8:0:2::1", 202),
        ("192.0.2.1", 202),
    ] {
        assert_eq!(from(&api, address, &format!("{status}@example.com")).await.status, status, "{address}");
    }
    assert_eq!(api.checkout(of("c@example.com")).await.status, 202, "the host does not say where it comes from");
}

#[tokio::test(start_paused = true)]
async fn repeated_request_is_not_counted_and_gets_its_answer() {
    let api = braked(1, 0);
    let first = api.with_key("k-1", good().to_string()).await;
    let again = api.with_key("k-1", good().to_string()).await;
    assert_eq!((first.status, again.status, first.body()), (202, 202, again.body()));
    assert_eq!(api.with_key("k-2", good().to_string()).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn other_card_is_counted_as_a_checkout() {
    let api = braked(3, 0);
    api.harness
        .fail("process_payment", std::iter::repeat_with(|| StepFault::Error(permanent("CARD_DECLINED", "no"))).take(3));
    let id = api.started().await;
    for (card, status) in [("tok_2", 202), ("tok_3", 202), ("tok_4", 429)] {
        api.harness.run_for(Duration::from_secs(60)).await.unwrap();
        let body = format!(r#"{{"payment_info": {{"token": "{card}"}}}}"#);
        assert_eq!(api.retry_with(id, &body).await.status, status, "{card}");
    }
    assert_eq!(api.kept_token(id).await.as_deref(), Some("tok_3"), "the last card was not taken");
    assert_eq!(api.retry(id).await.status, 202, "with the card that is there");
}

#[tokio::test(start_paused = true)]
async fn counters_that_fail_stop_nobody() {
    let api = braked(1, 1);
    let counters = Some(StoreError::Failed("no connection".to_owned()));
    api.shop.set_outage(Outage { counters, ..Outage::default() });
    for _ in 0..2 {
        assert_eq!(api.checkout(good().to_string()).await.status, 202);
    }
}
