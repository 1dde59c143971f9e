//! The command `console`: what its pages ask is passed on, in the name of whoever runs the command.

use crate::shop::{Scripted, Shop, command, read_answer};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// A console that somebody has logged in to. It is killed at the end.
struct Console {
    process: Child,
    address: String,
    cookie: String,
}

impl Console {
    /// Starts it, and logs in by the link that it prints.
    fn open(command: &mut Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let link = lines.find_map(|line| Some(line.strip_prefix("console  http://")?.to_owned())).expect("a link");
        let (address, rest) = link.split_once("/console/#login=").unwrap();
        let code = rest.split(' ').next().unwrap();
        let mut console = Self { process, address: address.to_owned(), cookie: String::new() };
        let (status, head, _) = console.ask("POST /console/session", "", &format!(r#"{{"code": "{code}"}}"#));
        assert_eq!(status, 200, "{head}");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        cookie.split(';').next().unwrap().clone_into(&mut console.cookie);
        console
    }

    /// The status, the head and the body of the answer to a page.
    fn ask(&self, request: &str, headers: &str, body: &str) -> (u16, String, String) {
        let Self { address, cookie, .. } = self;
        let headers = format!(
            "Host: {address}\r\nX-Stepwell-Console: 1\r\nCookie: {cookie}\r\nContent-Type: application/json\r\n{headers}"
        );
        let answer = read_answer(address, request, &headers, body);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // It has ended, unless the test is over.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn console_of_one_machine_acts_under_the_name_that_its_page_says() {
    let shop = Shop::start();
    let (bought, failed) = (shop.buy("success"), shop.buy("card_declined"));
    let console = Console::open(&mut shop.command(&["console", "--port", "0"]));
    let (status, _, shown) = console.ask(&format!("GET /api/tasks/{bought}"), "", "");
    assert_eq!(
        (status, shown.as_str()),
        (200, shop.operate(&["show", &bought, "--json"]).stdout.trim()),
        "to the digit"
    );
    let (_, _, listed) = console.ask("GET /api/tasks?status=error&limit=1", "", "");
    assert!(listed.contains(&failed), "the query is passed on: {listed}");
    let redrive = format!("POST /api/tasks/{failed}/redrive");
    let (status, _, answer) = console.ask(&redrive, "X-Operator: bob\r\n", r#"{"reason": "a new card"}"#);
    assert_eq!(status, 202, "{answer}");
    shop.operate(&["show", &failed]).expect(0).prints("  redrive  by bob: a new card");
    let (status, _, refused) = console.ask("GET /api/tasks?status=none", "", "");
    assert!(status == 422 && refused.contains("has to be one of"), "a refusal is passed on: {refused}");

    let of_the_owner = Console::open(&mut shop.command(&["console", "--port", "0", "--read-only"]));
    assert_eq!(of_the_owner.ask(&format!("GET /api/tasks/{bought}"), "", "").0, 200);
    assert_eq!(of_the_owner.ask(&redrive, "", r#"{"reason": "a new card"}"#).0, 403);
    let (_, _, session) = of_the_owner.ask("GET /console/session", "", "");
    assert!(session.contains(r#""operator":"ann","may_rename":true,"may_write":false,"metered":false"#), "{session}");
}

/// A console of an API that wants signed requests.
fn of_a_stack(api: &Scripted) -> Console {
    let mut command = command();
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    Console::open(command.args(["console", "--port", "0", "--url", &api.url, "--region", "eu-central-1"]))
}

#[test]
fn console_of_a_stack_signs_what_its_pages_ask() {
    let api = Scripted::new(&[(200, r#"{"tasks":[],"count":0,"next":null}"#)]);
    let console = of_a_stack(&api);
    let headers = "X-Operator: bob\r\nIdempotency-Key: 018f4e4e\r\nLast-Event-ID: 5eef\r\n";
    let (status, _, answer) = console.ask("POST /api/tasks/bulk?a=b", headers, r#"{"action": "redrive"}"#);
    assert_eq!((status, answer.as_str()), (200, r#"{"tasks":[],"count":0,"next":null}"#));
    let passed_on = api.requests().pop().unwrap();
    for part in [
        "POST /tasks/bulk?a=b HTTP/1.1\r\n",
        "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/",
        "/eu-central-1/execute-api/aws4_request",
        "idempotency-key: 018f4e4e\r\n",
        "last-event-id: 5eef\r\n",
        "\r\n\r\n{\"action\": \"redrive\"}",
    ] {
        assert!(passed_on.contains(part), "{part}: {passed_on}");
    }
    for part in ["cookie", "x-stepwell-console", "x-operator"] {
        assert!(!passed_on.contains(part), "{part}: {passed_on}");
    }
    let (_, _, session) = console.ask("GET /console/session", "", "");
    assert!(session.contains(r#""operator":"your AWS credentials","may_rename":false"#), "{session}");
    assert!(session.contains(r#""metered":true"#), "{session}");
}

#[test]
fn refusal_of_a_stack_is_not_the_end_of_the_consoles_session() {
    let api = Scripted::new(&[
        (200, r#"{"tasks":[],"count":0,"next":null}"#),
        (401, r#"{"message":"Unauthorized"}"#),
        (503, r#"{"error":"The tables are throttled"}"#),
    ]);
    let console = of_a_stack(&api);
    let (status, _, refused) = console.ask("GET /api/tasks", "", "");
    assert_eq!(status, 403, "{refused}");
    assert!(refused.contains("Unauthorized (401)") && refused.contains("AWS credentials"), "{refused}");
    let (status, head, busy) = console.ask("GET /api/tasks", "", "");
    assert_eq!((status, busy.as_str()), (503, r#"{"error":"The tables are throttled"}"#));
    assert!(head.contains("\nretry-after: 1\r\n"), "when to ask again is passed on: {head}");
}
