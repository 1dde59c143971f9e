//! Checks that every product of the cart exists, is sold and has the given price, and computes the total. Then holds the
//! cart's units, all lines or none, so that nobody is charged for goods that are gone. A lack of stock is final.

use checkout::{
    Cart, Catalogue, CheckoutRequest, ConfigError, HoldError, PricedCart, Pricing, ProductId, Reservation, Shop,
    ShopCode, Stock, Totals, ValidatedCart,
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
        let cart = Cart::of(&request.cart_items)?;
        let products = self.catalogue.products(&cart.product_ids()).await?;
        let PricedCart { items: validated_items, item_count, totals } = cart.price(&products, &self.pricing)?;
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

fn not_held(error: HoldError) -> StepError {
    match error {
        HoldError::InsufficientStock(lack) => StepError::new(ShopCode::InsufficientStock, lack.to_string()),
        HoldError::Void => StepError::new(ShopCode::ReservationVoid, error.to_string()),
        HoldError::Store(error) => error.into(),
    }
}
