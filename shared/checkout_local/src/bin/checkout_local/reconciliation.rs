//! The reconciliation of a shop on one machine: each hour, and by hand at `POST /reconciliation` of the operators' port. The request and
//! the answer there are those of the function `reconcile` of a stack.

use crate::failure::{Failure, other};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use checkout::{Shop, reconciliation::Reconciliation};
use checkout_local::LocalShop;
use http_api::refusal;
use reconcile::{Answer, Request, RequestError};
use std::{sync::Arc, time::Duration};
use stepwell::{Client, Runtime, System};
use stepwell_local::Local;

/// How long a run may take, as that of the function.
const TIME: Duration = Duration::from_secs(14 * 60);

type Run = Reconciliation<LocalShop, <LocalShop as Shop>::Gateway, Local<System>, Local<System>, System>;

type Engine = Client<Local<System>, Local<System>, System>;

/// The reconciliation of a shop.
#[derive(Clone)]
pub(crate) struct Reconciler(Arc<Run>);

impl Reconciler {
    /// # Errors
    /// The shop has no gateway.
    pub(crate) fn new(shop: &LocalShop, engine: &Engine) -> Result<Self, Failure> {
        let gateway = shop.gateway().map_err(other)?;
        Ok(Self(Arc::new(Reconciliation::new(shop.clone(), gateway, engine.clone()))))
    }

    /// Makes the run of an hour, and logs it.
    pub(crate) async fn mend(&self) {
        if let Err(error) = self.handle(Request { mend: true, ..Request::default() }).await {
            tracing::error!(%error, "the reconciliation failed");
        }
    }

    async fn handle(&self, request: Request) -> Result<Answer, RequestError> {
        reconcile::handle(&self.0, request, System.now() + TIME).await
    }

    /// The route by which a person has a run made. It wants a guard around it.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/reconciliation", post(asked)).with_state(self)
    }
}

async fn asked(State(reconciler): State<Reconciler>, body: Bytes) -> Response {
    let request: Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            return refusal(
                StatusCode::BAD_REQUEST,
                format!("the request of a reconciliation cannot be read: {error}"),
            );
        }
    };
    // A run whose caller has gone goes on to its end, as the function's does.
    match tokio::spawn(async move { reconciler.handle(request).await }).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(error)) if error.is_refusal() => refusal(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        Ok(Err(error)) => refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("the reconciliation has failed: {error}")),
    }
}
