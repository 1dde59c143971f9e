//! Brakes against the trying out of stolen cards and against floods of e-mail: in ten minutes an e-mail address and an IP
//! address may start so many checkouts, or give so many other cards, and no more.
//!
//! Two counters are made for each, by pseudonyms that nobody without the stage's secret can try addresses on. A window begins
//! anew every ten minutes for all, so in ten minutes that two windows share there may be twice as many. A counter that cannot be
//! written stops nobody: a brake must not be what a sale fails of.

use crate::error::ApiError;
use checkout::{ConfigError, Counters, config};
use http_api::TaskKeys;
use serde_json::Value;
use std::{net::IpAddr, sync::Arc, time::Duration};
use stepwell::Timestamp;

/// The time for which a counter counts, in seconds.
const WINDOW_SECONDS: i64 = 10 * 60;

/// How long a request waits for its counters. It needs a few milliseconds.
const TIME_LIMIT: Duration = Duration::from_millis(500);

/// The most checkouts and other cards in ten minutes; 0 where any number is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one e-mail address. What stands behind a `+` makes no other one, nor does the case.
    pub per_email: u32,
    /// Of one IP address, or of one network of IPv6 (64 bits). Behind it there may be a whole office.
    pub per_address: u32,
}

impl Limits {
    /// Reads the limits from `CHECKOUTS_PER_EMAIL` and `CHECKOUTS_PER_ADDRESS`.
    ///
    /// # Errors
    /// A variable is not set, or is not a whole number.
    pub fn from_env() -> Result<Self, ConfigError> {
        let limit = |name| {
            let problem = |error| ConfigError::new(name, format!("is not a whole number of at least 0: {error}"));
            config::required(name)?.parse().map_err(problem)
        };
        Ok(Self { per_email: limit("CHECKOUTS_PER_EMAIL")?, per_address: limit("CHECKOUTS_PER_ADDRESS")? })
    }
}

/// The brakes of the API.
pub(crate) struct Brakes<C> {
    pub(crate) counters: Arc<C>,
    pub(crate) keys: TaskKeys,
    pub(crate) limits: Limits,
}

impl<C: Counters> Brakes<C> {
    /// Counts a checkout, or another card of one, with this valid request.
    ///
    /// # Errors
    /// [`ApiError::TooMany`]: its e-mail address or its IP address has had its share.
    pub(crate) async fn count(&self, request: &Value, address: Option<IpAddr>, now: Timestamp) -> Result<(), ApiError> {
        let Limits { per_email, per_address } = self.limits;
        let email = request.pointer("/customer_info/email").and_then(Value::as_str).map(mailbox);
        // The address first: whoever is over its limit must not use up the e-mail address of somebody else.
        let brake = match self.is_too_much("address", address.map(network), per_address, now).await {
            Some(brake) => brake,
            None => match self.is_too_much("email", email, per_email, now).await {
                Some(brake) => brake,
                None => return Ok(()),
            },
        };
        tracing::info!(brake, "too many checkouts");
        Err(ApiError::TooMany { retry_after: window_end(now).since(now) })
    }

    /// Counts one more of this kind and value. Returns the kind, if that is more than the limit.
    async fn is_too_much(
        &self,
        kind: &'static str,
        value: Option<String>,
        limit: u32,
        now: Timestamp,
    ) -> Option<&'static str> {
        let value = value.filter(|_| limit > 0)?;
        let end = window_end(now);
        let name = self.keys.pseudonym(&format!("{kind} {value} until {end}"));
        match tokio::time::timeout(TIME_LIMIT, self.counters.count(&name, end)).await {
            Ok(Ok(counted)) => (counted > limit).then_some(kind),
            Ok(Err(error)) => {
                tracing::warn!(brake = kind, %error, "not counted");
                None
            }
            Err(_) => {
                tracing::warn!(brake = kind, "not counted: no answer in time");
                None
            }
        }
    }
}

/// The end of the window that this moment is in.
fn window_end(now: Timestamp) -> Timestamp {
    let into_window = now.as_seconds().rem_euclid(WINDOW_SECONDS);
    Timestamp::from_millis((now.as_seconds() - into_window + WINDOW_SECONDS) * 1_000)
}

/// The mailbox of an address, as most providers see it.
fn mailbox(email: &str) -> String {
    let email = email.to_lowercase();
    let Some((local, domain)) = email.rsplit_once('@') else { return email };
    let local = local.split_once('+').map_or(local, |(local, _)| local);
    format!("{local}@{domain}")
}

/// The address, or the network that a provider gives to one customer.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("a@example.com", "a@example.com")]
    #[test_case("A+1@Example.com", "a@example.com"; "case and tag")]
    #[test_case("a+b@c+d.example", "a@c+d.example"; "a plus in the domain is no tag")]
    fn mailbox_has_one_name(email: &str, name: &str) {
        assert_eq!(mailbox(email), name);
    }

    #[test_case("192.0.2.7", "192.0.2.7")]
    #[test_case("::ffff:192.0.2.7", "192.0.2.7"; "the same over IPv6")]
    #[test_case("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64")]
    fn network_has_one_name(address: &str, name: &str) {
        assert_eq!(network(address.parse().unwrap()), name);
    }
}
