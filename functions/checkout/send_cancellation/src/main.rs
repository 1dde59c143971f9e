//! Compensation of `send_confirmation`: tells the customer of the cancellation.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell_aws::aws_config().await);
    stepwell_aws::serve("checkout", "send_cancellation", checkout_send_cancellation::step(&shop)?).await
}
