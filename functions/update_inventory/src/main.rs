//! Checkout step 3: takes the cart out of stock, all of it or nothing.

mod step;
#[cfg(test)]
mod tests;

use checkout::Tables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let stock = Tables::from_env(&stepwell::aws_config().await)?;
    stepwell::serve(step::UpdateInventory { stock }).await
}
