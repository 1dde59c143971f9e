//! Checkout step: takes the cart out of stock, all lines or none.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell_aws::aws_config().await);
    stepwell_aws::serve("checkout", "update_inventory", checkout_update_inventory::step(&shop)?).await
}
