//! Secrets that customers and strangers send to a shop, looked for in all that it writes and tells operators.

use crate::shop::{Ended, Shop, read_answer, until};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, process::Stdio};

/// What each secret has in it, whatever its case.
const MARK: &str = "planted";

/// A checkout whose texts are all marked.
fn request(card: &str, product: u32, amount: f64) -> String {
    json!({"checkout": {
        "cart_items": [{"product_id": product, "quantity": 1, "name": "Planted name of a product"}],
        "payment_info": {"token": format!("{card}_planted1"), "amount": amount},
        "customer_info": {"email": "planted-2@example.com", "name": "Planted Three", "phone": "planted 4"},
        "shipping_info": {"street": "5 Planted Street"},
    }})
    .to_string()
}

/// Sends what a customer, a stranger and a wrong operator send. Returns the tasks, and the key of the first.
fn send(shop: &Shop) -> (Vec<String>, String) {
    let headers = |key: &str| {
        format!(
            "Host: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer planted-bearer-7\r\n\
             Idempotency-Key: planted-{key}\r\nX-Task-Key: planted-key-8\r\nCookie: planted=9\r\n"
        )
    };
    let mut answers = Vec::new();
    for (card, product, amount) in [("test_success_visa", 1, 52.5), ("test_declined_visa", 2, 20.66)] {
        let answer =
            read_answer(&shop.customers, "POST /checkout?wait=10", &headers(card), &request(card, product, amount));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 202"), "{answer}");
        answers.push(serde_json::from_str::<Value>(body).unwrap());
    }
    // So each step of a checkout has a result, and a payment an error.
    assert_eq!(
        (&answers[0]["status"], &answers[1]["error"]["code"]),
        (&json!("completed"), &json!("PAYMENT_DECLINED"))
    );
    let tasks: Vec<String> =
        answers.iter().map(|answer| answer["task_id"].as_str().unwrap_or_else(|| panic!("{answer}")).into()).collect();
    let key = answers[0].to_string().split_once("?key=").unwrap().1[..22].to_owned();
    for ask in ["order_status", "workflow_details", "orders"] {
        for key in [&*key, "planted-key-10"] {
            read_answer(&shop.customers, &format!("GET /{ask}/{}?key={key}", tasks[0]), &headers("x"), "");
        }
    }
    let ask =
        |what: &str| read_answer(&shop.customers, &format!("{what}/{}?key={key}&wait=10", tasks[0]), &headers("v"), "");
    let cancelled = [ask("POST /cancel_checkout"), ask("GET /order_status")];
    assert!(cancelled[1].contains("\"cancelled\""), "{cancelled:?}");
    for body in ["{\"token\": \"planted", r#"{"checkout": {"payment_info": {"card_number": "4242planted"}}}"#] {
        read_answer(&shop.customers, "POST /checkout?key=planted-11", &headers("y"), body);
    }
    read_answer(&shop.operators(), "GET /tasks?status=planted", &headers("z"), "");
    (tasks, key)
}

/// Compensates the failed task by a bulk action, so that `watch` comes to its end. Returns the id of the action.
fn compensate(shop: Shop, task: &str) -> (Shop, String) {
    let all = ["compensate", "--error-code", "PAYMENT_DECLINED", "--reason", "why", "--yes"];
    let following = shop.command(&all).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it is started", || !shop.operate(&["bulk"]).stdout.is_empty());
    // The next process carries it on at once.
    let shop = shop.restart();
    assert_eq!(following.wait_with_output().unwrap().status.code(), Some(3), "the shop is gone");
    let bulk = shop.operate(&["bulk"]).expect(0).stdout.split(' ').next().unwrap().to_owned();
    until("it is over", || shop.operate(&["results", &bulk]).expect(0).stdout.contains(task));
    (shop, bulk)
}

