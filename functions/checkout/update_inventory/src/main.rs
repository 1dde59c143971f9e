//! Checkout step 3: takes the cart out of stock, all of it or nothing.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell::aws_config().await);
    stepwell::serve(checkout_update_inventory::step(&shop)?).await
}
