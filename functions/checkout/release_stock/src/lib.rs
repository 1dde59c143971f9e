//! Gives back what `update_inventory` took, whether or not that step lived to say so, and rules out a reservation that
//! is still on its way.

use checkout::{ConfigError, Release, Reservation, Shop, ShopCode, Stock};
use stepwell::{ResultOf, Step, StepContext, StepError, StepResult};

#[cfg(test)]
mod tests;

/// The step on the ports of this shop.
///
/// # Errors
/// What is missing in the shop's configuration.
pub fn step<S: Shop>(shop: &S) -> Result<ReleaseStock<S::Stock>, ConfigError> {
    Ok(ReleaseStock { stock: shop.stock()? })
}

/// Gives back what `update_inventory` took.
#[derive(Debug)]
pub struct ReleaseStock<S> {
    stock: S,
}

impl<S: Stock> Step for ReleaseStock<S> {
    // A result that somebody has put there by hand and that cannot be read does not keep the units from the stock.
    type Input = Result<Option<ResultOf<Reservation>>, StepError>;
    type Output = Release;

    async fn run(&self, reservation: Self::Input, ctx: &StepContext) -> Result<Release, StepError> {
        // Only the table can fail here, and that passes: units that nobody bought are not left out of stock for it.
        let release = self.stock.release(&ctx.idempotency_key_of(Reservation::STEP), ctx.started_at).await?;
        match reservation? {
            // The step was resolved by hand, or none of its products is in the catalogue any more. How many units
            // belong back into which stock is then for people to say.
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
