//! Schema violations in answers, with paths into the client's body.

use stepwell::Violation;

/// The most violations in an answer. The answer to a body full of faults would otherwise be many times the size of the
/// body, and Lambda refuses answers above 6 MB.
pub const MOST_VIOLATIONS: usize = 100;

/// Converts violations of what stands in the body at `root`, a JSON pointer, to violations of the body.
pub fn violations_below(root: &str, found: Vec<Violation>) -> Vec<Violation> {
    let more = found.len().saturating_sub(MOST_VIOLATIONS);
    let shown = found.into_iter().take(MOST_VIOLATIONS);
    let shown = shown.map(|Violation { path, message }| Violation { path: format!("{root}{path}"), message });
    let rest = (more > 0).then(|| Violation { path: root.to_owned(), message: format!("and {more} more like these") });
    shown.chain(rest).collect()
}
