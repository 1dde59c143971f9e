//! Checkout step 2: charges the card.

mod step;
#[cfg(test)]
mod tests;

use checkout::{GatewaySimulator, Tables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let tables = Tables::from_env(&stepwell::aws_config().await)?;
    stepwell::serve(step::ProcessPayment { gateway: GatewaySimulator::new(tables) }).await
}
