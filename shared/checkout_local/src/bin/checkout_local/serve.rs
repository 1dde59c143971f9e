//! `checkout_local serve`: runs the shop until a signal.

use crate::{
    failure::{Failure, other},
    say,
    server::{LOG, Server, Settings},
};
use checkout_api::Limits;
use checkout_local::LogFiles;
use clap::{Args, ValueEnum};
use std::{
    num::NonZeroU16,
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use stepwell_local::http::Metrics;
use telemetry::{EXPORT_TIME, Metric, Traces};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use tracing::Level;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
};

/// The options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder of all data; it is made if it is not there
    #[arg(long, value_name = "FOLDER", default_value = "stepwell-data")]
    data: PathBuf,
    /// The customers' port on 127.0.0.1; 0 is any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// The operators' port on 127.0.0.1; 0 is any free one
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    operators_port: u16,
    /// The form of the log on stderr; the variable `RUST_LOG` says what is logged, there and in the folder `log` of the data
    #[arg(long, value_enum, default_value = "text")]
    log: Log,
    /// The most checkouts of an e-mail address in ten minutes, other cards for them included; 0 is any number
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    checkouts_per_email: u32,
    /// The most attempts of this step or compensation at once; of any other 64
    #[arg(long, value_name = "STEP=NUMBER", value_parser = slots)]
    concurrency: Vec<(String, NonZeroU16)>,
}

fn slots(text: &str) -> Result<(String, NonZeroU16), String> {
    let (step, number) =
        text.split_once('=').ok_or("a step, `=` and a number are needed, such as process_payment=8")?;
    let number = number.parse().map_err(|_| format!("`{number}` is no whole number from 1 to {}", u16::MAX))?;
    Ok((step.to_owned(), number))
}

/// The form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Log {
    /// A JSON object a line
    Json,
    /// Text for people
    Text,
}

/// Runs the shop until a signal.
///
/// # Errors
/// See [`Failure`].
pub(crate) async fn serve(options: Options) -> Result<(), Failure> {
    let metrics = Metrics::new().map_err(other)?;
    let traces = Traces::from_env("checkout_local").map_err(|error| Failure::Option(error.to_string()))?;
    let kept = LogFiles::new(&options.data.join(LOG));
    init_logging(options.log, Level::INFO, Some(kept), Some(&metrics), traces.as_ref());
    let stop = until_a_signal()?;
    let settings = Settings {
        data: options.data,
        customers_port: options.port,
        operators_port: options.operators_port,
        // All requests come from this machine, or through a proxy on it.
        limits: Limits { per_email: options.checkouts_per_email, per_address: 0 },
        slots: options.concurrency.into_iter().collect(),
        metrics,
    };
    let server = Server::open(&settings).await?;
    say(format_args!("customers  {}", server.customers_url))?;
    say(format_args!(
        "operators  {}   Authorization: Bearer $(cat '{}')",
        server.operators_url,
        server.token.display()
    ))?;
    say(format_args!("console    {}   (logs in once)", server.login))?;
    say(format_args!("data       {}", settings.data.display()))?;
    say("Ctrl-C stops it.")?;
    tracing::info!("process started");
    exporting(traces.as_ref(), server.run(stop)).await?;
    say("stopped")
}

/// Does the work, exports the spans that it makes each second, and those of its end.
async fn exporting<O>(traces: Option<&Traces>, work: impl Future<Output = O>) -> O {
    let Some(traces) = traces else { return work.await };
    let (at_work, mut end) = oneshot::channel::<()>();
    let work = async {
        let done = work.await;
        drop(at_work);
        done
    };
    let exports = async {
        let mut is_over = false;
        while !is_over {
            is_over = tokio::select! {
                _ = &mut end => true,
                () = tokio::time::sleep(EXPORT_PAUSE) => false,
            };
            traces.export(EXPORT_TIME).await;
        }
        traces.export_last().await;
    };
    tokio::join!(work, exports).0
}

/// The pause between two exports of spans.
const EXPORT_PAUSE: Duration = Duration::from_secs(1);

/// Returns a future that is done at the first SIGTERM or SIGINT. The second one ends the process.
///
/// # Errors
/// Signals cannot be received.
pub(crate) fn until_a_signal() -> Result<impl Future<Output = ()>, Failure> {
    let receive = |kind| signal(kind).map_err(|error| Failure::Other(format!("signals cannot be received: {error}")));
    let signals = (receive(SignalKind::terminate())?, receive(SignalKind::interrupt())?);
    let (stopping, stopped) = oneshot::channel();
    tokio::spawn(stop_at_a_signal(signals, stopping));
    Ok(async move { drop(stopped.await) })
}

/// A flag that is set at the first SIGTERM or SIGINT, for work that blocks its thread. The second signal ends the process.
///
/// # Errors
/// Signals cannot be received.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let (stop, flag) = (until_a_signal()?, Arc::<AtomicBool>::default());
    let stopped = flag.clone();
    tokio::spawn(async move {
        stop.await;
        stopped.store(true, Relaxed);
    });
    Ok(flag)
}

/// Stops at the first signal, and ends the process at the second.
async fn stop_at_a_signal((mut terminate, mut interrupt): (Signal, Signal), stopping: oneshot::Sender<()>) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    };
    next().await;
    tracing::info!("stopping: open requests and steps are finished; a second signal ends the process at once");
    // Nobody waits if the program ends already.
    let _ = stopping.send(());
    let second = next().await;
    // As a shell says what has ended a process.
    process::exit(128 + second.as_raw_value());
}

/// Logs to stderr, and as JSON to the files that are `kept`. `level` counts unless the variable `RUST_LOG` says otherwise. Metrics and spans are made
/// of what is logged at the level info, whether it is written or not.
pub(crate) fn init_logging(
    log: Log,
    level: Level,
    kept: Option<LogFiles>,
    metrics: Option<&Metrics>,
    traces: Option<&Traces>,
) {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let targets = wanted.parse().unwrap_or_else(|_| Targets::new());
    let targets = if wanted.is_empty() { targets.with_default(level) } else { targets };
    let samples = metrics.cloned().map(|metrics| {
        let record = move |metric: &'static Metric, series: &[&str], value| metrics.record(metric, series, value);
        telemetry::samples(record).with_filter(LevelFilter::INFO)
    });
    let spans = traces.cloned().map(|traces| telemetry::spans(traces).with_filter(LevelFilter::INFO));
    let kept = kept.map(|files| telemetry::log_lines(Arc::new(files), None).with_filter(targets.clone()));
    let registry = tracing_subscriber::registry().with(samples).with(spans).with(kept);
    // It fails only if there is a log already, and that one should stay.
    let _ = match log {
        Log::Json => telemetry::start(registry.with(telemetry::log_lines(std::io::stderr, None).with_filter(targets))),
        Log::Text => telemetry::start(registry.with(telemetry::text_lines(std::io::stderr).with_filter(targets))),
    };
}
