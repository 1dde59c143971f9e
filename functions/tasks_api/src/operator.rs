//! Who is let in: whoever API Gateway's authorizer has let in, and told us the name of.
//!
//! The name is taken from the event alone, which a client cannot write to. So a route that is deployed without its
//! authorizer lets nobody in.

use crate::error::ApiError;
use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use lambda_http::{
    RequestExt, aws_lambda_events::apigw::ApiGatewayRequestAuthorizer as Authorizer, request::RequestContext,
};
use stepwell::By;

/// The name of an operator, as the audit trail keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Operator(String);

impl Operator {
    /// This operator for this reason, which is the field `reason` of the body.
    pub(crate) fn by(&self, reason: String) -> Result<By, ApiError> {
        By::new(self.0.clone(), reason).map_err(|_| {
            let most = By::MAX_WHY;
            ApiError::field("/reason", format!("has to have 1 to {most} characters, and no control characters"))
        })
    }

    /// The name that the authorizer has found: the ARN of an IAM identity, or the subject of a token and its issuer.
    fn of(authorizer: &Authorizer) -> Option<Self> {
        let name = match (&authorizer.iam, &authorizer.jwt) {
            (Some(iam), _) => iam.user_arn.clone()?,
            (None, Some(jwt)) => {
                let claim = |name| jwt.claims.get(name).filter(|value: &&String| !value.is_empty());
                format!("{} ({})", claim("sub")?, claim("iss")?)
            }
            (None, None) => return None,
        };
        // What cannot be kept is nobody's name: an action without one has no place in the audit trail.
        By::new(name.clone(), "-").ok().map(|_| Self(name))
    }
}

/// Lets a request go on to its route if an operator has made it.
pub(crate) async fn only(mut request: Request, next: Next) -> Response {
    let operator = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.authorizer.as_ref().and_then(Operator::of),
        _ => None,
    };
    match operator {
        Some(operator) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        None => ApiError::Nobody.into_response(),
    }
}
