//! Checkout step 1: checks the cart against the catalogue and works out what it costs.

mod step;
#[cfg(test)]
mod tests;

use checkout::{Pricing, Tables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let catalogue = Tables::from_env(&stepwell_aws::aws_config().await)?;
    stepwell_aws::serve("validate_cart", step::ValidateCart { catalogue, pricing: Pricing::from_env()? }).await
}
