//! Authorization: a request needs a caller that the API's host has authenticated. On AWS, API Gateway's authorizer does
//! that.
//!
//! A client cannot set the caller itself. So a route that is deployed without its authorizer refuses every request. A caller
//! who may only look gets no further than that either, whatever the host's routes let through.

use crate::error::ApiError;
use axum::{
    extract::Request,
    http::{Method, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_api::{Caller, CommonError};
use stepwell::Actor;

/// The name of an operator, for the audit trail.
#[derive(Clone, Debug)]
pub(crate) struct Operator(String);

impl Operator {
    /// Makes the actor of an action from this operator and the body's field `reason`.
    pub(crate) fn actor(&self, reason: String) -> Result<Actor, ApiError> {
        Actor::new(self.0.clone(), reason).map_err(|_| {
            let most = Actor::MAX_WHY;
            CommonError::field("/reason", format!("has to have 1 to {most} characters, and no control characters"))
                .into()
        })
    }

    /// Checks that the caller of this request may start tasks.
    pub(crate) fn check_start(&self, request: &Parts) -> Result<(), ApiError> {
        let may_start = request.extensions.get().is_some_and(|Caller { rights, .. }| rights.may_start());
        if may_start { Ok(()) } else { Err(ApiError::MayNotStart(self.0.clone())) }
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// The caller of a request of this method.
    fn of(caller: Option<&Caller>, method: &Method) -> Result<Self, ApiError> {
        let Caller { name, rights } = caller.ok_or(ApiError::NoCaller)?;
        // A name that the audit trail cannot store counts as missing, because every action needs an actor there.
        Actor::new(name.clone(), "-").map_err(|_| ApiError::NoCaller)?;
        if rights.allow(method) { Ok(Self(name.clone())) } else { Err(ApiError::MayOnlyLook(name.clone())) }
    }
}

/// Passes a request on to its route if it has an operator who may do that, and refuses it otherwise.
pub(crate) async fn require(mut request: Request, next: Next) -> Response {
    match Operator::of(request.extensions().get(), request.method()) {
        Ok(operator) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    }
}
