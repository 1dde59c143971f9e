//! The spans of work on a task: every line that is written meanwhile says of which task it is and, once the task is read, of which workflow
//! and under which name its caller knows it.

use crate::core::{id::TaskId, record::TaskRecord};
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{Span, field::Empty};

/// The span of work on a task that no delivery of a step does. It is as important as the most important line.
pub(super) fn of_task(task: TaskId) -> Span {
    tracing::error_span!("task", task_id = %task, workflow = Empty, correlation_id = Empty, traceparent = Empty)
}

/// Notes in the span of this work what the task's record says, once: a line of text shows a field as often as it was noted.
pub(super) fn note(task: &TaskRecord) {
    Span::current().record("workflow", task.workflow_name());
    note_caller(task);
}

/// Notes the caller's name only, in a span that has the workflow from its beginning.
pub(super) fn note_caller(task: &TaskRecord) {
    let span = Span::current();
    if let Some(id) = &task.correlation_id {
        span.record("correlation_id", id.as_str());
        if let Some(trace) = id.trace() {
            span.record("traceparent", trace.as_str());
        }
    }
}

/// What is noted of a task that may be read several times.
#[derive(Debug, Default)]
pub(super) struct Note(AtomicBool);

impl Note {
    /// Notes what the task's record says, if it is the first one.
    pub(super) fn take(&self, task: &TaskRecord) {
        if !self.0.swap(true, Ordering::Relaxed) {
            note(task);
        }
    }
}
