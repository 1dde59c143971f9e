//! The error codes of the checkout's steps: what each means, and what to do about it.

use stepwell::{
    ErrorCode,
    core::codes::{CodeEntry, CustomerText, EngineCode},
    error_codes,
};

error_codes! {
    /// The error codes that the steps of the checkout report. The engine's own codes are in
    /// [`EngineCode`](stepwell::core::codes::EngineCode). `ERRORS.md` of this crate is rendered from this list.
    pub enum ShopCode {
        /// The cart is empty. The API refuses such a request, so the task was started in another way or by older rules.
        MissingCartItems = "MISSING_CART_ITEMS", Permanent, by "validate_cart",
            "The customer starts a new checkout with at least one line.",
            customer "Your cart is empty. Please start a new checkout with at least one product." no_retry;
        /// A line of the cart names no product. The API refuses such a request.
        MissingProductId = "MISSING_PRODUCT_ID", Permanent, by "validate_cart",
            "Start a new checkout in which every line has a `product_id`.",
            customer "A line of your cart names no product. Please start a new checkout." no_retry;
        /// A line has no whole quantity within the limits, the cart has too many lines, or its total is more than can
        /// be charged.
        InvalidQuantity = "INVALID_QUANTITY", Permanent, by "validate_cart",
            "The message names the line and the limit. The customer starts a new checkout within it, or several.",
            customer "A quantity in your cart cannot be ordered. Please start a new checkout with another quantity." no_retry;
        /// There is no product of this number in the catalogue, or its row cannot be read.
        ProductNotFound = "PRODUCT_NOT_FOUND", Permanent, by "validate_cart",
            "If the alarm `unreadable-rows` is on, correct the row, then redrive the task. Otherwise the customer \
             starts a new checkout without the product.",
            customer "A product in your cart is not available. Please start a new checkout without it.";
        /// The product is in the catalogue and is no longer sold.
        ProductInactive = "PRODUCT_INACTIVE", Permanent, by "validate_cart",
            "The customer starts a new checkout without the product.",
            customer "A product in your cart is no longer sold. Please start a new checkout without it." no_retry;
        /// The catalogue's price of the product is not the `price` in the request.
        PriceMismatch = "PRICE_MISMATCH", Permanent, by "validate_cart",
            "The client reads `GET /products` again, and the customer agrees to the price in a new checkout.",
            customer "A price has changed since you filled your cart. Please look at the new price and start a new checkout." no_retry;
        /// Fewer units of a product are in stock than the cart has. Nothing was held and nothing charged. It is final, so that
        /// the customer has the answer at once.
        InsufficientStock = "INSUFFICIENT_STOCK", Permanent, by "validate_cart",
            "The customer starts a new checkout with fewer units, or after a delivery.",
            customer "A product in your cart is sold out, or there are fewer left than you want.";
        /// There is no card to charge: the request has no token, or its token has expired, a day after it was given. Nothing was
        /// charged.
        MissingPaymentToken = "MISSING_PAYMENT_TOKEN", Permanent, by "process_payment",
            "The customer gives a card with `POST /retry_checkout/TASK` and a token in `payment_info.token`.",
            customer "We have no card for this checkout any more. Please give your card again.";
        /// The amount or the currency in the request is not that of the cart's total. Nothing was charged.
        PaymentAmountMismatch = "PAYMENT_AMOUNT_MISMATCH", Permanent, by "process_payment",
            "The message has both amounts. The customer agrees to the right one in a new checkout.",
            customer "The total of your order has changed. Please look at the new total and start a new checkout." no_retry;
        /// The gateway has declined the card. Nothing was charged.
        PaymentDeclined = "PAYMENT_DECLINED", Permanent, by "process_payment",
            "The message has the gateway's reason. The customer gives another card with `POST /retry_checkout/TASK`.",
            customer "Your card was declined. Please ask your bank, or use another card.";
        /// The gateway has declined the card because it suspects fraud. Nothing was charged.
        PaymentSuspectedFraud = "PAYMENT_SUSPECTED_FRAUD", Permanent, by "process_payment",
            "Nothing, unless the customer calls: the gateway's records have the reason. The customer is not told of the \
             suspicion and is offered no retry.",
            customer "Your card was declined. Please ask your bank." no_retry;
        /// The payment was refunded or cancelled, or its record voided, before this attempt ran: the checkout is being
        /// compensated.
        PaymentVoid = "PAYMENT_VOID", Permanent, by "process_payment",
            "Nothing: the customer is not charged. To buy all the same, the customer starts a new checkout.",
            customer "Your payment was cancelled before it was made." no_retry;
        /// The gateway asks for fewer requests, and did nothing. The next attempt comes 30 to 45 seconds later. It costs no
        /// attempt for the first half hour of a checkout or of a redrive, and never one of a refund.
        GatewayRateLimited = "GATEWAY_RATE_LIMITED", Throttled, by "process_payment, refund_payment",
            "Nothing while the step is tried again. If many tasks have it, lower the concurrency of the step's \
             function, or have the gateway's limit raised; then redrive them.",
            customer "Your payment takes longer than usual.";
        /// The gateway did not answer in time. It may have charged or refunded; the next attempt reads the payment first.
        GatewayTimeout = "GATEWAY_TIMEOUT", Retryable, by "process_payment, refund_payment",
            "Nothing while the step is tried again. If it fails: wait until the gateway is back, then redrive the \
             task.",
            customer "Your payment takes longer than usual.";
        /// The gateway is out of service for a while.
        GatewayTemporaryFailure = "GATEWAY_TEMPORARY_FAILURE", Retryable, by "process_payment, refund_payment",
            "Nothing while the step is tried again. If it fails: wait until the gateway is back, then redrive the \
             task.",
            customer "The payment service is not available at the moment.";
        /// The gateway's answer leaves open whether it charged or refunded. The next attempt reads the payment first.
        GatewayUnknownStatus = "GATEWAY_UNKNOWN_STATUS", Retryable, by "process_payment, refund_payment",
            "Nothing while the step is tried again. If it fails: look the payment up at the gateway by its \
             reference, the attribute `payment` of the item `TASK:process_payment` in the table `payments`, then redrive \
             the task.",
            customer "We do not know yet whether your payment went through.";
        /// There is no hold on the stock: somebody has resolved `validate_cart`, or a version without holds has started the
        /// task.
        StockNotHeld = "STOCK_NOT_HELD", Permanent, by "validate_cart, update_inventory",
            "In `validate_cart`, the customer starts a new checkout. In `update_inventory`, take the stock by hand and \
             resolve the step, or cancel the task; a charge is refunded automatically.",
            customer "We could not set the products of your cart aside. Please start a new checkout." no_retry;
        /// The reservation was released, or its idempotency key voided, before this attempt ran: the checkout is being
        /// compensated.
        ReservationVoid = "RESERVATION_VOID", Permanent, by "validate_cart, update_inventory",
            "Nothing: no units are missing from the stock.",
            customer "Your order was cancelled before it was made." no_retry;
        /// `process_payment` has no result, because somebody has resolved it without one.
        MissingPaymentResult = "MISSING_PAYMENT_RESULT", Permanent, by "create_order",
            "A result given by hand is final. Make the order by hand and resolve this step, or cancel the task.";
        /// `update_inventory` has no result, because somebody has resolved it without one.
        MissingInventoryResult = "MISSING_INVENTORY_RESULT", Permanent, by "create_order",
            "A result given by hand is final. Make the order by hand and resolve this step, or cancel the task.";
        /// The charge or the reservation does not match the cart. A result given by hand is the likely cause.
        OrderValidationFailed = "ORDER_VALIDATION_FAILED", Permanent, by "create_order",
            "The message says what differs. Compare the results in `cargo stepwell show TASK`; then make the order \
             by hand and resolve this step, or cancel the task.";
        /// The order was cancelled, or ruled out, before this attempt ran: the checkout is being compensated.
        OrderVoid = "ORDER_VOID", Permanent, by "create_order",
            "Nothing: the task makes no order. To buy all the same, the customer starts a new checkout.",
            customer "Your order was cancelled before it was made." no_retry;
        /// The request has no e-mail address. The API refuses such a request.
        MissingCustomerEmail = "MISSING_CUSTOMER_EMAIL", Permanent, by "every step that sends e-mail",
            "The order stands, or is cancelled, without the e-mail. Send it with `cargo stepwell resend ORDER --email \
             ADDRESS`, or tell the customer in another way. Then resolve `send_confirmation`, which removes its warning.";
        /// The address is not one that e-mail may be sent to. The API refuses such a request.
        InvalidEmail = "INVALID_EMAIL", Permanent, by "every step that sends e-mail",
            "The order stands, or is cancelled, without the e-mail. Send it with `cargo stepwell resend ORDER --email \
             ADDRESS`, or tell the customer in another way. Then resolve `send_confirmation`, which removes its warning.";
        /// The e-mail service asks for fewer e-mails, and sent nothing. The next attempt comes 60 to 90 seconds later. It
        /// costs no attempt for the first half hour of a checkout or of a redrive.
        MailRateLimited = "MAIL_RATE_LIMITED", Throttled, by "every step that sends e-mail",
            "Nothing while the step is tried again. If many tasks have it, have the sending quota raised, then \
             redrive them.";
        /// The e-mail service is down or out of reach.
        MailServiceUnavailable = "MAIL_SERVICE_UNAVAILABLE", Retryable, by "every step that sends e-mail",
            "Nothing while the step is tried again. If it fails, the order stands, or is cancelled, without the e-mail: \
             wait until the service is back, then redrive the completed task, or send the e-mail of a cancellation with \
             `cargo stepwell resend ORDER`.";
        /// The e-mail service did not take the e-mail, for the reason in the message.
        MailUnknownError = "MAIL_UNKNOWN_ERROR", Retryable, by "every step that sends e-mail",
            "Look the reason up in the service's documentation; most likely the sender's address is not verified. Fix \
             it, then redrive the completed task. To a corrected address, and about a cancellation, \
             `cargo stepwell resend ORDER` sends the e-mail.";
        /// The gateway refuses the refund, or a refund that it had made has failed at the bank since.
        RefundDeclined = "REFUND_DECLINED", Permanent, by "refund_payment",
            "The message has the gateway's reason. Return the money in another way, then resolve this compensation.";
        /// `process_payment` was resolved by hand with a payment that the gateway does not have.
        NothingToRefund = "NOTHING_TO_REFUND", Permanent, by "refund_payment",
            "The message has the payment and the amount. Return the money where it was taken, then resolve this \
             compensation.";
        /// `create_order` was resolved by hand with an order that is not in the table.
        NothingToCancel = "NOTHING_TO_CANCEL", Permanent, by "cancel_order",
            "The message has the order. Cancel it where it was made, then resolve this compensation.";
        /// The order has been shipped, so it stands, and nothing is given back. The task is complete as before.
        OrderShipped = "ORDER_SHIPPED", Refused, by "cancel_order",
            "Nothing: the order stands. If the task waits for a person, its checkout had failed: call the parcel back, and then \
             resolve this compensation, which refunds the customer and puts the units back into stock.",
            customer "Your order has been shipped, so it cannot be cancelled any more." no_retry;
        /// DynamoDB throttles the shop's table, or another transaction conflicted on one of the items. Nothing
        /// was done. It costs no attempt for the first half hour of a checkout or of a redrive, and never one of a
        /// compensation.
        TableBusy = "TABLE_BUSY", Throttled, by "every step that uses a table of the shop's",
            "Nothing while the step is tried again. If many tasks have it, many carts want one product, or DynamoDB \
             throttles; redrive them when it is over.";
        /// The shop's table gave no answer, or refused the call. The call may have had its effect; a retry is safe.
        TableUnavailable = "TABLE_UNAVAILABLE", Retryable, by "every step that uses a table of the shop's",
            "Nothing while the step is tried again. If it fails: the message has AWS's error code, such as \
             `AccessDeniedException` for a missing right. Fix the cause, then redrive the task.";
        /// An item of the shop's table is invalid.
        TableUnreadable = "TABLE_UNREADABLE", Retryable, by "every step that uses a table of the shop's",
            "The message names the item. Correct the item, then redrive the task.";
    }
}

