//! `stepwell reconcile`: of a shop that runs, and of a stack as its function's answers are scripted.

use super::{UNKNOWN, on_aws};
use crate::shop::{Ended, Scripted, Shop};
use serde_json::{Value, json};
use std::fs;
use test_case::test_case;

const FITS: &str = r#"{"judged": 3, "findings": [], "not_judged": [], "unfinished": false}"#;

/// The report of one finding.
fn report(remedy: &str, outcome: &Value) -> String {
    let finding =
        json!({"id": UNKNOWN, "kind": "refund_failed", "remedy": remedy, "payment": "pay_1", "outcome": outcome});
    json!({"judged": 3, "findings": [finding], "not_judged": [], "unfinished": false}).to_string()
}

/// Runs the command on a stack whose function answers so.
fn reconcile(answers: &[(u16, &str)], arguments: &[&str]) -> (Ended, Vec<String>) {
    let aws = Scripted::new(answers);
    let ended = on_aws(&aws, &[&["reconcile"], arguments, &["--stage", "dev"]].concat());
    (ended, aws.requests())
}

#[test]
fn charge_that_the_shop_does_not_know_is_found_until_somebody_settles_it() {
    let mut shop = Shop::start();
    shop.buy("success");
    shop.operate(&["reconcile", "--min-age", "0"]).expect(0).says("0 findings in 1 checkout");
    // The gateway's file stays, as the bank does.
    shop.stop();
    for file in fs::read_dir(shop.data.path()).unwrap().map(|file| file.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("shop.sqlite") {
            fs::remove_file(file).unwrap();
        }
    }
    let shop = shop.restart();
    let found =
        shop.operate(&["reconcile", "--min-age", "0"]).expect(1).prints("  charge_without_record  person   listed");
    let payment = found.stdout.split(' ').next().unwrap();
    let as_json = shop.operate(&["reconcile", "--min-age", "0", "--json"]).expect(1).json();
    assert_eq!(as_json["findings"][0]["id"], payment);
    shop.operate(&["reconcile", "--mend", "--yes"]).expect(0).says("0 findings");

    let settle = ["reconcile", "acknowledge", payment, "charge_without_record", "--reason", "refunded by hand"];
    let settled = shop.operate(&settle).expect(0);
    assert_eq!(settled.stdout, format!("charge_without_record of {payment} is not reported any more\n"));
    let again = shop.operate(&[&settle[..], &["--json"]].concat()).expect(0).json();
    assert_eq!(again, json!({"acknowledged": payment}));
    shop.operate(&["reconcile", "--min-age", "0"]).expect(0);
    let other = ["reconcile", "acknowledge", UNKNOWN, "charge_without_record", "--reason", "why"];
    shop.operate(&other).expect(1).says("charge_without_record cannot be about");
}

