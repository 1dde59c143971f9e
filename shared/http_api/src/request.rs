//! Data about a request that the API's host adds as extensions.

use crate::CommonError;
use axum::{
    extract::{FromRequestParts, Query},
    http::{HeaderMap, request::Parts},
};
use std::{convert::Infallible, net::IpAddr};
use stepwell::{IdempotencyKey, NotAKey};

/// The host's id of the request. All log lines about the request have it.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// The caller that the host has authenticated. A client cannot set it.
#[derive(Clone, Debug)]
pub struct Caller(pub String);

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

    #[test]
    fn query_is_read_from_the_url_unless_the_host_has_taken_it_out() {
        let (mut parts, ()) = Request::get("/tasks?a=1&b=x%20y&a=%ff&c").body(()).unwrap().into_parts();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(query_fields(&parts), [pair("a", "1"), pair("b", "x y"), pair("a", "\u{FFFD}"), pair("c", "")]);
        parts.extensions.insert(QueryFields(vec![pair("d", "2")]));
        assert_eq!(query_fields(&parts), [pair("d", "2")]);
    }
}
