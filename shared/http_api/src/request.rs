//! Data about a request that the API's host adds as extensions.

use crate::CommonError;
use axum::{
    extract::{FromRequestParts, Query},
    http::{HeaderMap, HeaderName, Method, request::Parts},
};
use std::{convert::Infallible, net::IpAddr};
use stepwell::{CorrelationId, IdempotencyKey, NotAKey, core::trace_parent::TraceParent};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The host's id of the request. All log lines about the request have it.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// The header by which a caller names what it does.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The name that a request's caller has for what it does: the header `X-Correlation-ID`, or else the id of the trace that the header `traceparent`
/// names, with the trace itself if there is one. What is no such header counts as none, because a proxy in between may have written it, and a
/// purchase must not fail for that.
pub(crate) fn named(headers: &HeaderMap) -> Option<CorrelationId> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let trace: Option<TraceParent> = text(TRACEPARENT).and_then(|text| text.parse().ok());
    match text(CORRELATION_ID).and_then(CorrelationId::new) {
        Some(named) => Some(named.within(trace)),
        None => trace.map(CorrelationId::of_trace),
    }
}

/// What a request and all that follows from it is called in the log: as its caller names it, or else the request's id.
#[derive(Clone, Debug)]
pub struct Correlation(pub Option<CorrelationId>);

impl<S: Sync> FromRequestParts<S> for Correlation {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let of_request = || parts.extensions.get().and_then(|RequestId(id)| CorrelationId::new(id));
        Ok(Self(named(&parts.headers).or_else(of_request)))
    }
}

/// The caller that the host has authenticated. A client cannot set it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its name, as the audit trail has it.
    pub name: String,
    /// What it may do.
    pub rights: Rights,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Look.
    Look,
    /// Look, and act on what is there.
    Mend,
    /// Look, act, and start tasks.
    Act,
    /// Look, act, start tasks, and see what tasks were started with: personal data.
    All,
}

impl Rights {
    /// Whether requests of this method are among it.
    pub fn allow(self, method: &Method) -> bool {
        self != Self::Look || matches!(*method, Method::GET | Method::HEAD)
    }

    /// Whether the start of tasks is among it.
    pub const fn may_start(self) -> bool {
        matches!(self, Self::Act | Self::All)
    }
}

/// The IP address that the host was called from; `None` where the host does not say. A client cannot set it. Behind a proxy of
/// your own it is the proxy's.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(None)))
    }
}

/// Returns the idempotency key of a request, from its header `Idempotency-Key`. The key of each caller is a different one.
///
/// # Errors
/// [`CommonError::BadKey`].
pub fn idempotency_key(headers: &HeaderMap, caller: Option<&str>) -> Result<Option<IdempotencyKey>, CommonError> {
    let Some(value) = headers.get("Idempotency-Key") else { return Ok(None) };
    let text = value.to_str().map_err(|_| CommonError::BadKey("it is not ASCII text".to_owned()))?;
    let key: IdempotencyKey = text.parse().map_err(|problem: NotAKey| CommonError::BadKey(problem.to_string()))?;
    Ok(Some(match caller {
        Some(caller) => key.of_caller(caller),
        None => key,
    }))
}

/// The fields of the query, if the host has taken them out of the URL.
#[derive(Clone, Debug)]
pub struct QueryFields(pub Vec<(String, String)>);

/// Returns the fields of a request's query, with repeated ones.
pub fn query_fields(request: &Parts) -> Vec<(String, String)> {
    match request.extensions.get::<QueryFields>() {
        Some(QueryFields(fields)) => fields.clone(),
        // A query of pairs of texts always parses, so an error means no fields.
        None => Query::try_from_uri(&request.uri).map(|Query(fields)| fields).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use test_case::test_case;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// 65 characters.
    const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123x";

    #[test_case(&[("x-correlation-id", "order-17"), ("traceparent", TRACE)] => Some("order-17".to_owned()))]
    #[test_case(&[("traceparent", TRACE)] => Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()))]
    #[test_case(&[("x-correlation-id", "two words"), ("traceparent", TRACE)] => Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()))]
    #[test_case(&[("x-correlation-id", LONG)] => Some("the-request".to_owned()); "too long")]
    #[test_case(&[("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")] => Some("the-request".to_owned()); "no trace")]
    #[test_case(&[("traceparent", "00-short-01")] => Some("the-request".to_owned()))]
    #[test_case(&[] => Some("the-request".to_owned()))]
    #[tokio::test]
    async fn request_is_called_as_its_caller_names_it(headers: &[(&str, &str)]) -> Option<String> {
        let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(RequestId("the-request".to_owned()));
        let Correlation(id) = Correlation::from_request_parts(&mut parts, &()).await.unwrap();
        id.map(|id| id.as_str().to_owned())
    }

    #[test]
    fn query_is_read_from_the_url_unless_the_host_has_taken_it_out() {
        let (mut parts, ()) = Request::get("/tasks?a=1&b=x%20y&a=%ff&c").body(()).unwrap().into_parts();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(query_fields(&parts), [pair("a", "1"), pair("b", "x y"), pair("a", "\u{FFFD}"), pair("c", "")]);
        parts.extensions.insert(QueryFields(vec![pair("d", "2")]));
        assert_eq!(query_fields(&parts), [pair("d", "2")]);
    }
}
