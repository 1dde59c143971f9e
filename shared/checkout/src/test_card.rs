//! The script of the simulated payment gateway, for demonstrations and tests. The card's token selects the behaviour.
//!
//! | token | what happens |
//! |---|---|
//! | `test_success_visa`, `..._mastercard`, `..._amex`, `test_success_...` | charged |
//! | `test_insufficient_...`, `test_declined_...`, `test_invalid_...` | declined |
//! | `test_fraud_...` | declined for suspected fraud |
//! | `test_timeout_...` | times out, always |
//! | `test_rate_limit_...`, `test_temp_fail_...` | fails once, then is charged |
//! | `test_temp_fail_3_...` | fails three times, then is charged; `test_rate_limit_3_...` likewise |
//! | any other | declined as an unknown card |
//!
//! A charge can be refunded, unless a later word of the token says otherwise:
//!
//! | token | what happens to a refund |
//! |---|---|
//! | `test_success_visa_norefund` | declined |
//! | `test_success_visa_refundfail_2` | fails twice, then is made; without a number, once |

use crate::{Charge, ChargeRequest, GatewayError, Token};
use sha2::{Digest, Sha256};

/// The gateway's behaviour on a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// The charge succeeds.
    Charge,
    /// Every attempt is declined, for this reason.
    Decline(&'static str),
    /// Every attempt is declined, because the gateway suspects fraud.
    SuspectFraud,
    /// Every attempt times out.
    TimeOut,
    /// The first attempts fail with this error, as many as the number says; then the charge succeeds.
    FailFirst(u32, GatewayError),
}

impl Script {
    /// Reads the behaviour on a charge from a token.
    pub fn of(token: &Token) -> Self {
        let times = |word: &str| word.parse().unwrap_or(1);
        match token.reveal().split('_').collect::<Vec<_>>().as_slice() {
            ["test", "success", _, ..] => Self::Charge,
            ["test", "insufficient", _, ..] => Self::Decline("insufficient funds"),
            ["test", "declined", _, ..] => Self::Decline("card declined"),
            ["test", "invalid", _, ..] => Self::Decline("invalid card"),
            ["test", "fraud", _, ..] => Self::SuspectFraud,
            ["test", "timeout", _, ..] => Self::TimeOut,
            ["test", "rate", "limit", word, ..] => Self::FailFirst(times(word), GatewayError::RateLimited),
            ["test", "temp", "fail", word, ..] => Self::FailFirst(times(word), GatewayError::TemporaryFailure),
            _ => Self::Decline("unknown card"),
        }
    }
}

/// Reads from a token how often a refund fails, and with which error; `None` where it succeeds at once.
pub fn refund_failures(token: &Token) -> Option<(u32, GatewayError)> {
    let mut words = token.reveal().split('_').skip_while(|word| !matches!(*word, "norefund" | "refundfail"));
    match words.next()? {
        "norefund" => Some((u32::MAX, GatewayError::Declined("refund declined"))),
        _ => Some((words.next().and_then(|times| times.parse().ok()).unwrap_or(1), GatewayError::TemporaryFailure)),
    }
}

/// Derives the ids of a payment and of its transaction from the idempotency key, so concurrent requests get the same
/// ids.
fn names(key: &str) -> (String, String) {
    let hex: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    let (payment, rest) = hex.split_at(24);
    let (transaction, _) = rest.split_at(24);
    (payment.to_owned(), transaction.to_owned())
}

/// Derives the id of the refund of a key's charge.
pub fn refund_id(key: &str) -> String {
    let (refund, _) = names(key);
    format!("ref_{refund}")
}

/// Answers a repeated request under a key that has a charge already, with that charge.
///
/// # Errors
/// The request has another amount or currency, which is a mistake of the caller.
pub fn repeated(charge: Charge, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
    if charge.amount == request.amount && charge.currency == request.currency {
        return Ok(charge);
    }
    Err(GatewayError::UnknownStatus("the idempotency key belongs to a charge of another amount".to_owned()))
}

/// Makes the charge for a request.
pub fn new_charge(request: &ChargeRequest<'_>) -> Charge {
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
        simulated: true,
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
    #[test_case("test_fraud_visa", Script::SuspectFraud)]
    #[test_case("test_timeout_visa", Script::TimeOut)]
    #[test_case("test_rate_limit_visa", Script::FailFirst(1, GatewayError::RateLimited))]
    #[test_case("test_temp_fail_visa", Script::FailFirst(1, GatewayError::TemporaryFailure))]
    #[test_case("test_temp_fail_2_visa", Script::FailFirst(2, GatewayError::TemporaryFailure))]
    #[test_case("test_temp_fail_3", Script::FailFirst(3, GatewayError::TemporaryFailure))]
    #[test_case("test_success", Script::Decline("unknown card"); "no underscore")]
    #[test_case("tok_1a2b", Script::Decline("unknown card"); "a real one")]
    #[test_case("", Script::Decline("unknown card"); "none")]
    fn token_selects_the_script(token: &str, script: Script) {
        assert_eq!(Script::of(&token.into()), script);
    }

    #[test_case("test_success_visa", None)]
    #[test_case("test_timeout_visa", None)]
    #[test_case("test_temp_fail_3_visa", None)]
    #[test_case("test_success_visa_norefund", Some((u32::MAX, GatewayError::Declined("refund declined"))))]
    #[test_case("test_success_visa_refundfail_2", Some((2, GatewayError::TemporaryFailure)))]
    #[test_case("test_temp_fail_3_refundfail", Some((1, GatewayError::TemporaryFailure)))]
    fn token_selects_the_refund_failures(token: &str, failures: Option<(u32, GatewayError)>) {
        assert_eq!(refund_failures(&token.into()), failures);
    }

    #[test_case("test_success_visa", "visa")]
    #[test_case("test_success_mastercard", "mastercard")]
    #[test_case("test_temp_fail_2_amex", "amex")]
    #[test_case("test_success_other", "card")]
    fn card_brand_is_read_from_the_token(token: &str, card: &str) {
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
