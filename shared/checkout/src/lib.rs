//! The shop behind the checkout workflow: money, catalogue, stock, payments, orders and mail.
//!
//! The steps in `functions/checkout/` say what happens in which order; what it happens to is here. The workflow itself is
//! [`workflow()`]. Every effect but the letter takes an idempotency key or derives its names from the task, so that each
//! may be repeated: a card is charged once, stock is taken once, an order is made once. A letter may be sent twice.
//!
//! Every effect but the letter can be undone by the same key, once, and undoing does not ask whether it has happened: where it has not,
//! a mark in its place keeps a request that is still on its way from making it happen. So in whatever order the two
//! arrive, no card stays charged, no units stay reserved and no order stays confirmed.
//!
//! What a step needs of the outside world is a port: [`Catalogue`], [`Stock`], [`Orders`], [`Gateway`], [`Mailer`]; a [`Shop`]
//! makes them. Nothing here is AWS's: the ports on DynamoDB and SES are in `checkout_aws`. What each way to keep the shop has
//! to do alike is here: [`Reservation::of`], [`Release::of`], [`order_numbers`], and the module [`test_card`].

// Money is counted in whole cents and rates are decimals; a float would be a wrong cent sooner or later.
#![deny(clippy::float_arithmetic)]

mod cart;
mod catalogue;
mod codes;
pub mod config;
mod email;
mod lenient;
mod mail;
mod money;
mod order;
mod payment;
mod pricing;
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

pub use cart::{LineItem, ValidatedCart};
pub use catalogue::{Catalogue, InsufficientStock, Product, ProductId};
pub use codes::ShopCode;
pub use config::ConfigError;
pub use email::{EmailAddress, NotAnEmailAddress};
pub use mail::{Confirmation, Email, MailError, Mailer};
pub use money::{Money, NotMoney};
pub use order::{CancelledOrder, CreateOrderError, CreatedOrder, Order, OrderStatus, Orders, order_numbers};
pub use payment::{CURRENCY, Charge, ChargeRequest, Gateway, GatewayError, Payment, Refund, RefundRequest, Reversal};
pub use pricing::{Pricing, Totals};
pub use release::{Release, ReleasedProduct};
pub use request::{CartItem, CheckoutRequest, CustomerInfo, MAX_LINES, MAX_QUANTITY, PaymentInfo, Priority, Token};
pub use reservation::{InventoryChange, Reservation, UpdatedProduct};
pub use shop::Shop;
pub use stock::{ReserveError, Stock};
pub use store_error::StoreError;
pub use storefront::Storefront;
pub use text::{NotAName, NotASingleLine, PersonName, SingleLine};
pub use workflow::{workflow, workflow_from};
