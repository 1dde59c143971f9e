//! What is replaced in a text, and what stays.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use proptest::prelude::*;
use redaction::{
    REDACTED, Secret, hold, in_scope, is_code, is_name_of_secret, redact, redact_beginning, redact_shapes,
};
use test_case::test_case;

#[test_case("GET /orders/1?key=Ab-_12345 took long", "GET /orders/1?key=*** took long"; "the key in a URL")]
#[test_case("/orders/1?wait=5&key=abc&x=1#top", "/orders/1?wait=5&key=***&x=1#top"; "the key between other fields")]
#[test_case(r#"fields: [("wait", "5"), ("key", "abc d")]"#, r#"fields: [("wait", "5"), ("key", "***")]"#; "pairs in debug output")]
#[test_case(r#"QueryMap {"key": ["abc", "def"], "n": ["1"]}"#, r#"QueryMap {"key": [***], "n": ["1"]}"#; "a list in debug output")]
#[test_case("authorization: Basic abc, def\nhost: x", "authorization: ***\nhost: x"; "a header in a message")]
#[test_case(r#"{"authorization": "Digest a=\"b\", c", "host": "x"}"#, r#"{"authorization": "***", "host": "x"}"#; "a header in debug output")]
#[test_case(r#"{"x-task-key": Sensitive, "host": "x"}"#, r#"{"x-task-key": ***, "host": "x"}"#; "a hidden header stays readable around it")]
#[test_case(r#"text: "{\"Cookie\": \"a=b\"}""#, r#"text: "***""#; "JSON in debug output")]
#[test_case(r#"said \"Cookie\": \"a=b\" and left"#, r#"said \"Cookie\": \"***\" and left"#; "in a text in quotes")]
#[test_case("curl -H 'Cookie: abc' x", "curl -H 'Cookie: ***"; "a header to the end of its line")]
#[test_case("curl -H 'X-Task-Key: abc1' x", "curl -H 'X-Task-Key: ***' x"; "a header of one word")]
#[test_case("authorization=Basic dXNlcjpwYXNz host=x", "authorization=*** host=x"; "a scheme before the secret")]
#[test_case("got BEARER abcdefghijkl.mno/pq= again", "got BEARER *** again"; "a bearer token in capital letters")]
#[test_case("cardToken=a1&accessToken=b2&clientSecret=c3&apiKey=d4", "cardToken=***&accessToken=***&clientSecret=***&apiKey=***"; "camel case")]
#[test_case("AWS_SECRET_ACCESS_KEY=a+b/c", "AWS_SECRET_ACCESS_KEY=***"; "a key of AWS")]
#[test_case("?X-Amz-Signature=0af&n=1", "?X-Amz-Signature=***&n=1"; "a signed URL")]
#[test_case(r#"body: "{\n  \"a\": \"b\"\n}", n: 1"#, r#"body: "***", n: 1"#; "JSON in pretty form")]
#[test_case(r#"body: "[\n {\"a\": \"b\"}]", n: 1"#, r#"body: "***", n: 1"#; "a JSON array")]
#[test_case(r#"body: \"{\\\"a\\\": \\\"b\\\"}\", n: \"1\""#, r#"body: \"***\", n: \"1\""#; "JSON that is escaped twice")]
#[test_case(r#"body: " {\"a\": \"b\"}", n: 1"#, r#"body: "***", n: 1"#; "JSON after a blank")]
#[test_case("idempotency_key=basket-7 step=pay", "idempotency_key=*** step=pay"; "a field of a text line")]
#[test_case("got bearer abcdefghijkl.mno/pq= again", "got bearer *** again"; "a bearer token")]
#[test_case("Login { token: \"abc\", at: 5 }", "Login { token: \"***\", at: 5 }"; "a field in debug output")]
#[test_case("Login { password: Some(\"abc\") }", "Login { password: Some(\"***\") }"; "an option in debug output")]
#[test_case(r#"Object {"card_token": String("abc")}"#, r#"Object {"card_token": String("***")}"#; "a JSON value in debug output")]
#[test_case("secret = b\"abc\"", "secret = b\"***\""; "bytes in debug output")]
#[test_case(r#"{"token":"tok","amount":5}"#, r#"{"token":"***","amount":5}"#; "a field of JSON")]
#[test_case(r#"body: "{\"email\":\"a@b.c\"}", status: 5"#, r#"body: "***", status: 5"#; "JSON as a text in debug output")]
#[test_case(r#"GetItemOutput { item: Some({"token": S("abc"), "n": N("1")}) }"#, r#"GetItemOutput { item: Some({"token": S("***"), "n": N("1")}) }"#; "an attribute of DynamoDB in debug output")]
#[test_case(r#"{"token": {"S": "abc"}, "n": {"N": "1"}}"#, r#"{"token": {"S": "***"}, "n": {"N": "1"}}"#; "an attribute of DynamoDB in JSON")]
#[test_case(r#"{"x-task-key": HeaderValue { _private: "abc" }, "n": 1}"#, r#"{"x-task-key": HeaderValue { _private: "***" }, "n": 1}"#; "a struct in debug output")]
#[test_case(r#"{"cookies": ["a=b", "c=d"], "n": 1}"#, r#"{"cookies": [***], "n": 1}"#; "a list of cookies")]
#[test_case("card 4242424242424242.", "card ***."; "the number of a card")]
#[test_case("card 123 5555 5555 5555 4444 12/29", "card 123 *** 12/29"; "in groups beside other numbers")]
#[test_case("3782-822463-10005", "***"; "in groups of another kind")]
fn text_with_the_shape_of_a_secret_is_replaced(text: &str, expected: &str) {
    assert_eq!(redact(text), expected);
    assert_eq!(redact(expected), expected, "once more");
}

