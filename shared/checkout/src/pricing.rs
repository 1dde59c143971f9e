//! Pricing of a cart: tax and shipping on top of its subtotal.

use crate::{ConfigError, Money, config};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::Deserialize;

/// The rules for tax and shipping, from the environment:
///
/// | variable | meaning | default |
/// |---|---|---|
/// | `SHOP_TAX_RATE` | sales tax as a share of the subtotal, 0 to 1 | `0.08` |
/// | `SHOP_UNIT_WEIGHT_LB` | the weight of one unit of anything, in pounds | `0.5` |
/// | `SHOP_SHIPPING_RATES` | prices by weight, lightest first, the last without `up_to_lb` | 5.00 up to 2 lb, 10.00 to 10, 15.00 |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pricing {
    tax_rate: Decimal,
    unit_weight_lb: Decimal,
    shipping_rates: Vec<ShippingRate>,
}

/// The price of shipping up to a weight, that weight included.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShippingRate {
    #[serde(default, with = "rust_decimal::serde::arbitrary_precision_option")]
    up_to_lb: Option<Decimal>,
    price: Money,
}

/// The amounts of a cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The sum of the lines, before tax and shipping.
    pub subtotal: Money,
    /// Tax on the subtotal.
    pub tax: Money,
    /// The price of shipping, by the cart's weight.
    pub shipping: Money,
    /// The amount to charge: subtotal, tax and shipping.
    pub total: Money,
}

const TAX_RATE: &str = "SHOP_TAX_RATE";
const UNIT_WEIGHT_LB: &str = "SHOP_UNIT_WEIGHT_LB";
const SHIPPING_RATES: &str = "SHOP_SHIPPING_RATES";

/// The most decimals of a rate or weight. So few keep every product with an amount of cents exact.
const MAX_DECIMALS: u32 = 6;

impl Pricing {
    /// Reads the rules from the environment.
    ///
    /// # Errors
    /// A variable is invalid; the error names it.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(config::variable)
    }

    /// Makes the default rules.
    ///
    /// # Errors
    /// None: the defaults are valid.
    pub fn standard() -> Result<Self, ConfigError> {
        Self::from_variables(|_| None)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let value = |name, default: &str| variable(name).unwrap_or_else(|| default.to_owned());
        let tax_rate = decimal(TAX_RATE, &value(TAX_RATE, "0.08"))?;
        if tax_rate > Decimal::ONE {
            return Err(ConfigError::new(TAX_RATE, "is above 1; write 0.08 for 8 %"));
        }
        let rates =
            value(SHIPPING_RATES, r#"[{"up_to_lb":2,"price":5.00},{"up_to_lb":10,"price":10.00},{"price":15.00}]"#);
        let shipping_rates: Vec<ShippingRate> =
            serde_json::from_str(&rates).map_err(|error| ConfigError::new(SHIPPING_RATES, error))?;
        check_rates(&shipping_rates).map_err(|problem| ConfigError::new(SHIPPING_RATES, problem))?;
        Ok(Self { tax_rate, unit_weight_lb: decimal(UNIT_WEIGHT_LB, &value(UNIT_WEIGHT_LB, "0.5"))?, shipping_rates })
    }

    /// Computes the amounts of a cart from its subtotal and number of units; `None` where they are out of range.
    pub fn totals(&self, subtotal: Money, units: u32) -> Option<Totals> {
        let (tax, shipping) = (self.tax(subtotal)?, self.shipping(units)?);
        Some(Totals { subtotal, tax, shipping, total: subtotal.plus(tax)?.plus(shipping)? })
    }

    /// Computes the tax, rounded half up to the cent.
    fn tax(&self, subtotal: Money) -> Option<Money> {
        let exact = subtotal.to_decimal().checked_mul(self.tax_rate)?;
        Money::from_decimal(exact.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero))
    }

    fn shipping(&self, units: u32) -> Option<Money> {
        let weight = self.unit_weight_lb.checked_mul(Decimal::from(units))?;
        let rate = self.shipping_rates.iter().find(|rate| rate.up_to_lb.is_none_or(|limit| weight <= limit))?;
        Some(rate.price)
    }
}

fn decimal(variable: &'static str, text: &str) -> Result<Decimal, ConfigError> {
    match Decimal::from_str_exact(text) {
        Ok(number) if !number.is_sign_negative() && number.scale() <= MAX_DECIMALS => Ok(number),
        _ => {
            let problem = format!("`{text}` is not a number from 0 with at most {MAX_DECIMALS} decimals");
            Err(ConfigError::new(variable, problem))
        }
    }
}

