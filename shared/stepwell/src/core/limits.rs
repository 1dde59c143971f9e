//! The size limits of the strictest store, which apply to all stores, and the time limits of a step's function.

use std::time::Duration;

/// The maximum size of a context, in bytes of JSON. DynamoDB's limit for the item that contains it is 400 KiB.
pub const MAX_CONTEXT_BYTES: usize = 256 * 1024;

/// The maximum size of a step's result, in bytes of JSON. The audit trail takes the rest of the item's 400 KiB.
pub const MAX_RESULT_BYTES: usize = 256 * 1024;

/// The maximum size of all results that a rerun keeps, in bytes of JSON. They are written in one transaction, which takes two write units for each KB, and
/// DynamoDB gives one partition 1,000 write units a second.
pub const MAX_KEPT_BYTES: usize = 400 * 1024;

/// How much longer a step's function may run than its handler, and a message's visibility timeout lasts. The claim and the
/// load before the handler and [`SETTLE_RESERVE`] after it have to fit in.
pub const FUNCTION_MARGIN: Duration = Duration::from_secs(5);

/// The time that a worker reserves at the end of its invocation, for the writes and sends after the handler.
pub const SETTLE_RESERVE: Duration = Duration::from_millis(1_500);

/// The time that a worker reserves for the answer of its invocation. A delivery that is not over by then is broken off, as if its
/// worker had died: otherwise Lambda would end the process, and every other delivery of the batch with it.
pub const ANSWER_RESERVE: Duration = Duration::from_millis(500);

/// How long after a task's start or its last redrive a throttled attempt of a step costs nothing. From then on it counts against
/// `max_attempts`, so that a step that is always turned away fails in the end. It is as long as a customer may be expected to
/// wait for a checkout.
pub const THROTTLED_FOR: Duration = Duration::from_secs(30 * 60);

const _: () = assert!(ANSWER_RESERVE.as_millis() < SETTLE_RESERVE.as_millis());
const _: () = assert!(SETTLE_RESERVE.as_millis() < FUNCTION_MARGIN.as_millis());
