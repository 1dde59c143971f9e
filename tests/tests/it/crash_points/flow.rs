//! The flows of checkouts, and the state that each has to end in.

use checkout::testing::steps;
use serde_json::{Value, json};
use stepwell_tests::{
    shop::Product,
    stack::{Item, Stack, is_standing_reservation},
};

const PAYMENT: &str = "process_payment";

/// The step that a cancelled checkout never reaches: it sends no e-mail.
pub(super) const LAST: &str = "send_confirmation";

/// The flow of a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It completes without failures.
    Bought,
    /// The first charge fails, and the second succeeds.
    BoughtAtTheSecondTry,
    /// The charge is declined.
    Declined,
    /// It is cancelled when all but its last step is done. Of the compensations that run beside each other this one runs
    /// last, because whoever comes last ends the task, and chance must not decide who that is.
    Cancelled { undone_last: &'static str },
    /// It is cancelled when its order has been shipped, which is refused, so it is complete again.
    Shipped,
}

/// One checkout.
pub(super) struct Checkout {
    pub(super) task: String,
    /// The e-mail address of its customer, and of no other.
    pub(super) email: String,
}

impl Flow {
    pub(super) const fn token(self) -> &'static str {
        match self {
            Self::Bought | Self::Cancelled { .. } | Self::Shipped => "test_success_visa",
            Self::BoughtAtTheSecondTry => "test_temp_fail_visa",
            Self::Declined => "test_declined_visa",
        }
    }

    /// Whether its unit is out of stock at the end. A declined checkout keeps its hold until it is compensated, a quarter of
    /// an hour later.
    pub(super) const fn keeps_its_unit(self) -> bool {
        matches!(self, Self::Bought | Self::BoughtAtTheSecondTry | Self::Declined | Self::Shipped)
    }

    /// The steps that it attempts, in order.
    pub(super) fn attempted(self) -> Vec<&'static str> {
        match self {
            // Of a compensation that has refused only the refusal is left.
            Self::Bought | Self::BoughtAtTheSecondTry | Self::Shipped => steps::all(),
            Self::Declined => steps::up_to(PAYMENT),
            Self::Cancelled { .. } => [steps::before(LAST), steps::compensations_of(&steps::before(LAST))].concat(),
        }
    }

    /// The outcome of a step's last attempt.
    pub(super) fn last_outcome(self, step: &str) -> &'static str {
        if self == Self::Declined && step == PAYMENT { "permanent_error" } else { "complete" }
    }

    /// Asserts that everything is as if no process had died.
    pub(super) async fn check(self, what: &str, stack: &Stack, product: &Product, Checkout { task, email }: &Checkout) {
        let status = stack.api.order_status(task).await;
        let details = stack.api.details(task).await;
        let charges = stack.charges(task).await;
        let total = product.total_cents(1);
        let (reservations, orders) = (stack.of_task("reservations", task).await, stack.orders(task).await);
        let mails = stack.mails_to(email).await.len();
        match self {
            Self::Bought | Self::BoughtAtTheSecondTry | Self::Shipped => {
                assert_eq!(status["status"], "completed", "{what}: {status}");
                let refusals = details.0["refusals"].as_array().map_or(0, Vec::len);
                assert_eq!(refusals, usize::from(self == Self::Shipped), "{what}: {status}");
                assert!(
                    details.states().into_iter().eq(steps::all().into_iter().map(|step| (step, "complete"))),
                    "{what}"
                );
                assert_eq!(charges, [total], "{what}");
                assert_eq!((reservations.len(), orders.len()), (1, 1), "{what}");
                assert!(mails >= 1, "{what}: no e-mail");
            }
            Self::Declined => {
                assert_eq!(status["error"]["code"], "PAYMENT_DECLINED", "{what}: {status}");
                let held =
                    |item: &Item| is_standing_reservation(item) && item["state"].as_s().is_ok_and(|it| it == "held");
                assert!(reservations.len() == 1 && held(&reservations[0]), "{what}: {reservations:?}");
                assert_eq!((orders.len(), mails), (0, 0), "{what}");
                assert_eq!(charges, [0; 0], "{what}");
            }
            Self::Cancelled { .. } => {
                assert_eq!(status["status"], "cancelled", "{what}: {status}");
                let compensated = steps::compensations_of(&steps::before(LAST)).into_iter();
                let compensated =
                    compensated.map(|step| json!({"step": step, "status": "complete"})).collect::<Value>();
                assert_eq!(status["compensations"], compensated, "{what}");
                assert_eq!(stepwell_tests::shop::cents(&status["refund"]["amount"]), total, "{what}: {status}");
                assert_eq!(status["refund"]["state"], "made", "{what}: {status}");
                assert_eq!(charges, [0; 0], "{what}: what was charged is given back");
                let refund = &details.step("refund_payment")["result"]["amount_refunded"];
                assert_eq!(stepwell_tests::shop::cents(refund), total, "{what}");
                let payments = stack.payments(task).await;
                let refunded = |payment: &Item| payment.contains_key("charge") && payment.contains_key("reversed_at");
                assert!(payments.len() == 1 && refunded(&payments[0]), "{what}: {payments:?}");
                assert!(reservations.len() == 1 && reservations[0].contains_key("release"), "{what}: {reservations:?}");
                assert_eq!(orders, [], "{what}: the order is cancelled");
                let cancelled = stack.of_task("orders", task).await;
                assert!(cancelled.iter().any(|item| item.contains_key("cancelled_at")), "{what}: {cancelled:?}");
                assert_eq!(mails, 0, "{what}");
            }
        }
    }
}
