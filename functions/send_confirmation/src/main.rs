//! Checkout step 5: writes to the customer.

mod step;
#[cfg(test)]
mod tests;

use checkout::SesMailer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    let mailer = SesMailer::from_env(&stepwell::aws_config().await)?;
    stepwell::serve(step::SendConfirmation { mailer }).await
}
