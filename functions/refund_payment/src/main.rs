//! Compensation of checkout step 2: gives the charge back.

mod step;
#[cfg(test)]
mod tests;

use checkout::{GatewaySimulator, Tables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let tables = Tables::from_env(&stepwell_aws::aws_config().await)?;
    stepwell_aws::serve("refund_payment", step::RefundPayment { gateway: GatewaySimulator::new(tables) }).await
}
