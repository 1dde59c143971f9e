//! Makes a message that SQS gave up on an error of its step. What it does is in `stepwell_aws::dead_letters`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    stepwell_aws::serve_dead_letters().await
}
