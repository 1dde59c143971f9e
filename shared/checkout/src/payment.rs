//! Taking money: what a gateway does, and what `process_payment` leaves behind.

use crate::{Money, Token};
use serde::{Deserialize, Serialize};
use stepwell::{StepResult, Timestamp};

/// The currency of every price in the shop, as ISO 4217 writes it.
pub const CURRENCY: &str = "USD";

/// A payment gateway.
#[allow(async_fn_in_trait, reason = "a Lambda function runs on one thread, so no future has to be Send")]
pub trait Gateway {
    /// Charges a card. The same idempotency key again is the same charge, and answers with it.
    ///
    /// # Errors
    /// The card is declined, or the gateway did not do it, or did not say whether it did.
    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError>;
}

/// A charge that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ChargeRequest<'a> {
    /// What makes it safe to ask again.
    pub idempotency_key: &'a str,
    /// The card.
    pub token: &'a Token,
    /// How much.
    pub amount: Money,
    /// In which currency.
    pub currency: &'a str,
    /// When it is asked for.
    pub at: Timestamp,
}

/// A charge that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The gateway's name for the payment.
    pub payment_id: String,
    /// The bank's name for it.
    pub transaction_id: String,
    /// How much was charged.
    pub amount: Money,
    /// In which currency.
    pub currency: String,
    /// The kind of card: `visa`, `mastercard`, `amex`, or `card` for any other.
    pub card: String,
    /// When it was charged.
    pub charged_at: Timestamp,
}

/// Why a charge was not made, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The card will not be charged, however often it is tried.
    #[error("{0}")]
    Declined(&'static str),
    /// The gateway wants to be asked less often.
    #[error("the gateway asks for fewer requests")]
    RateLimited,
    /// No answer in time.
    #[error("the gateway did not answer in time")]
    Timeout,
    /// Not now.
    #[error("the gateway is temporarily unable to charge cards")]
    TemporaryFailure,
    /// An answer that does not say whether the card was charged. The idempotency key makes it safe to ask again.
    #[error("the gateway's answer leaves the status of the charge open: {0}")]
    UnknownStatus(String),
}

/// The result of `process_payment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The gateway's name for the payment.
    pub payment_id: String,
    /// How much was charged.
    pub amount_charged: Money,
    /// In which currency.
    pub currency: String,
    /// The kind of card: `visa`, `mastercard`, `amex`, or `card` for any other.
    pub payment_method_type: String,
    /// The bank's name for the payment.
    pub transaction_id: String,
    /// When the card was charged, which a repeated step does not do again.
    pub processed_at: Timestamp,
}

impl StepResult for Payment {
    const STEP: &'static str = "process_payment";
}

impl From<Charge> for Payment {
    fn from(charge: Charge) -> Self {
        Self {
            payment_id: charge.payment_id,
            amount_charged: charge.amount,
            currency: charge.currency,
            payment_method_type: charge.card,
            transaction_id: charge.transaction_id,
            processed_at: charge.charged_at,
        }
    }
}
