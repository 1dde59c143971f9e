//! Checkout step 4: makes the order, once.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell::aws_config().await);
    stepwell::serve(checkout_create_order::step(&shop)?).await
}
