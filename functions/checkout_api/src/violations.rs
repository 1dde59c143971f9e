//! Schema violations of a request, with paths into the client's body.

use stepwell::Violation;

/// The field of the body that holds the request.
pub(crate) const FIELD: &str = "checkout";

/// Converts the engine's violations of the request to violations of the body.
pub(crate) fn of_body(found: Vec<Violation>) -> Vec<Violation> {
    http_api::violations_below(&pointer(FIELD), found)
}

/// Makes the JSON pointer to a field of the body.
pub(crate) fn pointer(name: &str) -> String {
    http_api::pointer("", name)
}
