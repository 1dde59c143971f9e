//! Compensation of `update_inventory`: puts the reserved units back, even if the result of that step was lost. If there
//! is no reservation, it voids the idempotency key, so that a late attempt of that step takes nothing.

use checkout::{ConfigError, Release, Reservation, Shop, ShopCode, Stock};
use stepwell::{ResultOf, Step, StepContext, StepError, StepResult};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<ReleaseStock<S::Stock>, ConfigError> {
    Ok(ReleaseStock { stock: shop.stock()? })
}

/// Releases the reservation of `update_inventory`.
#[derive(Debug)]
pub struct ReleaseStock<S> {
    stock: S,
}

impl<S: Stock> Step for ReleaseStock<S> {
    // A `Result`, so that an unreadable result given by hand does not stop the release.
    type Input = Result<Option<ResultOf<Reservation>>, StepError>;
    type Output = Release;

    async fn run(&self, reservation: Self::Input, ctx: &StepContext) -> Result<Release, StepError> {
        // Every error here is retryable, because unsold units must not stay out of stock.
        let release = self.stock.release(&ctx.idempotency_key_of(Reservation::STEP), ctx.started_at).await?;
        match reservation? {
            // The step was resolved by hand, or the catalogue no longer has any of its products. A person has to decide
            // how many units to put back, and where.
            Some(ResultOf(reservation))
                if reservation.total_items_reserved > 0 && release.total_items_released == 0 =>
            {
                let units = reservation.total_items_reserved;
                let message = format!(
                    "{units} units were reserved, but there is no reservation or no product to give them back to: put \
                     them back by hand, then resolve this step"
                );
                Err(StepError::new(ShopCode::NothingToRelease, message))
            }
            _ => Ok(release),
        }
    }
}
