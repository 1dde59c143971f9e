//! Who may ask an API for operators on this machine: what an authorizer of API Gateway does on AWS.

mod metrics;
mod secret;
#[cfg(test)]
mod tests;

pub use metrics::{Metrics, MetricsError};
pub use secret::{Secret, SecretError};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn},
    response::IntoResponse,
};
use http_api::{Caller, Rights, refusal};
use stepwell::Actor;

/// The header by which operators say who they are. Whoever has the token is believed.
pub const OPERATOR_HEADER: &str = "x-operator";

/// The name of an operator who does not say one.
const OPERATOR: &str = "operator";

/// Lets only those requests pass to an API that carry this token, and tells it who sends them, as [`named`] does. Anybody may call the
/// `open` routes.
pub fn for_operators(router: Router, open: Router, token: Secret) -> Router {
    let guarded = named(router).layer(from_fn(move |request: Request, next: Next| {
        let authorized = has_token(request.headers(), &token);
        async move {
            if authorized {
                return next.run(request).await;
            }
            let text = "The operators' API needs the header Authorization: Bearer TOKEN; the program that serves it says at its start \
                        which file has the token";
            let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
            (challenge, refusal(StatusCode::UNAUTHORIZED, text)).into_response()
        }
    }));
    guarded.merge(open)
}

/// Tells the API who sends each request, which has been let in: [`OPERATOR_HEADER`] may say so.
pub fn named(router: Router) -> Router {
    router.layer(from_fn(async |mut request: Request, next: Next| {
        let Some(caller) = caller(request.headers()) else {
            let text = format!(
                "The header {OPERATOR_HEADER} has to be a name of 1 to {most} characters in UTF-8, without control characters",
                most = Actor::MAX_WHO
            );
            return refusal(StatusCode::BAD_REQUEST, text);
        };
        request.extensions_mut().insert(caller);
        next.run(request).await
    }))
}

fn has_token(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    given.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("bearer") && token.is(given.trim()))
}

/// The operator, as the audit trail names them; `None` for a name that it cannot store.
fn caller(headers: &HeaderMap) -> Option<Caller> {
    let name = match headers.get(OPERATOR_HEADER) {
        Some(name) => str::from_utf8(name.as_bytes()).ok()?,
        None => OPERATOR,
    };
    Actor::new(name, "-").ok().map(|_| Caller { name: name.to_owned(), rights: Rights::All })
}
