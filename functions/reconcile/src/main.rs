//! Reconciliation, hourly and by hand. See `checkout::reconciliation`.

use checkout::{Shop, reconciliation::Reconciliation};
use checkout_aws::{AwsShop, Tables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let config = stepwell_aws::aws_config().await;
    let (tables, gateway) = (Tables::from_env(&config)?, AwsShop::from_env(&config).gateway()?);
    let reconciliation = Reconciliation::new(tables, gateway, stepwell_aws::client_from_env(&config)?);
    let reconciliation = &reconciliation;
    stepwell_aws::serve_requests(async |request, until| Ok(reconcile::handle(reconciliation, request, until).await?))
        .await
}
