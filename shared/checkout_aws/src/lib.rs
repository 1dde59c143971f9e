//! The shop's ports on DynamoDB and SES. [`AwsShop`] is the deployed shop.
//!
//! Tables, all named with the prefix `SHOP_TABLE_PREFIX` and keyed by `id`:
//!
//! | table | an item is | id |
//! |---|---|---|
//! | `products` | a [`Product`](checkout::Product) and its stock | the product's number |
//! | `payments` | the shop's record of the payment that belongs to a checkout; `voided_at` voids it | the idempotency key of the charge |
//! | `payments` | a payment of the simulated gateway: its `charge`; `voided_at` marks it as refunded or cancelled | the gateway's reference, `pay_…` |
//! | `card_tokens` | the token of the card that a checkout's payment charges; it expires | the task's id |
//! | `payments` | an [`Acknowledgement`](checkout::reconciliation::Acknowledgement) | `acknowledged:TASK:KIND` |
//! | `reservations` | a [`Reservation`](checkout::Reservation); a [`Release`](checkout::Release), which without a reservation voids the key | the idempotency key of the reservation |
//! | `orders` | an [`Order`](checkout::Order), or the mark that rules one out; who shipped it and why, and the resends of its e-mail (`resent`); for each order a second item that reserves its number | the task's id; `number:ORD-…` |

mod card_tokens;
mod catalogue;
mod counters;
mod gateway;
mod items;
mod ledger;
mod mail;
mod orders;
mod payment_records;
mod release;
mod shop;
mod stock;
mod storefront;
mod tables;

pub use catalogue::UNREADABLE_ROW;
pub use gateway::GatewaySimulator;
pub use mail::{SesMailer, TIMEOUT as MAIL_TIMEOUT};
pub use shop::AwsShop;
pub use tables::Tables;
