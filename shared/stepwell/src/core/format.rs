//! The stored format: its version, the rules for items of other versions, and the defaults of version 1.
//!
//! Every item has the version of its writer ([`attribute::V`]) and the oldest reader that may act on it
//! ([`attribute::NEEDS`]). Both are 1 if they are missing. So they take no space in the items of version 1, whose size
//! determines their write units.
//!
//! * **Reading is lenient.** Unknown fields are ignored. In an item that needs a newer reader, unreadable fields are ignored,
//!   too, even the state or the whole plan. The task can be shown, and its record is marked as [newer](NewerFormat).
//! * **An older version never acts on an item that needs a newer reader.** Each write carries a
//!   [guard](super::transition::Write::guard) that such an item refuses. A worker that finds a newer task releases the step
//!   that it has claimed and gives its message back, which costs no attempt. A dead letter of such a task is sent again.
//! * **Writing is exact.** A version writes only its own fields, and unknown fields of an item stay.
//!
//! A new field that changes the engine's decisions raises `needs` of the items that have it. Any other new field leaves
//! `needs` as it is. A version that raises `needs` of one kind of item has to raise it for that kind alone, and must not
//! change what a missing `needs` means in the items of version 1.

use super::{
    codes::EngineCode,
    item::{Item, Key, attribute},
};
use serde_json::Value;

/// The format of an item that has nothing of a later one: `v` and `needs` of most new items.
pub const WRITES: i64 = 1;

/// The format of a task whose plan has an optional step: `v` and `needs` of its item. A version that does not know such steps
/// would fail and compensate the task because of one.
pub const OPTIONAL_STEPS: i64 = 2;

/// The format of a task that never starts: `v` and `needs` of its item. A version that does not know such tasks cannot read a
/// plan without steps.
pub const RULED_OUT: i64 = 2;

/// The format of a task whose compensations form a graph: `v` and `needs` of its item. A version that does not know such a graph
/// would run the compensations one after another, and one of them before another that it has to wait for.
pub const COMPENSATION_GRAPH: i64 = 3;

/// The format of a task with a deadline: `v` and `needs` of its item. A version that does not know deadlines would start attempts
/// after it.
pub const DEADLINE: i64 = 3;

/// The format of a task that somebody had run now: `v` and `needs` of its item. A version that does not know that action cannot read
/// the audit trail.
pub const RUN_NOW: i64 = 3;

/// The format of a task that was rerun: `v` and `needs` of its item. A version that does not know reruns cannot read the audit trail, and
/// would redrive the task's optional steps.
pub const RERUN: i64 = 3;

/// The format of a bulk action: `v` and `needs` of its items. Versions before it do not know any.
pub const BULK: i64 = 3;

/// The newest format that this engine may act on.
pub const READS: i64 = 3;

/// The error code of an item that needs a newer reader, in the log and the operators' API. An alarm looks at the
/// metric of it.
pub const NEWER_FORMAT: &str = EngineCode::NewerFormat.as_str();

/// An item that needs a newer reader. This version may show it, as far as it can be read, but not act on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{partition} was written in format {v} and needs a reader of format {needs}, but this version reads up to format {reads}: \
     deploy the newer version again, which goes on with the task",
    reads = READS
)]
pub struct NewerFormat {
    /// The item's partition key: of a task, or of an idempotency key.
    pub partition: String,
    /// The version of its writer.
    pub v: i64,
    /// The oldest reader that may act on it.
    pub needs: i64,
}

impl NewerFormat {
    /// Reads the format of an item; `None` if this version may act on it.
    pub fn of(key: &Key, item: &Item) -> Option<Self> {
        let needs = number(item, attribute::NEEDS, v1::NEEDS);
        let newer = || Self { partition: key.partition(), v: number(item, attribute::V, v1::V), needs };
        (needs > READS).then(newer)
    }
}

/// Reads a number of an item. A value of another type counts as newer than every known version.
fn number(item: &Item, name: &str, absent: i64) -> i64 {
    item.get(name).map_or(absent, |value| value.as_i64().unwrap_or(i64::MAX))
}

