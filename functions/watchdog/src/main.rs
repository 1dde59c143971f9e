//! Wakes what a lost message or a dead worker has left behind, once a minute. What it does is in `stepwell::watchdog`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), stepwell::ServeError> {
    stepwell::serve_watchdog().await
}
