//! Tests of the door: who gets in, with what, from which page, and what a browser is told.

use super::*;
use axum::{
    body::{Body, to_bytes},
    http::{Request, response::Parts},
    routing::any,
};
use http_api::Caller;
use serde_json::{Value, json};
use stepwell::core::codes::{EngineCode, ErrorCode};
use test_case::test_case;
use tower::ServiceExt;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const HOST: &str = "127.0.0.1:8081";

/// A console on an API that answers each request with its path, and the code of its link.
fn console(token: Option<&str>, read_only: bool) -> (Router, String) {
    let console = Console::new(Settings {
        place: "a test".to_owned(),
        operator: Operator::Named("ann".to_owned()),
        token: token.map(str::to_owned),
        rights: if read_only { Rights::Look } else { Rights::Act },
        metered: false,
        codes: EngineCode::ALL.iter().map(|code| code.entry()).collect(),
    });
    let console = console.unwrap();
    let link = console.link("http://127.0.0.1:8081");
    let code = link.strip_prefix("http://127.0.0.1:8081/console/#login=").unwrap().to_owned();
    let api = Router::new().fallback(any(async |request: axum::extract::Request| request.uri().path().to_owned()));
    (console.router(api), code)
}

/// Sends a request with these headers. A header with an empty value is left out.
async fn send(router: &Router, request: &str, headers: &[(&str, &str)], body: &str) -> (Parts, String) {
    let (method, path) = request.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    let defaults = [("host", HOST), (PAGE_HEADER, "1"), ("content-type", "application/json")];
    let others = defaults.iter().filter(|(name, _)| !headers.iter().any(|(other, _)| other == name));
    for (name, value) in others.chain(headers).filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    let answer = router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    (parts, String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap())
}

/// Logs in, and returns the status and the cookie that a browser sends from then on.
async fn log_in(router: &Router, body: &str) -> (u16, String) {
    let (answer, _) = send(router, "POST /console/session", &[], body).await;
    let cookie = answer.headers.get("set-cookie").map_or("", |cookie| cookie.to_str().unwrap());
    (answer.status.as_u16(), cookie.split(';').next().unwrap().to_owned())
}

