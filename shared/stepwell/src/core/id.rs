//! Task ids and idempotency keys.

use crate::core::{hex::hex, timestamp::Timestamp, trace_parent::TraceParent};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// The id of a task: a UUID of version 7, so that ids sort by creation time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(Uuid);

/// A text that is not a task id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a task id (a UUID such as 018f4e4e-7c1a-7000-8000-0123456789ab)")]
pub struct NotATaskId(String);

impl TaskId {
    /// The id before all others, which no task has.
    pub(crate) const NIL: Self = Self(Uuid::nil());

    /// The id after all others, which no task has.
    pub(crate) const LAST: Self = Self(Uuid::max());

    /// The first id that could be made at this time.
    pub(crate) fn first_at(at: Timestamp) -> Self {
        Self(Uuid::from_u128(u128::from(u64::try_from(at.as_millis()).unwrap_or_default()) << 80))
    }

    /// The id right before this one, if there is one.
    pub(crate) fn previous(self) -> Option<Self> {
        self.0.as_u128().checked_sub(1).map(|bits| Self(Uuid::from_u128(bits)))
    }

    /// The 128 bits. The last 62 of them are random.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The time at which the id was made, by the clock of its maker; `None` if it is not a UUID of version 7.
    pub fn made_at(&self) -> Option<Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp().filter(|_| self.0.get_version_num() == 7)?.to_unix();
        let millis = i64::try_from(seconds).ok()?.checked_mul(1_000)?.checked_add(i64::from(nanos / 1_000_000))?;
        Some(Timestamp::from_millis(millis))
    }
}

impl From<Uuid> for TaskId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TaskId {
    type Err = NotATaskId;

    /// Reads the hyphenated form only, so that a task has one spelling in keys, logs and URLs.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = Uuid::try_parse(text).map(Self).map_err(|_| NotATaskId(text.to_owned()))?;
        if id.to_string() == text { Ok(id) } else { Err(NotATaskId(text.to_owned())) }
    }
}

/// The id of a bulk action: a UUID of version 7, or of version 8 if its request had an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BulkId(TaskId);

impl BulkId {
    /// The id before all others.
    pub(crate) const FIRST: Self = Self(TaskId::NIL);

    /// The id of the bulk action that a request with this idempotency key starts: the same one each time.
    pub fn of_key(key: &IdempotencyKey) -> Self {
        let digest: [u8; 32] = Sha256::digest(key.as_str()).into();
        let bytes = std::array::from_fn(|place| digest.get(place).copied().unwrap_or_default());
        Self(TaskId(uuid::Builder::from_custom_bytes(bytes).into_uuid()))
    }
}

impl From<TaskId> for BulkId {
    fn from(unique: TaskId) -> Self {
        Self(unique)
    }
}

impl fmt::Display for BulkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BulkId {
    type Err = NotATaskId;

    fn from_str(text: &str) -> Result<Self, NotATaskId> {
        text.parse().map(Self)
    }
}

/// The page of a bulk action on which a task was acted on, for the task's audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkPage {
    /// The bulk action.
    pub id: BulkId,
    /// The page's number, from 1.
    pub page: u32,
}

/// The caller's name for what it does, under which its own logs and those of a task are found together. It has no meaning for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelationId {
    text: String,
    trace: Option<TraceParent>,
}

impl CorrelationId {
    /// The maximum length, in characters. A task keeps the id, and is to stay below 1 KB.
    pub const MAX_LENGTH: usize = 64;

    /// Takes a text as it is; `None` unless it has 1 to [`MAX_LENGTH`](Self::MAX_LENGTH) visible ASCII characters.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text: String = text.into();
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
        fits.then_some(Self { text, trace: None })
    }

    /// The name of what has none but its trace: the trace's id.
    pub fn of_trace(trace: TraceParent) -> Self {
        Self { text: trace.trace_id().to_owned(), trace: Some(trace) }
    }

    /// Adds the trace that the spans of what is called so belong to.
    #[must_use]
    pub fn within(self, trace: Option<TraceParent>) -> Self {
        Self { trace, ..self }
    }

    /// The id as the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The caller's place in its trace, if it told that.
    pub const fn trace(&self) -> Option<&TraceParent> {
        self.trace.as_ref()
    }
}

/// An idempotency key: the client's name for a request, so that sending it twice starts one task.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// Shows no key: whoever knows it is told of its task.
impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyKey").finish_non_exhaustive()
    }
}

/// A text that cannot be an idempotency key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to {max} visible ASCII characters; this one {fault}", max = IdempotencyKey::MAX_LENGTH)]
pub struct NotAKey {
    fault: String,
}

impl IdempotencyKey {
    /// The maximum length of a key, in characters.
    pub const MAX_LENGTH: usize = 255;

    /// The key as the client wrote it, after its [caller](Self::of_caller) if there is one.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of this caller, whom the host has authenticated. The same key of another caller, or of nobody in particular, is a
    /// different one, so that nobody can use up or guess the keys of others.
    #[must_use]
    pub fn of_caller(self, caller: &str) -> Self {
        // No key of a client has a blank in it.
        Self(format!("{} {}", hex(Sha256::digest(caller)), self.0))
    }
}

impl FromStr for IdempotencyKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            Err(NotAKey { fault: "is empty".to_owned() })
        } else if text.len() > Self::MAX_LENGTH {
            Err(NotAKey { fault: format!("has {}", text.len()) })
        } else if let Some(strange) = text.chars().find(|c| !c.is_ascii_graphic()) {
            Err(NotAKey { fault: format!("contains {strange:?}") })
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}
