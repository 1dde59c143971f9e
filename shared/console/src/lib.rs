//! The console: pages for operators in a browser, in front of the operators' API.
//!
//! [`Console::router`] serves the pages under `/console/` and the API under `/api/`, to whoever has logged in. The pages are files of this
//! crate's folder `assets`, as they are written: nothing builds them, and they are part of the program. They ask the API and nothing else.
//!
//! **Who gets in.** A link with a code ([`Console::link`]) logs in once, and a token logs in where there is one. Both begin a session: a
//! signed cookie that no script can read, which ends after [`SESSION`]. The code stands behind the `#` of the link, so a browser
//! sends it in no address. The link itself is printed: whoever reads it there, before it is used and within [`LINK`], gets in.
//!
//! **What a page of another site can do.** Nothing: a request has to carry a header that a browser lets only this console's pages send,
//! its `Origin` has to be this host's, and the cookie is `SameSite=Strict`. The `Content-Security-Policy` allows no script but the console's own.
//!
//! Of a console that the network can reach, people log in at the pages of a provider ([`Login`]), and there is no cookie.

mod open;
mod session;
#[cfg(test)]
mod tests;

pub use open::{Login, for_people};
pub use session::{LINK, SESSION};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State, rejection::JsonRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http_api::{Rights, refusal};
use pages::{Headers, Pages};
use serde::Serialize;
use session::{Credentials, Sessions};
use std::{collections::BTreeMap, io, sync::Arc, time::SystemTime};
use stepwell::core::codes::CodeEntry;

/// The header that every request of the pages carries. A page of another origin may send it only if this server allows it, which it never does.
const PAGE_HEADER: &str = "x-stepwell-console";

/// What a console is about.
#[derive(Debug)]
pub struct Settings {
    /// The shop that it shows, such as `stack stepwell-prod`.
    pub place: String,
    /// Who acts.
    pub operator: Operator,
    /// The token that logs in, besides the link; `None` where only the link does.
    pub token: Option<String>,
    /// What the pages may do. If they may only look, no action passes.
    pub rights: Rights,
    /// Whether each request costs money, as those to a stack do. Then the pages ask less often.
    pub metered: bool,
    /// The error codes that tasks may have, which the pages explain.
    pub codes: Vec<&'static CodeEntry>,
}

/// Who acts in the audit trail.
#[derive(Clone, Debug)]
pub enum Operator {
    /// The API says who, by the credentials of the request. This text describes them.
    Known(String),
    /// Whoever the request names in the header `X-Operator`; this name unless the person says another.
    Named(String),
}

/// A console that nobody has logged in to yet.
#[derive(Debug)]
pub struct Console {
    settings: Settings,
    sessions: Sessions,
    code: String,
}

impl Console {
    /// Makes the link's code and what signs the sessions. With a token they are signed by it, so they outlive the process.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let (sessions, code) = Sessions::new(settings.token.clone())?;
        Ok(Self { settings, sessions, code })
    }

    /// The address that logs in, once and within [`LINK`]. `base` is the URL of the port that serves the console.
    pub fn link(&self, base: &str) -> String {
        format!("{base}/console/#login={}", self.code)
    }

    /// Serves the pages under `/console/`, and this API under `/api/` to whoever has logged in.
    pub fn router(self, api: Router) -> Router {
        let pages = pages(&self.settings.codes).route("/", get(async || Redirect::temporary("/console/")));
        let console = Arc::new(self);
        let api = api.layer(from_fn_with_state(console.clone(), require_session));
        let of_session = get(show_session).post(log_in).delete(log_out).with_state(console);
        let for_pages =
            Router::new().nest("/api", api).route("/console/session", of_session).layer(from_fn(of_own_pages));
        Headers::default().around(for_pages.merge(pages))
    }
}

