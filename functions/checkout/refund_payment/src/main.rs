//! Compensation of process_payment: refunds the charge.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell_aws::aws_config().await);
    stepwell_aws::serve("checkout", "refund_payment", checkout_refund_payment::step(&shop)?).await
}
