//! Wakes what a lost message or a dead worker has left behind, once a minute. What it does is in
//! `stepwell_aws::watchdog`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    stepwell_aws::serve_watchdog().await
}