/// What a customer reads of an error for which no author has written a text: most of the engine's, and those that concern the
/// shop alone.
const NEUTRAL: CustomerText = CustomerText { text: "Something went wrong on our side.", retry: true };

/// What a customer reads of an error with this code.
pub fn customer_text(code: &str) -> CustomerText {
    error_codes().find(|known| known.code == code).and_then(|known| known.customer).unwrap_or(NEUTRAL)
}

/// The error codes that a checkout may have: the shop's, and the engine's.
pub fn error_codes() -> impl Iterator<Item = &'static CodeEntry> {
    let of_shop = ShopCode::ALL.iter().map(|known| known.entry());
    of_shop.chain(EngineCode::ALL.iter().map(|known| known.entry()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect_file;
    use stepwell::testing::render_codes;

    const INTRO: &str = "\
# Errors of the checkout

<!-- Rendered from shared/checkout/src/codes.rs. To change it, change that list and bless the result: see tests/README.md. -->

The codes that the checkout's steps and compensations report. `GET /tasks/TASK` shows a code as `error.code`, with a message that says
which value was wrong. `GET /order_status` shows the code with what the customer reads: the text below, or \"Something went wrong on
our side.\" [The engine's list](../stepwell/ERRORS.md) has the codes that the engine reports of
any step, the meaning of the kinds, and how to redrive a task or resolve a step.

An API answers a refused request with an HTTP status, a sentence in `error` and, where fields are wrong, their paths in
`details`. Such an answer has a `code` where a client has to tell it apart: a new checkout is refused with 503 and `SERVICE_OUT` or
`OVERLOADED`, and operators' actions on a task that a newer version wrote with 409 and `NEWER_FORMAT`, which is in the engine's list.

A failed checkout is compensated automatically: the charge is refunded, the reserved stock is put back, the order is cancelled. So a
customer who starts a new checkout pays for that one only.
";

    #[test]
    fn customer_reads_the_text_of_the_code_or_a_neutral_one() {
        assert_eq!(
            customer_text("PAYMENT_DECLINED").text,
            "Your card was declined. Please ask your bank, or use another card."
        );
        for unknown in ["PANIC", "TABLE_BUSY", "", "of a later version"] {
            assert_eq!(customer_text(unknown), NEUTRAL, "{unknown}");
        }
        let late = customer_text("DEADLINE_EXCEEDED");
        assert!(!late.retry && late.text != NEUTRAL.text, "an author of the engine has written it");
        let fraud = customer_text("PAYMENT_SUSPECTED_FRAUD");
        assert!(!fraud.retry && !fraud.text.contains("fraud"), "{fraud:?}");
    }

    #[test]
    fn errors_md_is_what_the_list_renders() {
        expect_file!["../ERRORS.md"].assert_eq(&format!("{INTRO}{}", render_codes(ShopCode::ALL)));
    }
}
