//! What a host of Stepwell tells while it runs. Both hosts, Lambda and one machine, write the same log lines, and their metrics are made of these.
//!
//! A line is one JSON object: `timestamp`, `level`, `message`, and the fields of the event and of the spans around it, each at the top level and
//! each once. The engine opens a span for each delivery of a message. So every line that the delivery's own thread writes meanwhile, in whatever
//! crate, has its `workflow`, `step` and `message_id`, its `task_id` once the message is read, its `correlation_id` once the task is, and its
//! `attempt` once one has begun. A thread of its own, as of a blocking call, has no span, and neither has a host whose log level silences the target
//! `stepwell`.
//!
//! Every line goes through [`redaction`], whoever writes it: the engine, a step, a dependency or a panic. A host begins with [`start`], so no line
//! of it goes another way.

mod fields;
mod metrics;
mod panics;
mod traces;

pub use metrics::{Kind, METRICS, Metric};
pub use traces::{EXPORT_TIME, Traces, TracesError};

use fields::Fields;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use std::{
    io::{self, Write},
    time::UNIX_EPOCH,
};
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::{
        MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::Context,
    registry::LookupSpan,
    util::{SubscriberInitExt, TryInitError},
};

/// Begins the log of a process: its lines are written by this subscriber, and panics are lines as well.
///
/// # Errors
/// The process has a log already, which stays.
pub fn start(subscriber: impl SubscriberInitExt) -> Result<(), TryInitError> {
    subscriber.try_init()?;
    panics::log();
    Ok(())
}

/// Makes the layer that writes the lines.
///
/// With a `namespace`, each line of which [metrics](METRICS) are made also says so to CloudWatch, in the embedded metric format.
///
/// A span's field that an inner span or the event has as well is the inner one's: many JSON readers take the last of two fields of one name, and
/// some the first.
pub fn log_lines<S, W>(writer: W, namespace: Option<String>) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    OfEvents(move |metadata: &'static Metadata<'static>, mut fields: Fields| {
        if let Some(namespace) = &namespace {
            let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            metrics::embed(&mut fields, namespace, u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        }
        if let Ok(mut line) = line(metadata.level().as_str(), metadata.target(), fields) {
            line.push(b'\n');
            // Nobody is left to be told that a log cannot be written.
            let _ = writer.make_writer_for(metadata).write_all(&line);
            panics::note_line();
        }
    })
}

/// Makes the layer that writes lines for people at a terminal, of the same events.
pub fn text_lines<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    tracing_subscriber::fmt::layer().with_writer(Redacted(writer)).with_ansi(false).with_target(false)
}

/// Makes the layer that tells `record` what each line adds to which of the [metrics](METRICS), with the values of its dimensions, whether the
/// line is written or not.
pub fn samples<S>(record: impl Fn(&'static Metric, &[&str], f64) + 'static) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    OfEvents(move |_: &'static Metadata<'static>, fields: Fields| metrics::record(&fields, &record))
}

/// Writes lines without their secrets. Each write has to be a whole line.
struct Redacted<W>(W);

impl<'writer, W: MakeWriter<'writer>> MakeWriter<'writer> for Redacted<W> {
    type Writer = Redacted<W::Writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        Redacted(self.0.make_writer())
    }
}

impl<W: Write> Write for Redacted<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        panics::note_line();
        self.0.write_all(redaction::redact(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Makes the layer that keeps a span of each line that [makes one](Traces), until it is exported.
pub fn spans<S>(traces: Traces) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    OfEvents(move |_: &'static Metadata<'static>, fields: Fields| traces.keep(&fields))
}

/// Gives each event to a function, with the fields of the spans around it. Two of these layers note the same fields in a span.
struct OfEvents<F>(F);

impl<S, F> Layer<S> for OfEvents<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    F: Fn(&'static Metadata<'static>, Fields) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().replace(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Before the span is locked: a value may log or panic while it is written, and that line reads the span.
        let mut noted = Fields::default();
        values.record(&mut noted);
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            fields.extend(&noted);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.extend(of_span);
            }
        }
        event.record(&mut fields);
        (self.0)(event.metadata(), fields);
    }
}

/// One line, without its end.
fn line(level: &str, target: &str, mut fields: Fields) -> Result<Vec<u8>, serde_json::Error> {
    let mut time = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let message = fields.take("message");
    // The whole header is for the spans. Whoever looks for the lines of a trace has its id.
    let header = fields.take("traceparent");
    let trace = header.as_ref().and_then(Value::as_str).and_then(|header| header.split('-').nth(1));
    if let Some(trace) = trace.filter(|trace| fields.text("correlation_id") != Some(trace)) {
        fields.add("trace_id", || trace.into());
    }
    let mut serializer = serde_json::Serializer::new(Vec::new());
    let mut line = serializer.serialize_map(None)?;
    line.serialize_entry("timestamp", &time)?;
    line.serialize_entry("level", level)?;
    if let Some(message) = message {
        line.serialize_entry("message", &message)?;
    }
    for (name, value) in fields.others(&["timestamp", "level", "target"]) {
        line.serialize_entry(name, value)?;
    }
    line.serialize_entry("target", target)?;
    line.end()?;
    Ok(serializer.into_inner())
}
