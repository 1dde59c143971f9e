//! The files of an application, by their paths.

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};
use tower_http::compression::CompressionLayer;

/// The files of the calling crate's folder `assets`, by their paths from it.
#[macro_export]
macro_rules! files {
    ($($path:literal)+) => {
        [$((
            $path,
            $crate::Bytes::from_static(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/", $path))),
        )),+]
    };
}

/// The one page of an application. Its script reads the address, and shows what belongs there.
const PAGE: &str = "index.html";

/// A file, and the tag by which a browser knows it again.
#[derive(Debug)]
struct File {
    bytes: Bytes,
    tag: HeaderValue,
    kind: HeaderValue,
}

/// The files of an application.
#[derive(Debug)]
pub struct Pages(BTreeMap<&'static str, File>);

impl Pages {
    /// These files of an application, one of which is `index.html`, and those that all applications share.
    pub fn new(own: impl IntoIterator<Item = (&'static str, Bytes)>) -> Self {
        let shared = files![
            "base.css"
            "common.js"
            "http.js"
            "icon.svg"
            "vendor/LICENSES.txt"
            "vendor/hooks.js"
            "vendor/htm.js"
            "vendor/preact.js"
        ];
        Self(shared.into_iter().chain(own).map(|(path, bytes)| (path, File::new(path, bytes))).collect())
    }

    /// Serves the page at these addresses, and the files below this path. What is below it without a dot is the page as well.
    /// A browser that takes gzip gets them compressed, to about a third.
    pub fn router(self, page_at: &[&str], files_below: &str) -> Router {
        let files = Router::new().route(&format!("{files_below}/{{*path}}"), get(file));
        page_at
            .iter()
            .fold(files, |routes, address| routes.route(address, get(page)))
            .with_state(Arc::new(self))
            .layer(CompressionLayer::new())
    }
}

impl File {
    fn new(path: &str, bytes: Bytes) -> Self {
        let hash: String = Sha256::digest(&bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        // Weak, because a compressed file has other bytes and the same tag. Digits are always a header.
        let tag = HeaderValue::try_from(format!("W/\"{hash}\"")).unwrap_or(HeaderValue::from_static("W/\"\""));
        let kind = HeaderValue::from_static(match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("json") => "application/json",
            _ => "text/plain; charset=utf-8",
        });
        Self { bytes, tag, kind }
    }

    /// Answers with the file, or that the browser has it. It asks each time: so no page mixes versions.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let own = [
            (header::ETAG, self.tag.clone()),
            (header::CONTENT_TYPE, self.kind.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        match headers.get(header::IF_NONE_MATCH) == Some(&self.tag) {
            true => (StatusCode::NOT_MODIFIED, own).into_response(),
            false => (own, self.bytes.clone()).into_response(),
        }
    }
}

/// Answers with the page.
async fn page(State(pages): State<Arc<Pages>>) -> Response {
    match pages.0.get(PAGE) {
        Some(page) => ([(header::CONTENT_TYPE, page.kind.clone())], page.bytes.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Answers with a file, or with the page: the pages' addresses have no dot.
async fn file(State(pages): State<Arc<Pages>>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    match pages.0.get(path.as_str()) {
        _ if path == PAGE => page(State(pages)).await,
        Some(file) => file.answer(&headers),
        None if path.contains('.') => StatusCode::NOT_FOUND.into_response(),
        None => page(State(pages)).await,
    }
}
