//! The operators' HTTP API: find tasks, look into one, and bring on its way what does not get there by itself.
//!
//! The routes are in [`routes`], and each has a module of its own. Who may come in is in [`operator`]. What is around all
//! of them is in [`http_api`].

mod act;
mod backend;
mod error;
mod fields;
mod filter;
mod list;
mod operator;
mod retry_all;
mod routes;
mod show;
#[cfg(test)]
mod tests;

use stepwell_aws::ServeError;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    stepwell_aws::init_logging();
    let engine = stepwell_aws::client_from_env(&stepwell_aws::aws_config().await)?;
    lambda_http::lambda_runtime::run(http_api::service(routes::router(engine))).await
}
