//! Describes the routes for the API's OpenAPI document, `openapi.json`. A test writes it, and holds the router, the answers of all other
//! tests, and the samples to it.

use crate::{
    cancel::Cancelled,
    products::Page,
    quote::Quote,
    retry::Retried,
    shop_pages,
    start::Accepted,
    status::{OrderStatus, StatusWord, Unconfirmed},
};
use checkout::Order;
use expect_test::expect_file;
use http_api::{
    Details, Wait,
    openapi::{Contract, Document, Operation},
};
use schemars::JsonSchema;
use serde_json::{Value, json};
use std::{fs, sync::LazyLock};

/// What the answers of all tests are held to.
pub(crate) static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract::of(crate::OPENAPI));

/// The answer of `GET /order_status`.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, clippy::large_enum_variant, reason = "for its schema only")]
enum Status<'a> {
    /// With the key, of a checkout that is there.
    Known(OrderStatus<'a>),
    /// Of a checkout that may still be on its way into the table.
    Unconfirmed(Unconfirmed),
    /// Without the key.
    Word(StatusWord),
}

/// The schema of a checkout request, from the workflow file. The meaning of the formats that it names is Rust code, so here they are
/// patterns as narrow as these.
fn checkout_request() -> Value {
    let file: Value = serde_saphyr::from_str(include_str!("../../../shared/checkout/src/checkout.yaml")).unwrap();
    let mut schema = file["schema"].clone();
    narrow(&mut schema);
    schema
}

fn narrow(schema: &mut Value) {
    const LINE: &str = r"^[^\u0000-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]*$";
    const NAME: &str = r"^[^\u0000-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]*[A-Za-z0-9][^\u0000-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]*$";
    match schema {
        Value::Object(fields) => {
            match fields.get("format").and_then(Value::as_str) {
                Some("email-address") => drop(fields.insert("format".to_owned(), json!("email"))),
                Some("person-name") => {
                    fields.remove("format");
                    fields.extend([("pattern".to_owned(), json!(NAME)), ("maxLength".to_owned(), json!(100))]);
                }
                Some("single-line") => {
                    fields.remove("format");
                    fields.insert("pattern".to_owned(), json!(LINE));
                }
                _ => {}
            }
            fields.values_mut().for_each(narrow);
        }
        Value::Array(items) => items.iter_mut().for_each(narrow),
        _ => {}
    }
}

/// The sample requests of `events/`.
fn samples(names: &[&'static str]) -> Vec<(&'static str, Value)> {
    let read = |name: &&'static str| {
        let file = format!("{}/../../events/requests/{name}.json", env!("CARGO_MANIFEST_DIR"));
        (*name, serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap())
    };
    names.iter().map(read).collect()
}