/// What is told of these tasks and of this bulk action, by what tells it.
fn told(shop: &Shop, tasks: &[String], bulk: &str) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    let mut add = |what: String, Ended { code, stdout, stderr }: Ended| {
        assert_eq!(code, Some(0), "{what}: {stderr}");
        told.insert(what, stdout + &stderr);
    };
    for task in tasks {
        for what in ["show", "graph"] {
            add(format!("{what} {task}"), shop.operate(&[what, task]));
            add(format!("{what} {task} --json"), shop.operate(&[what, task, "--json"]));
        }
        add(format!("logs {task}"), shop.operate(&["logs", task]));
        add(format!("logs {task} --json"), shop.operate(&["logs", task, "--json"]));
    }
    for what in [&["list"][..], &["list", "--key", "email:planted-2@example.com"], &["analytics"], &["health"]] {
        add(what.join(" "), shop.operate(what));
        add(format!("{} --json", what.join(" ")), shop.operate(&[what, &["--json"]].concat()));
    }
    for (task, step) in [
        (&tasks[0], "create_order"),
        (&tasks[0], "cancel_order"),
        (&tasks[0], "send_cancellation"),
        (&tasks[0], "validate_cart"),
    ] {
        add(format!("replay {step}"), shop.replay(task, &[step]));
        add(format!("replay {step} --json"), shop.replay(task, &[step, "--json"]));
    }
    let card = r#"{"payment_info": {"token": "test_success_planted12"}}"#;
    add("replay process_payment".to_owned(), shop.replay(&tasks[1], &["process_payment", "--patch", card]));
    for what in [&["bulk"][..], &["bulk", bulk], &["results", bulk], &["watch", &tasks[0]], &["watch", &tasks[1]]] {
        add(what.join(" "), shop.operate(what));
        add(format!("{} --json", what.join(" ")), shop.operate(&[what, &["--json"]].concat()));
    }
    let token = fs::read_to_string(shop.data.path().join("operator-token")).unwrap();
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {}\r\nX-Operator: ann\r\n", token.trim());
    for path in ["/metrics", "/health/status", "/workflows", &format!("/tasks/{}/events?wait=0", tasks[0])] {
        let answer = read_answer(&shop.operators(), &format!("GET {path}"), &headers, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        told.insert(path.to_owned(), answer);
    }
    // Who reveals an input sees what is personal in it, and no card.
    let revealed = read_answer(&shop.operators(), &format!("POST /tasks/{}/reveal", tasks[0]), &headers, "");
    assert!(revealed.contains("Planted Three") && !revealed.contains("planted1"), "{revealed}");
    assert!(revealed.contains(r#""hidden":["/payment_info/token"]"#), "{revealed}");
    told
}

#[test]
fn secrets_of_requests_are_in_no_log_and_in_nothing_that_operators_are_told() {
    for format in ["json", "text"] {
        let shop = Shop::start_with_log(format);
        let (tasks, key) = send(&shop);
        let (mut shop, bulk) = compensate(shop, &tasks[1]);
        let mut told = told(&shop, &tasks, &bulk);
        shop.stop();
        let log = fs::read_to_string(shop.data.path().join("stderr")).unwrap();
        assert!(tasks.iter().all(|task| log.contains(task)) && log.contains("attempt ended"), "{log}");
        assert!(log.contains("TRACE"), "all levels");
        told.insert(format!("the log as {format}"), log);
        let kept = shop.operate(&["logs", "--since", "60"]).expect(0).stdout;
        assert!(tasks.iter().all(|task| kept.contains(task)) && kept.contains("TRACE"), "all levels");
        told.insert("logs".to_owned(), kept);
        for name in ["operator-token", "task-key"] {
            let secret = fs::read_to_string(shop.data.path().join(name)).unwrap();
            for (what, text) in &told {
                assert!(!text.contains(secret.trim()), "{name} is in {what}: {text}");
            }
        }
        for (what, text) in &told {
            assert!(!text.contains(&key), "a task's key is in {what}: {text}");
            let lines: Vec<_> = text.lines().filter(|line| line.to_lowercase().contains(MARK)).collect();
            assert!(lines.is_empty(), "{what}: {lines:?}");
        }
    }
}
