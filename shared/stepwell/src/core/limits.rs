//! Limits of the strictest store, which hold for all, and the times that a step's function is deployed with.

use std::time::Duration;

/// The largest context, in bytes of JSON. DynamoDB's limit for the item around it is 400 KiB.
pub const MAX_CONTEXT_BYTES: usize = 256 * 1024;

/// The largest result of a step, in bytes of JSON. The rest of the item's 400 KiB is the audit trail's.
pub const MAX_RESULT_BYTES: usize = 256 * 1024;

/// How much longer a step's function may run than its handler, and so how much longer a message stays hidden: what claims and
/// loads before the handler, and [`SETTLE_RESERVE`] after it, have to fit in.
pub const FUNCTION_MARGIN: Duration = Duration::from_secs(5);

/// What a worker keeps back from the end of its invocation, for the writes and sends that follow the handler.
pub const SETTLE_RESERVE: Duration = Duration::from_millis(1_500);

const _: () = assert!(SETTLE_RESERVE.as_millis() < FUNCTION_MARGIN.as_millis());
