//! Checkout step: checks the cart, computes its total and holds its units.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell_aws::aws_config().await);
    stepwell_aws::serve("checkout", "validate_cart", checkout_validate_cart::step(&shop)?).await
}
