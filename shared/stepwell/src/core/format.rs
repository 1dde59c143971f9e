//! The stored format: its version, what a reader may do with an item of another one, and what version 1 does not write.
//!
//! Every item says the version of who made it ([`attribute::V`]) and the oldest reader that may act on it
//! ([`attribute::NEEDS`]). Version 1 says so by silence: an item without them was made by version 1 and needs a reader of
//! version 1. So they cost the items of version 1 nothing, whose size is a matter of write units.
//!
//! * **Reading is lenient.** A field that is not known is passed over. What is not known of an item that needs a newer reader
//!   is passed over too, be it a state or the whole plan: its task can be shown, and its record says that it is [newer](NewerFormat).
//! * **Nobody acts on what needs a newer reader.** Each write carries a [guard](super::transition::Write::guard) that such an
//!   item refuses, whatever else the writer believes. A worker that meets a newer task puts the step that it has claimed back,
//!   and gives its message back at no attempt; a letter that SQS gave up on is sent anew.
//! * **Writing is exact.** Nothing is written but what the version says, and what stands in an item and is not known stays.
//!
//! A new field that changes what is done raises `needs` of the items that have it; one that does not leaves `needs` as it is.
//! Silence is not a value to keep: a version that raises `needs` of one kind of item has to say so of that kind alone, and
//! to leave the items that version 1 made as they are.

use super::{
    codes::EngineCode,
    item::{Item, Key, attribute},
};
use serde_json::Value;

/// The version that this engine writes: `v` of the items that it makes.
pub const WRITES: i64 = 1;

/// The oldest reader that may act on what this engine writes: `needs` of the items that it makes.
pub const NEEDS: i64 = 1;

/// The newest format that this engine may act on.
pub const READS: i64 = 1;

/// The code in the log, and in the answers to operators, where an item needs a newer reader. The template's alarm looks for it.
pub const NEWER_FORMAT: &str = EngineCode::NewerFormat.as_str();

/// An item that needs a newer reader. It may be shown, as far as it is understood, and not acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{partition} was written in format {v} and needs a reader of format {needs}, but this version reads up to format {reads}: \
     deploy the newer version again, which goes on with the task",
    reads = READS
)]
pub struct NewerFormat {
    /// The partition that it is in: of a task, or of an idempotency key.
    pub partition: String,
    /// The version of who made it.
    pub v: i64,
    /// The oldest reader that may act on it.
    pub needs: i64,
}

impl NewerFormat {
    /// What this item says of itself; `None` where this version may act on it.
    pub fn of(key: &Key, item: &Item) -> Option<Self> {
        let needs = number(item, attribute::NEEDS, v1::NEEDS);
        let newer = || Self { partition: key.partition(), v: number(item, attribute::V, v1::V), needs };
        (needs > READS).then(newer)
    }
}

/// A number of an item. What is none is newer than all that is known.
fn number(item: &Item, name: &str, absent: i64) -> i64 {
    item.get(name).map_or(absent, |value| value.as_i64().unwrap_or(i64::MAX))
}

/// As much of an item as can be read: the attributes in these groups each together, every other one for itself. What
/// cannot be read is left out, or stays as it is in `base`.
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

/// What stands for the fields that version 1 does not write. Each is part of the stored format: plans and items that were
/// written years ago rely on it, so **it never changes**. What a workflow's file need not say has defaults of its own, which
/// may change, because a plan that is stored says where it differs from these.
pub mod v1 {
    use crate::core::{backoff::Backoff, plan::policy::Compensate, state::StepState};

    /// Of an item: who made it. Part of the stored format, never changes.
    pub const V: i64 = 1;
    /// Of an item: the oldest reader that may act on it. Part of the stored format, never changes.
    pub const NEEDS: i64 = 1;
    /// Of a step's item: its state. A join that was told of a dependency has none. Part of the stored format, never changes.
    pub const STEP_STATE: StepState = StepState::Pending;
    /// Of a step's item: how often it was claimed. Part of the stored format, never changes.
    pub const ATTEMPT: u32 = 0;
    /// Of a step's item: how many claims do not count. Part of the stored format, never changes.
    pub const UNCOUNTED_ATTEMPTS: u32 = 0;

    /// Of a step of a plan, `l`: the most attempts it has. Part of the stored format, never changes.
    pub const MAX_ATTEMPTS: u32 = 3;
    /// Of a step of a plan, `t`: its timeout in seconds. Part of the stored format, never changes.
    pub const TIMEOUT_SECONDS: u32 = 30;
    /// Of a step of a plan, `b`: its backoff, and each of its numbers. Part of the stored format, never changes.
    pub const BACKOFF: Backoff = Backoff { base_seconds: 1, multiplier: 2.0, max_seconds: 300, jitter: 0.1 };
    /// Of a compensation of which only the name is stored: the most attempts it has. Part of the stored format, never changes.
    pub const COMPENSATION_MAX_ATTEMPTS: u32 = 50;
    /// Of a plan, `c`: when it is compensated by itself. Part of the stored format, never changes.
    pub const COMPENSATE: Compensate = Compensate::OnError;
    /// Of a plan, `a`: how long after its failure. Part of the stored format, never changes.
    pub const COMPENSATE_AFTER_SECONDS: u32 = 0;
    /// Of a plan, `r`: how often it is redriven by itself. Part of the stored format, never changes.
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
    fn what_no_step_item_of_version_1_says_is_read_so(holds: fn(&StepRecord) -> bool) {
        let step = StepRecord::from_item(TaskId::new(), "s0", Item::new()).unwrap();
        assert!(holds(&step), "{step:?}");
    }

    #[test_case(json!({}), None; "an item of the first version")]
    #[test_case(json!({"v": 1, "needs": 1}), None; "an item that says what silence says")]
    #[test_case(json!({"v": 7, "needs": 1}), None; "a newer item that an old reader may act on")]
    #[test_case(json!({"v": 2, "needs": 2}), Some((2, 2)); "a newer item")]
    #[test_case(json!({"needs": 2}), Some((1, 2)); "a newer item that does not say who made it")]
    #[test_case(json!({"v": 2, "needs": "two"}), Some((2, i64::MAX)); "a need that is no number")]
    fn item_is_newer_exactly_where_its_guard_refuses_it(item: Value, newer: Option<(i64, i64)>) {
        let item = item.as_object().unwrap();
        let found = NewerFormat::of(&Key::Task(TaskId::new()), item);
        assert_eq!(found.map(|newer| (newer.v, newer.needs)), newer);
        assert_eq!(guard().holds(item), newer.is_none());
    }
}
