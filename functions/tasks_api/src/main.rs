//! The operators' HTTP API, and the console's files where the stack has a console.

use checkout::Shop;
use checkout_aws::AwsShop;
use console::{Login, OpenConsole};
use std::env;
use stepwell_aws::{ServeError, required_env};
use tasks_api::ShopIntake;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    stepwell_aws::init_logging();
    let config = stepwell_aws::aws_config().await;
    let shop = AwsShop::from_env(&config);
    let engine = stepwell_aws::client_from_env(&config)?.with_result_types(tasks_api::result_types::<AwsShop>());
    let deliveries = stepwell_aws::mappings_from_env(&config)?;
    let intake = ShopIntake::new(shop.card_tokens()?);
    let api = tasks_api::router(engine, deliveries, shop.orders()?, shop.mailer()?, intake);
    let router = match console_from_env()? {
        Some(console) => {
            let console = console
                .router(api.clone())
                .ok_or("STEPWELL_CONSOLE_DOMAIN is not an origin such as https://id.example.com")?;
            api.merge(console)
        }
        None => api,
    };
    stepwell_aws::http::serve(router).await
}

/// The console that the environment describes: `STEPWELL_CONSOLE_DOMAIN` is the origin of the login pages. `None` without it.
fn console_from_env() -> Result<Option<OpenConsole>, ServeError> {
    let Ok(domain) = env::var("STEPWELL_CONSOLE_DOMAIN") else { return Ok(None) };
    let (client_id, place) = (required_env("STEPWELL_CONSOLE_CLIENT")?, required_env("STEPWELL_CONSOLE_PLACE")?);
    let login = Login::at_cognito(&domain, client_id, &place);
    Ok(Some(OpenConsole { place, login, codes: checkout::error_codes().collect() }))
}