fn check_rates(rates: &[ShippingRate]) -> Result<(), &'static str> {
    let Some((last, others)) = rates.split_last() else { return Err("has no rates") };
    let limits: Vec<Decimal> = others.iter().filter_map(|rate| rate.up_to_lb).collect();
    if last.up_to_lb.is_some() || limits.len() < others.len() {
        return Err("needs `up_to_lb` in every rate but the last, which is for all heavier carts");
    }
    if !limits.is_sorted_by(|lighter, heavier| lighter < heavier) {
        return Err("has rates that do not go from light to heavy");
    }
    if rates.iter().any(|rate| rate.price < Money::ZERO) {
        return Err("has a price below 0");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    fn default() -> Pricing {
        Pricing::from_variables(|_| None).unwrap()
    }

    fn with(name: &'static str, value: &str) -> Result<Pricing, ConfigError> {
        Pricing::from_variables(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn two_units_of_product_1_cost_one_hundred() {
        let subtotal = Money::from_cents(4398).times(2).unwrap();
        let Totals { subtotal, tax, shipping, total } = default().totals(subtotal, 2).unwrap();
        assert_eq!([subtotal, tax, shipping, total].map(|sum| sum.to_string()), ["87.96", "7.04", "5.00", "100.00"]);
    }

    #[test_case(1, 500)]
    #[test_case(4, 500; "2 lb")]
    #[test_case(5, 1000; "2 and a half lb")]
    #[test_case(20, 1000; "10 lb")]
    #[test_case(21, 1500; "10 and a half lb")]
    #[test_case(50_000, 1500)]
    fn shipping_goes_by_weight(units: u32, cents: i64) {
        assert_eq!(default().shipping(units), Some(Money::from_cents(cents)));
    }

    #[test]
    fn half_a_cent_is_rounded_up() {
        let pricing = with(TAX_RATE, "0.05").unwrap();
        assert_eq!(pricing.tax(Money::from_cents(10)), Some(Money::from_cents(1)));
        assert_eq!(pricing.tax(Money::from_cents(9)), Some(Money::ZERO));
    }

    #[test]
    fn total_out_of_range_is_none() {
        assert_eq!(default().totals(Money::from_cents(i64::MAX), 1), None);
    }

    #[test_case(TAX_RATE, "8"; "per cent for a share")]
    #[test_case(TAX_RATE, "-0.08")]
    #[test_case(TAX_RATE, "0.0800001"; "too many decimals")]
    #[test_case(TAX_RATE, "eight")]
    #[test_case(UNIT_WEIGHT_LB, "half")]
    #[test_case(SHIPPING_RATES, "[]")]
    #[test_case(SHIPPING_RATES, "5.00")]
    #[test_case(SHIPPING_RATES, r#"[{"up_to_lb":2,"price":5.00}]"#; "nothing for what is heavier")]
    #[test_case(SHIPPING_RATES, r#"[{"price":5.00},{"price":6.00}]"#; "two for what is heavier")]
    #[test_case(SHIPPING_RATES, r#"[{"up_to_lb":2,"price":5},{"up_to_lb":2,"price":6},{"price":7}]"#; "no order")]
    #[test_case(SHIPPING_RATES, r#"[{"price":-5.00}]"#; "a negative price")]
    #[test_case(SHIPPING_RATES, r#"[{"up_to_kg":2,"price":5.00},{"price":6.00}]"#; "an unknown key")]
    fn bad_configuration_is_refused_by_name(name: &'static str, value: &str) {
        let error = with(name, value).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }

    proptest! {
        /// Compares with integer arithmetic: the rate in millionths, rounded half up by adding half of the divisor.
        #[test]
        fn tax_agrees_with_integers(cents in 0i64..=1_000_000_000_000, millionths in 0u32..=1_000_000) {
            let rate = Decimal::new(i64::from(millionths), 6).to_string();
            let expected = (i128::from(cents) * i128::from(millionths) + 500_000) / 1_000_000;
            let tax = with(TAX_RATE, &rate).unwrap().tax(Money::from_cents(cents)).unwrap();
            prop_assert_eq!(i128::from(tax.cents()), expected);
        }

        #[test]
        fn more_units_never_ship_for_less(units in 0u32..100_000, more in 0u32..100_000) {
            prop_assert!(default().shipping(units) <= default().shipping(units + more));
        }

        #[test]
        fn total_is_the_sum_of_its_parts(cents in 0i64..=1_000_000_000_000, units in 0u32..50_000) {
            let Totals { subtotal, tax, shipping, total } = default().totals(Money::from_cents(cents), units).unwrap();
            prop_assert_eq!(subtotal.cents() + tax.cents() + shipping.cents(), total.cents());
        }
    }
}
