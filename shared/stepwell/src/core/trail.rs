//! The audit trail of a step's attempts: the first and the last of them in full, and a count by error code of those between.
//!
//! A compensation has no last attempt, so its trail must not grow with them. Actions of people are in the task's own trail,
//! which keeps each.

use super::{
    item::{attribute, stored},
    record::{AttemptRecord, Outcome, Trail},
    transition::Change,
};
use std::collections::BTreeMap;

/// How many of the first attempts are kept in full. They show how the trouble began.
pub const FIRST_ATTEMPTS: usize = 10;

/// How many of the last attempts are kept in full.
pub const LAST_ATTEMPTS: usize = 40;

/// How many codes are counted separately. A handler may invent codes, and the count of each takes space in the item.
pub const MAX_OMITTED_CODES: usize = 20;

/// The count of attempts whose worker was dead, which have no code.
pub(super) const LOST: &str = "lost";

/// The count of attempts with other codes than the [`MAX_OMITTED_CODES`] first ones.
const OTHERS: &str = "others";

impl Trail {
    /// The changes that add an attempt. The writer has to own the step as it was read, because they may replace the trail.
    pub(crate) fn with(&self, attempt: &AttemptRecord) -> Vec<Change> {
        if self.attempts.len() < FIRST_ATTEMPTS + LAST_ATTEMPTS {
            return vec![Change::Append(attribute::ATTEMPTS, stored(attempt))];
        }
        let Self { mut attempts, mut omitted } = self.clone();
        attempts.push(attempt.clone());
        let until = attempts.len() - LAST_ATTEMPTS;
        for left_out in attempts.drain(FIRST_ATTEMPTS..until) {
            let count = omitted.entry(counted_as(&left_out, &omitted)).or_default();
            *count = count.saturating_add(1);
        }
        let omitted = Change::Set(attribute::OMITTED_ATTEMPTS, stored(&omitted));
        vec![Change::Set(attribute::ATTEMPTS, stored(&attempts)), omitted]
    }
}

/// The entry of the counts to which an attempt belongs.
fn counted_as(attempt: &AttemptRecord, omitted: &BTreeMap<String, u32>) -> String {
    let code = match (&attempt.error, attempt.outcome) {
        (Some(error), _) => error.code.as_str(),
        (None, Outcome::Lost) => LOST,
        (None, _) => OTHERS,
    };
    let is_counted = omitted.contains_key(code) || omitted.len() < MAX_OMITTED_CODES;
    (if is_counted { code } else { OTHERS }).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            item::Item,
            limits::MAX_RESULT_BYTES,
            record::{Failure, StepRecord},
        },
        testing::fixtures::at,
    };
    use proptest::prelude::*;

    /// DynamoDB's limit for an item.
    const MAX_ITEM_BYTES: usize = 400 * 1024;

    /// The share of the other attributes of a step's item: a done dependency for each of 100 steps, the last error, an owner.
    const OTHER_ATTRIBUTES: usize = 12 * 1024;

    fn attempt(number: u32, error: Option<Failure>) -> AttemptRecord {
        AttemptRecord {
            number,
            started_at: at(1_700_000_000),
            finished_at: Some(at(1_700_000_000)),
            outcome: if error.is_some() { Outcome::RetryableError } else { Outcome::Lost },
            error,
            next_retry_at: Some(at(1_700_000_000)),
            request_id: "r".repeat(36),
            throttled: true,
            refused: false,
        }
    }

    /// The step's item after these attempts, as the writes make it.
    fn after(attempts: impl Iterator<Item = AttemptRecord>) -> (StepRecord, Item) {
        let (mut step, mut item) = (StepRecord::untouched("s0"), Item::new());
        for attempt in attempts {
            step.trail().with(&attempt).into_iter().for_each(|change| change.apply(&mut item));
            step = StepRecord::from_item(crate::TaskId::new(), "s0", item.clone()).unwrap();
        }
        (step, item)
    }

    #[test]
    fn attempts_between_the_first_and_the_last_are_counted_by_code() {
        let error = |number: u32| match number {
            11..=20 => Some(Failure::new("BUSY", "later")),
            21 => None,
            _ => Some(Failure::new("DOWN", "no answer")),
        };
        let (step, item) = after((1..=50).map(|number| attempt(number, error(number))));
        assert_eq!((step.attempts.len(), step.omitted_attempts.len()), (50, 0));
        assert!(!item.contains_key(attribute::OMITTED_ATTEMPTS));
        let (step, _) = after((1..=100).map(|number| attempt(number, error(number))));
        let kept: Vec<u32> = step.attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(kept, (1..=10).chain(61..=100).collect::<Vec<_>>());
        let counts = [("BUSY", 10), ("DOWN", 39), ("lost", 1)].map(|(code, count)| (code.to_owned(), count));
        assert_eq!(step.omitted_attempts, BTreeMap::from(counts));
    }

    #[test]
    fn longer_trail_of_an_earlier_version_is_shortened_by_the_next_attempt() {
        let attempts = (1..=120).map(|number| attempt(number, None)).collect();
        let trail = Trail { attempts, omitted: BTreeMap::new() };
        let mut item = Item::new();
        trail.with(&attempt(121, None)).into_iter().for_each(|change| change.apply(&mut item));
        let step = StepRecord::from_item(crate::TaskId::new(), "s0", item).unwrap();
        assert_eq!((step.attempts.len(), step.omitted_attempts["lost"]), (50, 71));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn trail_of_any_attempts_fits_beside_the_largest_result_and_loses_no_count(
            errors in proptest::collection::vec(proptest::option::of((0u32..60, 0usize..2_000)), 0..300),
        ) {
            let error = |(code, length)| Failure::new(&format!("{code:C>100}"), &"\"".repeat(length));
            let attempts = (1..).zip(&errors).map(|(number, known)| attempt(number, known.map(error)));
            let (step, item) = after(attempts.clone());
            let bytes = item.get(attribute::ATTEMPTS).map_or(0, dynamo_bytes)
                + item.get(attribute::OMITTED_ATTEMPTS).map_or(0, dynamo_bytes);
            prop_assert!(bytes + MAX_RESULT_BYTES + OTHER_ATTRIBUTES <= MAX_ITEM_BYTES, "{} bytes", bytes);
            let omitted: u32 = step.omitted_attempts.values().sum();
            prop_assert_eq!(step.attempts.len() + usize::try_from(omitted).unwrap(), errors.len());
            let all: Vec<AttemptRecord> = attempts.collect();
            prop_assert!(all.iter().take(FIRST_ATTEMPTS).eq(step.attempts.iter().take(FIRST_ATTEMPTS)));
            let last = |attempts: &[AttemptRecord]| attempts.iter().rev().take(LAST_ATTEMPTS).cloned().collect::<Vec<_>>();
            prop_assert_eq!(last(&all), last(&step.attempts));
        }
    }

    /// The size of a value in DynamoDB: texts by their bytes, 21 bytes a number, 3 and one more for each entry of a list or a
    /// map.
    fn dynamo_bytes(value: &serde_json::Value) -> usize {
        use serde_json::Value::{Array, Bool, Null, Number, Object, String};
        match value {
            Null | Bool(_) => 1,
            Number(_) => 21,
            String(text) => text.len(),
            Array(entries) => 3 + entries.iter().map(|entry| 1 + dynamo_bytes(entry)).sum::<usize>(),
            Object(entries) => {
                3 + entries.iter().map(|(name, value)| 1 + name.len() + dynamo_bytes(value)).sum::<usize>()
            }
        }
    }
}
