//! What no emulator does on demand: conflicts, half-answered batches, errors of the mail service. A server that gives
//! the answers it was told to, in order, the last one for ever.

use crate::shop::{line, now};
use checkout::{Catalogue, Letter, MailError, Mailer, ProductId, ReserveError, SesMailer, Stock, StoreError, Tables};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use stepwell::SdkConfig;

type Answer = (u16, &'static str);

/// The configuration to reach it, and how often it was asked.
async fn server(answers: &'static [Answer]) -> (SdkConfig, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let head = reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty());
            let lengths =
                head.filter_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            let mut body = vec![0; lengths.last().unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            let number = count.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            let (status, answer) = answers[number];
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
            reader.into_inner().write_all(format!("{head}{answer}").as_bytes()).unwrap();
        }
    });
    let config = aws_config::from_env()
        .endpoint_url(url)
        .region(aws_config::Region::new("eu-central-1"))
        .test_credentials()
        .retry_config(aws_config::retry::RetryConfig::disabled());
    (config.load().await, asked)
}

const PRODUCT: Answer = (
    200,
    r#"{"Responses": {"shop-products": [{"id": {"N": "1"}, "name": {"S": "Lamp"}, "price_cents": {"N": "4398"},
        "stock": {"N": "7"}, "active": {"BOOL": true}}]}, "UnprocessedKeys": {}}"#,
);
const CONFLICT: Answer = (
    400,
    r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "Message": "Transaction cancelled",
        "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}]}"#,
);
const REFUSED: Answer = (
    400,
    r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "Message": "Transaction cancelled",
        "CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed", "Item":
        {"id": {"N": "1"}, "stock": {"N": "1"}}}]}"#,
);

#[tokio::test]
async fn a_conflict_is_tried_again() {
    let (config, asked) = server(&[PRODUCT, CONFLICT, CONFLICT, (200, "{}")]).await;
    let reservation = Tables::new(&config, "shop-").reserve("key", &[line(1, "Lamp", 2)], now()).await.unwrap();
    assert_eq!(reservation.updated_products[0].new_stock, 5);
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_table_that_stays_busy_is_left_to_the_next_attempt() {
    let (config, asked) = server(&[PRODUCT, CONFLICT]).await;
    let error = Tables::new(&config, "shop-").reserve("key", &[line(1, "Lamp", 2)], now()).await.unwrap_err();
    assert_eq!(error, ReserveError::Store(StoreError::Busy("TransactionConflict".to_owned())));
    assert_eq!(asked.load(Ordering::Relaxed), 8);
}

#[tokio::test]
async fn a_condition_that_failed_counts_for_more_than_a_conflict_beside_it() {
    let (config, _) = server(&[PRODUCT, REFUSED]).await;
    let error = Tables::new(&config, "shop-").reserve("key", &[line(1, "Lamp", 2)], now()).await.unwrap_err();
    assert_eq!(error.to_string(), "Insufficient stock for Lamp. Available: 1, Requested: 2");
}

#[tokio::test]
async fn what_was_left_unprocessed_is_asked_for_again() {
    const HALF: Answer = (
        200,
        r#"{"Responses": {}, "UnprocessedKeys": {"shop-products": {"Keys": [{"id": {"N": "1"}}], "ConsistentRead": true}}}"#,
    );
    let (config, asked) = server(&[HALF, PRODUCT]).await;
    assert!(Tables::new(&config, "shop-").products(&[ProductId(1)]).await.unwrap().contains_key(&ProductId(1)));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let (config, _) = server(&[HALF]).await;
    let error = Tables::new(&config, "shop-").products(&[ProductId(1)]).await.unwrap_err();
    assert_eq!(error, StoreError::Busy("unprocessed keys".to_owned()));
}

#[tokio::test]
async fn throttling_is_a_busy_table_and_an_error_shows_no_names() {
    let (config, _) =
        server(&[(400, r#"{"__type": "a#ThrottlingException", "message": "arn:aws:...:table/shop"}"#)]).await;
    let error = Tables::new(&config, "shop-").products(&[ProductId(1)]).await.unwrap_err();
    assert_eq!(error, StoreError::Busy("ThrottlingException".to_owned()));
    let (config, _) =
        server(&[(400, r#"{"__type": "a#AccessDeniedException", "message": "User: arn:aws:..."}"#)]).await;
    let error = Tables::new(&config, "shop-").products(&[ProductId(1)]).await.unwrap_err();
    assert_eq!(error.to_string(), "the table gave no answer (AccessDeniedException)");
}

#[tokio::test]
async fn the_mail_services_errors_are_told_apart() {
    let letter = Letter { to: "test@example.com".parse().unwrap(), subject: "s".to_owned(), text: "t".to_owned() };
    let cases: [(&'static [Answer], MailError); 4] = [
        (&[(429, r#"{"__type": "TooManyRequestsException", "message": "slower"}"#)], MailError::RateLimited),
        (&[(400, r#"{"__type": "LimitExceededException", "message": "enough"}"#)], MailError::RateLimited),
        (&[(503, "{}")], MailError::Unavailable("no code".to_owned())),
        (
            &[(400, r#"{"__type": "MessageRejected", "message": "Email address is not verified: test@example.com"}"#)],
            MailError::Unknown("MessageRejected".to_owned()),
        ),
    ];
    for (answers, expected) in cases {
        let (config, _) = server(answers).await;
        assert_eq!(SesMailer::new(&config, "orders@example.com".parse().unwrap()).send(&letter).await, Err(expected));
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unavailable() {
    let (config, _) = server(&[(200, "{}")]).await;
    // A port that nobody listens on.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = config.to_builder().endpoint_url(format!("http://{free}")).build();
    let letter = Letter { to: "test@example.com".parse().unwrap(), subject: "s".to_owned(), text: "t".to_owned() };
    let error = SesMailer::new(&config, "orders@example.com".parse().unwrap()).send(&letter).await.unwrap_err();
    assert_eq!(error, MailError::Unavailable("no connection".to_owned()));
    let error = Tables::new(&config, "shop-").products(&[ProductId(1)]).await.unwrap_err();
    assert_eq!(error, StoreError::Failed("no connection".to_owned()));
}
