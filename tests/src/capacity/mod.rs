//! How far Stepwell goes on Lambda, SQS and DynamoDB: the shipped rules in virtual time, under AWS's published quotas and the numbers of the
//! rendered template.
//!
//! | module | contents |
//! |---|---|
//! | [`quotas`] | AWS's quotas, a dated table |
//! | [`setup`] | what a run stands on: the template's numbers, the quotas, what a call and a handler take |
//! | [`cloud`] | a run, scaled down |
//! | [`limits`] | where each limit is, and which setting moves it |
//! | [`bill`] | what was used, in US dollars |
//! | `buckets`, `meters`, `table` | the quotas of a run that is under way, and the engine's table behind them |

pub mod bill;
mod buckets;
pub mod cloud;
pub mod limits;
mod meters;
pub mod quotas;
pub mod setup;
mod table;

pub use meters::{Invocations, Used};
