//! The metrics of this process, as Prometheus reads them.

use axum::{Router, http::header, response::IntoResponse, routing::get};
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TEXT_FORMAT, TextEncoder, core::Collector,
};
use std::{collections::BTreeMap, sync::Arc};
use telemetry::{Kind, METRICS, Metric};

pub use prometheus::Error as MetricsError;

/// The upper bounds of the buckets of a time, in seconds: from an attempt that waits on nothing to the longest wait before a retry.
const BUCKETS: [f64; 10] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1_800.0, 3_600.0];

/// What begins each name.
const PREFIX: &str = "stepwell";

/// All metrics of [`METRICS`] since the start of the process. A clone has the same values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    families: Arc<BTreeMap<&'static str, Family>>,
}

/// The series of one metric.
#[derive(Debug)]
enum Family {
    Counter(CounterVec),
    Gauge(GaugeVec),
    Seconds(HistogramVec),
}

impl Metrics {
    /// All metrics, with nothing in them.
    ///
    /// # Errors
    /// A metric has no name that Prometheus takes, or two have the same.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let mut families = BTreeMap::new();
        for metric in METRICS {
            families.insert(metric.name, Family::new(metric, &registry)?);
        }
        Ok(Self { registry, families: Arc::new(families) })
    }

    /// Adds a value to the series of a metric with these values of its dimensions.
    pub fn record(&self, metric: &Metric, dimensions: &[&str], value: f64) {
        // An error says that there are more or fewer dimensions than the metric has.
        let _ = match self.families.get(metric.name) {
            Some(Family::Counter(all)) => all.get_metric_with_label_values(dimensions).map(|one| one.inc_by(value)),
            Some(Family::Gauge(all)) => all.get_metric_with_label_values(dimensions).map(|one| one.set(value)),
            Some(Family::Seconds(all)) => all.get_metric_with_label_values(dimensions).map(|one| one.observe(value)),
            None => Ok(()),
        };
    }

    /// Serves them at `GET /metrics`, in Prometheus' text format.
    pub fn router(self) -> Router {
        let scrape = async move || match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                http_api::refusal(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "The metrics cannot be written")
            }
        };
        Router::new().route("/metrics", get(scrape))
    }
}

impl Family {
    fn new(metric: &Metric, registry: &Registry) -> Result<Self, MetricsError> {
        let (help, labels) = (metric.help, metric.dimensions);
        // By Prometheus' convention a counter's name says that it counts from the start of the process.
        let total = format!("{}_total", metric.name);
        let family = match metric.kind {
            Kind::Counter => Self::Counter(CounterVec::new(Opts::new(total, help).namespace(PREFIX), labels)?),
            Kind::Gauge => Self::Gauge(GaugeVec::new(Opts::new(metric.name, help).namespace(PREFIX), labels)?),
            Kind::Seconds => {
                let opts = HistogramOpts::new(metric.name, help).namespace(PREFIX).buckets(BUCKETS.into());
                Self::Seconds(HistogramVec::new(opts, labels)?)
            }
        };
        let collector: Box<dyn Collector> = match &family {
            Self::Counter(all) => {
                if labels.is_empty() {
                    // Present from the start, so that its first increase is seen.
                    all.get_metric_with_label_values::<&str>(&[])?;
                }
                Box::new(all.clone())
            }
            Self::Gauge(all) => Box::new(all.clone()),
            Self::Seconds(all) => Box::new(all.clone()),
        };
        registry.register(collector)?;
        Ok(family)
    }
}
