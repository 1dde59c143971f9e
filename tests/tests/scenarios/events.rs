//! The sample requests in `events/`: each does what `events/README.md` says. `aws_only::events` has the sample events.

use crate::backend::Backend;
use serde_json::Value;
use std::{collections::BTreeSet, fs};
use stepwell_tests::stack::repository;

on_both_backends! {
    every_sample_request_ends_as_the_guide_says,
}

/// A file of `events/`.
pub(crate) fn sample(name: &str) -> String {
    let path = repository().join("events").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the JSON files in a folder of `events/`, without their extension.
pub(crate) fn names(folder: &str) -> BTreeSet<String> {
    let files = fs::read_dir(repository().join("events").join(folder)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect()
}

/// The end of every sample request: completed, failed in a step with a code, or rejected by the validation.
const ENDS: [(&str, &str); 19] = [
    ("amount_mismatch", "process_payment PAYMENT_AMOUNT_MISMATCH"),
    ("card_declined", "process_payment PAYMENT_DECLINED"),
    ("card_invalid", "process_payment PAYMENT_DECLINED"),
    ("card_unknown", "process_payment PAYMENT_DECLINED"),
    ("card_without_funds", "process_payment PAYMENT_DECLINED"),
    ("duplicate_key", "400"),
    ("email_with_name", "422"),
    ("everything", "completed"),
    ("express", "waits process_payment GATEWAY_TIMEOUT"),
    ("gateway_down", "waits process_payment GATEWAY_TEMPORARY_FAILURE"),
    ("gateway_rate_limited", "completed"),
    ("gateway_recovers", "completed"),
    ("gateway_times_out", "waits process_payment GATEWAY_TIMEOUT"),
    ("invalid", "422"),
    ("inventory_conflict", "validate_cart INSUFFICIENT_STOCK"),
    ("price_mismatch", "validate_cart PRICE_MISMATCH"),
    ("product_inactive", "validate_cart PRODUCT_INACTIVE"),
    ("product_unknown", "validate_cart PRODUCT_NOT_FOUND"),
    ("success", "completed"),
];

async fn every_sample_request_ends_as_the_guide_says<B: Backend>() {
    let (shop, []) = B::open([]).await;
    assert_eq!(names("requests"), ENDS.map(|(name, _)| name.to_owned()).into(), "the samples and this list");
    let guide = sample("README.md");
    // What the samples buy.
    for (product, units) in [(1, 2), (2, 4), (3, 4)] {
        shop.provide(product, units).await;
    }
    let check = async |(name, end): (&str, &str)| {
        // In one process five failures of the gateway in a row would park the payments of all samples.
        let (shop, []) = B::open([]).await;
        let answer = shop.api().post("/checkout", sample(&format!("requests/{name}.json"))).await;
        let found = if answer.status == 202 {
            let status = shop.api().until_ended(&answer.task_id()).await;
            let word = |value: &Value| value.as_str().unwrap().to_owned();
            match status["status"].as_str() {
                Some("failed") => format!("{} {}", word(&status["failed_step"]), word(&status["error"]["code"])),
                Some("processing") => {
                    let retrying = &status["retrying"];
                    format!("waits {} {}", word(&retrying["step"]), word(&retrying["code"]))
                }
                other => other.unwrap_or_default().to_owned(),
            }
        } else {
            answer.status.to_string()
        };
        assert_eq!(found, end, "events/requests/{name}.json");
        let row = guide.lines().find(|line| line.contains(&format!("`{name}.json`")));
        let row = row.unwrap_or_else(|| panic!("events/README.md has no row for {name}.json"));
        let code = end.split(' ').next_back().unwrap();
        assert!(row.contains(code), "events/README.md does not say that {name} ends with {code}: {row}");
    };
    // All of them in a row are more than the stack of a test.
    futures::future::join_all(ENDS.map(|sample| Box::pin(check(sample)))).await;
}
