//! Compensation of checkout step 2: gives the charge back.

mod step;
#[cfg(test)]
mod tests;

use checkout::{GatewaySimulator, Tables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let tables = Tables::from_env(&stepwell::aws_config().await)?;
    stepwell::serve(step::RefundPayment { gateway: GatewaySimulator::new(tables) }).await
}
