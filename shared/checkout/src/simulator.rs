//! A payment gateway for demonstrations and tests, which does what the card's token says.
//!
//! | token | what happens |
//! |---|---|
//! | `test_success_visa`, `..._mastercard`, `..._amex`, `test_success_...` | charged |
//! | `test_insufficient_...`, `test_declined_...`, `test_invalid_...` | declined |
//! | `test_timeout_...` | times out, always |
//! | `test_rate_limit_...`, `test_temp_fail_...` | fails once, then is charged |
//! | `test_temp_fail_3_...` | fails three times, then is charged; `test_rate_limit_3_...` likewise |
//! | any other | declined as an unknown card |
//!
//! Like a real gateway it keeps its charges by idempotency key. It keeps the failures there too, because the Lambda
//! processes that ask it come and go.

use crate::{
    Charge, ChargeRequest, Gateway, GatewayError, StoreError, Tables, Token,
    items::{self, Item},
};
use aws_sdk_dynamodb::{operation::update_item::builders::UpdateItemFluentBuilder, types::ReturnValue};
use sha2::{Digest, Sha256};

/// The simulated gateway. Its memory is the `payments` table.
#[derive(Clone, Debug)]
pub struct GatewaySimulator {
    tables: Tables,
}

/// What a token makes the gateway do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Script {
    Charge,
    Decline(&'static str),
    TimeOut,
    FailFirst(u32, GatewayError),
}

impl Script {
    fn of(token: &Token) -> Self {
        let times = |word: &str| word.parse().unwrap_or(1);
        match token.reveal().split('_').collect::<Vec<_>>().as_slice() {
            ["test", "success", _, ..] => Self::Charge,
            ["test", "insufficient", _, ..] => Self::Decline("insufficient funds"),
            ["test", "declined", _, ..] => Self::Decline("card declined"),
            ["test", "invalid", _, ..] => Self::Decline("invalid card"),
            ["test", "timeout", _, ..] => Self::TimeOut,
            ["test", "rate", "limit", word, ..] => Self::FailFirst(times(word), GatewayError::RateLimited),
            ["test", "temp", "fail", word, ..] => Self::FailFirst(times(word), GatewayError::TemporaryFailure),
            _ => Self::Decline("unknown card"),
        }
    }
}

impl GatewaySimulator {
    /// A gateway that keeps its memory in these tables.
    pub const fn new(tables: Tables) -> Self {
        Self { tables }
    }

    fn update(&self, key: &str) -> UpdateItemFluentBuilder {
        self.tables.client.update_item().table_name(self.tables.name("payments")).key("id", items::text(key))
    }

    /// Counts one more failure, unless there have been `times` of them or the card is charged.
    async fn fails(&self, key: &str, times: u32) -> Result<bool, GatewayError> {
        let counted = self
            .update(key)
            .update_expression("ADD #failures :one")
            .condition_expression(
                "attribute_not_exists(#charge) AND (attribute_not_exists(#failures) OR #failures < :times)",
            )
            .expression_attribute_names("#charge", "charge")
            .expression_attribute_names("#failures", "failures")
            .expression_attribute_values(":one", items::number(1))
            .expression_attribute_values(":times", items::number(times))
            .send()
            .await;
        match counted {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(StoreError::of(&error).into()),
        }
    }

    /// One write: the charge that is already there, or else this one. Asked twenty times at once, it is one charge.
    async fn settle(&self, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        let settled = self
            .update(request.idempotency_key)
            .update_expression("SET #charge = if_not_exists(#charge, :charge)")
            .expression_attribute_names("#charge", "charge")
            .expression_attribute_values(":charge", items::to_attribute(&new_charge(request))?)
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .map_err(|error| StoreError::of(&error))?;
        let mut item: Item = settled.attributes.unwrap_or_default();
        let charge = item.remove("charge").ok_or_else(|| StoreError::unreadable("a payment without a charge"))?;
        let charge: Charge = items::from_attribute(charge)?;
        if charge.amount != request.amount || charge.currency != request.currency {
            return Err(GatewayError::UnknownStatus(
                "the idempotency key belongs to a charge of another amount".to_owned(),
            ));
        }
        Ok(charge)
    }
}

impl Gateway for GatewaySimulator {
    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        match Script::of(request.token) {
            Script::Decline(reason) => return Err(GatewayError::Declined(reason)),
            Script::TimeOut => return Err(GatewayError::Timeout),
            Script::FailFirst(times, error) if self.fails(request.idempotency_key, times).await? => return Err(error),
            Script::FailFirst(..) | Script::Charge => {}
        }
        self.settle(request).await
    }
}

/// The names of a charge come from its key, so they are the same whoever asks first.
fn new_charge(request: &ChargeRequest<'_>) -> Charge {
    let digest = Sha256::digest(request.idempotency_key);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let (payment, rest) = hex.split_at(24);
    let (transaction, _) = rest.split_at(24);
    let known = ["visa", "mastercard", "amex"];
    let card = known.into_iter().find(|card| request.token.reveal().split('_').any(|word| word == *card));
    Charge {
        payment_id: format!("pay_{payment}"),
        transaction_id: format!("txn_{transaction}"),
        amount: request.amount,
        currency: request.currency.to_owned(),
        card: card.unwrap_or("card").to_owned(),
        charged_at: request.at,
    }
}

impl From<StoreError> for GatewayError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy(_) => Self::TemporaryFailure,
            StoreError::Failed(_) | StoreError::Unreadable(_) => Self::UnknownStatus(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Money;
    use stepwell::Timestamp;
    use test_case::test_case;

    #[test_case("test_success_visa", Script::Charge)]
    #[test_case("test_success_", Script::Charge)]
    #[test_case("test_insufficient_funds", Script::Decline("insufficient funds"))]
    #[test_case("test_declined_visa", Script::Decline("card declined"))]
    #[test_case("test_invalid_card", Script::Decline("invalid card"))]
    #[test_case("test_timeout_visa", Script::TimeOut)]
    #[test_case("test_rate_limit_visa", Script::FailFirst(1, GatewayError::RateLimited))]
    #[test_case("test_temp_fail_visa", Script::FailFirst(1, GatewayError::TemporaryFailure))]
    #[test_case("test_temp_fail_2_visa", Script::FailFirst(2, GatewayError::TemporaryFailure))]
    #[test_case("test_temp_fail_3", Script::FailFirst(3, GatewayError::TemporaryFailure))]
    #[test_case("test_success", Script::Decline("unknown card"); "no underscore")]
    #[test_case("tok_1a2b", Script::Decline("unknown card"); "a real one")]
    #[test_case("", Script::Decline("unknown card"); "none")]
    fn a_token_says_what_happens(token: &str, script: Script) {
        assert_eq!(Script::of(&token.into()), script);
    }

    #[test_case("test_success_visa", "visa")]
    #[test_case("test_success_mastercard", "mastercard")]
    #[test_case("test_temp_fail_2_amex", "amex")]
    #[test_case("test_success_other", "card")]
    fn the_card_is_told_by_name(token: &str, card: &str) {
        let request = ChargeRequest {
            idempotency_key: "a key",
            token: &token.into(),
            amount: Money::from_cents(1),
            currency: "USD",
            at: Timestamp::from_millis(0),
        };
        let charge = new_charge(&request);
        assert_eq!(charge.card, card);
        assert_eq!(charge, new_charge(&request), "the same key makes the same names");
    }
}
