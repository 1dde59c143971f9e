//! How the body of a request is read.

use crate::{CommonError, unique_keys::duplicate_key};
use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use serde::de::DeserializeOwned;

/// Refuses what is labelled as something that is never JSON. Generic labels, which clients put on everything (curl's
/// `-d` a form's), say nothing: there the body itself decides.
///
/// # Errors
/// [`CommonError::NotOurMediaType`].
pub fn check_media_type(headers: &HeaderMap) -> Result<(), CommonError> {
    const GENERIC: [&str; 3] = ["application/x-www-form-urlencoded", "application/octet-stream", "text/plain"];
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let value = value.to_str().map_err(|_| CommonError::NotOurMediaType)?;
    let media_type = value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase();
    let json = matches!(media_type.as_str(), "" | "application/json" | "text/json") || media_type.ends_with("+json");
    if json || GENERIC.contains(&media_type.as_str()) { Ok(()) } else { Err(CommonError::NotOurMediaType) }
}

/// Reads a body of JSON, of so many bytes at most, in which no object holds a key twice. Lambda hands over the whole body
/// at once, so a body that cannot be read is one that is too large; nesting beyond 128 levels is where `serde_json` stops
/// reading.
///
/// The keys are searched in a pass of their own, because the value that is read has lost the duplicates already; numbers
/// stay the text that was sent.
///
/// # Errors
/// [`CommonError::TooLarge`], [`CommonError::NotJson`] and [`CommonError::DuplicateKey`].
pub async fn read<T: DeserializeOwned>(body: Body, most: usize) -> Result<T, CommonError> {
    let bytes = axum::body::to_bytes(body, most).await.map_err(|_| CommonError::TooLarge(most))?;
    let value = serde_json::from_slice(&bytes).map_err(CommonError::NotJson)?;
    match duplicate_key(&bytes) {
        Some(path) => Err(CommonError::DuplicateKey(path)),
        None => Ok(value),
    }
}
