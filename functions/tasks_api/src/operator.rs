//! Who is let in: whoever the API's host has let in, and told us the name of. On AWS that is API Gateway's authorizer.
//!
//! A client cannot say who it is. So a route that is deployed without its authorizer lets nobody in.

use crate::error::ApiError;
use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_api::Caller;
use stepwell::Actor;

/// The name of an operator, as the audit trail keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Operator(String);

impl Operator {
    /// This operator for this reason, which is the field `reason` of the body.
    pub(crate) fn actor(&self, reason: String) -> Result<Actor, ApiError> {
        Actor::new(self.0.clone(), reason).map_err(|_| {
            let most = Actor::MAX_WHY;
            ApiError::field("/reason", format!("has to have 1 to {most} characters, and no control characters"))
        })
    }

    fn of(Caller(name): &Caller) -> Option<Self> {
        // What cannot be kept is nobody's name: an action without one has no place in the audit trail.
        Actor::new(name.clone(), "-").ok().map(|_| Self(name.clone()))
    }
}

/// Lets a request go on to its route if an operator has made it.
pub(crate) async fn only(mut request: Request, next: Next) -> Response {
    let operator = request.extensions().get().and_then(Operator::of);
    match operator {
        Some(operator) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        None => ApiError::Nobody.into_response(),
    }
}
