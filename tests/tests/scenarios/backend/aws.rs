//! The deployed stack as a backend.

use super::{Backend, Reservation, SentEmail};
use aws_credential_types::Credentials;
use stepwell_tests::{
    api::Api,
    operators::Operator,
    shop::Product,
    stack::{Item, Stack, TemporaryProduct, is_standing_reservation, kept_charge},
};

/// The stack that the environment names, and the products that are there for one scenario.
pub(crate) struct Aws {
    stack: Stack,
    /// They are deleted at the end.
    _products: Vec<TemporaryProduct>,
}

impl Backend for Aws {
    /// How the emulator calls the owner of the keys.
    const OPERATOR: &'static str = "arn:aws:iam::000000000000:root";

    async fn open<const N: usize>(products: [(i64, i64); N]) -> (Self, [Product; N]) {
        let stack = Stack::from_env().await;
        let mut created = Vec::new();
        for (price_cents, units) in products {
            created.push(stack.product(price_cents, units).await);
        }
        let products = std::array::from_fn(|place| Product::clone(&created[place]));
        (Self { stack, _products: created }, products)
    }

    fn api(&self) -> &Api {
        &self.stack.api
    }

    fn operator(&self) -> Operator {
        self.stack.operator()
    }

    fn strangers(&self) -> Vec<(Operator, &'static [u16])> {
        let keys = Credentials::new("AKIAIOSFODNN7EXAMPLE", "test", None, None, "tests");
        vec![
            (Operator::without_authorization(self.api()), &[401, 403]),
            (Operator::with_token(self.api(), "x.y.z".to_owned()), &[401, 403]),
            (Operator::with_keys(self.api(), keys), &[403]),
        ]
    }

    /// The products of a long-lived stack would be used up otherwise.
    async fn provide(&self, sample: u32, units: i64) {
        self.stack.add_stock(sample, units).await;
    }

    async fn stock(&self, product: u32) -> i64 {
        self.stack.stock(product).await
    }

    async fn tasks_with(&self, text: &str) -> usize {
        let has_it = |item: &Item| item.get("context").is_some_and(|context| context.as_s().unwrap().contains(text));
        self.stack.scan(self.stack.tasks_table()).await.iter().filter(|item| has_it(item)).count()
    }

    async fn payments(&self, task: &str) -> Vec<Option<i64>> {
        self.stack.payments(task).await.iter().map(kept_charge).collect()
    }

    async fn card_tokens(&self, task: &str) -> usize {
        self.stack.of_task("card_tokens", task).await.len()
    }

    async fn reservations(&self, task: &str) -> Vec<Reservation> {
        let state = |item: Item| match item.get("state").and_then(|state| state.as_s().ok()) {
            _ if !is_standing_reservation(&item) => Reservation::Released,
            Some(state) if state == "taken" => Reservation::Taken,
            _ => Reservation::Held,
        };
        self.stack.of_task("reservations", task).await.into_iter().map(state).collect()
    }

    async fn orders(&self, task: &str) -> usize {
        self.stack.orders(task).await.len()
    }

    async fn emails_to(&self, address: &str) -> Vec<SentEmail> {
        let emails = self.stack.mails_to(address).await.into_iter().map(|email| {
            let [id, subject] = ["MessageId", "Subject"].map(|field| email[field].as_str().unwrap().to_owned());
            SentEmail { id, subject }
        });
        emails.collect()
    }

    async fn logs(&self) -> String {
        self.stack.logs(5)
    }
}
