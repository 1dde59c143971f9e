//! A card's token is a secret: its owner can charge the card. So no answer and no log may contain it. A checkout's key is one to all
//! but its customer.

use crate::backend::Backend;
use stepwell_tests::until;

on_both_backends! {
    card_token_appears_in_no_answer_and_no_log,
    checkout_is_opened_by_its_key_alone_and_no_log_has_the_key,
}

async fn card_token_appears_in_no_answer_and_no_log<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 20)]).await;
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let mut tasks = Vec::new();
    for token in ["test_success_visa", "test_declined_visa", "test_temp_fail_visa", "tok_unknown"] {
        let token = format!("{token}_{mark}");
        let answer = shop.api().checkout(&product.request(1, &token)).await;
        let task = answer.task_id();
        let status = shop.api().until_ended(&task).await;
        let mut answers = vec![answer.text];
        for page in ["order_status", "workflow_details", "orders"] {
            answers.push(shop.api().get(&format!("/{page}/{task}")).await.text);
        }
        assert!(answers.iter().all(|answer| !answer.contains(&mark)), "{token} is in one of {answers:?}");
        tasks.push((task, status));
    }
    // A rejected request is neither repeated in the answer nor logged.
    let mut refused = product.request(0, &format!("test_success_{mark}"));
    refused["checkout"]["payment_info"]["card_number"] = format!("4242{mark}").into();
    let answer = shop.api().checkout(&refused).await;
    assert!(answer.status == 422 && !answer.text.contains(&mark), "{}", answer.text);
    let broken = shop.api().post("/checkout", format!("{{\"token\": \"{mark}\"")).await;
    assert!(broken.status == 400 && !broken.text.contains(&mark), "{}", broken.text);

    // Log lines appear a moment after their events.
    let logs = until("the functions' log of these checkouts", async || {
        let logs = shop.logs().await;
        tasks.iter().all(|(task, _)| logs.contains(task.as_str())).then_some(logs)
    })
    .await;
    let lines: Vec<&str> = logs.lines().filter(|line| line.contains(&mark)).collect();
    assert!(lines.is_empty(), "{lines:?}");
}

async fn checkout_is_opened_by_its_key_alone_and_no_log_has_the_key<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 20)]).await;
    let stranger = shop.api().as_a_stranger();
    let (task, ..) = shop.api().run(&product.request(1, "test_success_visa")).await;
    let key = shop.api().task_key(&task);
    for page in ["workflow_details", "orders"] {
        assert_eq!(stranger.get(&format!("/{page}/{task}")).await.status, 404, "{page}");
        assert_eq!(stranger.get(&format!("/{page}/{task}?key={key}")).await.status, 200, "{page}");
    }
    for action in ["retry_checkout", "cancel_checkout"] {
        assert_eq!(stranger.post(&format!("/{action}/{task}"), "").await.status, 404, "{action}");
    }
    let word = stranger.get(&format!("/order_status/{task}")).await.expect(200);
    assert_eq!(word, serde_json::json!({"task_id": task, "status": "completed"}));

    // A log line appears a moment after its event.
    let asked = |logs: &str| logs.lines().any(|line| line.contains(&task) && line.contains("/workflow_details"));
    let logs = until("the log of these requests", async || Some(shop.logs().await).filter(|logs| asked(logs))).await;
    assert!(!logs.contains(&key));
}
