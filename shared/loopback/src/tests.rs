//! Tests of the port: which requests pass, what the API is told, and how it stops.

use super::*;
use axum::{
    body::{Body, to_bytes},
    response::{Html, Redirect},
    routing::get,
};
use test_case::test_case;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::ServiceExt;

/// Answers with what the API is told about a request.
fn echo() -> Router {
    Router::new().route(
        "/",
        get(async |ClientAddress(address): ClientAddress, request: Request| {
            let has_id = request.extensions().get::<RequestId>().is_some_and(|RequestId(id)| id.len() == 36);
            format!("{address:?} {has_id}")
        }),
    )
}

async fn answer(router: Router, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((Ipv4Addr::LOCALHOST, 5000))));
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap())
}

#[test_case(&["127.0.0.1"]; "the address")]
#[test_case(&["127.0.0.1:8080"]; "the address and a port")]
#[test_case(&["LocalHost:1"]; "the name")]
#[test_case(&["[::1]:8080"]; "the address in IPv6")]
#[tokio::test]
async fn request_to_this_machine_passes_with_its_address_and_an_id(hosts: &[&str]) {
    let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
    assert_eq!(answer(on_this_machine(echo()), &hosts).await, (200, "Some(127.0.0.1) true".to_owned()));
}

#[test_case(&[]; "no host")]
#[test_case(&[""]; "an empty host")]
#[test_case(&["shop.example:8080"]; "another host, which resolves to this machine")]
#[test_case(&["127.0.0.1.shop.example"]; "a host that begins like it")]
#[test_case(&["127.0.0.1@shop.example"]; "a host behind a name")]
#[test_case(&["shop.example@127.0.0.1"]; "a name before it")]
#[test_case(&["localhost:port"]; "no port")]
#[test_case(&["127.0.0.1", "shop.example"]; "two hosts")]
#[tokio::test]
async fn request_to_another_host_is_refused(hosts: &[&str]) {
    let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
    let (status, body) = answer(on_this_machine(echo()), &hosts).await;
    let expected = r#"{"success":false,"error":"This API answers on this machine only: send the header Host with 127.0.0.1 or localhost"}"#;
    assert_eq!((status, body.as_str()), (421, expected));
}

/// Sends a request to this port and returns the answer; an empty one if the connection was broken off.
async fn ask(port: u16) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    text
}

/// With a grace that is long enough, the open request is answered; with none it is broken off, and serving ends all the same.
#[test_case(Duration::MAX, true; "in time")]
#[test_case(Duration::ZERO, false; "too late")]
#[tokio::test]
async fn stop_lets_open_requests_be_answered(grace: Duration, is_answered: bool) {
    let (arrived, is_open) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let state = std::sync::Arc::new(tokio::sync::Mutex::new(Some((arrived, may_go_on))));
    let slow = get(async move || {
        let (arrived, may_go_on) = state.lock().await.take().unwrap();
        arrived.send(()).unwrap();
        may_go_on.await.unwrap();
        "answered"
    });
    let listener = listen(0).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(matches!(listen(port).await, Err(ListenError::InUse { port: used }) if used == port));
    let (stop, stopped) = oneshot::channel::<()>();
    let router = Router::new().route("/", slow);
    let serving = tokio::spawn(serve(listener, router, async { stopped.await.unwrap() }, grace));
    let client = tokio::spawn(ask(port));
    is_open.await.unwrap();
    stop.send(()).unwrap();
    if is_answered {
        go_on.send(()).unwrap();
        serving.await.unwrap().unwrap();
        assert!(client.await.unwrap().ends_with("answered"));
    } else {
        serving.await.unwrap().unwrap();
        drop(go_on);
        listen(port).await.unwrap();
    }
}

#[test_case("origin", "https://shop.example", 403; "a page of another site")]
#[test_case("origin", "null", 403; "a page that hides its origin")]
#[test_case("sec-fetch-site", "cross-site", 403; "a request of another site")]
#[test_case("origin", "http://localhost:8080", 200; "a page of this machine")]
#[test_case("sec-fetch-site", "same-origin", 200; "its request")]
#[tokio::test]
async fn request_of_a_page_passes_only_if_the_page_is_of_this_machine(header: &str, value: &str, status: u16) {
    let answered = answer(on_this_machine(echo()), &[("host", "127.0.0.1"), (header, value)]).await;
    assert_eq!(answered.0, status, "{}", answered.1);
}

/// A link of another site, as a browser follows it.
const LINK: [(&str, &str); 3] =
    [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

#[test_case("GET", "/page", None, 200; "to a page")]
#[test_case("GET", "/moved", None, 307; "to what leads to a page")]
#[test_case("GET", "/data", None, 403; "to data")]
#[test_case("POST", "/page", None, 403; "with a form")]
#[test_case("GET", "/page", Some(("sec-fetch-dest", "iframe")), 403; "in a frame")]
#[test_case("GET", "/page", Some(("sec-fetch-mode", "no-cors")), 403; "as a part of a page")]
#[test_case("GET", "/page", Some(("origin", "https://shop.example")), 403; "with an origin")]
#[tokio::test]
async fn link_of_another_site_leads_to_a_page_only(
    method: &str,
    path: &str,
    other: Option<(&'static str, &'static str)>,
    status: u16,
) {
    let page = async || Html("a page");
    let api = Router::new()
        .route("/page", get(page).post(page))
        .route("/moved", get(async || Redirect::temporary("/page")))
        .route("/data", get(async || "{}"));
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    for (name, value) in LINK.into_iter().chain([("host", "127.0.0.1")]).chain(other) {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    assert_eq!(on_this_machine(api).oneshot(request).await.unwrap().status(), status);
}
