//! Compensation of checkout step 2: gives the charge back.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell::aws_config().await);
    stepwell::serve(checkout_refund_payment::step(&shop)?).await
}
