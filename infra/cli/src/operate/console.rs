//! `stepwell console`: serves the console on this machine, and passes on what its pages ask, in the name of whoever runs the command.
//!
//! So a stack in AWS needs nothing more: who may do what is decided there, by the person's own credentials.

use super::{
    api::{Api, Caller, Exchange, IDEMPOTENCY_KEY, LAST_EVENT_ID, OPERATOR},
    failure::{Failure, Kind},
    output::say,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use console::{Console, Operator, Settings};
use http_api::{Rights, refusal};
use std::{sync::Arc, time::Duration};
use tokio::signal::ctrl_c;

/// The most bytes that a page sends: more than the API takes.
const MOST: usize = 1 << 20;

/// How long open requests are waited for at the end.
const GRACE: Duration = Duration::from_secs(1);

/// The name of an owner of one machine whom the system does not name, as the shop calls them.
const OWNER: &str = "operator";

/// Serves it until Ctrl-C.
pub(super) async fn serve(api: Api, port: u16, read_only: bool) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(Kind::NoAnswer, error.to_string());
    let listener = loopback::listen(port).await.map_err(|error| failed(&error))?;
    let base = format!("http://{}", listener.local_addr().map_err(|error| failed(&error))?);
    let console = Console::new(Settings {
        place: place(&api),
        operator: operator(&api.caller),
        token: None,
        rights: if read_only { Rights::Look } else { Rights::Act },
        metered: !matches!(api.caller, Caller::Owner(..)),
        codes: checkout::error_codes().collect(),
    });
    let console = console.map_err(|error| failed(&error))?;
    // Before any page is opened: whether it answers, and lets this person in.
    api.get(&["tasks"], &[("limit", "1".to_owned())]).await?;
    say(format_args!("console  {}   (logs in once; Ctrl-C ends it)", console.link(&base)));
    let router = console.router(Router::new().fallback(pass_on).with_state(Arc::new(api)));
    let stop = async { drop(ctrl_c().await) };
    loopback::serve(listener, router, stop, GRACE).await.map_err(|error| failed(&error))
}

/// What the console is about, in words.
fn place(api: &Api) -> String {
    match api.options.trim().trim_start_matches("--") {
        "" => api.url.clone(),
        options => options.to_owned(),
    }
}

fn operator(caller: &Caller) -> Operator {
    match caller {
        Caller::Token(_) => Operator::Known("the owner of the token".to_owned()),
        Caller::Owner(_, name) => Operator::Named(name.as_deref().unwrap_or(OWNER).to_owned()),
        Caller::Signed(_) | Caller::Customer => Operator::Known("your AWS credentials".to_owned()),
    }
}

/// Asks the API what a page has asked, and answers as it does.
async fn pass_on(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(body) = text(body).await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large, or no text");
    };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    // A stack says who acts by the credentials alone.
    let operator = matches!(api.caller, Caller::Owner(..)).then_some(OPERATOR);
    let taken = [Some(IDEMPOTENCY_KEY), Some(LAST_EVENT_ID), operator].into_iter().flatten();
    let headers: HeaderMap =
        taken.filter_map(|name| parts.headers.get(&name).cloned().map(|value| (name, value))).collect();
    match api.exchange(parts.method, target, Some(body).filter(|body| !body.is_empty()), headers).await {
        // To the pages a 401 is the end of their own session, which this is not.
        Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => {
            let failure = api.refused(answer.status, None, answer.text, false);
            refusal(StatusCode::FORBIDDEN, failure.to_string())
        }
        Ok(Exchange { status, retry_after, content_type, text }) => {
            let form = content_type.map(|form| [(header::CONTENT_TYPE, form)]);
            let wait = retry_after.map(|seconds| [(header::RETRY_AFTER, HeaderValue::from(seconds))]);
            (status, form, wait, text).into_response()
        }
        Err(failure) => refusal(StatusCode::BAD_GATEWAY, failure.to_string()),
    }
}

async fn text(body: Body) -> Option<String> {
    String::from_utf8(to_bytes(body, MOST).await.ok()?.into()).ok()
}
