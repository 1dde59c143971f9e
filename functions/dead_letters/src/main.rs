//! The dead-letter handler: a message that SQS gave up on becomes an error of its step. See
//! `stepwell_aws::serve_dead_letters`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    stepwell_aws::serve_dead_letters().await
}