/// Keeps the attributes of an item that can be read: those of a group together, and every other one separately. An
/// attribute that cannot be read is left out, or has its value of `base`.
pub(super) fn understood(base: Item, item: &Item, groups: &[&[&str]], can_be_read: impl Fn(&Item) -> bool) -> Item {
    let single = item.keys().map(|name| vec![name.as_str()]);
    let single = single.filter(|names| !names.iter().any(|name| groups.iter().any(|group| group.contains(name))));
    let grouped = groups.iter().map(|group| group.to_vec());
    grouped.chain(single).fold(base, |known, names| {
        let mut more = known.clone();
        let attributes = names.iter().filter_map(|name| Some(((*name).to_owned(), item.get(*name)?.clone())));
        more.extend(attributes.collect::<Vec<(String, Value)>>());
        if can_be_read(&more) { more } else { known }
    })
}

/// The defaults of the fields that version 1 does not write. They are part of the stored format: plans and items that were
/// written years ago rely on them, so **they never change**. The defaults of a workflow file are separate and may change,
/// because a stored plan has every value that differs from these.
pub mod v1 {
    use crate::core::{backoff::Backoff, plan::policy::Compensate, state::StepState};

    /// Of an item: the version of its writer. Part of the stored format, never changes.
    pub const V: i64 = 1;
    /// Of an item: the oldest reader that may act on it. Part of the stored format, never changes.
    pub const NEEDS: i64 = 1;
    /// Of a step's item: its state. An arrival at a join can create an item without one. Part of the stored format, never
    /// changes.
    pub const STEP_STATE: StepState = StepState::Pending;
    /// Of a step's item: the number of its last attempt. Part of the stored format, never changes.
    pub const ATTEMPT: u32 = 0;
    /// Of a step's item: the number of attempts that do not count. Part of the stored format, never changes.
    pub const UNCOUNTED_ATTEMPTS: u32 = 0;

    /// Of a step of a plan, `l`: its `max_attempts`. Part of the stored format, never changes.
    pub const MAX_ATTEMPTS: u32 = 3;
    /// Of a step of a plan, `t`: its timeout in seconds. Part of the stored format, never changes.
    pub const TIMEOUT_SECONDS: u32 = 30;
    /// Of a step of a plan, `b`: its backoff, and each of its numbers. Part of the stored format, never changes.
    pub const BACKOFF: Backoff = Backoff { base_seconds: 1, multiplier: 2.0, max_seconds: 300, jitter: 0.1 };
    /// Of a compensation of which only the name is stored: its `max_attempts`. Part of the stored format, never changes.
    pub const COMPENSATION_MAX_ATTEMPTS: u32 = 50;
    /// Of a plan, `c`: when the engine compensates its task. Part of the stored format, never changes.
    pub const COMPENSATE: Compensate = Compensate::OnError;
    /// Of a plan, `a`: how many seconds after the failure. Part of the stored format, never changes.
    pub const COMPENSATE_AFTER_SECONDS: u32 = 0;
    /// Of a plan, `r`: how often the engine redrives its task. Part of the stored format, never changes.
    pub const REDRIVES: u32 = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{id::TaskId, record::StepRecord, state::StepState, transition::guard};
    use serde_json::json;
    use test_case::test_case;

    #[test_case(|step| step.state == StepState::Pending; "state")]
    #[test_case(|step| step.attempt == 0; "attempt")]
    #[test_case(|step| step.uncounted_attempts == 0; "exempt")]
    fn attribute_missing_in_a_version_1_step_item_has_its_fixed_default(holds: fn(&StepRecord) -> bool) {
        let step = StepRecord::from_item(TaskId::new(), "s0", Item::new()).unwrap();
        assert!(holds(&step), "{step:?}");
    }

    #[test_case(json!({}), None; "an item of the first version")]
    #[test_case(json!({"v": 1, "needs": 1}), None; "an item with the default versions")]
    #[test_case(json!({"v": 7, "needs": 1}), None; "a newer item that an old reader may act on")]
    #[test_case(json!({"v": 2, "needs": 2}), None; "a task with an optional step")]
    #[test_case(json!({"v": 3, "needs": 3}), None; "a task with a graph of compensations")]
    #[test_case(json!({"v": 4, "needs": 4}), Some((4, 4)); "a newer item")]
    #[test_case(json!({"needs": 4}), Some((1, 4)); "a newer item without the version of its writer")]
    #[test_case(json!({"v": 2, "needs": "two"}), Some((2, i64::MAX)); "needs is not a number")]
    fn item_is_newer_if_and_only_if_its_guard_refuses_it(item: Value, newer: Option<(i64, i64)>) {
        let item = item.as_object().unwrap();
        let found = NewerFormat::of(&Key::Task(TaskId::new()), item);
        assert_eq!(found.map(|newer| (newer.v, newer.needs)), newer);
        assert_eq!(guard().holds(item), newer.is_none());
    }
}
