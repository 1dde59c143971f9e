//! Compensation of checkout step 3: gives the units back to stock.

mod step;
#[cfg(test)]
mod tests;

use checkout::Tables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let stock = Tables::from_env(&stepwell_aws::aws_config().await)?;
    stepwell_aws::serve("release_stock", step::ReleaseStock { stock }).await
}
