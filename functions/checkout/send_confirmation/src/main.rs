//! Checkout step: sends the confirmation e-mail.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell_aws::aws_config().await);
    stepwell_aws::serve("checkout", "send_confirmation", checkout_send_confirmation::step(&shop)?).await
}
