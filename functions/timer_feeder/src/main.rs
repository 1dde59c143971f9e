//! The timer feeder: once a minute it sends the messages of the steps that have waited for long. See
//! `stepwell_aws::serve_timer_feeder`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    stepwell_aws::serve_timer_feeder().await
}
