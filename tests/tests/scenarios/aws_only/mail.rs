//! What SES needs in order to send.

use serde_json::json;
use stepwell_tests::{
    stack::{Stack, variable},
    until,
};

#[tokio::test]
async fn e_mails_are_sent_where_ses_has_verified_the_sender_s_domain_alone() {
    const IDENTITIES: &str = "/v2/email/identities";
    let stack = Stack::from_env().await;
    let verify = async |identity: &str| {
        let identity = json!({"EmailIdentity": identity}).to_string();
        stack.aws("ses", ("POST", IDENTITIES), &[], identity).await.expect(200);
    };
    let forget = async |identity: &str| {
        let path = format!("{IDENTITIES}/{identity}");
        stack.aws("ses", ("DELETE", &path), &[], String::new()).await.expect(200);
    };
    let sender = variable("SHOP_MAIL_SENDER");
    let domain = sender.split_once('@').expect("an address").1;

    verify(domain).await;
    forget(&sender).await;
    let product = stack.product(2_500, 5).await;
    let (task, status, _) = stack.api.run(&product.request(1, "test_success_visa")).await;
    let again = json!({"reason": "a test of the scenarios"});
    let again = stack.operator().post(&format!("/orders/{task}/resend"), &again).await;
    let confirmed = stack.mails_to(&product.email()).await.len();
    stack.api.post(&format!("/cancel_checkout/{task}"), "").await.expect(202);
    let sent = async || Some(stack.mails_to(&product.email()).await.len()).filter(|sent| *sent > confirmed);
    let sent = until("the e-mail about the cancellation", sent).await;
    verify(&sender).await;
    forget(domain).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!((confirmed, sent), (2, 3));
}
