//! The script of the simulated payment gateway, for demonstrations and tests. The card's token selects the behaviour.
//!
//! | token | what happens |
//! |---|---|
//! | `test_success_visa`, `..._mastercard`, `..._amex`, `test_success_...` | charged |
//! | `test_insufficient_...`, `test_declined_...`, `test_invalid_...` | declined |
//! | `test_fraud_...` | declined for suspected fraud |
//! | `test_timeout_...` | times out, always |
//! | `test_answerlost_...` | charged, but the answer does not arrive: a time-out |
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
//! | `test_success_visa_refundbounce` | made, and fails an hour later at the bank; then declined |
//!
//! Like a real gateway it remembers a key for a while only ([`payment_ref`]), and takes no second charge for one payment.

use crate::{Charge, GatewayError, ListedCharge, Money, OpenRequest, PaymentRef, PaymentState, Reversal, Token};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;
use stepwell::Timestamp;

/// A card that shows one behaviour of the gateway, as the shop's pages offer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SampleCard {
    /// The token.
    pub token: &'static str,
    /// What it simulates, in a word or two.
    pub name: &'static str,
    /// What happens, in a sentence for customers.
    pub what: &'static str,
}

/// The cards that the shop's pages offer. There is no other gateway yet, so no page has to know whether these are cards of its stage.
pub const SAMPLE_CARDS: [SampleCard; 5] = [
    SampleCard { token: "test_success_visa", name: "Success", what: "The card is charged at once." },
    SampleCard {
        token: "test_temp_fail_2_visa",
        name: "Flaky",
        what: "The gateway fails twice. The third attempt, some seconds later, charges the card.",
    },
    SampleCard {
        token: "test_declined_visa",
        name: "Declined",
        what: "The bank declines the card. Nothing is charged, and another card can pay.",
    },
    SampleCard {
        token: "test_temp_fail_3_visa",
        name: "Gateway down",
        what: "The gateway fails three times, which uses up all attempts. The order goes on by itself a minute later.",
    },
    SampleCard {
        token: "test_rate_limit_visa",
        name: "Rate-limited",
        what: "The gateway turns the first attempt away, because there are too many. The next one, up to a minute later, charges the card.",
    },
];

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
    /// The charge succeeds, and the answer is lost.
    LoseAnswer,
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
            ["test", "answerlost", _, ..] => Self::LoseAnswer,
            ["test", "rate", "limit", word, ..] => Self::FailFirst(times(word), GatewayError::RateLimited),
            ["test", "temp", "fail", word, ..] => Self::FailFirst(times(word), GatewayError::TemporaryFailure),
            _ => Self::Decline("unknown card"),
        }
    }
}

/// The time for which the gateway remembers a key.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The time after which a refund fails that the token lets fail later.
pub const REFUND_BOUNCES_AFTER: Duration = Duration::from_secs(60 * 60);

/// The gateway's behaviour on a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefundScript {
    Make,
    Decline,
    FailFirst(u32),
    Bounce,
}

/// The last words of a token that has any about refunds.
fn about_refunds(token: &Token) -> Option<String> {
    let mut words = token.reveal().split('_').skip_while(|word| RefundScript::of(word) == RefundScript::Make);
    words.next().map(|first| words.fold(first.to_owned(), |words, word| words + "_" + word))
}

impl RefundScript {
    fn of(words: &str) -> Self {
        match words.split('_').collect::<Vec<_>>().as_slice() {
            ["norefund", ..] => Self::Decline,
            ["refundfail", rest @ ..] => {
                Self::FailFirst(rest.first().and_then(|times| times.parse().ok()).unwrap_or(1))
            }
            ["refundbounce", ..] => Self::Bounce,
            _ => Self::Make,
        }
    }
}

/// A payment as the gateway stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulatedPayment {
    /// The amount and the currency that it was opened for.
    pub opened: Option<(Money, String)>,
    /// The charge, if the card was charged.
    pub charge: Option<Charge>,
    /// What the card's token says of refunds.
    pub refund_script: Option<String>,
    /// When it was cancelled or refunded.
    pub reversed_at: Option<Timestamp>,
    /// The scripted failures of charges so far.
    #[serde(default)]
    pub failures: u32,
    /// The scripted failures of refunds so far.
    #[serde(default)]
    pub refund_failures: u32,
}

/// What a refund comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundPlan {
    /// It was made before.
    Made(Reversal),
    /// It is refused.
    Refuse(GatewayError),
    /// It fails with this error if fewer refunds than the number have failed before; otherwise it is made.
    FailFirst(u32, GatewayError),
    /// It is made.
    Make,
}

