//! Compensation of validate_cart: releases the reservation.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let shop = checkout_aws::AwsShop::from_env(&stepwell_aws::aws_config().await);
    stepwell_aws::serve("checkout", "release_stock", checkout_release_stock::step(&shop)?).await
}
