//! Charges and refunds: the ports of the payment gateway and of the shop's record of payments, how a charge and a refund use
//! them, and the results of `process_payment` and `refund_payment`.

use crate::{Money, StoreError, Token};
use serde::{Deserialize, Serialize};
use stepwell::{StepResult, Timestamp};

/// The currency of every price in the shop, as ISO 4217 writes it.
pub const CURRENCY: &str = "USD";

/// The port of a payment gateway. A payment is an object of the gateway's: it is opened, which moves nothing, and everything
/// that moves money names it. So a lost answer is settled by reading the object. Nothing rests on how long the gateway
/// remembers an idempotency key, or on a search.
pub trait Gateway: Send + Sync {
    /// Opens a payment. It moves no money, and it need not be cancelled. A repeated call with the same key may open a second
    /// one, because gateways forget keys after a while, and may get the first answer again, even if that was a failure.
    ///
    /// # Errors
    /// The gateway did not open the payment, or did not say whether it did.
    fn open(&self, request: &OpenRequest<'_>) -> impl Future<Output = Result<PaymentRef, GatewayError>> + Send;

    /// Charges the card for an open payment. A payment is charged once, whatever the card of a later call.
    ///
    /// # Errors
    /// The card is declined, the payment was cancelled or refunded, or the gateway did not charge, or did not say whether
    /// it did.
    fn confirm(
        &self,
        payment: &PaymentRef,
        token: &Token,
        at: Timestamp,
    ) -> impl Future<Output = Result<Charge, GatewayError>> + Send;

    /// Reads where a payment stands.
    ///
    /// # Errors
    /// The gateway gave no answer, or has no such payment.
    fn read(
        &self,
        payment: &PaymentRef,
        at: Timestamp,
    ) -> impl Future<Output = Result<PaymentState, GatewayError>> + Send;

    /// Refunds a payment in full, or cancels it if nothing was charged, after which nothing can be. A repeated call refunds
    /// nothing and returns the first answer, unless that refund has failed since: then it is made anew.
    ///
    /// # Errors
    /// The gateway declines the refund, or did not make it, or did not say whether it did.
    fn cancel_or_refund(
        &self,
        payment: &PaymentRef,
        at: Timestamp,
    ) -> impl Future<Output = Result<Reversal, GatewayError>> + Send;

    /// Lists a page of the charges that were made since this time and not given back, in any order: after this cursor of a page
    /// before, or from the first one. A charge of whose refund the bank has returned the money may be left out.
    ///
    /// # Errors
    /// The gateway gave no answer.
    fn list_charges(
        &self,
        since: Timestamp,
        after: Option<&str>,
    ) -> impl Future<Output = Result<ChargesPage, GatewayError>> + Send;
}

/// A page of the gateway's charges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChargesPage {
    /// The charges. There may be more even if there is none on this page.
    pub charges: Vec<ListedCharge>,
    /// The cursor of the next page; `None` after the last one.
    pub next: Option<String>,
}

/// A charge in the gateway's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCharge {
    /// The payment.
    pub payment: PaymentRef,
    /// When the card was charged.
    pub charged_at: Timestamp,
}

/// The port of the shop's own record of its payments: which payment belongs to a checkout. It is written before any money
/// moves, so every charge can be found.
pub trait PaymentRecords: Send + Sync {
    /// Returns the payment that is recorded under the key.
    ///
    /// # Errors
    /// The key is void, or the table fails.
    fn recorded(&self, key: &str) -> impl Future<Output = Result<Option<PaymentRef>, RecordError>> + Send;

    /// Records the payment under the key, unless there is one. Returns the recorded one: only that may be confirmed.
    ///
    /// # Errors
    /// The key is void, or the table fails.
    fn record(&self, key: &str, payment: &PaymentRef) -> impl Future<Output = Result<PaymentRef, RecordError>> + Send;

    /// Voids the key, so that no payment is recorded under it later, and returns the recorded one. A repeated call changes
    /// nothing and returns the same.
    ///
    /// # Errors
    /// The table fails.
    fn void(&self, key: &str, at: Timestamp) -> impl Future<Output = Result<VoidedKey, StoreError>> + Send;
}

/// The gateway's reference to a payment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentRef(pub String);