impl SimulatedPayment {
    /// A payment that was just opened.
    pub fn open(request: &OpenRequest<'_>) -> Self {
        Self { opened: Some((request.amount, request.currency.to_owned())), ..Self::default() }
    }

    /// Checks that a repeated request to open it is for the same amount.
    ///
    /// # Errors
    /// It is not, which is a mistake of the caller.
    pub fn check(&self, request: &OpenRequest<'_>) -> Result<(), GatewayError> {
        let same = self
            .opened
            .as_ref()
            .is_some_and(|(amount, currency)| *amount == request.amount && currency == request.currency);
        let other =
            || GatewayError::UnknownStatus("the idempotency key belongs to a payment of another amount".to_owned());
        if same { Ok(()) } else { Err(other()) }
    }

    /// Where it stands.
    pub fn state(&self, payment: &PaymentRef, at: Timestamp) -> PaymentState {
        match (self.charge.clone(), self.reversed_at) {
            (None, None) => PaymentState::Open,
            (None, Some(at)) => PaymentState::Reversed(Reversal::Voided { at }),
            (Some(charge), None) => PaymentState::Paid(charge),
            (Some(charge), Some(refunded_at)) => {
                if self.refund_script() == RefundScript::Bounce && at >= refunded_at + REFUND_BOUNCES_AFTER {
                    return PaymentState::RefundFailed(charge);
                }
                let refund_id = format!("ref_{}", digest(&payment.0, 24));
                PaymentState::Reversed(Reversal::Refunded { refund_id, charge, at: refunded_at })
            }
        }
    }

    /// The charge, as the gateway lists it, if it was made since this time and is not given back.
    pub fn listed(&self, payment: &PaymentRef, since: Timestamp) -> Option<ListedCharge> {
        let charged_at = self.charge.as_ref()?.charged_at;
        let in_force = self.reversed_at.is_none() && charged_at >= since;
        in_force.then(|| ListedCharge { payment: payment.clone(), charged_at })
    }

    /// The charge of this card for it, and what the card says of refunds.
    ///
    /// # Errors
    /// It was never opened.
    pub fn new_charge(
        &self,
        payment: &PaymentRef,
        token: &Token,
        at: Timestamp,
    ) -> Result<(Charge, Option<String>), GatewayError> {
        let (amount, currency) = self.opened.clone().ok_or_else(no_such_payment)?;
        let known = ["visa", "mastercard", "amex"];
        let card = known.into_iter().find(|card| token.reveal().split('_').any(|word| word == *card));
        let charge = Charge {
            payment_id: payment.0.clone(),
            transaction_id: format!("txn_{}", digest(&payment.0, 24)),
            amount,
            currency,
            card: card.unwrap_or("card").to_owned(),
            charged_at: at,
            simulated: true,
        };
        Ok((charge, about_refunds(token)))
    }

    /// What a request to cancel or refund it comes to.
    pub fn plan_refund(&self, payment: &PaymentRef, at: Timestamp) -> RefundPlan {
        match self.state(payment, at) {
            PaymentState::Reversed(reversal) => RefundPlan::Made(reversal),
            PaymentState::RefundFailed(_) => RefundPlan::Refuse(GatewayError::Declined("refund failed at the bank")),
            PaymentState::Open => RefundPlan::Make,
            PaymentState::Paid(_) => match self.refund_script() {
                RefundScript::Decline => RefundPlan::Refuse(GatewayError::Declined("refund declined")),
                RefundScript::FailFirst(times) => RefundPlan::FailFirst(times, GatewayError::TemporaryFailure),
                RefundScript::Make | RefundScript::Bounce => RefundPlan::Make,
            },
        }
    }

    /// Charges this card for it.
    ///
    /// # Errors
    /// What the token scripts, or it was cancelled or refunded. A failure that is scripted for the first times is counted.
    pub fn confirm(&mut self, payment: &PaymentRef, token: &Token, at: Timestamp) -> Result<Charge, GatewayError> {
        let script = Script::of(token);
        match &script {
            Script::Decline(reason) => return Err(GatewayError::Declined(reason)),
            Script::SuspectFraud => return Err(GatewayError::SuspectedFraud),
            Script::TimeOut => return Err(GatewayError::Timeout),
            _ if self.reversed_at.is_some() => return Err(GatewayError::Voided),
            Script::FailFirst(times, error) if self.charge.is_none() && self.failures < *times => {
                self.failures += 1;
                return Err(error.clone());
            }
            Script::FailFirst(..) | Script::Charge | Script::LoseAnswer => {}
        }
        if self.charge.is_none() {
            let (charge, refund_script) = self.new_charge(payment, token, at)?;
            (self.charge, self.refund_script) = (Some(charge), refund_script);
        }
        match self.charge.clone() {
            Some(charge) if script != Script::LoseAnswer => Ok(charge),
            _ => Err(GatewayError::Timeout),
        }
    }

