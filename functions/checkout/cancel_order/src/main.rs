//! Compensation of create_order: cancels the order.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell_aws::aws_config().await);
    stepwell_aws::serve("checkout", "cancel_order", checkout_cancel_order::step(&shop)?).await
}
