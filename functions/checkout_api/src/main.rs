//! The checkout's HTTP API, and the console's pages where the stack has a console: what needs no caller.

use axum::Router;
use console::Login;
use stepwell_aws::{ServeError, required_env};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    stepwell_aws::init_logging();
    let config = stepwell_aws::aws_config().await;
    let (engine, shop) = (stepwell_aws::client_from_env(&config)?, checkout_aws::Tables::from_env(&config)?);
    let keys = stepwell_aws::http::task_keys_from_env(&config).await?;
    let (limits, pricing) = (checkout_api::Limits::from_env()?, checkout::Pricing::from_env()?);
    let api = checkout_api::router(engine, shop, keys, limits, pricing)?;
    stepwell_aws::http::serve(api.merge(console_from_env()?)).await
}

/// The pages of the console that the environment describes: `STEPWELL_CONSOLE_LOGIN` is the origin of its login pages. Without it there are none.
fn console_from_env() -> Result<Router, ServeError> {
    let Ok(origin) = std::env::var("STEPWELL_CONSOLE_LOGIN") else { return Ok(Router::new()) };
    let login = Login::at_cognito(&origin, required_env("STEPWELL_CONSOLE_CLIENT")?);
    let login =
        login.ok_or_else(|| format!("STEPWELL_CONSOLE_LOGIN is no origin such as https://id.example.com: {origin}"))?;
    let codes: Vec<_> = checkout::error_codes().collect();
    Ok(login.pages(&codes))
}