#[test_case("the header Authorization is missing")]
#[test_case("key: it is not ASCII text")]
#[test_case("the idempotency key was used with another request")]
#[test_case("token: the card has none"; "prose after a colon")]
#[test_case("idempotency_key: it is longer than 255"; "prose after the name of a header")]
#[test_case("20261128004152 and 2026112800415212"; "times without signs")]
#[test_case("secrets, tokens and passwords"; "other words")]
#[test_case("partition_key=S#12 sort-key=abc donkey=grey"; "other keys")]
#[test_case("a bearer of news"; "a word after bearer")]
#[test_case("019f4242-4242-4242-4242-424242424242"; "an id of digits")]
#[test_case("4242424242424241"; "a wrong check digit")]
#[test_case("1700000000000003"; "a time in microseconds")]
#[test_case("0.4242424242424242"; "a fraction")]
#[test_case("42424242424242424242424242424242"; "a longer number")]
#[test_case("x4242424242424242"; "a part of a word")]
#[test_case("step=process_payment task_id=019f0000-0000-7000-8000-000000000000 queued_seconds=0.25")]
#[test_case(r#"{"status": "complete", "at": "2026-11-28T00:00:00.000Z"}"#)]
#[test_case("")]
fn text_without_one_is_borrowed(text: &str) {
    assert!(matches!(redact(text), std::borrow::Cow::Borrowed(same) if same == text), "{}", redact(text));
}

#[test]
fn secret_is_replaced_wherever_it_stands_while_it_lives() {
    let secret = Secret::new("Ann.Other@example.org \"A\"");
    let said = |text: &str| redact(text).into_owned();
    assert_eq!(said("to Ann.Other@example.org \"A\": no"), "to ***: no");
    assert_eq!(said("to ANN.OTHER@EXAMPLE.ORG \"a\": no"), "to ***: no");
    assert_eq!(said(&format!("{:?}", "Ann.Other@example.org \"A\"")), "\"***\"");
    assert_eq!(said("/tasks?email=Ann.Other%40example.org%20%22A%22"), "/tasks?email=***");
    assert_eq!(said("Ann.Other@example.com"), "Ann.Other@example.com");
    let clone = secret.clone();
    drop(secret);
    assert_eq!(said("Ann.Other@example.org \"A\""), REDACTED);
    drop(clone);
    assert_eq!(said("Ann.Other@example.org \"A\""), "Ann.Other@example.org \"A\"");
}

#[test]
fn secrets_that_overlap_are_replaced_as_one() {
    let _secrets = ["abcd-1234", "abcd-1234-efgh", "34-efgh-5678"].map(Secret::from);
    assert_eq!(redact("<abcd-1234-efgh-5678>"), "<***>");
    assert_eq!(redact("<abcd-1234-x>"), "<***-x>");
}

