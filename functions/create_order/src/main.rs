//! Checkout step 4: makes the order, once.

mod step;
#[cfg(test)]
mod tests;

use checkout::Tables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let orders = Tables::from_env(&stepwell::aws_config().await)?;
    stepwell::serve(step::CreateOrder { orders }).await
}
