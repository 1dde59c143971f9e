//! From API Gateway's events to requests, and back.

use axum::{Router, response::Response};
use lambda_http::{Adapter, LambdaEvent, Service, request::LambdaRequest, tower::ServiceExt};
use serde::Serialize;
use std::convert::Infallible;

/// The API as Lambda calls it: what `lambda_http::run` would serve, without the queries.
///
/// No route reads a query, and `lambda_http` panics over one that is no part of a URL, such as `?a="`.
pub(crate) fn service(
    router: Router,
) -> impl Service<LambdaEvent<LambdaRequest>, Response = impl Serialize, Error = Infallible, Future: Send> {
    Adapter::<Response, Router>::from(router).map_request(|mut event: LambdaEvent<LambdaRequest>| {
        if let LambdaRequest::ApiGatewayV2(request) = &mut event.payload {
            request.raw_query_string = None;
        }
        event
    })
}
