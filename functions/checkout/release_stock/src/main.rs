//! Compensation of checkout step 3: gives the units back to stock.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell::aws_config().await);
    stepwell::serve(checkout_release_stock::step(&shop)?).await
}
