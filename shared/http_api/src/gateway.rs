//! From API Gateway's events to requests, and back.

use axum::{Router, response::Response};
use lambda_http::{Adapter, LambdaEvent, Service, request::LambdaRequest, tower::ServiceExt};
use serde::Serialize;
use std::convert::Infallible;

/// An API as Lambda calls it: what `lambda_http::run` would serve, with the query beside the URL instead of in it
/// ([`lambda_http::RequestExt::query_string_parameters_ref`]).
///
/// `lambda_http` panics over a query that is no part of a URL, such as `?a="`.
pub fn service(
    router: Router,
) -> impl Service<LambdaEvent<LambdaRequest>, Response = impl Serialize, Error = Infallible, Future: Send> {
    Adapter::<Response, Router>::from(router).map_request(|mut event: LambdaEvent<LambdaRequest>| {
        if let LambdaRequest::ApiGatewayV2(request) = &mut event.payload {
            let query = request.raw_query_string.take().unwrap_or_default();
            request.query_string_parameters = query.parse().unwrap_or_default();
        }
        event
    })
}
