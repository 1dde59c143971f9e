//! The spans of work on a task: every line that is written meanwhile says of which task it is and, once the task is read, of which workflow
//! and under which name its caller knows it.

use crate::core::{id::TaskId, record::TaskRecord, trace_parent::TraceParent};
use tracing::{Span, field::Empty};

/// The span of work on a task that no delivery of a step does. It is as important as the most important line.
pub(super) fn of_task(task: TaskId) -> Span {
    tracing::error_span!("task", task_id = %task, workflow = Empty, correlation_id = Empty, traceparent = Empty)
}

/// Notes in the span of this work what the task's record says. A span that does not ask for it stays as it is.
pub(super) fn note(task: &TaskRecord) {
    let span = Span::current();
    span.record("workflow", task.workflow_name());
    if let Some(id) = &task.correlation_id {
        span.record("correlation_id", id.as_str());
        span.record("traceparent", id.trace().map(TraceParent::as_str));
    }
}
