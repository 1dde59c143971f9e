//! Charges and refunds: the port of the payment gateway, and the results of `process_payment` and `refund_payment`.

use crate::{Money, StoreError, Token};
use serde::{Deserialize, Serialize};
use stepwell::{StepResult, Timestamp};

/// The currency of every price in the shop, as ISO 4217 writes it.
pub const CURRENCY: &str = "USD";

/// The port of a payment gateway.
pub trait Gateway: Send + Sync {
    /// Charges a card. A repeated call with the same idempotency key charges nothing and returns the first charge.
    ///
    /// # Errors
    /// The card is declined, the key is void, or the gateway did not charge, or did not say whether it did.
    fn charge(&self, request: &ChargeRequest<'_>) -> impl Future<Output = Result<Charge, GatewayError>> + Send;

    /// Voids the charge's idempotency key. A charge under the key is refunded in full. If there is none, the key can
    /// charge nothing later, however late the request comes. A repeated call refunds nothing and returns the first
    /// answer.
    ///
    /// # Errors
    /// The gateway declines the refund, or did not make it, or did not say whether it did.
    fn refund(&self, request: &RefundRequest<'_>) -> impl Future<Output = Result<Reversal, GatewayError>> + Send;
}

/// A request to charge a card.
#[derive(Clone, Copy, Debug)]
pub struct ChargeRequest<'a> {
    /// The key under which a repeated request is the same charge.
    pub idempotency_key: &'a str,
    /// The card's token.
    pub token: &'a Token,
    /// The amount to charge.
    pub amount: Money,
    /// The currency of the amount, as ISO 4217 writes it.
    pub currency: &'a str,
    /// The time of the request.
    pub at: Timestamp,
}

/// A request to refund a charge, or to void its key.
#[derive(Clone, Copy, Debug)]
pub struct RefundRequest<'a> {
    /// The idempotency key of the charge. The charge need not exist.
    pub idempotency_key: &'a str,
    /// The card that the money goes back to; `None` where the checkout named none.
    pub token: Option<&'a Token>,
    /// The time of the request.
    pub at: Timestamp,
}

/// The answer to a [`RefundRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reversal {
    /// The charge was refunded in full.
    Refunded {
        /// The gateway's id of the refund.
        refund_id: String,
        /// The charge that was refunded.
        charge: Charge,
        /// When the charge was refunded.
        at: Timestamp,
    },
    /// Nothing had been charged. The key is void and can charge nothing later.
    Voided {
        /// When the key was voided.
        at: Timestamp,
    },
}

/// A charge that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The gateway's id of the payment.
    pub payment_id: String,
    /// The bank's id of the payment.
    pub transaction_id: String,
    /// The amount that was charged.
    pub amount: Money,
    /// The currency of the amount, as ISO 4217 writes it.
    pub currency: String,
    /// The kind of card: `visa`, `mastercard`, `amex`, or `card` for any other.
    pub card: String,
    /// When the card was charged.
    pub charged_at: Timestamp,
    /// Whether the gateway is the simulated one, so that no money was moved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

/// The reason why a charge or refund was not made, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The gateway declines the request, and will decline a repeated one.
    #[error("{0}")]
    Declined(&'static str),
    /// The gateway declines the charge because it suspects fraud, and will decline a repeated one.
    #[error("suspected fraud")]
    SuspectedFraud,
    /// The charge was refunded, or its key was voided before it was made. The key can charge nothing later.
    #[error("the charge was refunded, or its idempotency key was voided before anything was charged")]
    Voided,
    /// The gateway throttles.
    #[error("the gateway asks for fewer requests")]
    RateLimited,
    /// The gateway did not answer in time; it may have acted.
    #[error("the gateway did not answer in time")]
    Timeout,
    /// The gateway is out of service for a while.
    #[error("the gateway is temporarily out of service")]
    TemporaryFailure,
    /// The answer leaves open whether the gateway acted. The idempotency key makes a retry safe.
    #[error("the gateway's answer leaves the status of the charge open: {0}")]
    UnknownStatus(String),
}

impl From<StoreError> for GatewayError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy(_) => Self::TemporaryFailure,
            StoreError::Failed(_) | StoreError::Unreadable(_) => Self::UnknownStatus(error.to_string()),
        }
    }
}

/// The result of `process_payment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The gateway's id of the payment.
    pub payment_id: String,
    /// The amount that was charged.
    pub amount_charged: Money,
    /// The currency of the amount, as ISO 4217 writes it.
    pub currency: String,
    /// The kind of card: `visa`, `mastercard`, `amex`, or `card` for any other.
    pub payment_method_type: String,
    /// The bank's id of the payment.
    pub transaction_id: String,
    /// When the card was charged. A repeated attempt does not change it.
    pub processed_at: Timestamp,
    /// As in [`Charge::simulated`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
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
            simulated: charge.simulated,
        }
    }
}

/// The result of `refund_payment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The gateway's id of the refund; `None` where nothing had been charged.
    pub refund_id: Option<String>,
    /// The gateway's id of the refunded payment; `None` where nothing had been charged.
    pub payment_id: Option<String>,
    /// The refunded amount: the whole payment, or 0.00 where nothing had been charged.
    pub amount_refunded: Money,
    /// The currency of the amount, as ISO 4217 writes it.
    pub currency: String,
    /// When the charge was refunded, or its key voided. A repeated attempt does not change it.
    pub refunded_at: Timestamp,
}

impl StepResult for Refund {
    const STEP: &'static str = "refund_payment";
}

impl From<Reversal> for Refund {
    fn from(reversal: Reversal) -> Self {
        match reversal {
            Reversal::Refunded { refund_id, charge, at } => Self {
                refund_id: Some(refund_id),
                payment_id: Some(charge.payment_id),
                amount_refunded: charge.amount,
                currency: charge.currency,
                refunded_at: at,
            },
            Reversal::Voided { at } => Self {
                refund_id: None,
                payment_id: None,
                amount_refunded: Money::ZERO,
                currency: CURRENCY.to_owned(),
                refunded_at: at,
            },
        }
    }
}
