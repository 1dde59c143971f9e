//! Makes a message that SQS gave up on an error of its step. What it does is in `stepwell::dead_letters`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    stepwell::serve_dead_letters().await
}
