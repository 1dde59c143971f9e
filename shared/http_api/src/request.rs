//! What the host of an API knows of a request, beside the request itself. It comes as extensions.

use axum::{extract::Query, http::request::Parts};

/// The host's own name for the request, by which every line that it logs about this request is found.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Who has made the request, as the host has found out. A client cannot write to it.
#[derive(Clone, Debug)]
pub struct Caller(pub String);

/// The fields of the query, where the host has taken them out of the URL.
#[derive(Clone, Debug)]
pub struct QueryFields(pub Vec<(String, String)>);

/// The fields of a request's query, as often as they are there.
pub fn query_fields(request: &Parts) -> Vec<(String, String)> {
    match request.extensions.get::<QueryFields>() {
        Some(QueryFields(fields)) => fields.clone(),
        // What is no field is none; a query of pairs of texts can always be read.
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
