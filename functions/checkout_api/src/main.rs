//! The checkout's HTTP API: start a checkout, follow it, retry it; the orders and the catalogue.
//!
//! The routes are in [`routes`], and each has a module of its own. What is around all of them is in [`http_api`].

mod backend;
mod details;
mod error;
mod retry;
mod routes;
mod shop;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod violations;

use backend::Deployed;
use stepwell::By;
use stepwell_aws::ServeError;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    stepwell_aws::init_logging();
    let workflow = checkout::workflow()?;
    let config = stepwell_aws::aws_config().await;
    let deployed = Deployed {
        workflow,
        engine: stepwell_aws::client_from_env(&config)?,
        tables: checkout::Tables::from_env(&config)?,
        customer: By::new("customer", "POST /retry_checkout")?,
    };
    lambda_http::lambda_runtime::run(http_api::service(routes::router(deployed))).await
}
