//! The physical names of a step's queue and function.
//!
//! A plan, a message and an index hold the *logical* names of workflow and step, which may have 48 characters each. SQS
//! allows 80 characters for a queue and Lambda 64 for a function, and both names contain the stage as well. So the
//! *physical* name is `stepwell-STAGE-WORKFLOW-STEP`, with at most [`MAX_STAGE`], [`MAX_WORKFLOW`] and [`MAX_STEP`]
//! characters: 61 in all. That leaves three for a version, such as `-v2`.

use crate::core::hex::hex;
use sha2::{Digest, Sha256};

/// The maximum length of a stage such as `dev`, in characters.
pub const MAX_STAGE: usize = 10;

/// The maximum length of the workflow's part of a physical name, in characters.
pub const MAX_WORKFLOW: usize = 16;

/// The maximum length of the step's part of a physical name, in characters.
pub const MAX_STEP: usize = 24;

/// The number of characters of the hash at the end of a shortened name: 24 bits. If two names of a workflow collide all
/// the same, the template would have two queues of one name, and is refused.
const HASH_CHARACTERS: usize = 6;

/// The end of the physical name of a step's queue and function: `WORKFLOW-STEP`, each shortened to its maximum. A shortened
/// name ends in `-` and a part of its hash, so that two long names with the same beginning stay different.
pub fn step_resource(workflow: &str, step: &str) -> String {
    format!("{}-{}", shortened(workflow, MAX_WORKFLOW), shortened(step, MAX_STEP))
}

/// Extracts the name from `namespace/name@version`. A name has no `/` and a namespace no `@`.
pub fn workflow_name(id: &str) -> &str {
    let named = id.split_once('@').map_or(id, |(named, _)| named);
    named.rsplit_once('/').map_or(named, |(_, name)| name)
}

/// Returns the name if it fits, else its beginning, `-`, and the beginning of its SHA-256 in hexadecimal digits.
fn shortened(name: &str, limit: usize) -> String {
    if name.chars().count() <= limit {
        return name.to_owned();
    }
    let kept: String = name.chars().take(limit.saturating_sub(HASH_CHARACTERS + 1)).collect();
    let hash = hex(Sha256::digest(name));
    format!("{kept}-{}", hash.chars().take(HASH_CHARACTERS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_not_shortened() {
        assert_eq!(step_resource("checkout", "validate_cart"), "checkout-validate_cart");
        assert_eq!(step_resource(&"w".repeat(16), &"s".repeat(24)), format!("{}-{}", "w".repeat(16), "s".repeat(24)));
    }

    #[test]
    fn shortened_names_fit_and_stay_different() {
        let named =
            |end: &str| step_resource("a_workflow_of_a_long_name", &format!("a_step_with_a_very_long_name_{end}"));
        let (one, other) = (named("one"), named("other"));
        assert_ne!(one, other);
        assert_eq!(one.len(), MAX_WORKFLOW + 1 + MAX_STEP);
        assert!(one.starts_with("a_workflo-") && one.contains("-a_step_with_a_ver-"), "{one}");
    }
}
