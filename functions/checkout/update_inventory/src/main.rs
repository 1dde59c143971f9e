//! Checkout step: takes the units that are held for the cart.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell_aws::aws_config().await);
    stepwell_aws::serve("checkout", "update_inventory", checkout_update_inventory::step(&shop)?).await
}
