//! The spans of both hosts, each made of one log line that is written anyway: one of the start of a task, and one of each attempt of its steps.
//!
//! Their ids need no message to carry them. A task belongs to the trace of the request that started it, whose header `traceparent` it keeps;
//! without one, its own id is the trace. The span of its start has an id that its own leads to, and so have those of its attempts, whose
//! parent the start is. So a trace holds together across the API, the queues and all functions, and an attempt that is reported twice is one span.

use crate::fields::Fields;
use opentelemetry::{
    InstrumentationScope, KeyValue, TraceId,
    propagation::TextMapPropagator,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceState},
};
use opentelemetry_otlp::{
    ExporterBuildError, HttpExporterBuilderSet, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    Protocol, RetryPolicy, SpanExporter, SpanExporterBuilder, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    env, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// The most spans that wait for their export, of 1 KB each. A batch of messages makes ten in a function; one machine exports each second.
const MOST_WAITING: usize = 5_000;

/// How long an export may take at most. Whoever invoked the function waits meanwhile.
pub const EXPORT_TIME: Duration = Duration::from_secs(1);

/// How long nothing is exported after an export that failed, so that a receiver that is away costs little.
const REST: Duration = Duration::from_secs(30);

/// The spans of this process that are not exported yet. Clones share them.
#[derive(Clone, Debug)]
pub struct Traces(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    exporter: SpanExporter,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: Vec<SpanData>,
    /// Spans that found no room, or whose export failed.
    lost: usize,
    /// Nothing is exported before this moment.
    rests_until: Option<Instant>,
}

/// Traces that are wanted, and cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The receiver is reached by HTTP only.
    #[error(
        "the URL of the receiver of spans begins with {scheme:?}: they are sent by plain HTTP, so it has to begin with http://, as that of a collector \
         beside this process; the collector sends them on with TLS"
    )]
    NotHttp {
        /// The begin of its URL. The rest may have a password.
        scheme: String,
    },
    /// The receiver speaks another protocol.
    #[error(
        "OTEL_EXPORTER_OTLP_PROTOCOL is {0:?}: spans are sent by http/protobuf only, which a collector takes on port 4318"
    )]
    Protocol(String),
    /// A variable has a value that is none of those of OpenTelemetry.
    #[error("the variables OTEL_EXPORTER_OTLP_* do not fit: {0}")]
    Settings(#[from] ExporterBuildError),
}

impl Traces {
    /// Traces to the receiver that `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` names, which is spoken to by
    /// OTLP over HTTP; `None` if neither is set, or if `OTEL_SDK_DISABLED` or `OTEL_TRACES_EXPORTER` says so. `OTEL_EXPORTER_OTLP_HEADERS` and
    /// `OTEL_RESOURCE_ATTRIBUTES` count as well. `service` is the `service.name` where `OTEL_SERVICE_NAME` has none.
    ///
    /// # Errors
    /// [`TracesError`].
    pub fn from_env(service: &str) -> Result<Option<Self>, TracesError> {
        let set = |variable| env::var(variable).ok().filter(|value| !value.is_empty());
        let is = |variable, value| set(variable).is_some_and(|found| found.eq_ignore_ascii_case(value));
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let wanted = set(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT).or_else(|| set(OTEL_EXPORTER_OTLP_ENDPOINT));
        let Some(endpoint) = wanted else { return Ok(None) };
        let protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if let Some(protocol) = protocol.filter(|protocol| protocol != "http/protobuf") {
            return Err(TracesError::Protocol(protocol));
        }
        // The exporter reads the endpoint itself, and adds the path to it where that has to be.
        Self::of(&endpoint, SpanExporter::builder().with_http(), service).map(Some)
    }

    /// Traces to the receiver at this URL, such as `http://127.0.0.1:4318/v1/traces`.
    ///
    /// # Errors
    /// [`TracesError`].
    pub fn to(endpoint: &str, service: &str) -> Result<Self, TracesError> {
        Self::of(endpoint, SpanExporter::builder().with_http().with_endpoint(endpoint), service)
    }

    fn of(
        endpoint: &str,
        exporter: SpanExporterBuilder<HttpExporterBuilderSet>,
        service: &str,
    ) -> Result<Self, TracesError> {
        if !endpoint.starts_with("http://") {
            let scheme = endpoint.split_inclusive("//").next().filter(|scheme| scheme.len() < endpoint.len());
            return Err(TracesError::NotHttp { scheme: scheme.unwrap_or_default().to_owned() });
        }
        let mut exporter =
            exporter.with_protocol(Protocol::HttpBinary).with_retry_policy(RetryPolicy::disabled()).build()?;
        let resource = Resource::builder();
        let is_named = env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
        let resource = if is_named { resource } else { resource.with_service_name(service.to_owned()) };
        exporter.set_resource(&resource.build());
        Ok(Self(Arc::new(Inner { exporter, waiting: Mutex::default() })))
    }

