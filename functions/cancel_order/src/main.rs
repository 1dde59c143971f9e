//! Compensation of checkout step 4: cancels the order.

mod step;
#[cfg(test)]
mod tests;

use checkout::Tables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let orders = Tables::from_env(&stepwell::aws_config().await)?;
    stepwell::serve(step::CancelOrder { orders }).await
}
