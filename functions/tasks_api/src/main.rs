//! The operators' HTTP API. Where the stack has a console, its pages have the same API under `/api/`.

use checkout::Shop;
use checkout_aws::AwsShop;
use stepwell_aws::ServeError;
use tasks_api::ShopIntake;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    stepwell_aws::init_logging();
    let config = stepwell_aws::aws_config().await;
    let shop = AwsShop::from_env(&config);
    let engine = stepwell_aws::client_from_env(&config)?.with_result_types(tasks_api::result_types::<AwsShop>());
    let deliveries = stepwell_aws::mappings_from_env(&config)?;
    let intake = ShopIntake::new(shop.card_tokens()?);
    let probes = tasks_api::probes(engine.clone());
    let api = tasks_api::router(engine, deliveries, shop.orders()?, shop.mailer()?, intake).merge(probes);
    let router = match std::env::var("STEPWELL_CONSOLE_PLACE") {
        Ok(place) => console::for_people(place, api.clone()).merge(api),
        Err(_) => api,
    };
    stepwell_aws::http::serve(router).await
}
