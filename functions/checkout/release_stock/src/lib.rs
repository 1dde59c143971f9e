//! Compensation of `validate_cart`: puts the held or taken units back into stock, even if the result of that step was
//! lost. If nothing is held, it voids the idempotency key, so that a late attempt of that step holds nothing.

use checkout::{ConfigError, Release, Shop, Stock, ValidatedCart};
use stepwell::{Step, StepContext, StepError, StepResult};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<ReleaseStock<S::Stock>, ConfigError> {
    Ok(ReleaseStock { stock: shop.stock()? })
}

/// Releases the reservation of `validate_cart`.
#[derive(Debug)]
pub struct ReleaseStock<S> {
    stock: S,
}

impl<S: Stock> Step for ReleaseStock<S> {
    /// Nothing: the reservation has the lines, whatever the step's result says.
    type Input = ();
    type Output = Release;

    async fn run(&self, (): (), ctx: &StepContext) -> Result<Release, StepError> {
        // A task that an older version started reserves in `update_inventory`, and its plan compensates that step.
        let step = ctx.compensates.as_deref().unwrap_or(ValidatedCart::STEP);
        // Every error here is retryable, because unsold units must not stay out of stock.
        let release = self.stock.release(&ctx.idempotency_key_of(step), ctx.started_at).await?;
        for line in &release.unreleased_products {
            let (product, name, units) = (line.product_id.0, &line.name, line.quantity);
            tracing::warn!(task_id = %ctx.task_id, product, name, units, "not put back into stock: the product is gone");
        }
        Ok(release)
    }
}