/// The answer to [`PaymentRecords::void`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoidedKey {
    /// The payment that was recorded under the key.
    pub payment: Option<PaymentRef>,
    /// When the key was voided.
    pub at: Timestamp,
}

/// The reason why a payment was not recorded or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The checkout is being compensated.
    #[error("the checkout's payment was cancelled before it was made")]
    Void,
    /// The table fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A request to open a payment.
#[derive(Clone, Copy, Debug)]
pub struct OpenRequest<'a> {
    /// The key under which a repeated request may get the same answer. The gateway's people see it.
    pub key: &'a str,
    /// The amount to charge.
    pub amount: Money,
    /// The currency of the amount, as ISO 4217 writes it.
    pub currency: &'a str,
    /// The time of the request.
    pub at: Timestamp,
}

/// Where a payment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// Nothing was charged. It may be confirmed.
    Open,
    /// The card was charged.
    Paid(Charge),
    /// It was cancelled or refunded.
    Reversed(Reversal),
    /// It was refunded, but the refund has failed since: the shop has the money.
    RefundFailed(Charge),
}

/// The reason why [`charge`] or [`refund`] did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// The gateway's reason.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The shop's record of payments failed.
    #[error(transparent)]
    Records(#[from] StoreError),
}

impl From<RecordError> for PaymentError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Void => Self::Gateway(GatewayError::Voided),
            RecordError::Store(error) => Self::Records(error),
        }
    }
}

/// Charges a card under this key, once. The payment is opened and recorded before it is confirmed. If the key has a payment
/// already, an earlier call may have confirmed it, so it is read first. If it turns out paid, by whatever card, that is the
/// result, and no token is needed. `None` if nothing is charged yet and there is no token.
///
/// # Errors
/// See [`PaymentError`]. [`GatewayError::Voided`], if the key is void.
pub async fn charge(
    gateway: &impl Gateway,
    records: &impl PaymentRecords,
    key: &str,
    token: Option<&Token>,
    request: &OpenRequest<'_>,
) -> Result<Option<Charge>, PaymentError> {
    let recorded = match records.recorded(key).await? {
        Some(payment) => match gateway.read(&payment, request.at).await? {
            PaymentState::Open => Some(payment),
            PaymentState::Paid(charge) => return Ok(Some(charge)),
            PaymentState::Reversed(_) | PaymentState::RefundFailed(_) => return Err(GatewayError::Voided.into()),
        },
        None => None,
    };
    let Some(token) = token else { return Ok(None) };
    let payment = match recorded {
        Some(payment) => payment,
        None => records.record(key, &gateway.open(request).await?).await?,
    };
    Ok(Some(gateway.confirm(&payment, token, request.at).await?))
}

/// Refunds what was charged under this key, and voids the key, so that a late [`charge`] charges nothing. A charge that holds
/// the recorded payment already cannot confirm it after it was cancelled; any other is refused by the void key.
///
/// # Errors
/// See [`PaymentError`].
pub async fn refund(
    gateway: &impl Gateway,
    records: &impl PaymentRecords,
    key: &str,
    at: Timestamp,
) -> Result<Reversal, PaymentError> {
    let voided = records.void(key, at).await?;
    let Some(payment) = voided.payment else { return Ok(Reversal::Voided { at: voided.at }) };
    Ok(gateway.cancel_or_refund(&payment, at).await?)
}

/// What became of a payment that was cancelled or refunded.
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
    /// Nothing had been charged, and nothing can be later.
    Voided {
        /// When the key was voided, or the payment cancelled.
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
    /// The payment was refunded or cancelled, or its key was voided before it was made.
    #[error("the payment was refunded, or was cancelled before anything was charged")]
    Voided,
    /// The gateway throttles.
    #[error("the gateway asks for fewer requests")]
    RateLimited,
    /// The gateway did not answer in time; it may have acted.
    #[error("the gateway did not answer in time")]
    Timeout,
    /// The gateway is out of service for a while, and did nothing. An adapter that is not sure of that answers
    /// [`UnknownStatus`](Self::UnknownStatus).
    #[error("the gateway is temporarily out of service")]
    TemporaryFailure,
    /// The answer leaves open whether the gateway acted. Reading the payment settles it.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
