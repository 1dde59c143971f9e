use crate::shop::config;
use checkout::{Email, Mailer};
use checkout_aws::SesMailer;

#[tokio::test]
async fn email_is_sent() {
    let config = config().await;
    let sender = "orders@example.com";
    let identity = aws_sdk_sesv2::Client::new(&config).create_email_identity().email_identity(sender).send().await;
    // Another run may have created it already.
    assert!(identity.is_ok() || identity.is_err_and(|error| error.as_service_error().is_some()));
    let email = Email {
        to: "test@example.com".parse().unwrap(),
        subject: "Zoë's order".to_owned(),
        text: "Hello\n\nthere\n".to_owned(),
    };
    let message_id = SesMailer::new(&config, &sender.parse().unwrap()).send(&email).await.unwrap();
    assert!(!message_id.is_empty());
}