    /// Keeps the span of a line, if the line makes one.
    pub(crate) fn keep(&self, fields: &Fields) {
        let Some(span) = span(fields, SystemTime::now()) else { return };
        let mut waiting = self.waiting();
        if waiting.spans.len() < MOST_WAITING {
            waiting.spans.push(span);
        } else {
            waiting.lost += 1;
        }
    }

    /// Exports what waits, within this time and [`EXPORT_TIME`]. Spans whose export fails are lost, which the log says: no work is held up for them.
    /// After a failure nothing is tried for half a minute.
    pub async fn export(&self, within: Duration) {
        if self.waiting().rests_until.is_none_or(|until| Instant::now() >= until) {
            self.try_export(within.min(EXPORT_TIME)).await;
        }
    }

    /// Exports what waits at the end of the process, also after a failure.
    pub async fn export_last(&self) {
        self.try_export(EXPORT_TIME).await;
    }

    async fn try_export(&self, within: Duration) {
        let (batch, found_no_room) = {
            let mut waiting = self.waiting();
            if waiting.spans.is_empty() || within.is_zero() {
                return;
            }
            (mem::take(&mut waiting.spans), mem::take(&mut waiting.lost))
        };
        let spans = batch.len();
        let error = match tokio::time::timeout(within, self.0.exporter.export(batch)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {within:?}")),
        };
        self.waiting().rests_until = error.as_ref().map(|_| Instant::now() + REST);
        let lost = found_no_room + error.as_ref().map_or(0, |_| spans);
        if lost > 0 {
            let error = error.unwrap_or_else(|| format!("more than {MOST_WAITING} waited"));
            tracing::warn!(lost, error, "spans not exported");
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The span of a line that is written now.
fn span(fields: &Fields, written_at: SystemTime) -> Option<SpanData> {
    let task = fields.text("task_id")?;
    let workflow = fields.text("workflow")?;
    let caller = caller(fields);
    let start = span_id(&[task]);
    let (name, kind, of, id, parent) = match fields.text("message")? {
        "task started" => {
            let parent = caller.as_ref().map_or(SpanId::INVALID, SpanContext::span_id);
            (format!("start {workflow}"), SpanKind::Producer, "start_seconds", start, parent)
        }
        "attempt ended" => {
            let step = fields.text("step")?;
            let id = span_id(&[task, step, &fields.number("attempt")?.to_string()]);
            (step.to_owned(), SpanKind::Consumer, "attempt_seconds", id, start)
        }
        _ => return None,
    };
    let (trace, flags) = match &caller {
        Some(caller) => (caller.trace_id(), caller.trace_flags()),
        None => (TraceId::from_hex(&task.replace('-', "")).ok()?, TraceFlags::SAMPLED),
    };
    // Whoever called does not want this trace.
    if !flags.is_sampled() {
        return None;
    }
    let seconds = |field| Duration::try_from_secs_f64(fields.number(field)?).ok();
    // The line of an attempt is written when its outcome is, and all that follows from it is sent.
    let ended_at = written_at.checked_sub(seconds("settle_seconds").unwrap_or_default())?;
    let took = seconds(of)?;
    let code = fields.text("code");
    Some(SpanData {
        span_context: SpanContext::new(trace, id, flags, false, TraceState::NONE),
        parent_span_id: parent,
        parent_span_is_remote: parent != SpanId::INVALID,
        span_kind: kind,
        name: name.into(),
        start_time: ended_at.checked_sub(took)?,
        end_time: ended_at,
        attributes: attributes(fields),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: code.map_or(Status::Unset, |code| Status::error(code.to_owned())),
        instrumentation_scope: InstrumentationScope::builder("stepwell").build(),
    })
}

/// The span of the request that started the task.
fn caller(fields: &Fields) -> Option<SpanContext> {
    let header = HashMap::from([("traceparent".to_owned(), fields.text("traceparent")?.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &header);
    Some(context.span().span_context().clone()).filter(SpanContext::is_valid)
}

/// The id that these names lead to.
fn span_id(names: &[&str]) -> SpanId {
    let digest = Sha256::digest(names.join("/"));
    let mut id = [0; 8];
    id.iter_mut().zip(digest).for_each(|(byte, of_digest)| *byte = of_digest);
    SpanId::from_bytes(id)
}

/// What a span says besides its name and times: no text that a handler or a caller has written.
fn attributes(fields: &Fields) -> Vec<KeyValue> {
    const TEXTS: [(&str, &str); 5] = [
        ("task_id", "stepwell.task_id"),
        ("workflow", "stepwell.workflow"),
        ("step", "stepwell.step"),
        ("state", "stepwell.state"),
        ("code", "error.type"),
    ];
    const NUMBERS: [(&str, &str); 3] = [
        ("attempt", "stepwell.attempt"),
        ("queued_seconds", "stepwell.queued_seconds"),
        ("retry_wait_seconds", "stepwell.retry_wait_seconds"),
    ];
    let texts = TEXTS.iter().filter_map(|&(field, name)| Some(KeyValue::new(name, fields.text(field)?.to_owned())));
    let numbers = NUMBERS.iter().filter_map(|&(field, name)| Some(KeyValue::new(name, fields.number(field)?)));
    texts.chain(numbers).collect()
}
