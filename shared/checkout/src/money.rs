//! Amounts of money in whole cents.

use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, value::RawValue};
use std::{fmt, str::FromStr};

/// An amount of money: whole cents. In JSON and in the tables it is an exact decimal number such as `87.96`.
///
/// ```
/// # use checkout::Money;
/// let price: Money = serde_json::from_str("43.98")?;
/// assert_eq!(price.times(2), Some(Money::from_cents(8796)));
/// assert_eq!(serde_json::to_string(&price)?, "43.98");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

/// The error for a number that is not an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of money: a decimal number with at most two decimals, such as 87.96")]
pub struct NotMoney(String);

impl Money {
    /// The amount 0.00.
    pub const ZERO: Self = Self(0);

    /// Makes an amount from cents.
    pub const fn from_cents(cents: i64) -> Self {
        Self(cents)
    }

    /// Returns the amount in cents.
    pub const fn cents(self) -> i64 {
        self.0
    }

    /// Adds two amounts; `None` where the sum is out of range.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Multiplies the amount by `count`; `None` where the product is out of range.
    pub fn times(self, count: u32) -> Option<Self> {
        self.0.checked_mul(i64::from(count)).map(Self)
    }

    /// Reads an amount from a JSON value; `None` where the value is not a number or not an amount.
    pub fn from_json(value: &Value) -> Option<Self> {
        value.as_number()?.as_str().parse().ok()
    }

    /// Converts the amount to units of the currency.
    pub(crate) fn to_decimal(self) -> Decimal {
        Decimal::new(self.0, 2)
    }

    /// Converts units of the currency; `None` where they have more than two decimals or are out of range.
    pub(crate) fn from_decimal(amount: Decimal) -> Option<Self> {
        let cents = amount.checked_mul(Decimal::ONE_HUNDRED)?;
        if cents.is_integer() { cents.to_i64().map(Self) } else { None }
    }
}

impl FromStr for Money {
    type Err = NotMoney;

    /// Parses a number in JSON's notation.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decimal(text).and_then(Self::from_decimal).ok_or_else(|| {
            let whole = text.len() <= MAX_TEXT;
            NotMoney(if whole { text.to_owned() } else { text.chars().take(MAX_TEXT).chain("...".chars()).collect() })
        })
    }
}

/// A number of this many characters has no more digits than [`Decimal`] holds, so parsing does not round.
const MAX_TEXT: usize = 28;

/// Parses a number in JSON's notation without rounding; `None` where the text is not a number, or longer than
/// [`MAX_TEXT`].
pub(crate) fn decimal(text: &str) -> Option<Decimal> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let number = if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str(text) };
    number.ok()
}

/// As people read it.
impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_decimal().fmt(f)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        rust_decimal::serde::arbitrary_precision::serialize(&self.to_decimal(), serializer)
    }
}

impl schemars::JsonSchema for Money {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "An exact decimal number with at most two decimals, such as 87.96. Read it as a decimal, not as a float.",
            "type": "number",
        })
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // From the raw text: out of a `Value`, `serde_json` passes a number on as a float where that prints the same,
        // and above seventy trillion units of the currency two amounts can be the same float.
        Box::<RawValue>::deserialize(deserializer)?.get().parse().map_err(de::Error::custom)
    }
}

/// Reads an amount that is stored in cents.
pub(crate) fn from_cents<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
    i64::deserialize(deserializer).map(Money)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    #[test_case("87.96", 8796)]
    #[test_case("100", 10_000)]
    #[test_case("100.0", 10_000)]
    #[test_case("100.000000", 10_000; "trailing zeros")]
    #[test_case("1e2", 10_000; "an exponent")]
    #[test_case("8796E-2", 8796; "a negative exponent")]
    #[test_case("-0", 0)]
    #[test_case("-0.05", -5)]
    #[test_case("92233720368547758.07", i64::MAX; "the largest")]
    fn reads(text: &str, cents: i64) {
        assert_eq!(serde_json::from_str::<Money>(text).unwrap(), Money::from_cents(cents));
    }

    #[test_case("87.965"; "half a cent")]
    #[test_case("1e-3"; "a tenth of a cent")]
    #[test_case("1.00000000000000000000000000000000000001"; "beyond what a decimal holds")]
    #[test_case("92233720368547758.08"; "one too many")]
    #[test_case("1e300"; "a huge exponent")]
    #[test_case("1e999999999999999999"; "an exponent beyond counting")]
    #[test_case("\"87.96\""; "a string")]
    #[test_case("null")]
    #[test_case("[1]")]
    fn refuses(text: &str) {
        assert!(serde_json::from_str::<Money>(text).is_err());
    }

    #[test]
    fn amounts_that_share_a_float_stay_distinct() {
        for text in ["133610627515675.62", "133610627515675.63"] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::from_value::<Money>(value).unwrap().to_string(), text);
        }
    }

    #[test]
    fn sums_and_comparisons_are_exact_where_floats_are_not() {
        // 0.1 + 0.2, and 1.005, which as a float is a little less.
        let sum = |a: &str, b: &str| a.parse::<Money>().unwrap().plus(b.parse().unwrap()).unwrap().to_string();
        assert_eq!(sum("0.1", "0.2"), "0.30");
        assert!("1.005".parse::<Money>().is_err());
        assert!("+1".parse::<Money>().is_ok_and(|one| one == Money(100)), "DynamoDB may write a sign");
    }

    /// Generates each number of digits with the same probability. From sixteen digits on, two amounts can share a
    /// float.
    fn any_amount() -> impl Strategy<Value = i64> {
        (any::<i64>(), 0..i64::BITS).prop_map(|(cents, shift)| cents >> shift)
    }

    proptest! {
        #[test]
        fn json_round_trip_keeps_every_cent(cents in any_amount()) {
            let text = serde_json::to_string(&Money(cents)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Money>(&text).unwrap(), Money(cents));
            let value = serde_json::to_value(Money(cents)).unwrap();
            prop_assert_eq!(Money::from_json(&value), Some(Money(cents)));
            prop_assert_eq!(serde_json::from_value::<Money>(value).unwrap(), Money(cents));
            // Two decimals, always, and the digits are the cents.
            prop_assert_eq!(text.rsplit_once('.').unwrap().1.len(), 2);
            prop_assert_eq!(text.replace('.', "").parse::<i64>().unwrap(), cents);
        }

        #[test]
        fn sums_and_multiples_are_exact_or_refused(a: i64, b: i64, count: u32) {
            let (wide, fits) = (i128::from, |sum: &i128| i64::try_from(*sum).is_ok());
            let (sum, product) = (Money(a).plus(Money(b)), Money(a).times(count));
            prop_assert_eq!(sum.map(|sum| wide(sum.0)), Some(wide(a) + wide(b)).filter(fits));
            prop_assert_eq!(product.map(|sum| wide(sum.0)), Some(wide(a) * i128::from(count)).filter(fits));
        }
    }
}
