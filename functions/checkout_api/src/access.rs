//! Who may see a checkout: whoever shows its key. To all others it is as if it were not there, but for the word of its status.

use crate::error::{ApiError, task_id};
use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use http_api::TaskKeys;
use stepwell::TaskId;

/// The checkout that the path names, and whether the request carries its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub(crate) id: TaskId,
    pub(crate) with_key: bool,
}

/// The checkout that the path names, by a request that carries its key. Others are answered that there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened(pub(crate) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(request: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = task_id(Path::from_request_parts(request, state).await)?;
        // The router adds the keys to every request. Without them no request opens anything.
        let with_key = request.extensions.get::<TaskKeys>().is_some_and(|keys| keys.open(id, request));
        Ok(Self { id, with_key })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Opened {
    type Rejection = ApiError;

    async fn from_request_parts(request: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let named = Named::from_request_parts(request, state).await?;
        if named.with_key { Ok(Self(named.id)) } else { Err(ApiError::NotFound) }
    }
}
