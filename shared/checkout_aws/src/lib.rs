//! The shop's ports on DynamoDB and SES. [`AwsShop`] is the deployed shop.
//!
//! Tables, all with `SHOP_TABLE_PREFIX` before their names and keyed by `id`:
//!
//! | table | an item is | id |
//! |---|---|---|
//! | `products` | a [`Product`](checkout::Product) and its stock | the product's number |
//! | `payments` | what the simulated gateway remembers of a `charge`; `voided_at` marks it as refunded, or ruled out | the idempotency key of the charge |
//! | `reservations` | a [`Reservation`](checkout::Reservation) that has been made; its [`Release`](checkout::Release), which alone rules one out | the idempotency key of the reservation |
//! | `orders` | an [`Order`](checkout::Order), or the mark that rules one out; beside an order one item that holds its number | the task's id; `number:ORD-…` |

mod catalogue;
mod gateway;
mod items;
mod mail;
mod orders;
mod release;
mod shop;
mod stock;
mod storefront;
mod tables;

pub use catalogue::UNREADABLE_ROW;
pub use gateway::GatewaySimulator;
pub use mail::SesMailer;
pub use shop::AwsShop;
pub use tables::Tables;
