//! The shop's pages: where they are, and what a browser is told.

use super::*;
use checkout::test_card::{SAMPLE_CARDS, Script};
use test_case::test_case;

/// Asks for a page or a file, which the document does not describe.
async fn get(path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    let (parts, body) = Api::new().router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().into_parts();
    let text = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (parts.status.as_u16(), parts.headers, String::from_utf8(text.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn page_is_at_every_address_of_the_shop() {
    let (_, _, page) = get("/", &[]).await;
    assert!(page.starts_with("<!doctype html>") && !page.contains("<script>") && !page.contains("style="), "{page}");
    for path in ["/shop/cart", "/shop/orders/018f4e4e-7c1a-7000-8000-0123456789ab", "/shop/index.html"] {
        assert_eq!(get(path, &[]).await.2, page, "{path}");
    }
    assert_eq!(get("/shop/no.js", &[]).await.0, 404);
    assert_eq!(get("/cart", &[]).await.0, 404, "other paths are the API's");
}

#[test_case("/", "no-store"; "the page")]
#[test_case("/shop/app.js", "no-cache"; "a file")]
#[test_case("/shop/cards.json", "no-cache"; "the cards")]
#[test_case("/shop/no.js", "no-store"; "what is not there")]
#[tokio::test(start_paused = true)]
async fn browser_is_told_what_it_may_do(path: &str, kept: &str) {
    let (_, headers, _) = get(path, &[]).await;
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                  frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
    assert_eq!(headers["content-security-policy"], policy);
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["cache-control"], kept);
}

/// So no page asks for a file that the program lacks. A browser knows each again by its tag.
#[tokio::test(start_paused = true)]
async fn every_file_of_the_folder_is_served() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let path = format!("/shop/{}", file.file_name().unwrap().to_str().unwrap());
        let (status, headers, text) = get(&path, &[]).await;
        assert_eq!((status, text), (200, std::fs::read_to_string(&file).unwrap()), "{path}");
        if let Some(tag) = headers.get("etag") {
            assert_eq!(get(&path, &[("if-none-match", tag.to_str().unwrap())]).await.0, 304, "{path}");
        }
    }
    for path in ["/shop/base.css", "/shop/common.js", "/shop/http.js", "/shop/vendor/preact.js"] {
        assert_eq!(get(path, &[]).await.0, 200, "{path}");
    }
}

/// The pages offer what the simulated gateway knows, by name.
#[tokio::test(start_paused = true)]
async fn cards_are_those_of_the_gateway() {
    let (_, _, text) = get("/shop/cards.json", &[]).await;
    let cards: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(cards.len(), SAMPLE_CARDS.len());
    let script = |name: &str| {
        let card = cards.iter().find(|card| card["name"] == name).unwrap();
        Script::of(&card["token"].as_str().unwrap().into())
    };
    assert_eq!(script("Success"), Script::Charge);
    assert_eq!(script("Declined"), Script::Decline("card declined"));
}
