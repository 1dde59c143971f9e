//! The tokens of the customers' cards, which are kept apart from the tasks. A token is enough to charge the card, and a task is
//! read by every step and lives for months. So a task's request has only the [fingerprint](take_token) of its token. The
//! token itself is in a store that the payment's steps alone can read, until the card is charged or the payment is voided, and
//! never for longer than [`KEPT_FOR`].

use crate::{StoreError, Token};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;
use stepwell::{TaskId, Timestamp};

/// The longest time for which a token is kept. It is for a checkout that fails before its payment, or waits for somebody to mend
/// something. After that the customer gives a card again.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The place of the token in a request, as a JSON pointer.
pub const TOKEN_PATH: &str = "/payment_info/token";

/// How a fingerprint begins.
const FINGERPRINT: &str = "kept_";

/// The port of the store of the cards' tokens.
pub trait CardTokens: Send + Sync {
    /// Keeps the token for the task's payment, in place of an earlier one, until this time.
    ///
    /// # Errors
    /// The table fails.
    fn keep(
        &self,
        task: TaskId,
        token: &Token,
        expires_at: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the token of the task's payment; `None` if there is none, or if it has expired by now.
    ///
    /// # Errors
    /// The table fails.
    fn kept(&self, task: TaskId, now: Timestamp) -> impl Future<Output = Result<Option<Token>, StoreError>> + Send;

    /// Deletes the token of a task whose payment has come to its end, if there is one. If the table fails, this only logs it: the
    /// token expires by itself, and what has been charged or refunded must not fail because of it.
    fn forget(&self, task: TaskId) -> impl Future<Output = ()> + Send;
}

/// Takes the card's token out of a request that fits the schema, and leaves its fingerprint there, which fits the schema, too. Two
/// requests with the same token stay equal, and two with different ones different, so an idempotency key still tells whether a
/// request is repeated. `None` if the request has no token, or a fingerprint already.
///
/// The fingerprint is half of the token's SHA-256. The tokens of a gateway are too long to be guessed from it.
pub fn take_token(request: &mut Value) -> Option<Token> {
    let field = request.pointer_mut(TOKEN_PATH)?;
    let token = Token::from(field.as_str()?);
    if token.is_fingerprint() {
        return None;
    }
    let digest = Sha256::digest(token.reveal());
    let hex = digest.iter().take(16).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    *field = Value::String(format!("{FINGERPRINT}{hex}"));
    Some(token)
}

/// Removes the card's token, or the fingerprint of one, from the request of an earlier task. A version before 0.3 has left the token itself
/// there.
pub fn strip_token(request: &mut Value) {
    if let Some(payment) = request.get_mut("payment_info").and_then(Value::as_object_mut) {
        payment.remove("token");
    }
}

impl Token {
    /// Whether this is not a token, but what [`take_token`] left in its place.
    pub fn is_fingerprint(&self) -> bool {
        self.reveal().starts_with(FINGERPRINT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::steps;
    use serde_json::json;

    fn taken(token: &str) -> (Option<Token>, Value) {
        let mut request = json!({
            "cart_items": [{"product_id": 1, "quantity": 2}],
            "payment_info": {"token": token, "amount": 100},
            "customer_info": {"email": "test@example.com", "name": "Test Customer"},
        });
        (take_token(&mut request), request)
    }

    #[test]
    fn request_without_its_token_is_valid_and_shows_nothing_of_it() {
        let (token, request) = taken("tok_1234");
        assert_eq!(token.unwrap().reveal(), "tok_1234");
        assert!(!request.to_string().contains("tok_1234"), "{request}");
        assert_eq!(steps::workflow().validate(&request), Ok(()));
    }

    #[test]
    fn requests_are_equal_without_their_tokens_if_the_tokens_are() {
        assert_eq!(taken("tok_1").1, taken("tok_1").1);
        assert_ne!(taken("tok_1").1, taken("tok_2").1);
    }

    #[test]
    fn stripped_request_has_neither_token_nor_fingerprint_and_is_refused_without_a_new_one() {
        let raw = json!({"payment_info": {"token": "tok_1234", "amount": 100}});
        for mut request in [raw, taken("tok_1234").1] {
            strip_token(&mut request);
            assert_eq!(request["payment_info"], json!({"amount": 100}));
            let found = steps::workflow().validate(&request).unwrap_err();
            let wanted =
                |violation: &stepwell::Violation| violation.message.contains("\"token\" is a required property");
            assert!(found.iter().any(wanted), "{found:?}");
        }
        let mut other = json!(["payment_info"]);
        strip_token(&mut other);
        assert_eq!(other, json!(["payment_info"]));
    }

    #[test]
    fn fingerprint_is_no_token() {
        let (_, mut request) = taken("tok_1");
        let before = request.clone();
        assert_eq!(take_token(&mut request), None);
        assert_eq!(request, before);
    }
}
