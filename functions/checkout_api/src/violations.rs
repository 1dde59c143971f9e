//! What is wrong with a request, with the paths that its client gets to see.

use stepwell::Violation;

/// The field of the body that holds the request.
pub(crate) const FIELD: &str = "checkout";

/// No more are listed: a body of nothing but mistakes would make an answer many times its own size, and Lambda
/// refuses to pass on more than 6 MB.
pub(crate) const MOST: usize = 100;

/// The engine's violations of the request, with paths into the body that the client sent.
pub(crate) fn of_body(found: Vec<Violation>) -> Vec<Violation> {
    let more = found.len().saturating_sub(MOST);
    let root = pointer(FIELD);
    let shown = found.into_iter().take(MOST);
    let shown = shown.map(|Violation { path, message }| Violation { path: format!("{root}{path}"), message });
    let rest = (more > 0).then(|| Violation { path: root.clone(), message: format!("and {more} more like these") });
    shown.chain(rest).collect()
}

/// The JSON pointer to a field of the body.
pub(crate) fn pointer(name: &str) -> String {
    http_api::pointer("", name)
}
