//! Checkout step 2: charges the card.

mod step;
#[cfg(test)]
mod tests;

use checkout::{GatewaySimulator, Tables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let tables = Tables::from_env(&stepwell_aws::aws_config().await)?;
    stepwell_aws::serve("process_payment", step::ProcessPayment { gateway: GatewaySimulator::new(tables) }).await
}
