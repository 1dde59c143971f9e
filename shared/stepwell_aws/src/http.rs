//! From API Gateway's events to requests, and back.

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    middleware::{Next, from_fn},
    response::Response,
};
use http_api::{Caller, CommonError, QueryFields, RequestId};
use lambda_http::{
    Adapter, LambdaEvent, RequestExt, Service,
    aws_lambda_events::apigw::{ApiGatewayRequestAuthorizer, ApiGatewayV2httpRequest},
    lambda_runtime,
    request::{LambdaRequest, RequestContext},
    service_fn,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// An event of API Gateway: a request, or why it is none.
///
/// Reading one never fails. Where it did, the runtime would answer in our place, and its answer is a Rust type's name, of
/// which API Gateway makes a 502.
#[derive(Debug)]
pub struct Event(Result<LambdaRequest, Unreadable>);

/// Why an event is not a request.
#[derive(Clone, Debug)]
enum Unreadable {
    /// A header is none; its name, unless that is what is wrong.
    Header(Option<String>),
    /// The client has sent something else that no request can hold.
    Request,
    /// It is not an event of API Gateway, so the function is wired to something else. For the log.
    Event(String),
}

impl From<Unreadable> for CommonError {
    fn from(why: Unreadable) -> Self {
        match why {
            Unreadable::Header(name) => Self::BadHeader(name),
            Unreadable::Request => Self::NotHttp,
            Unreadable::Event(cause) => Self::Broken(cause),
        }
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let request = serde_json::from_str(text.get());
        Ok(Self(request.map(readable).map_err(|error| unreadable(text.get(), &error))))
    }
}

/// The request without what `lambda_http` would panic over: a query that is no part of a URL, such as `?a="`, and a host
/// that is none. The query goes beside the URL ([`lambda_http::RequestExt::query_string_parameters_ref`]); the host is
/// API Gateway's affair and is left out.
fn readable(mut event: LambdaRequest) -> LambdaRequest {
    if let LambdaRequest::ApiGatewayV2(request) = &mut event {
        let query = request.raw_query_string.take().unwrap_or_default();
        request.query_string_parameters = query.parse().unwrap_or_default();
        request.headers.remove(header::HOST);
        request.request_context.domain_name = None;
    }
    event
}

/// Looks for the header that kept an event from being read. It is refused and not left out: a request without its
/// `Idempotency-Key` is another request.
fn unreadable(event: &str, error: &serde_json::Error) -> Unreadable {
    #[derive(Deserialize)]
    struct Sent {
        headers: BTreeMap<String, String>,
    }
    let headers = serde_json::from_str(event).map(|Sent { headers }| headers).unwrap_or_default();
    let fault = headers.into_iter().find_map(|(name, value)| match HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => Some(Unreadable::Header(None)),
        Ok(name) if HeaderValue::from_bytes(value.as_bytes()).is_err() => {
            Some(Unreadable::Header(Some(name.to_string())))
        }
        Ok(_) => None,
    });
    fault.unwrap_or_else(|| Unreadable::Event(error.to_string()))
}

/// Serves an API to Lambda's invocations until Lambda ends the process.
///
/// # Errors
/// The runtime API does not answer.
pub async fn serve(router: Router) -> Result<(), lambda_http::Error> {
    lambda_runtime::run(service(router)).await
}

/// Hands on what the event says of a request, in words that are no longer Lambda's.
async fn with_context(mut request: Request, next: Next) -> Response {
    let id = request.lambda_context_ref().map(|context| RequestId(context.request_id.clone()));
    let query = request
        .query_string_parameters_ref()
        .map(|query| QueryFields(query.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()));
    let caller = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.authorizer.as_ref().and_then(caller),
        _ => None,
    };
    let extensions = request.extensions_mut();
    id.and_then(|id| extensions.insert(id));
    query.and_then(|query| extensions.insert(query));
    caller.and_then(|caller| extensions.insert(caller));
    next.run(request).await
}

/// The name that the authorizer has found: the ARN of an IAM identity, or the subject of a token and its issuer. It is
/// taken from the event alone.
fn caller(authorizer: &ApiGatewayRequestAuthorizer) -> Option<Caller> {
    let name = match (&authorizer.iam, &authorizer.jwt) {
        (Some(iam), _) => iam.user_arn.clone()?,
        (None, Some(jwt)) => {
            let claim = |name| jwt.claims.get(name).filter(|value: &&String| !value.is_empty());
            format!("{} ({})", claim("sub")?, claim("iss")?)
        }
        (None, None) => return None,
    };
    Some(Caller(name))
}

/// An API as Lambda calls it: what `lambda_http::run` would serve, except that every event is answered by us.
pub fn service(
    router: Router,
) -> impl Service<LambdaEvent<Event>, Response = impl Serialize, Error = Infallible, Future: Send> {
    let router = router.layer(from_fn(with_context));
    service_fn(move |LambdaEvent { payload: Event(request), context }: LambdaEvent<Event>| {
        let call = |router: Router, request| {
            let event = LambdaEvent::new(request, context.clone());
            Adapter::<Response, Router>::from(router).call(event)
        };
        // The request is built within the call, and a path that is longer than a URL may be is a panic there.
        let called = request.and_then(|request| {
            catch_unwind(AssertUnwindSafe(|| call(router.clone(), request))).map_err(|_| Unreadable::Request)
        });
        called.unwrap_or_else(|why| call(refuse(why), LambdaRequest::ApiGatewayV2(ApiGatewayV2httpRequest::default())))
    })
}

/// An API that refuses whatever it is asked.
fn refuse(why: Unreadable) -> Router {
    const AT_ONCE: Duration = Duration::from_secs(1);
    http_api::refusing(move || why.clone().into(), AT_ONCE).layer(from_fn(with_context))
}

#[cfg(test)]
mod tests;
