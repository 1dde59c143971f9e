//! Checkout step 3: takes the cart out of stock, all of it or nothing.

mod step;
#[cfg(test)]
mod tests;

use checkout::Tables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let stock = Tables::from_env(&stepwell_aws::aws_config().await)?;
    stepwell_aws::serve("update_inventory", step::UpdateInventory { stock }).await
}
