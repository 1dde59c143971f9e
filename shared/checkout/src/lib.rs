//! The shop behind the checkout workflow: money, catalogue, stock, payments, orders and mail.
//!
//! The steps in `functions/checkout/` say what happens in which order; what it happens to is here. The workflow itself is
//! [`workflow()`]. Every effect takes an idempotency key or derives its names from the task, so that each may be
//! repeated: a card is charged once, stock is taken once, an order is made once.
//!
//! Every effect can be undone by the same key, once, and undoing does not ask whether it has happened: where it has not,
//! a mark in its place keeps a request that is still on its way from making it happen. So in whatever order the two
//! arrive, no card stays charged, no units stay reserved and no order stays confirmed.
//!
//! Tables, all with `SHOP_TABLE_PREFIX` before their names and keyed by `id`:
//!
//! | table | an item is | id |
//! |---|---|---|
//! | `products` | a [`Product`] and its stock | the product's number |
//! | `payments` | what the simulated gateway remembers of a `charge`; `voided_at` marks it as refunded, or ruled out | the idempotency key of the charge |
//! | `reservations` | a [`Reservation`] that has been made; its [`Release`], which alone rules one out | the idempotency key of the reservation |
//! | `orders` | an [`Order`], or the mark that rules one out; beside an order one item that holds its number | the task's id; `number:ORD-…` |

// Money is counted in whole cents and rates are decimals; a float would be a wrong cent sooner or later.
#![deny(clippy::float_arithmetic)]

mod aws_shop;
mod cart;
mod catalogue;
mod config;
mod email;
mod items;
mod lenient;
mod mail;
mod money;
mod order;
mod payment;
mod pricing;
mod release;
mod request;
mod shop;
mod simulator;
mod stock;
mod storefront;
mod tables;
mod text;
mod workflow;

pub use aws_shop::AwsShop;
pub use cart::{LineItem, ValidatedCart};
pub use catalogue::{Catalogue, InsufficientStock, Product, ProductId, UNREADABLE_ROW};
pub use config::ConfigError;
pub use email::{EmailAddress, NotAnEmailAddress};
pub use mail::{Confirmation, Letter, MailError, Mailer, SesMailer};
pub use money::{Money, NotMoney};
pub use order::{CancelledOrder, CreateOrderError, CreatedOrder, Order, OrderStatus, Orders};
pub use payment::{CURRENCY, Charge, ChargeRequest, Gateway, GatewayError, Payment, Refund, RefundRequest, Reversal};
pub use pricing::{Pricing, Totals};
pub use release::{Release, ReleasedProduct};
pub use request::{CartItem, CheckoutRequest, CustomerInfo, MAX_LINES, MAX_QUANTITY, PaymentInfo, Priority, Token};
pub use shop::Shop;
pub use simulator::GatewaySimulator;
pub use stock::{InventoryChange, Reservation, ReserveError, Stock, UpdatedProduct};
pub use storefront::Storefront;
pub use tables::{StoreError, Tables};
pub use text::{NotAName, NotASingleLine, PersonName, SingleLine};
pub use workflow::{workflow, workflow_from};
