//! The files of the pages, as they are in the folder `assets`.

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// Each file, by its path from the folder.
macro_rules! files {
    ($($path:literal)+) => { [$(($path, include_bytes!(concat!("../assets/", $path)).as_slice())),+] };
}

const FILES: &[(&str, &[u8])] = &files![
    "actions.js"
    "api.js"
    "app.js"
    "bulk.js"
    "console.css"
    "icon.svg"
    "index.html"
    "list.js"
    "overview.js"
    "parts.js"
    "task.js"
    "graph.js"
    "timeline.js"
    "vendor/LICENSES.txt"
    "vendor/hooks.js"
    "vendor/htm.js"
    "vendor/preact.js"
];

/// The one page. Its script reads the address, and shows what belongs there.
const PAGE: &str = "index.html";

/// The file of the error codes, which the program makes.
const CODES: &str = "codes.json";

/// A file, and the tag by which a browser knows it again.
struct Asset {
    bytes: Bytes,
    tag: HeaderValue,
    kind: HeaderValue,
}

/// All files, by their paths.
pub(crate) struct Assets(BTreeMap<&'static str, Asset>);

impl Assets {
    /// The files, and these error codes as JSON.
    pub(crate) fn new(codes: &str) -> Self {
        let files = FILES.iter().map(|(path, bytes)| (*path, Bytes::from_static(bytes)));
        let all = files.chain([(CODES, Bytes::from(codes.to_owned()))]);
        Self(all.map(|(path, bytes)| (path, Asset::new(path, bytes))).collect())
    }
}

impl Asset {
    fn new(path: &str, bytes: Bytes) -> Self {
        let hash: String = Sha256::digest(&bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        // Digits are always a header.
        let tag = HeaderValue::try_from(format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""));
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

    /// Answers with the file, or that the browser has it. It asks each time: this costs nothing on one machine, and no page mixes versions.
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
pub(crate) async fn page(State(assets): State<Arc<Assets>>) -> Response {
    match assets.0.get(PAGE) {
        Some(page) => ([(header::CONTENT_TYPE, page.kind.clone())], page.bytes.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Answers with a file, or with the page: the pages' addresses have no dot.
pub(crate) async fn file(State(assets): State<Arc<Assets>>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    match assets.0.get(path.as_str()) {
        _ if path == PAGE => page(State(assets)).await,
        Some(asset) => asset.answer(&headers),
        None if path.contains('.') => StatusCode::NOT_FOUND.into_response(),
        None => page(State(assets)).await,
    }
}
