//! Checks an order for fraud.

use checkout::{Catalogue, ConfigError, Shop, ValidatedCart};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stepwell::{ResultOf, Step, StepContext, StepError, StepResult};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<CheckFraud<S::Catalogue>, ConfigError> {
    Ok(CheckFraud { catalogue: shop.catalogue()? })
}

/// Checks for fraud: an order of ten or more of a product is suspect by its share of the stock.
#[derive(Debug)]
pub struct CheckFraud<C> {
    catalogue: C,
}

/// The result of `check_fraud`, for later steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckFraudResult {
    /// The largest share of a product's stock that the cart takes, in percent; 0 where it takes fewer than ten of each.
    pub score: u32,
}

impl StepResult for CheckFraudResult {
    const STEP: &'static str = "check_fraud";
}

impl<C: Catalogue> Step for CheckFraud<C> {
    type Input = ResultOf<ValidatedCart>;
    type Output = CheckFraudResult;

    async fn run(&self, ResultOf(cart): Self::Input, _: &StepContext) -> Result<CheckFraudResult, StepError> {
        let ids: Vec<_> = cart.validated_items.iter().map(|line| line.product_id).collect();
        let products = self.catalogue.products(&ids).await?;
        let parts = cart.validated_items.iter().filter(|line| line.quantity >= 10).map(|line| {
            // validate_cart has taken the line out of the stock, so the whole is what is left and the line.
            let left = products.get(&line.product_id).map_or(0, |product| product.stock);
            line.quantity.saturating_mul(100) / left.saturating_add(line.quantity).max(1)
        });
        Ok(CheckFraudResult { score: parts.max().unwrap_or_default() })
    }
}
