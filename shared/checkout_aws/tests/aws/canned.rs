//! Answers that no emulator gives on demand: conflicts, incomplete batches, errors of the e-mail service. A server
//! returns scripted responses in order, and repeats the last one.

use crate::shop::{line, now};
use checkout::testing::rules::wanted;
use checkout::{
    Catalogue, Email, EmailAddress, HoldError, MailError, Mailer, ProductId, Stock, StoreError, Storefront,
};
use checkout_aws::{MAIL_TIMEOUT, SesMailer, Tables, UNREADABLE_ROW};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use stepwell::{
    FailureKind, TaskId,
    core::{message::StepQueue, record::KeyRecord, task},
    ports::{Deliveries, Store, TableError},
};
use stepwell_aws::{DynamoTable, Mappings, SdkConfig};
use test_case::test_case;
use tracing_subscriber::layer::SubscriberExt;

type ScriptedResponse = (u16, &'static str);

/// Starts the server. Returns the configuration to reach it, and the number of its requests.
async fn server(answers: &'static [ScriptedResponse]) -> (SdkConfig, Arc<AtomicUsize>) {
    slow_server(Duration::ZERO, answers).await
}

/// The same with this wait before each answer.
async fn slow_server(wait: Duration, answers: &'static [ScriptedResponse]) -> (SdkConfig, Arc<AtomicUsize>) {
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
            std::thread::sleep(wait);
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

/// A catalogue with one good row and three bad ones, in two pages.
const PAGES: [ScriptedResponse; 2] = [
    (
        200,
        r#"{"Items": [
            {"id": {"N": "4"}, "name": {"S": "Half"}, "price_cents": {"N": "1"}, "stock": {"N": "2.5"}, "active": {"BOOL": true}},
            {"id": {"N": "5"}, "name": {"S": "Unsaid"}, "price_cents": {"N": "1"}, "stock": {"N": "2"}}
        ], "LastEvaluatedKey": {"id": {"N": "5"}}}"#,
    ),
    (
        200,
        r#"{"Items": [
            {"id": {"N": "6"}, "name": {"S": "Owed"}, "price_cents": {"N": "1"}, "stock": {"N": "-1"}, "active": {"BOOL": true}},
            {"id": {"N": "1"}, "name": {"S": "Lamp"}, "price_cents": {"N": "4398"}, "stock": {"N": "7"}, "active": {"BOOL": true}}
        ]}"#,
    ),
];

/// A row with a stock only.
const BARE: ScriptedResponse =
    (200, r#"{"Responses": {"shop-products": [{"id": {"N": "1"}, "stock": {"N": "7"}}]}, "UnprocessedKeys": {}}"#);
const HALF_A_UNIT: ScriptedResponse =
    (200, r#"{"Responses": {"shop-products": [{"id": {"N": "1"}, "stock": {"N": "2.5"}}]}, "UnprocessedKeys": {}}"#);
const RESERVED: ScriptedResponse = (
    200,
    r#"{"Item": {"id": {"S": "key"}, "reservation": {"M": {"total_items_reserved": {"N": "2"}, "inventory_changes": {"L": []},
        "updated_products": {"L": [{"M": {"product_id": {"N": "1"}, "name": {"S": "Lamp"}, "previous_stock": {"N": "9"},
        "new_stock": {"N": "7"}, "quantity_reserved": {"N": "2"}}}]}}}}}"#,
);

/// Captures the log lines of this thread, in the functions' format, while the guard lives.
fn log() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    struct CapturedLog(Arc<Mutex<Vec<u8>>>);
    impl Write for CapturedLog {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    // While a process has one subscriber only, `tracing` asks the thread that comes to a line first whether the line is wanted, and
    // keeps the answer. So each thread has one.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    let log = Arc::default();
    let writer = Arc::clone(&log);
    let lines = telemetry::log_lines(move || CapturedLog(Arc::clone(&writer)), Some("stepwell-dev".to_owned()));
    (log, tracing::subscriber::set_default(tracing_subscriber::registry().with(lines)))
}