/// A client chooses its tokens, and must not be able to make the lines about others unreadable.
#[test_case("process_payment"; "a word of a line")]
#[test_case("ATTEMPT-ENDED"; "in capital letters")]
#[test_case("Checkout"; "with one capital letter")]
#[test_case("Payment_Declined"; "with two capital letters")]
#[test_case("Suspected_fraud"; "of an error code")]
#[test_case("used up, and the task waits: "; "of a message")]
#[test_case("x9"; "short")]
fn secret_that_could_be_a_word_is_hidden_only_in_its_own_debug_output(text: &str) {
    let secret = Secret::new(text);
    assert_eq!(redact(text), text);
    assert_eq!(format!("{secret:?}"), REDACTED);
}

/// Of random keys of 22 characters one in forty has no digit.
#[test]
fn secret_of_the_system_is_replaced_even_if_it_has_letters_only() {
    let _secret = Secret::of_system("rSjIgRdSuRX__-_MclWuYQ");
    assert_eq!(redact("?k rSjIgRdSuRX__-_MclWuYQ."), "?k ***.");
}

#[test]
fn short_email_address_is_replaced() {
    let _secret = Secret::new("jo@x.de");
    assert_eq!(redact("jo@x.de is not verified: jo%40x.de"), "*** is not verified: ***");
}

#[test]
fn shapes_are_replaced_where_values_are_not() {
    let _secret = Secret::new("basket-4711");
    assert_eq!(redact_shapes("basket-4711 4242424242424242"), "basket-4711 ***");
}

#[test_case("101 102 103 "; "numbers that are no groups of a card")]
#[test_case("401 402 403 "; "numbers that could be")]
#[test_case("4444"; "one number")]
#[test_case("key=key="; "names and separators")]
#[test_case("key: key, "; "in prose")]
#[test_case("\"{\\\""; "quotes")]
#[test_case("\\"; "backslashes")]
#[test_case("bearer "; "words before tokens")]
#[test_case("K {key: "; "wrappers of a value")]
fn long_text_takes_no_longer_than_it_has_bytes(part: &str) {
    let text = part.repeat(100_000 / part.len());
    assert!(redact(&text).len() <= text.len());
}

#[test]
fn beginning_of_a_text_is_kept_without_a_part_of_a_secret() {
    let secret = Secret::new("tok_4711_".repeat(10));
    let long = format!("{}{} and {}", "a".repeat(80), secret.expose(), "b".repeat(2_000));
    assert_eq!(redact_beginning(&long, 85), format!("{}***", "a".repeat(80)));
    assert_eq!(redact_beginning(&long, 81), "a".repeat(80) + "*");
    assert_eq!(redact_beginning("déjà vu", 2), "d");
    assert!(matches!(redact_beginning("short", 5), std::borrow::Cow::Borrowed("short")));
}

#[test_case("PAYMENT_SUSPECTED_FRAUD", true)]
#[test_case("REFUSED_tok_4711", false)]
#[test_case("", false; "nothing")]
fn codes_are_known(text: &str, expected: bool) {
    assert_eq!(is_code(text), expected);
}

#[tokio::test]
async fn secret_of_a_scope_is_one_until_the_scope_ends() {
    let error = in_scope(async {
        hold("tok_4711_a");
        let token: Secret = serde_json::from_str(r#""tok_4711_b""#).unwrap();
        let error = format!("{} and tok_4711_a", token.expose());
        drop(token);
        assert_eq!(redact(&error), "*** and ***");
        error
    })
    .await;
    assert_eq!(redact(&error), error, "nothing is kept");
    hold("tok_4711_a");
    assert_eq!(redact(&error), error, "outside of a scope");
}

#[test_case("Authorization", true)]
#[test_case("x_task_key", true)]
#[test_case("Set-Cookie", true)]
#[test_case("card_token", true)]
#[test_case("key", true)]
#[test_case("sort_key", false)]
#[test_case("tokens", false)]
#[test_case("task_id", false)]
#[test_case("", false)]
fn names_of_secrets_are_known(name: &str, expected: bool) {
    assert_eq!(is_name_of_secret(name), expected);
}

proptest! {
    #[test]
    fn any_text_is_read_and_a_secret_in_it_is_replaced(before in ".{0,40}", after in ".{0,40}", text in "[ -~é]{8,20}[0-9]") {
        let secret = Secret::new(text.as_str());
        let line = format!("{before}{text}{after}");
        prop_assert!(!redact(&line).contains(&text));
        drop(secret);
        redact(&line);
    }
}
