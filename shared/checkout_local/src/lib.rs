//! The shop on one machine: its ports on two SQLite files and a folder of e-mails. [`LocalShop`] is the shop.
//!
//! Each call of a port is one transaction. It reads what its conditions are about and then writes, so a call that the shop's
//! rules refuse writes nothing.
//!
//! Tables of the shop's file. Times are milliseconds since the Unix epoch, and `value`, `reservation` and `release` are JSON:
//!
//! | table | a row is |
//! |---|---|
//! | `products` | a [`Product`](checkout::Product) and its stock |
//! | `reservations` | a [`Reservation`](checkout::Reservation), held or taken; a [`Release`](checkout::Release), which without a reservation voids the key |
//! | `orders` | an [`Order`](checkout::Order), who shipped it and why; without a `value`, the mark that rules one out |
//! | `resends` | a [`Resend`](checkout::Resend) of an order's e-mail |
//! | `payment_records` | the payment that belongs to a checkout; `voided_at` voids the key |
//! | `acknowledged` | an [`Acknowledgement`](checkout::reconciliation::Acknowledgement) |
//! | `card_tokens` | the token of the card that a checkout's payment charges; it expires |
//! | `counters` | a counter; it expires |
//!
//! The payments of the simulated gateway are in a file of their own: a real gateway is another system, whose state does not go back
//! when the shop's file is restored from a backup.
//!
//! [`LogFiles`] is where the program keeps its log lines, each a JSON object: they belong to no copy of the shop, and it runs without them.

mod card_tokens;
mod catalogue;
mod counters;
mod gateway;
pub mod json;
mod ledger;
mod log_files;
mod orders;
mod outbox;
mod payment_records;
mod rows;
mod shop;
mod stock;

pub use card_tokens::CARD_TOKENS;
pub use gateway::{GATEWAY_SCHEMA, GatewaySimulator};
pub use log_files::LogFiles;
pub use outbox::Outbox;
pub use shop::{LocalShop, SCHEMA};
