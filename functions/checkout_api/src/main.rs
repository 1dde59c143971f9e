//! The checkout's HTTP API.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    stepwell::init_logging();
    let config = stepwell::aws_config().await;
    let (engine, shop) = (stepwell::Client::from_env(&config)?, checkout_aws::Tables::from_env(&config)?);
    http_api::serve(checkout_api::router(engine, shop)?).await
}
