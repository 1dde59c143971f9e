//! Tests of the shop's ports on DynamoDB and SES at `AWS_ENDPOINT_URL`, which has to be an emulator. `tests/run.sh`
//! starts one and sets the variable. Each test creates its own tables.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod canned;
mod catalogue;
mod mail;
mod orders;
mod races;
mod reconciliation;
mod shop;
mod stock;

mod rules {
    use crate::shop::DynamoShop;

    checkout::shop_rules!(DynamoShop);
}
