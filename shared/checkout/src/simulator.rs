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
//! A card that is charged can be refunded, unless a later word of its token says otherwise:
//!
//! | token | what happens to a refund |
//! |---|---|
//! | `test_success_visa_norefund` | declined |
//! | `test_success_visa_refundfail_2` | fails twice, then is made; without a number, once |
//!
//! Like a real gateway it keeps its charges by idempotency key. It keeps the failures there too, because the Lambda
//! processes that ask it come and go.
//!
//! A payment's item has a `charge` when the card was charged and `voided_at` when the charge was undone; both together
//! are a refund. A charge is written only where `voided_at` is not, and `voided_at` forbids nothing to itself, so
//! whichever of the two writes comes first, no charge is left that was not given back.

use crate::{
    Charge, ChargeRequest, Gateway, GatewayError, RefundRequest, Reversal, StoreError, Tables, Token,
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

/// How often a refund fails, and how.
fn refund_failures(token: &Token) -> Option<(u32, GatewayError)> {
    let mut words = token.reveal().split('_').skip_while(|word| !matches!(*word, "norefund" | "refundfail"));
    match words.next()? {
        "norefund" => Some((u32::MAX, GatewayError::Declined("refund declined"))),
        _ => Some((words.next().and_then(|times| times.parse().ok()).unwrap_or(1), GatewayError::TemporaryFailure)),
    }
}

/// What is done to a payment while it fails: the attribute that counts the failures, and the condition for failing.
struct Failing {
    counter: &'static str,
    condition: &'static str,
}

/// A charge that was made or ruled out does not fail any more.
const CHARGING: Failing =
    Failing { counter: "failures", condition: "attribute_not_exists(#charge) AND attribute_not_exists(voided_at)" };

/// Nor does a refund that was made. Where nothing was charged there is nothing to fail at.
const REFUNDING: Failing =
    Failing { counter: "refund_failures", condition: "attribute_exists(#charge) AND attribute_not_exists(voided_at)" };

impl GatewaySimulator {
    /// A gateway that keeps its memory in these tables.
    pub const fn new(tables: Tables) -> Self {
        Self { tables }
    }

    fn update(&self, key: &str) -> UpdateItemFluentBuilder {
        self.tables.client.update_item().table_name(self.tables.name("payments")).key("id", items::text(key))
    }

    /// Counts one more failure, unless there have been `times` of them or there is nothing to fail at.
    async fn fails(&self, key: &str, failing: Failing, times: u32) -> Result<bool, GatewayError> {
        let counted = self
            .update(key)
            .update_expression("ADD #failures :one")
            .condition_expression(format!(
                "{} AND (attribute_not_exists(#failures) OR #failures < :times)",
                failing.condition
            ))
            .expression_attribute_names("#charge", "charge")
            .expression_attribute_names("#failures", failing.counter)
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
    /// A void key refuses both, because whoever gets a charge for an answer believes that the money is there.
    async fn settle(&self, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        let settled = self
            .update(request.idempotency_key)
            .update_expression("SET #charge = if_not_exists(#charge, :charge)")
            .condition_expression("attribute_not_exists(voided_at)")
            .expression_attribute_names("#charge", "charge")
            .expression_attribute_values(":charge", items::to_attribute(&new_charge(request))?)
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        let settled = match settled {
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                return Err(GatewayError::Voided);
            }
            settled => settled.map_err(|error| StoreError::of(&error))?,
        };
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

    /// One write again: the key is void from now on, or has been. Whether there is a charge beside it is then settled
    /// for good, and so is the answer.
    async fn void(&self, request: &RefundRequest<'_>) -> Result<Reversal, GatewayError> {
        let voided = self
            .update(request.idempotency_key)
            .update_expression("SET voided_at = if_not_exists(voided_at, :at)")
            .expression_attribute_values(":at", items::to_attribute(&request.at)?)
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .map_err(|error| StoreError::of(&error))?;
        let mut item: Item = voided.attributes.unwrap_or_default();
        let at = item.remove("voided_at").ok_or_else(|| StoreError::unreadable("a void payment without a time"))?;
        let at = items::from_attribute(at)?;
        let Some(charge) = item.remove("charge") else { return Ok(Reversal::Voided { at }) };
        let (refund, _) = names(request.idempotency_key);
        Ok(Reversal::Refunded { refund_id: format!("ref_{refund}"), charge: items::from_attribute(charge)?, at })
    }
}

impl Gateway for GatewaySimulator {
    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        match Script::of(request.token) {
            Script::Decline(reason) => return Err(GatewayError::Declined(reason)),
            Script::TimeOut => return Err(GatewayError::Timeout),
            Script::FailFirst(times, error) if self.fails(request.idempotency_key, CHARGING, times).await? => {
                return Err(error);
            }
            Script::FailFirst(..) | Script::Charge => {}
        }
        self.settle(request).await
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Reversal, GatewayError> {
        match request.token.and_then(refund_failures) {
            Some((times, error)) if self.fails(request.idempotency_key, REFUNDING, times).await? => Err(error),
            _ => self.void(request).await,
        }
    }
}

/// The names of a payment and of its transaction come from the key, so they are the same whoever asks first.
fn names(key: &str) -> (String, String) {
    let hex: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    let (payment, rest) = hex.split_at(24);
    let (transaction, _) = rest.split_at(24);
    (payment.to_owned(), transaction.to_owned())
}

fn new_charge(request: &ChargeRequest<'_>) -> Charge {
    let (payment, transaction) = names(request.idempotency_key);
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

    #[test_case("test_success_visa", None)]
    #[test_case("test_timeout_visa", None)]
    #[test_case("test_temp_fail_3_visa", None)]
    #[test_case("test_success_visa_norefund", Some((u32::MAX, GatewayError::Declined("refund declined"))))]
    #[test_case("test_success_visa_refundfail_2", Some((2, GatewayError::TemporaryFailure)))]
    #[test_case("test_temp_fail_3_refundfail", Some((1, GatewayError::TemporaryFailure)))]
    fn a_token_may_say_that_refunds_fail(token: &str, failures: Option<(u32, GatewayError)>) {
        assert_eq!(refund_failures(&token.into()), failures);
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