/// Takes the key of the checkout that the path names.
fn with_key(operation: Operation<'_>) -> Operation<'_> {
    let key = json!({"type": "string"});
    operation
        .query("key", key.clone(), "The checkout's `task_key`, 22 characters, as in the URLs of all answers.")
        .header("X-Task-Key", key, "The same, for clients that keep it out of URLs.")
        .refused(404)
}

fn with_wait(operation: Operation<'_>) -> Operation<'_> {
    let seconds = json!({"type": "integer", "minimum": 0, "maximum": Wait::MAX_SECONDS});
    operation
        .query(
            "wait",
            seconds,
            "How many seconds to wait for the end of the checkout, before the answer is given all the same.",
        )
        .refused(422)
}

fn describe() -> Document {
    let root = json!({
        "info": {
            "title": "Stepwell: checkout",
            "version": concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR")),
            "description": "Starts, shows, retries and cancels checkouts, and shows orders and the catalogue. A request about a \
                checkout needs its key, which the answer to `POST /checkout` gives: as the field `key` of the query, or as the \
                header `X-Task-Key`. Without it `GET /order_status` says the word of the status, and all else is 404.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "tags": [
            {"name": "checkouts", "description": "To buy, and to follow it."},
            {"name": "catalogue", "description": "What is sold."},
            {"name": "about", "description": "This API."},
        ],
    });
    let mut document = Document::new(root, [400, 500, 503]);
    let request = json!({
        "type": "object",
        "required": ["checkout"],
        "additionalProperties": false,
        "properties": {"checkout": checkout_request()},
    });
    let idempotency_key = json!({"type": "string", "pattern": "^[!-~]{1,255}$"});
    let started = json!({"task_id": "$response.body#/task_id", "key": "$response.body#/task_key"});
    let follows = ["showOrderStatus", "showWorkflowDetails", "retryCheckout", "cancelCheckout"];
    let start = document
        .operation(("post", "/checkout"), "startCheckout", "checkouts", "Starts a checkout.")
        .description(
            "202 says that the checkout was started, or may have been: do not send it again, but ask its `checkout_url`. Any other \
             answer says that this request has started nothing. 503 has the code `SERVICE_OUT` while a service that every checkout \
             needs is out, and `OVERLOADED` while a new checkout would not be done in time.",
        )
        .header("Idempotency-Key", idempotency_key, "With it the request may be repeated, and starts one checkout.")
        .body(true, request, &samples(&["success", "express", "everything", "card_declined"]))
        .answers::<Accepted<'_>>(202, "The checkout was started, or may have been: then its `status` is `unconfirmed`.")
        .answers_header(202, "Location", json!({"type": "string"}), "The `checkout_url`.")
        .refused(409)
        .refused(429);
    let order = json!({"order_id": "$response.body#/task_id", "key": "$response.body#/task_key"});
    let start = with_wait(start).link(202, "showOrder", order);
    follows.into_iter().fold(start, |start, next| start.link(202, next, started.clone()));

    let path = ("get", "/order_status/{task_id}");
    let status = document
        .operation(path, "showOrderStatus", "checkouts", "Shows the status of a checkout to its customer.")
        .answers::<Status<'_>>(200, "The status.");
    with_wait(with_key(status));

    let path = ("get", "/workflow_details/{task_id}");
    let details = document
        .operation(path, "showWorkflowDetails", "checkouts", "Shows every step, attempt and error of a checkout.")
        .answers::<Details<'_>>(200, "The checkout as a task.");
    with_key(details);

    let card = checkout_request()["properties"]["payment_info"]["properties"]["token"].clone();
    let other_card = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "payment_info": {"type": "object", "additionalProperties": false, "properties": {"token": card}},
        },
    });
    let path = ("post", "/retry_checkout/{task_id}");
    let example = json!({"payment_info": {"token": "test_success_mastercard"}});
    let retry = document
        .operation(path, "retryCheckout", "checkouts", "Runs the failed step of a checkout now.")
        .description("Completed steps do not run again. With a body the payment charges that card.")
        .body(false, other_card, &[("another card", example)])
        .answers::<Retried>(202, "The step runs.")
        .refused(409)
        .refused(429);
    with_key(retry);

    let path = ("post", "/cancel_checkout/{task_id}");
    let cancel = document
        .operation(path, "cancelCheckout", "checkouts", "Cancels a checkout, and gives back what was charged.")
        .answers::<Cancelled>(202, "The checkout is cancelled, or will be unless its order was shipped.")
        .refused(409);
    with_key(cancel);

    let order = document
        .operation(("get", "/orders/{order_id}"), "showOrder", "checkouts", "Shows the order of a checkout.")
        .description("An order has the id of its checkout, and opens by the same key.")
        .answers::<Order>(200, "The order.");
    with_key(order);

    document
        .operation(("get", "/products"), "listProducts", "catalogue", "Shows a page of the catalogue.")
        .query(
            "limit",
            json!({"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
            "The products on the page.",
        )
        .query("next", json!({"type": "string", "pattern": "^[0-9]{1,9}$"}), "The `next` of the page before.")
        .answers::<Page<'_>>(200, "The page. It is up to 10 s old.")
        .refused(422);

    let cart = json!({
        "type": "object",
        "required": ["cart_items"],
        "additionalProperties": false,
        "properties": {"cart_items": checkout_request()["properties"]["cart_items"]},
    });
    let example = json!({"cart_items": [{"product_id": 1, "quantity": 2}]});
    document
        .operation(("post", "/quote"), "quoteCart", "catalogue", "Says what a cart costs.")
        .description(
            "Its prices and its stock are up to 10 s old. 409 has a `code` where the cart cannot be bought, such as `INSUFFICIENT_STOCK`. \
             Nothing is held: a checkout has to agree to the total of its own moment.",
        )
        .body(true, cart, &[("two of a product", example)])
        .answers::<Quote>(200, "What it costs.")
        .refused(409);

    document.operation(("get", "/openapi.json"), "showOpenApi", "about", "Shows this document.").answers_with(
        200,
        "The document.",
        "application/json",
        json!({"type": "object"}),
    );
    document
}

#[test]
fn document_is_written_from_the_types() {
    expect_file!["../openapi.json"].assert_eq(&describe().finish());
}

/// The pages are no part of the API.
#[test]
fn document_has_every_route() {
    let pages = shop_pages::PATHS.map(|path| ("get".to_owned(), path.to_owned()));
    let described = describe().routes();
    assert!(pages.iter().all(|page| !described.contains(page)), "{described:?}");
    let router = crate::tests::Api::new().router();
    assert_eq!(http_api::openapi::routes(&router), described.into_iter().chain(pages).collect());
}
