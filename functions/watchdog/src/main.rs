//! The watchdog: once a minute it inspects open tasks and sends overdue messages again. See
//! `stepwell_aws::serve_watchdog`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell_aws::ServeError> {
    stepwell_aws::serve_watchdog().await
}
