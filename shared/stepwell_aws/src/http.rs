//! The HTTP adapter: converts API Gateway's events to requests, and the responses back; and the secrets of task keys.

mod task_keys;

pub use task_keys::task_keys_from_env;

use crate::serve::{export_spans, invocation};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
};
use http_api::{Caller, ClientAddress, CommonError, QueryFields, RequestId, Rights};
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
    sync::Arc,
    time::Duration,
};

/// An event of API Gateway: a request, or the reason why it is not one.
///
/// Deserialization never fails. If it did, the runtime would answer with the name of a Rust type, and API Gateway would
/// turn that into a 502.
#[derive(Debug)]
pub struct Event(Result<LambdaRequest, InvalidEvent>);

/// The reason why an event is not a request.
#[derive(Clone, Debug)]
enum InvalidEvent {
    /// A header is invalid. It has the header's name, unless the name itself is invalid.
    Header(Option<String>),
    /// Another part of the client's request is invalid.
    Request,
    /// The event is not from API Gateway, so the function has a wrong trigger. The text is for the log.
    Event(String),
}

impl From<InvalidEvent> for CommonError {
    fn from(why: InvalidEvent) -> Self {
        match why {
            InvalidEvent::Header(name) => Self::BadHeader(name),
            InvalidEvent::Request => Self::NotHttp,
            InvalidEvent::Event(cause) => Self::Broken(cause),
        }
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let request = serde_json::from_str(text.get());
        Ok(Self(request.map(without_invalid_parts).map_err(|error| invalid_event(text.get(), &error))))
    }
}

/// Removes the parts of a request on which `lambda_http` would panic: a query that is invalid in a URL, such as `?a="`,
/// and an invalid host. The query is passed beside the URL ([`lambda_http::RequestExt::query_string_parameters_ref`]).
/// The routes do not need the host.
fn without_invalid_parts(mut event: LambdaRequest) -> LambdaRequest {
    if let LambdaRequest::ApiGatewayV2(request) = &mut event {
        let query = request.raw_query_string.take().unwrap_or_default();
        request.query_string_parameters = query.parse().unwrap_or_default();
        request.headers.remove(header::HOST);
        request.request_context.domain_name = None;
    }
    event
}

/// Finds the invalid header of an event. The request is refused instead of handled without the header, because a
/// request without its `Idempotency-Key` is another request.
fn invalid_event(event: &str, error: &serde_json::Error) -> InvalidEvent {
    #[derive(Deserialize)]
    struct Sent {
        headers: BTreeMap<String, String>,
    }
    let headers = serde_json::from_str(event).map(|Sent { headers }| headers).unwrap_or_default();
    let header = headers.into_iter().find_map(|(name, value)| match HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => Some(InvalidEvent::Header(None)),
        Ok(name) if HeaderValue::from_bytes(value.as_bytes()).is_err() => {
            Some(InvalidEvent::Header(Some(name.to_string())))
        }
        Ok(_) => None,
    });
    header.unwrap_or_else(|| InvalidEvent::Event(error.to_string()))
}

/// Serves an API to Lambda's invocations until Lambda ends the process. The people of a console are known by the environment: they have tokens of
/// the issuer `STEPWELL_CONSOLE_ISSUER`, a user pool of Cognito.
///
/// # Errors
/// The runtime API does not answer.
pub async fn serve(router: Router) -> Result<(), lambda_http::Error> {
    // The answer leaves with the invocation's end, after which Lambda may stop the process.
    let exporting = from_fn(async |request: Request, next: Next| {
        let invocation = request.lambda_context_ref().map(invocation);
        let response = next.run(request).await;
        if let Some(invocation) = invocation {
            export_spans(&invocation).await;
        }
        response
    });
    let issuers = Issuers {
        people: std::env::var("STEPWELL_CONSOLE_ISSUER").ok(),
        // The namespace of the metrics is the stack's name.
        stack: std::env::var("STEPWELL_METRICS").ok(),
    };
    lambda_runtime::run(service(router.layer(exporting), issuers)).await
}

/// What tells whose token has which rights.
#[derive(Debug, Default)]
struct Issuers {
    /// The issuer of the tokens of a console's people; `None` where no console is open to the network.
    people: Option<String>,
    /// The name of the stack, which Cognito puts before a scope.
    stack: Option<String>,
}

