//! The shop behind the checkout workflow: money, catalogue, stock, payments, orders and mail.
//!
//! The steps of the saga are in `functions/checkout/`; this crate has the domain that they work on. [`workflow()`] is
//! the workflow itself. Every effect except the e-mail takes an idempotency key or derives its names from the task, so
//! a repeated attempt holds and takes stock once, charges the card once and makes one order. An e-mail may be sent twice.
//!
//! Every effect except the e-mail can be compensated by the same key, once. A compensation does not check whether the
//! effect has happened. If it has not, the compensation writes a mark that voids the key, and a request that arrives
//! later is refused. So in either order of arrival, no card stays charged, no units stay reserved and no order stays
//! confirmed.
//!
//! Units are held before the card is charged, and taken after it: for k pieces there are never more than k charges in
//! force. A checkout for which nothing is left is refused at once.
//!
//! Steps reach the outside world through ports: [`Catalogue`], [`Stock`], [`Orders`], [`Gateway`], [`PaymentRecords`],
//! [`CardTokens`], [`Mailer`]; a [`Shop`] makes them. The APIs use [`Storefront`], [`CardTokens`] and [`Counters`]. This crate has no AWS code: the ports on DynamoDB and SES are in `checkout_aws`. The rules that
//! all implementations share are here: [`Reservation::of`], [`Release::of`], [`order_numbers`], and the module
//! [`test_card`].

// Money is counted in whole cents and rates are decimals, because floats lose cents.
#![deny(clippy::float_arithmetic)]

mod card_tokens;
mod cart;
mod catalogue;
mod codes;
pub mod config;
mod counters;
mod email;
mod lenient;
mod mail;
mod money;
mod order;
mod payment;
mod pricing;
pub mod reconciliation;
mod release;
mod request;
mod reservation;
#[cfg(test)]
mod samples;
mod shop;
mod stock;
mod store_error;
mod storefront;
pub mod test_card;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod workflow;

pub use card_tokens::{CardTokens, KEPT_FOR as CARD_TOKEN_KEPT_FOR, TOKEN_PATH, strip_token, take_token};
pub use cart::{Cart, LineItem, PricedCart, ValidatedCart};
pub use catalogue::{Catalogue, InsufficientStock, Product, ProductId};
pub use codes::{ShopCode, customer_text, error_codes};
pub use config::ConfigError;
pub use counters::Counters;
pub use email::{EmailAddress, NotAnEmailAddress};
pub use mail::{Cancellation, Confirmation, Email, MailError, Mailer};
pub use money::{Money, NotMoney};
pub use order::{
    CancelOrderError, CancelledOrder, CreateOrderError, CreatedOrder, Order, OrderStatus, Orders, Resend, ResendError,
    ShipError, Shipping, order_numbers,
};
pub use payment::{
    CURRENCY, Charge, ChargesPage, Gateway, GatewayError, ListedCharge, OpenRequest, Payment, PaymentError,
    PaymentRecords, PaymentRef, PaymentState, RecordError, Refund, Reversal, VoidedKey, charge, refund,
};
pub use pricing::{Pricing, Totals};
pub use release::{Release, ReleasedProduct, UnreleasedProduct};
pub use request::{CartItem, CheckoutRequest, CustomerInfo, MAX_LINES, MAX_QUANTITY, PaymentInfo, Priority, Token};
pub use reservation::{InventoryChange, Reservation, UpdatedProduct};
pub use shop::Shop;
pub use stepwell::core::codes::CustomerText;
pub use stock::{HoldError, Stock, TakeError};
pub use store_error::StoreError;
pub use storefront::Storefront;
pub use text::{NotAName, NotASingleLine, PersonName, SingleLine};
pub use workflow::{workflow, workflow_from};
