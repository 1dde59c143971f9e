//! Schema violations of a request, with paths into the client's body.

use stepwell::Violation;

/// The field of the body that holds the request.
pub(crate) const FIELD: &str = "checkout";

/// The most violations in an answer. The answer to a body full of faults would otherwise be many times the size of the
/// body, and Lambda refuses answers above 6 MB.
pub(crate) const MOST: usize = 100;

/// Converts the engine's violations of the request to violations of the body.
pub(crate) fn of_body(found: Vec<Violation>) -> Vec<Violation> {
    let more = found.len().saturating_sub(MOST);
    let root = pointer(FIELD);
    let shown = found.into_iter().take(MOST);
    let shown = shown.map(|Violation { path, message }| Violation { path: format!("{root}{path}"), message });
    let rest = (more > 0).then(|| Violation { path: root.clone(), message: format!("and {more} more like these") });
    shown.chain(rest).collect()
}

/// Makes the JSON pointer to a field of the body.
pub(crate) fn pointer(name: &str) -> String {
    http_api::pointer("", name)
}