#[tokio::test]
async fn unreadable_product_is_left_out_of_the_catalogue_and_logged_for_the_alarm() {
    let (log, _guard) = log();
    let (config, asked) = server(&PAGES).await;
    let products = Tables::new(&config, "shop-").all_products().await.unwrap();
    assert_eq!(products.iter().map(|product| product.id.0).collect::<Vec<_>>(), [1]);
    assert_eq!(asked.load(Ordering::Relaxed), 2);

    let text = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let alarms: Vec<Value> = lines.filter(|line| line["message"] == UNREADABLE_ROW).collect();
    assert!(
        alarms.iter().all(|line| (&line["level"], &line["table"], &line["unreadable_rows"])
            == (&"ERROR".into(), &"products".into(), &1.0.into())),
        "{text}"
    );
    assert_eq!(alarms.iter().map(|line| line["product"].as_str().unwrap()).collect::<Vec<_>>(), ["4", "5", "6"]);
    assert!(alarms[1]["problem"].as_str().unwrap().contains("active"), "{text}");
}

#[tokio::test]
async fn cart_with_an_unreadable_product_fails_with_its_number() {
    let (config, _) = server(&[BARE]).await;
    let error = Tables::new(&config, "shop-").products(&[ProductId(1)]).await.unwrap_err();
    assert_eq!(error.to_string(), "an item cannot be read: product 1", "without what is in it");
}

#[tokio::test]
async fn stock_of_a_row_with_other_unreadable_columns_can_be_released() {
    let (config, _) = server(&[RESERVED, BARE, (200, "{}")]).await;
    let release = Tables::new(&config, "shop-").release("key", now()).await.unwrap();
    assert_eq!(release.released_products[0].new_stock, 9);
}

#[tokio::test]
async fn invalid_stock_is_unchanged_and_the_error_names_the_product() {
    let unreadable = StoreError::Unreadable("product 1".to_owned());
    let (config, asked) = server(&[RESERVED, HALF_A_UNIT]).await;
    assert_eq!(Tables::new(&config, "shop-").release("key", now()).await.unwrap_err(), unreadable);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "nothing was written");
}

const PRODUCT: ScriptedResponse = (
    200,
    r#"{"Responses": {"shop-products": [{"id": {"N": "1"}, "name": {"S": "Lamp"}, "price_cents": {"N": "4398"},
        "stock": {"N": "7"}, "active": {"BOOL": true}}]}, "UnprocessedKeys": {}}"#,
);
const CONFLICT: ScriptedResponse = (
    400,
    r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "Message": "Transaction cancelled",
        "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}]}"#,
);
const REFUSED: ScriptedResponse = (
    400,
    r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "Message": "Transaction cancelled",
        "CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed", "Item":
        {"id": {"N": "1"}, "stock": {"N": "1"}}}]}"#,
);

const THROTTLED_TRANSACTION: ScriptedResponse = (
    400,
    r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "Message": "Transaction cancelled",
        "CancellationReasons": [{"Code": "ThrottlingError"}, {"Code": "ProvisionedThroughputExceeded"}]}"#,
);

