//! What the workflows of this deployment do with the input of a task besides checking it against their schemas: some of it is secret,
//! and is kept apart from the task.

use checkout::{CARD_TOKEN_KEPT_FOR, CardTokens, StoreError, Token};
use serde_json::Value;
use stepwell::{TaskId, Timestamp, Violation, Workflow};

/// The port of what is secret in the inputs of tasks. Of a workflow without secrets it changes nothing.
pub trait Intake: Send + Sync {
    /// What is kept apart from a task.
    type Secret: Send + Sync;

    /// Removes from the stored input of a task what is secret, or is left of it, so that nothing uses it a second time.
    fn strip(&self, workflow: &Workflow, input: &mut Value);

    /// Takes what is secret out of an input that fits the workflow's schema, as each start does.
    ///
    /// # Errors
    /// What stands in its place is no secret, but what is left of one. The path is that in the input.
    fn take(&self, workflow: &Workflow, input: &mut Value) -> Result<Option<Self::Secret>, Violation>;

    /// Keeps it for the task, from before the task starts.
    ///
    /// # Errors
    /// The store failed.
    fn keep(
        &self,
        task: TaskId,
        secret: &Self::Secret,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The intake of the shop: a checkout has the token of a card.
#[derive(Clone, Debug)]
pub struct ShopIntake<C> {
    tokens: C,
}

impl<C> ShopIntake<C> {
    /// The intake that keeps tokens here.
    pub const fn new(tokens: C) -> Self {
        Self { tokens }
    }
}

fn is_checkout(workflow: &Workflow) -> bool {
    checkout::workflow().is_ok_and(|checkout| {
        let (one, other) = (checkout.id(), workflow.id());
        (&one.namespace, &one.name) == (&other.namespace, &other.name)
    })
}

impl<C: CardTokens> Intake for ShopIntake<C> {
    type Secret = Token;

    fn strip(&self, workflow: &Workflow, input: &mut Value) {
        if is_checkout(workflow) {
            checkout::strip_token(input);
        }
    }

    fn take(&self, workflow: &Workflow, input: &mut Value) -> Result<Option<Token>, Violation> {
        if !is_checkout(workflow) {
            return Ok(None);
        }
        let token = checkout::take_token(input);
        token.map(Some).ok_or_else(|| Violation {
            path: checkout::TOKEN_PATH.to_owned(),
            message: "is what a task shows in the place of a card's token; give the token of a card".to_owned(),
        })
    }

    async fn keep(&self, task: TaskId, token: &Token, now: Timestamp) -> Result<(), StoreError> {
        self.tokens.keep(task, token, now + CARD_TOKEN_KEPT_FOR).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkout::testing::MemoryShop;
    use serde_json::json;

    #[test]
    fn workflow_without_secrets_is_left_as_it_is() {
        let yaml = "{name: checkout, namespace_name: other, version: 1.0.0, step_templates: [{name: s}]}";
        let other = Workflow::from_yaml(yaml).unwrap();
        let intake = ShopIntake::new(MemoryShop::default());
        let input = json!({"payment_info": {"token": "tok_1"}});
        let mut same = input.clone();
        intake.strip(&other, &mut same);
        assert_eq!(intake.take(&other, &mut same), Ok(None));
        assert_eq!(same, input);
    }
}
