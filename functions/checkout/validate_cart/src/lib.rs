//! Checks that every product of the cart exists, is sold and has the given price, and computes the total. Then holds the
//! cart's units, all lines or none, so that nobody is charged for goods that are gone. A lack of stock is final.

use checkout::{
    CartItem, Catalogue, CheckoutRequest, ConfigError, HoldError, LineItem, MAX_LINES, MAX_QUANTITY, Money, Pricing,
    Product, ProductId, Reservation, Shop, ShopCode, Stock, Totals, ValidatedCart,
};
use std::collections::BTreeMap;
use stepwell::{Context, Step, StepContext, StepError};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<ValidateCart<S::Catalogue, S::Stock>, ConfigError> {
    Ok(ValidateCart { catalogue: shop.catalogue()?, stock: shop.stock()?, pricing: shop.pricing()? })
}

/// Checks a cart against the catalogue, computes its total and holds its units.
#[derive(Debug)]
pub struct ValidateCart<C, S> {
    catalogue: C,
    stock: S,
    pricing: Pricing,
}

impl<C: Catalogue, S: Stock> Step for ValidateCart<C, S> {
    type Input = Context<CheckoutRequest>;
    type Output = ValidatedCart;

    async fn run(&self, Context(request): Self::Input, ctx: &StepContext) -> Result<ValidatedCart, StepError> {
        let wanted = wanted(&request.cart_items)?;
        let ids: Vec<ProductId> = wanted.iter().map(|line| line.product_id).collect();
        let products = self.catalogue.products(&ids).await?;
        let validated_items: Vec<LineItem> =
            wanted.iter().map(|line| line.check(products.get(&line.product_id))).collect::<Result<_, _>>()?;

        let item_count = validated_items.iter().map(|line| line.quantity).sum();
        let subtotal = validated_items.iter().try_fold(Money::ZERO, |sum, line| sum.plus(line.line_total));
        let totals = subtotal.and_then(|subtotal| self.pricing.totals(subtotal, item_count)).ok_or_else(too_much)?;
        // The plan of a task that an older version started does not compensate this step, so nothing would release a hold.
        // Without one, the customer would be charged for nothing.
        if ctx.compensation.is_none() {
            let message =
                "an older version has planned this checkout, and would not release its units: start a new one";
            return Err(StepError::new(ShopCode::StockNotHeld, message));
        }
        // The last thing it does: an invalid cart holds nothing.
        let stock: BTreeMap<ProductId, u32> = products.iter().map(|(id, product)| (*id, product.stock)).collect();
        let wanted = Reservation::of(&validated_items, &stock);
        self.stock.hold(&ctx.idempotency_key(), &wanted, ctx.started_at).await.map_err(not_held)?;
        let Totals { subtotal, tax, shipping, total } = totals;
        Ok(ValidatedCart { validated_items, subtotal, tax, shipping, total, item_count, validated_at: ctx.started_at })
    }
}

/// The units of one product, with the cart lines that ask for them.
struct Wanted<'a> {
    product_id: ProductId,
    quantity: u32,
    items: Vec<&'a CartItem>,
}

/// Groups the cart by product: two lines of one product become one.
fn wanted(cart: &[CartItem]) -> Result<Vec<Wanted<'_>>, StepError> {
    if cart.is_empty() {
        return Err(StepError::new(ShopCode::MissingCartItems, "the cart is empty"));
    }
    if cart.len() > MAX_LINES {
        return Err(StepError::new(ShopCode::InvalidQuantity, format!("the cart has more than {MAX_LINES} lines")));
    }
    let mut wanted: Vec<Wanted> = Vec::with_capacity(cart.len());
    for (index, item) in cart.iter().enumerate() {
        let Some(product_id) = item.product_id else {
            return Err(StepError::new(ShopCode::MissingProductId, format!("cart_items[{index}] names no product")));
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
    Ok(wanted)
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

fn not_held(error: HoldError) -> StepError {
    match error {
        HoldError::InsufficientStock(lack) => StepError::new(ShopCode::InsufficientStock, lack.to_string()),
        HoldError::Void => StepError::new(ShopCode::ReservationVoid, error.to_string()),
        HoldError::Store(error) => error.into(),
    }
}

fn too_much() -> StepError {
    StepError::new(ShopCode::InvalidQuantity, "the cart comes to more than can be charged")
}
