//! Tests of the operators' door: who may pass, and what the API is told.

use super::*;
use axum::{
    body::{Body, to_bytes},
    routing::get,
};
use tempfile::tempdir;
use test_case::test_case;
use tower::ServiceExt;

/// Answers with what the API is told about the caller of a request.
fn echo() -> Router {
    let told = get(async |request: Request| {
        format!("{:?}", request.extensions().get().map(|Caller { name, .. }| name.clone()))
    });
    Router::new().route("/", told)
}

async fn answer(router: Router, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap())
}

/// Asks the operators' API with the header `Authorization` whose `TOKEN` is replaced by the token.
async fn operate(authorization: Option<&str>, name: Option<&str>) -> (u16, String) {
    let folder = tempdir().unwrap();
    let token = Secret::load_or_create(&folder.path().join("token")).unwrap();
    let authorization = authorization.map(|text| text.replace("TOKEN", token.expose()));
    let mut headers = Vec::from_iter(authorization.as_deref().map(|text| ("authorization", text)));
    headers.extend(name.map(|name| (OPERATOR_HEADER, name)));
    answer(for_operators(echo(), Router::new(), token), &headers).await
}

#[test_case(None, "operator"; "no name")]
#[test_case(Some("ann@example.org"), "ann@example.org"; "an ASCII name")]
#[test_case(Some("Zo\u{eb}"), "Zo\u{eb}"; "a name in UTF-8")]
#[tokio::test]
async fn operator_with_the_token_passes_under_their_name(header: Option<&str>, name: &str) {
    assert_eq!(operate(Some("Bearer TOKEN"), header).await, (200, format!("Some({name:?})")));
}

#[test_case(None; "no header")]
#[test_case(Some("Bearer "); "no token")]
#[test_case(Some("Bearer TOKENa"); "a longer one")]
#[test_case(Some("Bearer 0123456789abcdef0123456789abcdef"); "another one")]
#[test_case(Some("Basic TOKEN"); "another scheme")]
#[test_case(Some("TOKEN"); "no scheme")]
#[tokio::test]
async fn operator_without_the_token_is_refused(authorization: Option<&str>) {
    let (status, body) = operate(authorization, Some("ann")).await;
    assert_eq!(status, 401);
    assert!(
        body.starts_with(r#"{"success":false,"error":"The operators' API needs the header Authorization"#),
        "{body}"
    );
}

#[tokio::test]
async fn operator_with_a_name_that_cannot_be_kept_is_refused() {
    for name in [String::new(), "x".repeat(Actor::MAX_WHO + 1)] {
        assert_eq!(operate(Some("Bearer TOKEN"), Some(&name)).await.0, 400);
    }
}