/// The pages, which explain these codes.
fn pages(codes: &[&'static CodeEntry]) -> Router {
    let files = Pages::new(files().into_iter().chain([("codes.json", explained(codes).into())]));
    files.router(&["/console", "/console/"], "/console")
}

/// The files of the pages.
fn files() -> impl IntoIterator<Item = (&'static str, Bytes)> {
    pages::files![
        "actions.js"
        "api.js"
        "app.js"
        "bulk.js"
        "console.css"
        "form.js"
        "graph.js"
        "index.html"
        "list.js"
        "login.js"
        "overview.js"
        "parts.js"
        "reveal.js"
        "task.js"
        "timeline.js"
        "workflows.js"
    ]
}

/// What the pages are told about a session.
#[derive(Serialize)]
struct SessionView<'a> {
    place: &'a str,
    operator: &'a str,
    /// Whether the person may say another name.
    may_rename: bool,
    may_write: bool,
    metered: bool,
}

impl<'a> From<&'a Settings> for SessionView<'a> {
    fn from(Settings { place, operator, rights, metered, .. }: &'a Settings) -> Self {
        let (operator, may_rename) = match operator {
            Operator::Known(name) => (name, false),
            Operator::Named(name) => (name, true),
        };
        Self { place, operator, may_rename, may_write: *rights != Rights::Look, metered: *metered }
    }
}

/// Whether there is a session, and what logs in.
#[derive(Serialize)]
struct Standing<'a> {
    session: Option<SessionView<'a>>,
    takes_token: bool,
    /// Where people log in, if that is at the pages of a provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<&'a Login>,
}

async fn show_session(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    let session = console.sessions.is_open(&headers).then(|| SessionView::from(&console.settings));
    Json(Standing { session, takes_token: console.settings.token.is_some(), login: None }).into_response()
}

async fn log_in(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    body: Result<Json<Credentials>, JsonRejection>,
) -> Response {
    let Ok(Json(credentials)) = body else {
        return refusal(StatusCode::BAD_REQUEST, r#"The body has to be {"code": "..."} or {"token": "..."}"#);
    };
    match console.sessions.begin(&credentials, &headers, SystemTime::now()) {
        Some(cookie) => ([(header::SET_COOKIE, cookie)], Json(SessionView::from(&console.settings))).into_response(),
        None => {
            tracing::warn!(by = credentials.kind(), "a login to the console was refused");
            refusal(
                StatusCode::UNAUTHORIZED,
                match credentials {
                    Credentials::Code(_) => "This link has been used, or it is too old. A link logs in once",
                    Credentials::Token(_) => "This is not the token",
                },
            )
        }
    }
}

async fn log_out(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    ([(header::SET_COOKIE, console.sessions.end(&headers))], StatusCode::NO_CONTENT).into_response()
}

/// Lets only those requests pass that this console's own pages make.
async fn of_own_pages(request: Request, next: Next) -> Response {
    if is_of_own_page(request.headers()) {
        return next.run(request).await;
    }
    refusal(StatusCode::FORBIDDEN, "Only the console's own pages may ask here; programs ask the operators' API itself")
}

fn is_of_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let host = text("host").unwrap_or_default();
    let is_own = |origin: &str| ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host));
    headers.contains_key(PAGE_HEADER)
        && text("origin").is_none_or(is_own)
        && text("sec-fetch-site").is_none_or(|site| site == "same-origin")
}

/// Lets only those requests to the API pass that belong to a session.
async fn require_session(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    if !console.sessions.is_open(request.headers()) {
        return refusal(StatusCode::UNAUTHORIZED, "Log in to the console first");
    }
    if !console.settings.rights.allow(request.method()) {
        return refusal(StatusCode::FORBIDDEN, "This console may only look");
    }
    next.run(request).await
}

/// An error code for the pages.
#[derive(Serialize)]
struct Explained {
    kind: &'static str,
    reported_by: &'static str,
    meaning: &'static str,
    remedy: &'static str,
}

/// The JSON of all codes: an object with an entry for each.
fn explained(codes: &[&'static CodeEntry]) -> String {
    let entry = |entry: &&'static CodeEntry| {
        let kind = entry.kind.as_str();
        let explained =
            Explained { kind, reported_by: entry.reported_by, meaning: entry.meaning.trim(), remedy: entry.remedy };
        (entry.code, explained)
    };
    let all: BTreeMap<&str, Explained> = codes.iter().map(entry).collect();
    // Texts always serialize.
    serde_json::to_string(&all).unwrap_or_default()
}
