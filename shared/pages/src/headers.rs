//! The headers of every answer: what a browser may do with it.

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::{Next, from_fn_with_state},
    response::Response,
};

/// Nothing is loaded but the application's own files, no script or style stands in a page, and no other page may show one of these in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// What a browser may do with the answers of an application.
#[derive(Clone, Debug)]
pub struct Headers {
    policy: HeaderValue,
}

impl Default for Headers {
    fn default() -> Self {
        Self { policy: HeaderValue::from_static(POLICY) }
    }
}

impl Headers {
    /// Those of an application whose scripts also ask this origin, such as `https://id.example.com`; `None` if it is not one.
    pub fn asking(origin: &str) -> Option<Self> {
        let is_part = |part: &str| !part.is_empty() && !part.contains([' ', ';', ',', '*', '/', '?', '#', '\'']);
        let (scheme, host) = origin.split_once("://")?;
        let policy = POLICY.replace("connect-src 'self'", &format!("connect-src 'self' {origin}"));
        let policy = HeaderValue::try_from(policy).ok()?;
        (is_part(scheme) && is_part(host)).then_some(Self { policy })
    }

    /// Adds them to the answers of these routes. An answer that does not say how long it may be kept is kept nowhere.
    pub fn around<S: Clone + Send + Sync + 'static>(self, routes: Router<S>) -> Router<S> {
        routes.layer(from_fn_with_state(self, add))
    }
}

async fn add(State(Headers { policy }): State<Headers>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.extend(HEADERS);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
