//! Tests of the shop's ports on DynamoDB and SES at `AWS_ENDPOINT_URL`, which has to be an emulator. `tests/run.sh`
//! starts one and sets the variable. Each test creates its own tables.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod canned;
mod card_tokens;
mod catalogue;
mod counters;
mod mail;
mod orders;
mod payments;
mod races;
mod reconciliation;
mod shop;
mod stock;