    /// Cancels or refunds it.
    ///
    /// # Errors
    /// What its card's token scripts. A failure that is scripted for the first times is counted.
    pub fn cancel_or_refund(&mut self, payment: &PaymentRef, at: Timestamp) -> Result<Reversal, GatewayError> {
        match self.plan_refund(payment, at) {
            RefundPlan::Made(reversal) => return Ok(reversal),
            RefundPlan::Refuse(error) => return Err(error),
            RefundPlan::FailFirst(times, error) if self.refund_failures < times => {
                self.refund_failures += 1;
                return Err(error);
            }
            RefundPlan::FailFirst(..) | RefundPlan::Make => {}
        }
        self.reversed_at = Some(at);
        match self.state(payment, at) {
            PaymentState::Reversed(reversal) => Ok(reversal),
            _ => Err(no_such_payment()),
        }
    }

    fn refund_script(&self) -> RefundScript {
        self.refund_script.as_deref().map_or(RefundScript::Make, RefundScript::of)
    }
}

/// The error for a payment that the gateway does not have.
pub fn no_such_payment() -> GatewayError {
    GatewayError::UnknownStatus("there is no such payment".to_owned())
}

/// The payment that this request opens. The same key opens the same payment for a day at most; then the gateway has
/// forgotten it.
pub fn payment_ref(request: &OpenRequest<'_>) -> PaymentRef {
    let day = u128::from(request.at.as_millis().unsigned_abs()) / KEY_LIFETIME.as_millis();
    PaymentRef(format!("pay_{}", digest(&format!("{day}:{}", request.key), 24)))
}

/// The first digits of a text's SHA-256, in hexadecimal.
fn digest(text: &str, digits: usize) -> String {
    let hex = Sha256::digest(text).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    hex.chars().take(digits).collect()
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

    /// The pages promise this.
    #[test]
    fn sample_cards_do_what_they_say() {
        let scripts = SAMPLE_CARDS.map(|card| (card.name, Script::of(&card.token.into())));
        let expected = [
            ("Success", Script::Charge),
            ("Flaky", Script::FailFirst(2, GatewayError::TemporaryFailure)),
            ("Declined", Script::Decline("card declined")),
            ("Gateway down", Script::FailFirst(3, GatewayError::TemporaryFailure)),
            ("Rate-limited", Script::FailFirst(1, GatewayError::RateLimited)),
        ];
        assert_eq!(scripts, expected);
    }

    #[test_case("test_success_visa", None)]
    #[test_case("test_temp_fail_3_visa", None)]
    #[test_case("test_success_visa_norefund", Some(("norefund", RefundScript::Decline)))]
    #[test_case("test_success_visa_refundfail_2", Some(("refundfail_2", RefundScript::FailFirst(2))))]
    #[test_case("test_temp_fail_3_refundfail", Some(("refundfail", RefundScript::FailFirst(1))))]
    #[test_case("test_success_visa_refundbounce", Some(("refundbounce", RefundScript::Bounce)))]
    fn token_selects_the_script_of_refunds(token: &str, expected: Option<(&str, RefundScript)>) {
        let words = about_refunds(&token.into());
        let found = words.as_deref().map(|words| (words, RefundScript::of(words)));
        assert_eq!(found, expected);
    }

    fn request(key: &str, at: i64) -> OpenRequest<'_> {
        OpenRequest { key, amount: Money::from_cents(1), currency: "USD", at: Timestamp::from_millis(at) }
    }

    #[test_case("test_success_visa", "visa")]
    #[test_case("test_success_mastercard", "mastercard")]
    #[test_case("test_temp_fail_2_amex", "amex")]
    #[test_case("test_success_other", "card")]
    fn card_brand_is_read_from_the_token(token: &str, card: &str) {
        let payment = SimulatedPayment::open(&request("a key", 0));
        let (charge, _) =
            payment.new_charge(&PaymentRef("pay_1".to_owned()), &token.into(), Timestamp::from_millis(0)).unwrap();
        assert_eq!(charge.card, card);
    }

    #[test]
    fn key_opens_the_same_payment_until_it_is_forgotten() {
        const DAY: i64 = 24 * 60 * 60 * 1_000;
        let opened = |key: &str, at: i64| payment_ref(&request(key, at));
        assert_eq!(opened("a", 0), opened("a", DAY - 1));
        assert_ne!(opened("a", 0), opened("a", DAY));
        assert_ne!(opened("a", 0), opened("b", 0));
    }
}
