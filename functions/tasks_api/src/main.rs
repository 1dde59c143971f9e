//! The operators' HTTP API.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    stepwell::init_logging();
    let engine = stepwell::Client::from_env(&stepwell::aws_config().await)?;
    http_api::serve(tasks_api::router(engine)).await
}