/// Adds the event's request id, caller and query to the request, in types that do not depend on Lambda.
async fn with_context(State(issuers): State<Arc<Issuers>>, mut request: Request, next: Next) -> Response {
    let id = request.lambda_context_ref().map(|context| RequestId(context.request_id.clone()));
    let query = request
        .query_string_parameters_ref()
        .map(|query| QueryFields(query.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()));
    let context = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => Some(context),
        _ => None,
    };
    let caller = context.and_then(|context| context.authorizer.as_ref());
    let caller =
        caller.and_then(|authorizer| self::caller(authorizer, rights_by(context?.route_key.as_deref()), &issuers));
    let address = context.and_then(|context| context.http.source_ip.as_deref()?.parse().ok());
    let extensions = request.extensions_mut();
    id.and_then(|id| extensions.insert(id));
    query.and_then(|query| extensions.insert(query));
    caller.and_then(|caller| extensions.insert(caller));
    extensions.insert(ClientAddress(address));
    next.run(request).await
}

/// The scope of a token whose owner may start tasks.
const START: &str = "start";

/// The group of a console's people who may act.
const OPERATORS: &str = "operators";

/// What a request may do that API Gateway has let through by this route, whose right it has checked. Who may act may not see inputs: that has a route of
/// its own. Its path alone proves nothing, because a path such as `/tasks/ID/%2e/reveal` comes by another route and means the same.
fn rights_by(route: Option<&str>) -> Rights {
    if route.is_some_and(|route| route.ends_with("/reveal")) { Rights::All } else { Rights::Act }
}

/// Reads the caller that the authorizer has authenticated: the ARN of an IAM identity, the name of one of the console's people, or the subject and the
/// issuer of another token. No part of the client's request can set it. IAM and the scopes of other issuers have decided before what a caller
/// may do, but for the start of tasks, which is no route of its own: a token needs the scope [`START`] for it. Cognito gives all people of a client the
/// same scopes, so what they may do is decided here.
fn caller(authorizer: &ApiGatewayRequestAuthorizer, rights: Rights, issuers: &Issuers) -> Option<Caller> {
    if let Some(iam) = &authorizer.iam {
        return Some(Caller { name: iam.user_arn.clone()?, rights });
    }
    let claims = &authorizer.jwt.as_ref()?.claims;
    let claim = |name| claims.get(name).filter(|value: &&String| !value.is_empty());
    let issuer = claim("iss")?;
    if issuers.people.as_ref() != Some(issuer) {
        // As API Gateway reads them: a text, or an array that comes as `[one two]`.
        let scopes = claim("scope").or_else(|| claim("scp")).map_or("", String::as_str);
        let scopes = scopes.strip_prefix('[').and_then(|scopes| scopes.strip_suffix(']')).unwrap_or(scopes);
        let of_stack = issuers.stack.as_ref().map(|stack| format!("{stack}/{START}"));
        let may_start = scopes.split(' ').any(|scope| scope == START || Some(scope) == of_stack.as_deref());
        let rights = if rights == Rights::Act && !may_start { Rights::Mend } else { rights };
        return Some(Caller { name: format!("{} ({issuer})", claim("sub")?), rights });
    }
    // An array comes as `[one two]`. The name of a group has no blank.
    let groups = claim("cognito:groups").and_then(|groups| groups.strip_prefix('[')?.strip_suffix(']'));
    let may_act = groups.is_some_and(|groups| groups.split(' ').any(|group| group == OPERATORS));
    // No name of another caller ends like this, whatever a person is called.
    let name = format!("{} (console)", claim("username")?);
    Some(Caller { name, rights: if may_act { Rights::All } else { Rights::Look } })
}

/// Wraps an API for Lambda, as `lambda_http::run` does. In addition it answers events that are not requests.
fn service(
    router: Router,
    issuers: Issuers,
) -> impl Service<LambdaEvent<Event>, Response = impl Serialize, Error = Infallible, Future: Send> {
    let router = router.layer(from_fn_with_state(Arc::new(issuers), with_context));
    service_fn(move |LambdaEvent { payload: Event(request), context }: LambdaEvent<Event>| {
        let call = |router: Router, request| {
            let event = LambdaEvent::new(request, context.clone());
            Adapter::<Response, Router>::from(router).call(event)
        };
        // `lambda_http` builds the request within the call and panics there if the path is longer than a URL may be.
        let called = request.and_then(|request| {
            catch_unwind(AssertUnwindSafe(|| call(router.clone(), request))).map_err(|_| InvalidEvent::Request)
        });
        called.unwrap_or_else(|why| call(refuse(why), LambdaRequest::ApiGatewayV2(ApiGatewayV2httpRequest::default())))
    })
}

/// Makes an API that refuses every request for this reason.
fn refuse(why: InvalidEvent) -> Router {
    const AT_ONCE: Duration = Duration::from_secs(1);
    http_api::refusing(move || why.clone().into(), AT_ONCE)
        .layer(from_fn_with_state(Arc::<Issuers>::default(), with_context))
}

#[cfg(test)]
mod tests;
