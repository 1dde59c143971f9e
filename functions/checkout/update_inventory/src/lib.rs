//! Takes the units that `validate_cart` has held for the cart. They are paid by now.

use checkout::{ConfigError, Reservation, Shop, ShopCode, Stock, TakeError, ValidatedCart};
use stepwell::{Step, StepContext, StepError, StepResult};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<UpdateInventory<S::Stock>, ConfigError> {
    Ok(UpdateInventory { stock: shop.stock()? })
}

/// Takes the held units of the cart.
#[derive(Debug)]
pub struct UpdateInventory<S> {
    stock: S,
}

impl<S: Stock> Step for UpdateInventory<S> {
    /// Nothing: the reservation has the lines.
    type Input = ();
    type Output = Reservation;

    async fn run(&self, (): (), ctx: &StepContext) -> Result<Reservation, StepError> {
        let taken = self.stock.take(&ctx.idempotency_key_of(ValidatedCart::STEP), ctx.started_at).await;
        taken.map_err(|error| match error {
            TakeError::NothingHeld => StepError::new(
                ShopCode::StockNotHeld,
                "validate_cart holds no units for this cart: take them by hand and resolve this step, or cancel the task",
            ),
            TakeError::Void => StepError::new(ShopCode::ReservationVoid, error.to_string()),
            TakeError::Store(error) => error.into(),
        })
    }
}
