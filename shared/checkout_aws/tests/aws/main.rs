//! The shop against DynamoDB and SES, as `AWS_ENDPOINT_URL` has them: an emulator, never an account. `tests/run.sh`
//! starts one and sets the variable. Each test makes tables of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod canned;
mod catalogue;
mod mail;
mod orders;
mod payments;
mod races;
mod shop;
mod stock;
