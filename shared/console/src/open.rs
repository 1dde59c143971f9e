//! A console that the network can reach: on AWS, behind the login pages of Cognito.
//!
//! The files are for everybody, and have no data in them. The pages log in by the code flow with PKCE and send the token that they are given with
//! each request to the API, whose host checks it. So the console has no secret and no session here, and no cookie that a page of another site
//! could use.

use crate::{SessionView, Standing};
use axum::{
    Extension, Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use http_api::{Caller, Rights, refusal};
use pages::Headers;
use serde::Serialize;
use std::sync::Arc;
use stepwell::core::codes::CodeEntry;

/// Where people log in, in the words of OAuth 2.0. The pages are told it.
#[derive(Clone, Debug, Serialize)]
pub struct Login {
    authorize: String,
    token: String,
    revoke: String,
    logout: String,
    client_id: String,
    scope: String,
}

impl Login {
    /// At the pages of a user pool of Cognito, whose domain is this origin, for this client. The scopes are those of its resource server.
    pub fn at_cognito(domain: &str, client_id: String, resource_server: &str) -> Self {
        Self {
            authorize: format!("{domain}/oauth2/authorize"),
            token: format!("{domain}/oauth2/token"),
            revoke: format!("{domain}/oauth2/revoke"),
            logout: format!("{domain}/logout"),
            client_id,
            scope: format!("{resource_server}/tasks.read {resource_server}/tasks.write"),
        }
    }
}

/// A console that the network can reach.
#[derive(Clone, Debug)]
pub struct OpenConsole {
    /// The shop that it shows, such as `stepwell-prod`.
    pub place: String,
    /// Where its people log in.
    pub login: Login,
    /// The error codes that tasks may have, which the pages explain.
    pub codes: Vec<&'static CodeEntry>,
}

impl OpenConsole {
    /// Serves the pages under `/console/`, and this API under `/api/`. The host has to authenticate the callers under `/api/`, and no others.
    /// `None` if the place of the login is no origin.
    pub fn router(self, api: Router) -> Option<Router> {
        let (origin, _) = self.login.authorize.split_once("/oauth2/")?;
        let headers = Headers::asking(origin)?;
        let pages = crate::pages(&self.codes);
        let own = Router::new()
            .route("/console/session", get(show_login))
            .route("/api/session", get(show_caller))
            .with_state(Arc::new(self));
        Some(headers.around(Router::new().nest("/api", api).merge(own).merge(pages)))
    }
}

/// Says how people log in. Whether somebody has, only the pages know.
async fn show_login(State(console): State<Arc<OpenConsole>>) -> Response {
    Json(Standing { session: None, takes_token: false, login: Some(&console.login) }).into_response()
}

/// Says who has logged in.
async fn show_caller(State(console): State<Arc<OpenConsole>>, caller: Option<Extension<Caller>>) -> Response {
    let Some(Extension(Caller { name, rights })) = caller else {
        return refusal(StatusCode::UNAUTHORIZED, "Log in to the console first");
    };
    let may_write = rights == Rights::Act;
    let view = SessionView { place: &console.place, operator: &name, may_rename: false, may_write, metered: true };
    Json(view).into_response()
}
