//! Takes every line of the cart out of stock, or none. A lack of stock is retryable, because a delivery may end it.

use checkout::{ConfigError, Reservation, ReserveError, Shop, ShopCode, Stock, ValidatedCart};
use stepwell::{ResultOf, Step, StepContext, StepError};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<UpdateInventory<S::Stock>, ConfigError> {
    Ok(UpdateInventory { stock: shop.stock()? })
}

/// Reserves the units of the cart.
#[derive(Debug)]
pub struct UpdateInventory<S> {
    stock: S,
}

impl<S: Stock> Step for UpdateInventory<S> {
    type Input = Option<ResultOf<ValidatedCart>>;
    type Output = Reservation;

    async fn run(&self, cart: Self::Input, ctx: &StepContext) -> Result<Reservation, StepError> {
        let lines = cart.map(|ResultOf(cart)| cart.validated_items).unwrap_or_default();
        if lines.is_empty() {
            return Err(StepError::new(
                ShopCode::MissingValidatedItems,
                "validate_cart has left no items to take out of stock",
            ));
        }
        self.stock.reserve(&ctx.idempotency_key(), &lines, ctx.started_at).await.map_err(|error| match error {
            ReserveError::InsufficientStock(lack) => StepError::new(ShopCode::InsufficientStock, lack.to_string()),
            ReserveError::Void => StepError::new(ShopCode::ReservationVoid, error.to_string()),
            ReserveError::Store(error) => error.into(),
        })
    }
}