fn code_body(code: &str) -> String {
    format!(r#"{{"code": "{code}"}}"#)
}

#[tokio::test]
async fn link_logs_in_once() {
    let (router, code) = console(Some(TOKEN), false);
    assert_eq!(log_in(&router, &code_body(&code[1..])).await, (401, String::new()), "a wrong code uses nothing up");
    let (answer, body) = send(&router, "POST /console/session", &[], &code_body(&code)).await;
    assert_eq!(answer.status, 200, "{body}");
    assert_eq!(body, r#"{"place":"a test","operator":"ann","may_rename":true,"may_write":true,"metered":false}"#);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("stepwell_console_8081="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"), "{cookie}");
    assert_eq!(log_in(&router, &code_body(&code)).await, (401, String::new()), "a link logs in once");
}

#[test]
fn link_that_nobody_has_used_logs_in_for_an_hour() {
    let (sessions, code) = Sessions::new(None).unwrap();
    let begun = SystemTime::now();
    let begins = |after| sessions.begin(&Credentials::Code(code.clone()), &HeaderMap::new(), begun + after).is_some();
    assert!(!begins(LINK));
    assert!(begins(LINK / 2), "it was not used up");
}

#[tokio::test]
async fn session_of_a_token_outlives_the_process_and_ends_with_the_token() {
    let (router, _) = console(Some(TOKEN), false);
    let (status, cookie) = log_in(&router, &format!(r#"{{"token": " {TOKEN}\n"}}"#)).await;
    assert_eq!(status, 200);
    let api = async |router: &Router, cookie: &str| {
        send(router, "GET /api/tasks/1", &[("cookie", &format!("a=b; {cookie}"))], "").await
    };
    assert_eq!(api(&router, &cookie).await.1, "/tasks/1", "the API is asked without the prefix");
    let (after_restart, _) = console(Some(TOKEN), false);
    assert_eq!(api(&after_restart, &cookie).await.0.status, 200);
    let (with_another_token, _) = console(Some(&TOKEN.replace('0', "1")), false);
    assert_eq!(api(&with_another_token, &cookie).await.0.status, 401);
    let (of_a_link, _) = console(None, false);
    assert_eq!(api(&of_a_link, &cookie).await.0.status, 401);
}

#[test_case(r#"{"token": "0123456789abcdef0123456789abcdeg"}"#, 401; "another token")]
#[test_case(r#"{"token": ""}"#, 401; "no token")]
#[test_case(r#"{"code": ""}"#, 401; "no code")]
#[test_case(r#"{"name": "ann"}"#, 400; "something else")]
#[test_case("", 400; "nothing")]
#[tokio::test]
async fn wrong_login_is_refused(body: &str, status: u16) {
    for token in [Some(TOKEN), None] {
        assert_eq!(log_in(&console(token, false).0, body).await, (status, String::new()));
    }
}

#[test_case(|cookie| cookie.to_owned(), 200; "of the session")]
#[test_case(|_| String::new(), 401; "none")]
#[test_case(|cookie| cookie.replace("8081", "8082"), 401; "of another port")]
#[test_case(|cookie| format!("{cookie}0"), 401; "with another signature")]
#[test_case(|cookie| cookie.replacen("=1", "=2", 1), 401; "with another end")]
#[test_case(|cookie| cookie.split('.').next().unwrap().to_owned(), 401; "without a signature")]
#[tokio::test]
async fn api_wants_the_cookie(change: impl Fn(&str) -> String, status: u16) {
    let (router, code) = console(None, false);
    let cookie = change(&log_in(&router, &code_body(&code)).await.1);
    let (answer, body) = send(&router, "GET /api/tasks", &[("cookie", &cookie)], "").await;
    assert_eq!(answer.status.as_u16(), status, "{body}");
    let (_, body) = send(&router, "GET /console/session", &[("cookie", &cookie)], "").await;
    assert_eq!(body.contains(r#""session":null"#), status == 401, "{body}");
}

/// A signed cookie whose end is over.
#[tokio::test]
async fn session_ends() {
    let (sessions, _) = Sessions::new(Some(TOKEN.to_owned())).unwrap();
    let host: HeaderMap = [(header::HOST, HeaderValue::from_static(HOST))].into_iter().collect();
    let cookie = |end: u64| {
        let mut headers = host.clone();
        let value = format!("stepwell_console_8081={end}.{}", sessions.sign(end));
        headers.insert(header::COOKIE, HeaderValue::try_from(value).unwrap());
        headers
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(sessions.is_open(&cookie(now + 60)) && !sessions.is_open(&cookie(now)));
    assert!(sessions.end(&host).to_str().unwrap().starts_with("stepwell_console_8081=; Path=/; Max-Age=0"));
}

#[test_case("origin", "http://127.0.0.1:8081", 200; "of this page")]
#[test_case("sec-fetch-site", "same-origin", 200; "that a browser says to be of this page")]
#[test_case(PAGE_HEADER, "", 403; "without the header")]
#[test_case("origin", "http://127.0.0.1:8080", 403; "of another port")]
#[test_case("origin", "https://shop.example", 403; "of another site")]
#[test_case("origin", "null", 403; "of a page that hides its origin")]
#[test_case("origin", "http://127.0.0.1:8081.shop.example", 403; "of a host that begins like this one")]
#[test_case("sec-fetch-site", "same-site", 403; "that a browser says to be of another port")]
#[test_case("sec-fetch-site", "none", 403; "typed into the address bar")]
#[tokio::test]
async fn request_is_of_the_consoles_own_page(name: &str, value: &str, status: u16) {
    let (router, code) = console(Some(TOKEN), false);
    let (_, cookie) = log_in(&router, &code_body(&code)).await;
    for request in ["GET /api/tasks", "POST /api/tasks/1/redrive", "GET /console/session", "DELETE /console/session"] {
        let (answer, body) = send(&router, request, &[("cookie", &cookie), (name, value)], "").await;
        let passed = if request.starts_with("DELETE") && status == 200 { 204 } else { status };
        assert_eq!(answer.status.as_u16(), passed, "{request}: {body}");
    }
    let (answer, _) =
        send(&router, "POST /console/session", &[(name, value)], &format!(r#"{{"token": "{TOKEN}"}}"#)).await;
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key("set-cookie")), (status, status == 200));
}

#[tokio::test]
async fn console_that_may_only_look_passes_no_action_on() {
    let (router, code) = console(None, true);
    let (_, cookie) = log_in(&router, &code_body(&code)).await;
    for (request, status) in
        [("GET /api/tasks", 200), ("POST /api/tasks/1/redrive", 403), ("POST /api/tasks/bulk", 403)]
    {
        assert_eq!(send(&router, request, &[("cookie", &cookie)], "{}").await.0.status, status, "{request}");
    }
    let (_, body) = send(&router, "GET /console/session", &[("cookie", &cookie)], "").await;
    assert!(body.contains(r#""may_write":false"#), "{body}");
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let (router, _) = console(None, false);
    let paths = [
        "/console/",
        "/console/tasks/1",
        "/console/app.js",
        "/console/codes.json",
        "/console/no.js",
        "/api/tasks",
        "/",
    ];
    for path in paths {
        let (answer, _) = send(&router, &format!("GET {path}"), &[], "").await;
        assert_eq!(
            answer.headers["content-security-policy"],
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
            "{path}"
        );
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        let is_file = path.ends_with("app.js") || path.ends_with("json");
        assert_eq!(answer.headers["cache-control"], if is_file { "no-cache" } else { "no-store" }, "{path}");
    }
}

// ---- The console that the network can reach

/// Its pages.
fn open_pages(domain: &str) -> Option<Router> {
    Some(Login::at_cognito(domain, "client-1".to_owned())?.pages(&[]))
}

/// Its API, which answers each request with its path, asked by this caller.
fn open_api(caller: Option<Caller>) -> Router {
    let api = Router::new().fallback(any(async |request: axum::extract::Request| request.uri().path().to_owned()));
    let router = for_people("stepwell-prod".to_owned(), api);
    match caller {
        Some(caller) => router.layer(axum::Extension(caller)),
        None => router,
    }
}

const DOMAIN: &str = "https://stepwell-prod.auth.eu-central-1.amazoncognito.com";

#[tokio::test]
async fn open_console_says_where_people_log_in() {
    let router = open_pages(DOMAIN).unwrap();
    let (answer, body) = send(&router, "GET /console/session", &[], "").await;
    let expected = json!({
        "session": null,
        "takes_token": false,
        "login": {
            "authorize": format!("{DOMAIN}/oauth2/authorize"),
            "token": format!("{DOMAIN}/oauth2/token"),
            "revoke": format!("{DOMAIN}/oauth2/revoke"),
            "logout": format!("{DOMAIN}/logout"),
            "client_id": "client-1",
            "scope": "openid",
        },
    });
    assert_eq!((answer.status.as_u16(), serde_json::from_str(&body).ok()), (200, Some(expected)));
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[test_case(Rights::Act, true)]
#[test_case(Rights::Look, false)]
#[tokio::test]
async fn open_console_says_who_has_logged_in(rights: Rights, may_write: bool) {
    let router = open_api(Some(Caller { name: "ann (console)".to_owned(), rights }));
    let (_, body) = send(&router, "GET /api/session", &[], "").await;
    let expected = json!({
        "place": "stepwell-prod", "operator": "ann (console)", "may_rename": false, "may_write": may_write, "metered": true,
    });
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    assert_eq!(send(&router, "GET /api/tasks/1", &[], "").await.1, "/tasks/1", "the API is asked without the prefix");
}

#[tokio::test]
async fn open_console_has_no_cookie_and_says_nothing_to_nobody() {
    let cookie = [("cookie", "stepwell_console_8081=1.2")];
    assert_eq!(send(&open_api(None), "GET /api/session", &cookie, "").await.0.status, 401);
    let router = open_pages(DOMAIN).unwrap();
    let (answer, _) = send(&router, "POST /console/session", &[], &format!(r#"{{"token": "{TOKEN}"}}"#)).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (405, None));
}

#[tokio::test]
async fn open_console_asks_the_place_of_its_login_and_no_other() {
    let router = open_pages(DOMAIN).unwrap();
    for path in ["/console", "/console/", "/console/tasks", "/console/app.js", "/console/session"] {
        let (answer, _) = send(&router, &format!("GET {path}"), &[], "").await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' {DOMAIN}; \
                 frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
            )
        );
    }
}

#[test_case("https://id.example.com" => true)]
#[test_case("id.example.com" => false; "no scheme")]
#[test_case("https://id.example.com/login" => false; "a path")]
#[test_case("https://id.example.com; script-src *" => false; "another directive")]
#[test_case("https://*" => false; "all hosts")]
#[test_case("https://" => false; "no host")]
#[test_case("" => false; "nothing")]
fn place_of_the_login_is_an_origin(domain: &str) -> bool {
    open_pages(domain).is_some()
}

#[tokio::test]
async fn page_is_at_every_address_without_a_dot_and_files_are_known_by_their_tags() {
    let (router, _) = console(None, false);
    let get = async |path: &str, headers: &[(&str, &str)]| send(&router, &format!("GET {path}"), headers, "").await;
    let (_, page) = get("/console/", &[]).await;
    assert!(page.starts_with("<!doctype html>") && !page.contains("<script>") && !page.contains("style="), "{page}");
    for path in ["/console/tasks", "/console/tasks/018f", "/console/index.html"] {
        assert_eq!(get(path, &[]).await.1, page, "{path}");
    }
    assert_eq!(get("/console/other.js", &[]).await.0.status, 404);
    let (answer, text) = get("/console/vendor/htm.js", &[]).await;
    assert_eq!((answer.status.as_u16(), text.is_empty()), (200, false));
    assert_eq!(answer.headers["content-type"], "text/javascript; charset=utf-8");
    let tag = answer.headers["etag"].to_str().unwrap();
    let (answer, text) = get("/console/vendor/htm.js", &[("if-none-match", tag)]).await;
    assert_eq!((answer.status.as_u16(), text.as_str()), (304, ""));
    let request = Request::get("/console/vendor/htm.js").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let compressed = router.clone().oneshot(request).await.unwrap();
    let told = ["content-encoding", "vary", "etag"].map(|name| compressed.headers()[name].to_str().unwrap());
    assert_eq!(told, ["gzip", "accept-encoding", tag]);
    assert_eq!(get("/", &[]).await.0.headers["location"], "/console/");
}

/// Every file of the folders is served, so no page asks for one that the program lacks.
#[tokio::test]
async fn every_file_of_the_folders_is_served() {
    let (router, _) = console(None, false);
    let shared = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let roots = [shared.join("console/assets"), shared.join("pages/assets")];
    let mut folders = roots.to_vec();
    let mut found = 0;
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            found += 1;
            let name = roots.iter().find_map(|root| path.strip_prefix(root).ok()).unwrap();
            let request = format!("GET /console/{}", name.display());
            let (answer, text) = send(&router, &request, &[], "").await;
            assert_eq!((answer.status.as_u16(), text), (200, std::fs::read_to_string(&path).unwrap()), "{request}");
        }
    }
    assert!(found > 10, "{found}");
}

#[tokio::test]
async fn codes_are_explained() {
    let (router, _) = console(None, false);
    let (_, text) = send(&router, "GET /console/codes.json", &[], "").await;
    let codes: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entry = EngineCode::BreakerOpen.entry();
    let explained = &codes[entry.code];
    assert_eq!((&explained["kind"], &explained["remedy"]), (&"no attempt".into(), &entry.remedy.into()));
    assert_eq!(codes.as_object().unwrap().len(), EngineCode::ALL.len());
}
