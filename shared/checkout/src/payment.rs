//! Taking money and giving it back: what a gateway does, and what `process_payment` and `refund_payment` leave behind.

use crate::{Money, StoreError, Token};
use serde::{Deserialize, Serialize};
use stepwell::{StepResult, Timestamp};

/// The currency of every price in the shop, as ISO 4217 writes it.
pub const CURRENCY: &str = "USD";

/// A payment gateway.
pub trait Gateway: Send + Sync {
    /// Charges a card. The same idempotency key again is the same charge, and answers with it.
    ///
    /// # Errors
    /// The card is declined, the key is void, or the gateway did not do it, or did not say whether it did.
    fn charge(&self, request: &ChargeRequest<'_>) -> impl Future<Output = Result<Charge, GatewayError>> + Send;

    /// Makes the charge's idempotency key void: what was charged with it is given back in full, and where nothing was,
    /// nothing ever will be, however late a request for it comes. The same key again gives back nothing more and answers
    /// as the first time.
    ///
    /// # Errors
    /// The gateway refuses to give the money back, or did not do it, or did not say whether it did.
    fn refund(&self, request: &RefundRequest<'_>) -> impl Future<Output = Result<Reversal, GatewayError>> + Send;
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

/// A charge that is to be undone.
#[derive(Clone, Copy, Debug)]
pub struct RefundRequest<'a> {
    /// The idempotency key of the charge, which need not have been made.
    pub idempotency_key: &'a str,
    /// The card that the money goes back to, where the checkout named one.
    pub token: Option<&'a Token>,
    /// When it is asked for.
    pub at: Timestamp,
}

/// How a charge was undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reversal {
    /// It was given back, all of it.
    Refunded {
        /// The gateway's name for the refund.
        refund_id: String,
        /// What was given back.
        charge: Charge,
        /// When.
        at: Timestamp,
    },
    /// There was none, and there will be none.
    Voided {
        /// Since when.
        at: Timestamp,
    },
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

/// Why a charge was not made or not given back, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The gateway will not do it, however often it is asked.
    #[error("{0}")]
    Declined(&'static str),
    /// The charge was undone, maybe before it was made. Its idempotency key charges nothing any more.
    #[error("the charge was refunded, or its idempotency key was voided before anything was charged")]
    Voided,
    /// The gateway wants to be asked less often.
    #[error("the gateway asks for fewer requests")]
    RateLimited,
    /// No answer in time.
    #[error("the gateway did not answer in time")]
    Timeout,
    /// Not now.
    #[error("the gateway is temporarily out of service")]
    TemporaryFailure,
    /// An answer that does not say whether it was done. The idempotency key makes it safe to ask again.
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

/// The result of `refund_payment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The gateway's name for the refund; `None` where nothing had been charged.
    pub refund_id: Option<String>,
    /// The gateway's name for the payment that was given back; `None` where nothing had been charged.
    pub payment_id: Option<String>,
    /// How much was given back: all of the payment, 0.00 where nothing had been charged.
    pub amount_refunded: Money,
    /// In which currency.
    pub currency: String,
    /// When it was given back, or since when the charge is ruled out; a repeated step changes neither.
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
