//! A console that the network can reach: on AWS, behind the login pages of Cognito.
//!
//! Its files are for everybody, and have no data in them. The pages log in by the code flow with PKCE and send the token that they are given with
//! each request to the API, whose host checks it. So the console has no secret and no session here, and no cookie that a page of another site
//! could use. The files and the API may be served by different processes.

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
    scope: &'static str,
    #[serde(skip)]
    headers: Headers,
}

impl Login {
    /// At the pages of a user pool of Cognito, whose domain is this origin, for this client. `None` if it is no origin.
    pub fn at_cognito(domain: &str, client_id: String) -> Option<Self> {
        Some(Self {
            headers: Headers::asking(domain)?,
            authorize: format!("{domain}/oauth2/authorize"),
            token: format!("{domain}/oauth2/token"),
            revoke: format!("{domain}/oauth2/revoke"),
            logout: format!("{domain}/logout"),
            client_id,
            // What a token of a login has, and no token of Cognito's own API.
            scope: "openid",
        })
    }

    /// Serves the pages, which log in there, under `/console/`. They explain these codes, and ask the API under `/api/`, see [`for_people`].
    pub fn pages(self, codes: &[&'static CodeEntry]) -> Router {
        let headers = self.headers.clone();
        let own = Router::new().route("/console/session", get(show_login)).with_state(Arc::new(self));
        headers.around(own.merge(crate::pages(codes)))
    }
}

/// Says how people log in. Whether somebody has, only the pages know.
async fn show_login(State(login): State<Arc<Login>>) -> Response {
    Json(Standing { session: None, takes_token: false, login: Some(&login) }).into_response()
}

/// Serves the operators' API to the pages, under `/api/`, where the host has to authenticate the callers. `place` is the shop that it is of, such as
/// `stepwell-prod`.
pub fn for_people(place: String, api: Router) -> Router {
    let own = Router::new().route("/api/session", get(show_caller)).with_state(place.into());
    Headers::default().around(own.nest("/api", api))
}

/// Says who has logged in.
async fn show_caller(State(place): State<Arc<str>>, caller: Option<Extension<Caller>>) -> Response {
    let Some(Extension(Caller { name, rights })) = caller else {
        return refusal(StatusCode::UNAUTHORIZED, "Log in to the console first");
    };
    let may_write = rights != Rights::Look;
    let view = SessionView { place: &place, operator: &name, may_rename: false, may_write, metered: true };
    Json(view).into_response()
}
