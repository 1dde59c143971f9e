//! The rules of the shop's ports, as tests that run on every implementation. [`shop_rules!`](crate::shop_rules) defines them for one.

#![allow(missing_docs, async_fn_in_trait, reason = "a test's name says what it is")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::missing_panics_doc, clippy::must_use_candidate, reason = "tests")]

pub mod card_tokens;
pub mod catalogue;
pub mod counters;
pub mod orders;
pub mod payments;
pub mod reconciliation;
pub mod stock;

use super::MemoryShop;
use crate::{
    CardTokens, Catalogue, Counters, Gateway, HoldError, LineItem, Money, Orders, PaymentRecords, PaymentRef, Product,
    ProductId, Reservation, Stock, Storefront, reconciliation::Ledger,
};
use stepwell::Timestamp;

/// A row of the catalogue: number, name, price in cents, stock, whether it is sold.
pub type Row = (u32, &'static str, i64, u32, bool);

/// An implementation of the shop's ports, for the tests that run on all implementations.
pub trait TestShop {
    /// The implementation of the catalogue, the stock and the orders.
    type Tables: Catalogue + Stock + Orders + Storefront + PaymentRecords + CardTokens + Counters + Ledger + Clone;
    type Gateway: Gateway;

    /// Makes a new shop with these products.
    async fn with(products: &[Row]) -> Self;
    fn tables(&self) -> &Self::Tables;
    fn gateway(&self) -> Self::Gateway;
    /// Loses the record of the payment under this key, which there is. Returns the payment.
    async fn lose_record(&self, key: &str) -> PaymentRef;
    /// Checks the number of items of a table. A shop with other tables skips the check.
    async fn assert_count(&self, _table: &str, _count: i32) {}

    /// Reads the stock and holds these lines by its figures, as `validate_cart` does.
    async fn hold(&self, key: &str, lines: &[LineItem]) -> Result<Reservation, HoldError> {
        let ids: Vec<ProductId> = lines.iter().map(|line| line.product_id).collect();
        let products = self.tables().products(&ids).await?;
        let stocks = products.into_iter().map(|(id, product)| (id, product.stock)).collect();
        self.tables().hold(key, &Reservation::of(lines, &stocks), now()).await
    }

    /// The stock of a product.
    async fn stock(&self, id: u32) -> u32 {
        let products = self.tables().all_products().await.unwrap();
        products.iter().find(|product| product.id == ProductId(id)).unwrap().stock
    }
}

/// Defines the tests of all rules for a [`TestShop`](crate::testing::rules::TestShop). Each rule has its line here.
#[macro_export]
macro_rules! shop_rules {
    ($shop:ty) => {
        $crate::shop_rules! { @define $shop,
            card_tokens: [
                last_token_of_a_task_is_kept_until_it_expires_or_is_deleted,
            ],
            catalogue: [
                products_are_read_by_number_and_all_together,
            ],
            counters: [
                each_count_of_a_name_has_a_number_of_its_own,
            ],
            orders: [
                twenty_concurrent_requests_make_one_order,
                unknown_order_is_not_found,
                cancelled_order_is_shown_and_not_made_again,
                order_after_its_cancellation_is_refused,
                shipped_order_is_shown_and_not_cancelled,
                cancelled_or_missing_order_is_not_shipped,
                corrected_address_is_the_order_s,
                resend_is_refused_by_an_order_of_another_status,
                resend_needs_an_address_and_an_order_takes_so_many,
            ],
            payments: [
                twenty_concurrent_requests_make_one_charge,
                repeated_charge_keeps_its_time,
                scripted_failures_are_counted_in_the_table,
                declined_charge_charges_nothing,
                lost_answer_is_settled_by_reading_the_payment,
                second_payment_is_not_recorded_and_a_void_key_takes_none,
                refund_fails_later_as_scripted_by_the_token,
                twenty_concurrent_refunds_make_one_refund,
                charge_after_its_refund_is_refused,
                failures_of_charges_do_not_affect_refunds,
                refund_fails_as_scripted_by_the_token,
            ],
            reconciliation: [
                each_kind_is_found_and_what_is_certain_is_mended_once,
                settled_finding_is_not_reported_any_more,
            ],
            stock: [
                repeated_hold_changes_nothing,
                all_lines_are_held_or_none,
                last_units_go_to_as_many_carts_as_there_are_units,
                twenty_concurrent_requests_of_one_key_hold_once,
                carts_with_lines_in_opposite_order_are_all_held,
                only_what_is_held_can_be_taken,
                largest_cart_fits_into_a_transaction,
                repeated_release_puts_units_back_once,
                hold_after_its_release_is_refused,
                largest_cart_is_released_in_one_transaction,
            ],
        }
    };
    (@define $shop:ty, $($port:ident: [$($rule:ident,)*],)*) => {
        $(mod $port {
            use super::*;

            $(#[tokio::test]
            async fn $rule() {
                $crate::testing::rules::$port::$rule::<$shop>().await;
            })*
        })*
    };
}

impl TestShop for MemoryShop {
    type Tables = Self;
    type Gateway = Self;

    async fn with(products: &[Row]) -> Self {
        Self::selling(products.iter().map(|&(id, name, cents, stock, active)| {
            let (id, name, price) = (ProductId(id), name.to_owned(), Money::from_cents(cents));
            Product { id, name, price, stock, active }
        }))
    }

    fn tables(&self) -> &Self {
        self
    }

    fn gateway(&self) -> Self {
        self.clone()
    }

    async fn lose_record(&self, key: &str) -> PaymentRef {
        let payment = self.recorded(key).await.unwrap().unwrap();
        MemoryShop::lose_record(self, key);
        payment
    }
}

/// A line of a cart.
pub fn line(id: u32, name: &str, quantity: u32) -> LineItem {
    let price = Money::from_cents(4398);
    let line_total = price.times(quantity).unwrap();
    LineItem { product_id: ProductId(id), name: name.to_owned(), price, quantity, line_total }
}

/// The reservation that a caller asks for who has read this stock of every product.
pub fn wanted(lines: &[LineItem], stock: u32) -> Reservation {
    Reservation::of(lines, &lines.iter().map(|line| (line.product_id, stock)).collect())
}

/// A moment.
pub fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_123)
}
