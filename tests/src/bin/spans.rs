//! The command `spans`: a receiver of spans, as a collector beside a function is one.

#![allow(clippy::print_stdout, reason = "the spans are this command's output")]

use clap::Parser;
use mock_collector::{MockServer, MockServerError, Protocol};
use std::{net::Ipv4Addr, time::Duration};
use stepwell::core::hex::hex;

/// Receives spans by OTLP over HTTP on this machine until it is ended.
///
/// Prints a line for each: its trace, the span that it belongs to, its own id, and its name. The first line says where it listens.
#[derive(Parser)]
struct Options {
    /// The port; 0 is any free one.
    #[arg(long, value_name = "PORT", default_value_t = 4318)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), MockServerError> {
    let options = Options::parse();
    let server = MockServer::builder().protocol(Protocol::HttpBinary).host(Ipv4Addr::LOCALHOST.into());
    let server = server.port(options.port).start().await?;
    println!("http://{}", server.addr());
    let mut printed = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server
            .with_collector(|collector| {
                for span in collector.spans().iter().skip(printed).map(|span| span.span()) {
                    println!(
                        "{} {} {} {}",
                        hex(&span.trace_id),
                        hex(&span.parent_span_id),
                        hex(&span.span_id),
                        span.name
                    );
                    printed += 1;
                }
            })
            .await;
    }
}
