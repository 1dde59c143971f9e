//! A cart: what its lines cost, and the result of `validate_cart`, which later steps read.

use crate::{
    CartItem, InsufficientStock, MAX_LINES, MAX_QUANTITY, Money, Pricing, Product, ProductId, ShopCode, Totals,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepwell::{StepError, StepResult, Timestamp};

/// The result of `validate_cart`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ValidatedCart {
    /// One line for each product, in the order of the cart.
    pub validated_items: Vec<LineItem>,
    /// The sum of the lines, before tax and shipping.
    pub subtotal: Money,
    /// The sales tax on the subtotal.
    pub tax: Money,
    /// The price of shipping, by the cart's weight.
    pub shipping: Money,
    /// The amount to charge: subtotal, tax and shipping.
    pub total: Money,
    /// The number of units in all lines.
    pub item_count: u32,
    /// When the cart was validated.
    pub validated_at: Timestamp,
}

/// A number of units of one product, at the catalogue's price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LineItem {
    /// The product's number in the catalogue.
    pub product_id: ProductId,
    /// The product's name in the catalogue.
    pub name: String,
    /// The price of one unit.
    pub price: Money,
    /// The number of units, at least 1.
    pub quantity: u32,
    /// The price of all units of the line.
    pub line_total: Money,
}

impl StepResult for ValidatedCart {
    const STEP: &'static str = "validate_cart";
}

/// The lines of a request, one for each product: two lines of one product become one.
#[derive(Debug)]
pub struct Cart<'a>(Vec<Wanted<'a>>);

/// The units of one product, with the lines of the request that ask for them.
#[derive(Debug)]
struct Wanted<'a> {
    product_id: ProductId,
    quantity: u32,
    items: Vec<&'a CartItem>,
}

/// A cart at the catalogue's prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedCart {
    /// One line for each product, in the order of the cart.
    pub items: Vec<LineItem>,
    /// The number of units in all lines.
    pub item_count: u32,
    /// What it costs.
    pub totals: Totals,
}

impl<'a> Cart<'a> {
    /// Groups the lines of a request by product.
    ///
    /// # Errors
    /// There are none, or too many, or one of them names no product or no quantity that can be ordered.
    pub fn of(items: &'a [CartItem]) -> Result<Self, StepError> {
        if items.is_empty() {
            return Err(StepError::new(ShopCode::MissingCartItems, "the cart is empty"));
        }
        if items.len() > MAX_LINES {
            let message = format!("the cart has more than {MAX_LINES} lines");
            return Err(StepError::new(ShopCode::InvalidQuantity, message));
        }
        let mut wanted: Vec<Wanted<'a>> = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let Some(product_id) = item.product_id else {
                return Err(StepError::new(
                    ShopCode::MissingProductId,
                    format!("cart_items[{index}] names no product"),
                ));
            };
            let Some(quantity) = item.quantity.filter(|quantity| (1..=MAX_QUANTITY).contains(quantity)) else {
                let message = format!("cart_items[{index}] needs a whole quantity from 1 to {MAX_QUANTITY}");
                return Err(StepError::new(ShopCode::InvalidQuantity, message));
            };
            match wanted.iter_mut().find(|line| line.product_id == product_id) {
                Some(line) => {
                    line.quantity += quantity;
                    line.items.push(item);
                }
                None => wanted.push(Wanted { product_id, quantity, items: vec![item] }),
            }
        }
        Ok(Self(wanted))
    }

    /// The products that it has, each once.
    pub fn product_ids(&self) -> Vec<ProductId> {
        self.0.iter().map(|line| line.product_id).collect()
    }

    /// Computes what it costs at the prices of these products.
    ///
    /// # Errors
    /// One of its products is not among them, is not sold, or has another price than the request says; or the total is out of range.
    pub fn price(&self, products: &BTreeMap<ProductId, Product>, pricing: &Pricing) -> Result<PricedCart, StepError> {
        let items: Vec<LineItem> =
            self.0.iter().map(|line| line.check(products.get(&line.product_id))).collect::<Result<_, _>>()?;
        let item_count = items.iter().map(|line| line.quantity).sum();
        let subtotal = items.iter().try_fold(Money::ZERO, |sum, line| sum.plus(line.line_total));
        let totals = subtotal.and_then(|subtotal| pricing.totals(subtotal, item_count)).ok_or_else(too_much)?;
        Ok(PricedCart { items, item_count, totals })
    }
}

impl PricedCart {
    /// The first line of which these products have fewer units.
    pub fn lack(&self, products: &BTreeMap<ProductId, Product>) -> Option<InsufficientStock> {
        let available = |line: &LineItem| products.get(&line.product_id).map_or(0, |product| product.stock);
        let short = self.items.iter().find(|line| available(line) < line.quantity)?;
        Some(InsufficientStock { name: short.name.clone(), available: available(short), requested: short.quantity })
    }
}

impl Wanted<'_> {
    fn check(&self, product: Option<&Product>) -> Result<LineItem, StepError> {
        let Some(product) = product else {
            return Err(StepError::new(ShopCode::ProductNotFound, format!("there is no product {}", self.product_id)));
        };
        if !product.active {
            return Err(StepError::new(ShopCode::ProductInactive, format!("{} is not sold any more", product.name)));
        }
        let mut prices = self.items.iter().filter_map(|item| item.price.as_ref());
        if prices.any(|price| Money::from_json(price) != Some(product.price)) {
            let message = format!("{} costs {}, which is not the price in the cart", product.name, product.price);
            return Err(StepError::new(ShopCode::PriceMismatch, message));
        }
        Ok(LineItem {
            product_id: product.id,
            name: product.name.clone(),
            price: product.price,
            quantity: self.quantity,
            line_total: product.price.times(self.quantity).ok_or_else(too_much)?,
        })
    }
}

fn too_much() -> StepError {
    StepError::new(ShopCode::InvalidQuantity, "the cart comes to more than can be charged")
}
