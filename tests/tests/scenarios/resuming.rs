//! Redrives of a failed checkout, which resume at the failed step.

use crate::backend::Backend;
use serde_json::json;

on_both_backends! {
    redrive_resumes_at_the_failed_step_and_charges_once,
}

async fn redrive_resumes_at_the_failed_step_and_charges_once<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    // The gateway is down for as many attempts as there are; the fourth succeeds.
    let (task, status, before) = shop.api().run(&product.request(2, "test_temp_fail_3_visa")).await;
    let (retrying, code) = (&status["retrying"], "GATEWAY_TEMPORARY_FAILURE");
    assert_eq!((&status["status"], &retrying["step"]), (&json!("processing"), &json!("process_payment")), "{status}");
    assert_eq!((&retrying["code"], retrying["next_at"].is_string()), (&json!(code), true), "{status}");
    assert_eq!(before.outcomes("process_payment"), ["retryable_error"; 3]);
    assert_eq!(shop.charges(&task).await, [0; 0]);

    let url = retrying["retry_url"].as_str().unwrap();
    let answers = futures::future::join_all((0..5).map(|_| shop.api().post(url, ""))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409, 409, 409, 409], "five at once are one");

    let status = shop.api().until_ended(&task).await;
    assert_eq!(status["status"], "completed", "{status}");
    let after = shop.api().details(&task).await;
    assert_eq!(
        after.outcomes("process_payment"),
        ["retryable_error", "retryable_error", "retryable_error", "complete"],
        "the audit trail goes on"
    );
    assert_eq!(after.step("validate_cart"), before.step("validate_cart"), "what completed is not run again");
    assert_eq!(shop.charges(&task).await, [product.total_cents(2)]);
    assert_eq!(shop.orders(&task).await, 1);
    assert_eq!(shop.stock(product.id).await, 3);
    assert_eq!(shop.emails_to(&product.email()).await.len(), 1);
}
