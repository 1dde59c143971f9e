//! The operators' HTTP API.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    stepwell_aws::init_logging();
    let config = stepwell_aws::aws_config().await;
    let (engine, orders) = (stepwell_aws::client_from_env(&config)?, checkout_aws::Tables::from_env(&config)?);
    let engine = engine.with_result_types(tasks_api::result_types::<checkout_aws::AwsShop>());
    stepwell_aws::http::serve(tasks_api::router(engine, orders)).await
}
