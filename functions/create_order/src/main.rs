//! Checkout step 4: makes the order, once.

mod step;
#[cfg(test)]
mod tests;

use checkout::Tables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let orders = Tables::from_env(&stepwell_aws::aws_config().await)?;
    stepwell_aws::serve("create_order", step::CreateOrder { orders }).await
}
