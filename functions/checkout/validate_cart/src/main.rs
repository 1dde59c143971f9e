//! Checkout step 1: checks the cart against the catalogue and works out what it costs.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell::aws_config().await);
    stepwell::serve(checkout_validate_cart::step(&shop)?).await
}
