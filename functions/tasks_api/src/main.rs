//! The operators' HTTP API.

use checkout::Shop;
use checkout_aws::AwsShop;
use tasks_api::ShopIntake;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    stepwell_aws::init_logging();
    let config = stepwell_aws::aws_config().await;
    let shop = AwsShop::from_env(&config);
    let engine = stepwell_aws::client_from_env(&config)?.with_result_types(tasks_api::result_types::<AwsShop>());
    let deliveries = stepwell_aws::mappings_from_env(&config)?;
    let intake = ShopIntake::new(shop.card_tokens()?);
    let probes = tasks_api::probes(engine.clone());
    let router = tasks_api::router(engine, deliveries, shop.orders()?, shop.mailer()?, intake);
    stepwell_aws::http::serve(router.merge(probes)).await
}