#[test]
fn what_is_certain_is_mended_after_a_look_by_the_function() {
    let (listed, mended) = (report("refund", &json!({"is": "listed"})), report("refund", &json!({"is": "mended"})));
    let (ended, requests) = reconcile(&[(200, &listed), (200, &mended)], &["--mend", "--yes"]);
    let ended = ended.expect(0).says("1 finding in 3 checkouts");
    assert_eq!(ended.stdout, format!("{UNKNOWN}  refund_failed          refund   mended  pay_1\n"));
    let [look, mend] = requests.as_slice() else { panic!("{requests:?}") };
    for request in [look, mend] {
        assert!(request.starts_with("POST /2015-03-31/functions/stepwell-dev-reconcile/invocations "), "{request}");
        assert!(request.contains("/eu-west-1/lambda/aws4_request, SignedHeaders="), "{request}");
    }
    assert!(look.ends_with(r#"{"mend":false,"all_refunds":true}"#), "{look}");
    assert!(mend.ends_with(r#"{"mend":true,"all_refunds":true}"#), "{mend}");

    let (ended, requests) = reconcile(&[(200, &listed)], &["--mend"]);
    ended.expect(1).says("refund_failed          refund   listed  pay_1\nstepwell: there is no terminal to ask on");
    assert_eq!(requests.len(), 1, "nothing is mended without a yes");
    let (ended, requests) = reconcile(&[(200, &report("person", &json!({"is": "listed"})))], &["--mend", "--yes"]);
    ended.expect(1);
    assert_eq!(requests.len(), 1, "nothing can be mended");
}

#[test_case(200, FITS, 0, "0 findings in 3 checkouts"; "all fits together")]
#[test_case(200, r#"{"judged": 3, "findings": [], "not_judged": [], "unfinished": true}"#, 3, "there was no time for all checkouts"; "unfinished")]
#[test_case(200, r#"{"judged": 3, "findings": [], "not_judged": [{"id": "a", "why": "no answer"}], "unfinished": false}"#, 3, "1 checkout could not be judged"; "not judged")]
#[test_case(200, r#"{"errorType": "E", "errorMessage": "the tasks cannot be listed"}"#, 3, "stepwell-dev-reconcile failed: the tasks cannot be listed"; "failed")]
#[test_case(404, r#"{"Type": "User", "Message": "Function not found: stepwell-dev-reconcile"}"#, 3, "AWS (lambda) answered 404: Function not found"; "no such stack")]
#[test_case(403, r#"{"Message": "no right"}"#, 4, "AWS (lambda) answered 403: no right"; "no right")]
#[test_case(200, r#"{"judged": 3}"#, 3, "cannot be read"; "another version")]
fn exit_code_tells_findings_from_a_run_that_has_none_to_tell(status: u16, answer: &str, code: i32, why: &str) {
    let (ended, requests) = reconcile(&[(status, answer)], &[]);
    ended.expect(code).says(why);
    assert_eq!(requests.len(), 1, "a run may still go on, so it is not repeated");
}

#[test]
fn settled_finding_of_a_stack_has_the_arn_of_whoever_settled_it() {
    let caller = "<GetCallerIdentityResult><Arn>arn:aws:iam::1:user/ann</Arn></GetCallerIdentityResult>";
    let answer = json!({ "acknowledged": UNKNOWN }).to_string();
    let settle = ["acknowledge", UNKNOWN, "refund_failed", "--reason", "ticket 4711"];
    let (ended, requests) = reconcile(&[(200, caller), (200, &answer)], &settle);
    ended.expect(0).prints(&format!("refund_failed of {UNKNOWN} is not reported any more"));
    assert!(requests[0].ends_with("Action=GetCallerIdentity&Version=2011-06-15"), "{requests:?}");
    let settled =
        json!({"id": UNKNOWN, "kind": "refund_failed", "who": "arn:aws:iam::1:user/ann", "why": "ticket 4711"});
    let body: Value = serde_json::from_str(requests[1].split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["acknowledge"], settled);
}

#[test_case(&["--mend", "--min-age", "60"], "--mend needs 3600 at least")]
#[test_case(&["--yes"], "--mend")]
#[test_case(&["acknowledge", UNKNOWN, "refund_failed"], "--reason <WHY>")]
#[test_case(&["acknowledge", UNKNOWN, "refunded", "--reason", "why"], "`refunded` is no kind of finding; the kinds are paid_without_task, ")]
fn request_that_makes_no_sense_asks_nothing(arguments: &[&str], why: &str) {
    let (ended, requests) = reconcile(&[(200, FITS)], arguments);
    ended.expect(2).says(why);
    assert_eq!(requests.len(), 0);
}

#[test]
fn url_of_a_stack_says_to_name_its_stage() {
    let api = Scripted::new(&[(404, r#"{"error": "There is no such path"}"#)]);
    on_aws(&api, &["reconcile", "--url", &api.url, "--token", "x"]).expect(3).says("say its --stage");
}
