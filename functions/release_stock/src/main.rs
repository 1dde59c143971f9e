//! Compensation of checkout step 3: gives the units back to stock.

mod step;
#[cfg(test)]
mod tests;

use checkout::Tables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let stock = Tables::from_env(&stepwell::aws_config().await)?;
    stepwell::serve(step::ReleaseStock { stock }).await
}
