//! What a cart costs, before it is bought.

use super::*;
use checkout::{Money, Product, ProductId};
use test_case::test_case;

/// An API of a shop with two units of product 1, and with product 8, which is not sold any more.
fn api() -> Api {
    let product = |id, stock, active| Product {
        id: ProductId(id),
        name: format!("Product {id}"),
        price: Money::from_cents(4398),
        stock,
        active,
    };
    Api { shop: MemoryShop::selling([product(1, 2, true), product(8, 30, false)]), ..Api::new() }
}

async fn quote(api: &Api, body: &str) -> ApiAnswer {
    api.send("POST", "/quote", &[("Content-Type", "application/json")], body.to_owned()).await
}

fn items(items: &str) -> String {
    format!(r#"{{"cart_items": [{items}]}}"#)
}

/// A checkout that agrees to this total passes `validate_cart` and `process_payment`, which compute it by the same rule.
#[tokio::test(start_paused = true)]
async fn quote_is_exact_and_starts_nothing() {
    let api = api();
    let answer =
        quote(&api, &items(r#"{"product_id": 1, "quantity": 1}, {"product_id": 1, "quantity": 1, "price": 43.98}"#))
            .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let line = r#"{"product_id":1,"name":"Product 1","price":43.98,"quantity":2,"line_total":87.96}"#;
    let totals = r#""subtotal":87.96,"tax":7.04,"shipping":5.00,"total":100.00,"currency":"USD""#;
    assert_eq!(answer.text, format!(r#"{{"items":[{line}],{totals}}}"#));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(api.is_untouched());
}

#[test_case(r#"{"product_id": 1, "quantity": 3}"#, "INSUFFICIENT_STOCK"; "more than there are")]
#[test_case(r#"{"product_id": 8, "quantity": 1}"#, "PRODUCT_INACTIVE"; "not sold any more")]
#[test_case(r#"{"product_id": 9, "quantity": 1}"#, "PRODUCT_NOT_FOUND"; "no such product")]
#[test_case(r#"{"product_id": 1, "quantity": 1, "price": 43.99}"#, "PRICE_MISMATCH"; "another price")]
#[tokio::test(start_paused = true)]
async fn cart_that_cannot_be_bought_is_refused_as_its_checkout_would_be(item: &str, code: &str) {
    let answer = quote(&api(), &items(item)).await;
    assert_eq!((answer.status, answer.body()["code"].as_str()), (409, Some(code)), "{}", answer.text);
    assert_eq!(answer.body()["error"], checkout::customer_text(code).text);
}

#[test_case(&items(r#"{"product_id": 1, "quantity": 0}"#), "/cart_items/0/quantity"; "no unit")]
#[test_case(&items(r#"{"quantity": 1}"#), "/cart_items/0"; "no product")]
#[test_case(&items(""), "/cart_items"; "no line")]
#[test_case(r#"{"cart_items": 1}"#, "/cart_items"; "no list")]
#[test_case(r#"{"cart_items": [], "coupon": 1}"#, "/coupon"; "another field")]
#[test_case("{}", ""; "no cart")]
#[test_case("[]", ""; "no object")]
#[tokio::test(start_paused = true)]
async fn invalid_cart_is_refused_with_the_path(body: &str, path: &str) {
    let answer = quote(&api(), body).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert_eq!(answer.body()["details"][0]["path"], path, "{}", answer.text);
}
