//! The checkout's HTTP API.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    stepwell_aws::init_logging();
    let config = stepwell_aws::aws_config().await;
    let (engine, shop) = (stepwell_aws::client_from_env(&config)?, checkout_aws::Tables::from_env(&config)?);
    let keys = stepwell_aws::http::task_keys_from_env(&config).await?;
    let (limits, pricing) = (checkout_api::Limits::from_env()?, checkout::Pricing::from_env()?);
    stepwell_aws::http::serve(checkout_api::router(engine, shop, keys, limits, pricing)?).await
}
