//! Reading the body of a request.

use crate::{CommonError, unique_keys::duplicate_key};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use serde::de::DeserializeOwned;

/// Refuses a `Content-Type` that is never JSON. Generic types, which clients set by default (curl's `-d` sends a
/// form's), are accepted: there the body itself decides.
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

/// Reads a JSON body of at most `most` bytes, in which no object holds a key twice. Lambda passes the whole body at
/// once, so reading fails only where it is too large. `serde_json` refuses more than 128 levels of nesting.
///
/// Duplicate keys are searched in a separate pass, because the parsed value has lost them. Numbers keep their text.
///
/// # Errors
/// [`CommonError::TooLarge`], [`CommonError::NotJson`] and [`CommonError::DuplicateKey`].
pub async fn read<T: DeserializeOwned>(body: Body, most: usize) -> Result<T, CommonError> {
    parse(&bytes_of(body, most).await?)
}

/// Reads a JSON body like [`read`], where a request may have none; `None` if it is empty.
///
/// # Errors
/// See [`read`].
pub async fn read_if_any<T: DeserializeOwned>(body: Body, most: usize) -> Result<Option<T>, CommonError> {
    let bytes = bytes_of(body, most).await?;
    if bytes.trim_ascii().is_empty() { Ok(None) } else { parse(&bytes).map(Some) }
}

async fn bytes_of(body: Body, most: usize) -> Result<Bytes, CommonError> {
    axum::body::to_bytes(body, most).await.map_err(|_| CommonError::TooLarge(most))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CommonError> {
    let value = serde_json::from_slice(bytes).map_err(CommonError::NotJson)?;
    match duplicate_key(bytes) {
        Some(path) => Err(CommonError::DuplicateKey(path)),
        None => Ok(value),
    }
}
