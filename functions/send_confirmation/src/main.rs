//! Checkout step 5: writes to the customer.

mod step;
#[cfg(test)]
mod tests;

use checkout::SesMailer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    let mailer = SesMailer::from_env(&stepwell_aws::aws_config().await)?;
    stepwell_aws::serve("send_confirmation", step::SendConfirmation { mailer }).await
}
