//! Limits of the strictest store, which hold for all.

/// The largest context, in bytes of JSON. DynamoDB's limit for the item around it is 400 KiB.
pub const MAX_CONTEXT_BYTES: usize = 256 * 1024;

/// The largest result of a step, in bytes of JSON. The rest of the item's 400 KiB is the audit trail's.
pub const MAX_RESULT_BYTES: usize = 256 * 1024;