#[tokio::test]
async fn conflict_or_throttled_transaction_is_retried() {
    let (config, asked) = server(&[CONFLICT, THROTTLED_TRANSACTION, (200, "{}")]).await;
    let lamps = wanted(&[line(1, "Lamp", 2)], 7);
    assert_eq!(Tables::new(&config, "shop-").hold("key", &lamps, now()).await, Ok(lamps));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn lasting_conflict_is_a_busy_table() {
    let (config, asked) = server(&[CONFLICT]).await;
    let error = Tables::new(&config, "shop-").hold("key", &wanted(&[line(1, "Lamp", 2)], 7), now()).await.unwrap_err();
    assert_eq!(error, HoldError::Store(StoreError::Busy("TransactionConflict".to_owned())));
    assert_eq!(asked.load(Ordering::Relaxed), 7);
}

#[tokio::test]
async fn refused_condition_outranks_a_conflict_in_one_transaction() {
    let (config, _) = server(&[REFUSED, (200, "{}")]).await;
    let error = Tables::new(&config, "shop-").hold("key", &wanted(&[line(1, "Lamp", 2)], 7), now()).await.unwrap_err();
    assert_eq!(error.to_string(), "Insufficient stock for Lamp. Available: 1, Requested: 2");
}

/// Its own units are what the stock lacks: the answer of an earlier call was lost, or a duplicate was faster.
#[tokio::test]
async fn hold_that_stands_is_not_refused_for_lack_of_stock() {
    let lamps = [line(1, "Lamp", 2)];
    for (answers, stock) in [(&[REFUSED, RESERVED] as &'static [_], 7), (&[RESERVED], 1)] {
        let (config, _) = server(answers).await;
        let held = Tables::new(&config, "shop-").hold("key", &wanted(&lamps, stock), now()).await.unwrap();
        assert_eq!(held.updated_products[0].previous_stock, 9);
        let (config, _) = server(answers).await;
        let error = Tables::new(&config, "shop-").hold("key", &wanted(&[line(1, "Lamp", 3)], stock), now()).await;
        assert!(matches!(error, Err(HoldError::Store(StoreError::Unreadable(_)))), "that of another cart: {error:?}");
    }
}

#[tokio::test]
async fn what_is_plainly_sold_out_is_refused_without_a_write() {
    let (config, asked) = server(&[(200, "{}")]).await;
    let error = Tables::new(&config, "shop-").hold("key", &wanted(&[line(1, "Lamp", 2)], 1), now()).await.unwrap_err();
    assert_eq!(error.to_string(), "Insufficient stock for Lamp. Available: 1, Requested: 2");
    assert_eq!(asked.load(Ordering::Relaxed), 1, "one read of the reservation");
}

#[tokio::test]
async fn unprocessed_keys_are_requested_again() {
    const HALF: ScriptedResponse = (
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
async fn throttling_is_a_busy_table_and_the_error_shows_no_names() {
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
async fn errors_of_the_email_service_are_distinguished() {
    let email = Email { to: "test@example.com".parse().unwrap(), subject: "s".to_owned(), text: "t".to_owned() };
    let cases: [(&'static [ScriptedResponse], MailError); 4] = [
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
        assert_eq!(SesMailer::new(&config, &"orders@example.com".parse().unwrap()).send(&email).await, Err(expected));
    }
}

/// SES names an address that is not verified. The shop's own is in the line, so that somebody can verify it.
#[tokio::test]
async fn address_of_the_shop_is_no_secret() {
    let (config, _) = server(&[(200, "{}")]).await;
    let mailer = SesMailer::new(&config, &"orders@shop-4.example".parse().unwrap());
    let buyer: EmailAddress = "buyer@shop-4.example".parse().unwrap();
    let said = "Email address is not verified: orders@shop-4.example, buyer@shop-4.example";
    assert_eq!(redaction::redact(said), "Email address is not verified: orders@shop-4.example, ***");
    drop((mailer, buyer));
}

#[tokio::test]
async fn email_is_tried_once_though_the_configuration_has_retries() {
    let email = Email { to: "test@example.com".parse().unwrap(), subject: "s".to_owned(), text: "t".to_owned() };
    let (config, asked) = server(&[(503, "{}")]).await;
    let retries = aws_config::retry::RetryConfig::standard().with_max_attempts(5);
    let config = config.to_builder().retry_config(retries.with_initial_backoff(Duration::from_millis(1))).build();
    let error = SesMailer::new(&config, &"orders@example.com".parse().unwrap()).send(&email).await.unwrap_err();
    assert_eq!(error, MailError::Unavailable("no code".to_owned()));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// The configuration of the functions gives a try 3 s. An SES that answers later than that has sent the e-mail all the same.
#[tokio::test]
async fn slow_answer_of_the_email_service_is_waited_for() {
    let email = Email { to: "test@example.com".parse().unwrap(), subject: "s".to_owned(), text: "t".to_owned() };
    let (config, asked) = slow_server(Duration::from_millis(600), &[(200, r#"{"MessageId": "one"}"#)]).await;
    let hasty = aws_config::timeout::TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(200));
    let config = config.to_builder().timeout_config(hasty.build()).build();
    let sent = SesMailer::new(&config, &"orders@example.com".parse().unwrap()).send(&email).await;
    assert_eq!((sent, asked.load(Ordering::Relaxed)), (Ok("one".to_owned()), 1));
}

#[test]
fn email_has_less_time_than_its_step() {
    let workflow = checkout::workflow().unwrap();
    let step = workflow.plan().step("send_confirmation").unwrap();
    assert!(MAIL_TIMEOUT < Duration::from_secs(step.timeout_seconds.into()));
}

#[tokio::test]
async fn unreachable_service_is_unavailable() {
    let (config, _) = server(&[(200, "{}")]).await;
    // A port without a listener.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = config.to_builder().endpoint_url(format!("http://{free}")).build();
    let email = Email { to: "test@example.com".parse().unwrap(), subject: "s".to_owned(), text: "t".to_owned() };
    let error = SesMailer::new(&config, &"orders@example.com".parse().unwrap()).send(&email).await.unwrap_err();
    assert_eq!(error, MailError::Unavailable("no connection".to_owned()));
    let error = Tables::new(&config, "shop-").products(&[ProductId(1)]).await.unwrap_err();
    assert_eq!(error, StoreError::Failed("no connection".to_owned()));
}

const BROKEN: ScriptedResponse = (500, r#"{"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"}"#);
const THROTTLED: ScriptedResponse = (400, r#"{"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException"}"#);
const DENIED: ScriptedResponse = (400, r#"{"__type": "com.amazon.coral.service#AccessDeniedException"}"#);

/// The engine's table, where a call makes two attempts.
async fn engine_table(answers: &'static [ScriptedResponse]) -> DynamoTable {
    let (config, _) = server(answers).await;
    let config = aws_sdk_dynamodb::config::Builder::from(&config)
        .retry_config(aws_config::retry::RetryConfig::standard().with_max_attempts(2));
    DynamoTable::new(aws_sdk_dynamodb::Client::from_conf(config.build()), "stepwell")
}

/// A write that is throttled at its second attempt may have been made by the first one. Whoever started a task by it must not
/// be told that nothing was started.
#[tokio::test]
async fn kind_of_a_failed_write_covers_every_attempt() {
    let id = TaskId::new();
    let key = KeyRecord {
        namespace: "shop".to_owned(),
        key: "order-1".to_owned(),
        task: id,
        request_hash: "hash".to_owned(),
        created_at: now(),
        newer: None,
    };
    for (answers, kind) in [
        (&[THROTTLED] as &'static [ScriptedResponse], FailureKind::Throttled),
        (&[DENIED], FailureKind::Refused),
        (&[THROTTLED, DENIED], FailureKind::Refused),
        (&[BROKEN, THROTTLED], FailureKind::Unavailable),
        (&[BROKEN, DENIED], FailureKind::Unavailable),
    ] {
        for transition in [task::reserve_key(&key), task::finish(id, now())] {
            let Err(TableError::Call(error)) = engine_table(answers).await.apply(&transition).await else {
                panic!("{answers:?}")
            };
            assert_eq!(error.kind, kind, "{} {answers:?}", transition.name);
        }
    }
}

/// A list with the mapping of the queue of `pay` in a state.
macro_rules! mapping {
    ($state:literal) => {
        (
            200,
            concat!(
                r#"{"EventSourceMappings": [{"UUID": "a-b", "EventSourceArn": "arn:aws:sqs:eu-central-1:1:stack-shop-pay", "State": ""#,
                $state,
                r#""}]}"#
            ),
        )
    };
}

const CHANGED: ScriptedResponse = (202, r#"{"UUID": "a-b"}"#);
const NO_FUNCTION: ScriptedResponse =
    (404, r#"{"__type": "ResourceNotFoundException", "Message": "no such function"}"#);
const NO_MAPPING: ScriptedResponse = (200, r#"{"EventSourceMappings": []}"#);

#[test_case(true, &[mapping!("Disabled"), CHANGED], Ok(2); "a stopped one goes on")]
#[test_case(false, &[mapping!("Enabled"), CHANGED], Ok(2); "one that goes on is stopped")]
#[test_case(true, &[mapping!("Enabling")], Ok(1); "it is about to")]
#[test_case(false, &[mapping!("Disabled")], Ok(1); "it is stopped")]
#[test_case(false, &[mapping!("Updating"), CHANGED], Ok(2); "nobody knows how it stands")]
#[test_case(true, &[NO_MAPPING], Err("has no event source mapping"); "what is not there cannot go on")]
#[test_case(true, &[NO_FUNCTION], Ok(1); "a deployment took the function away, so nothing has to go on")]
#[test_case(false, &[NO_MAPPING], Err("has no event source mapping"); "what is not there cannot be stopped")]
#[test_case(false, &[NO_FUNCTION], Err("no such function"); "a function that is not there cannot be stopped")]
#[test_case(true, &[BROKEN], Err("ListEventSourceMappings"); "the list is not to be had")]
#[tokio::test]
async fn queue_is_told_by_its_mapping(
    on: bool,
    answers: &'static [ScriptedResponse],
    expected: Result<usize, &'static str>,
) {
    let (config, asked) = server(answers).await;
    let mappings = Mappings::new(&config, "http://127.0.0.1:1/1/stack-");
    let told = mappings.deliver(&StepQueue::new("shop", "pay"), on).await;
    match expected {
        Ok(calls) => {
            assert_eq!((told.map_err(|error| error.to_string()), asked.load(Ordering::Relaxed)), (Ok(()), calls))
        }
        Err(why) => assert!(told.unwrap_err().to_string().contains(why)),
    }
}
