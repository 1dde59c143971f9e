//! A secret text, and how long it counts as one.

use crate::{REDACTED, values};
use serde::{Deserialize, Deserializer};
use std::{cell::RefCell, fmt, sync::Arc};

tokio::task_local! {
    /// The secrets that were made in this scope.
    static SCOPE: RefCell<Vec<Secret>>;
}

/// The most secrets that a scope keeps after their owners have dropped them, so that a step that reads a million of them does not keep them all.
const MOST_KEPT: usize = 1_000;

/// A secret text. `Debug` hides it, it cannot be serialized, and [`redact`](crate::redact) replaces it in other texts while it lives.
///
/// Two kinds of text are hidden here, but not found in other texts, because lines would become unreadable by them: one of
/// fewer than eight bytes, or five if it is an e-mail address, and one that could be a word of a log line, such as `process_payment`. Who sends a secret
/// chooses it, and must not be able to hide what is told of others. Such a text consists of letters, `_`, `-`, `:`, `,` and blanks, whatever their case,
/// because a text is found in any case. One [of the system](Self::of_system) is found nevertheless.
#[derive(Clone)]
pub struct Secret(Arc<values::Registered>);

impl Secret {
    /// A secret that a client may have chosen.
    pub fn new(text: impl Into<String>) -> Self {
        Self::of(values::Registered::chosen(text.into()))
    }

    /// A secret of the system, such as a key of random characters, of which some have letters only.
    pub fn of_system(text: impl Into<String>) -> Self {
        Self::of(values::Registered::of_system(text.into()))
    }

    fn of(registered: values::Registered) -> Self {
        let secret = Self(Arc::new(registered));
        // Outside of all scopes it lives as long as its owners keep it.
        let _ = SCOPE.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < MOST_KEPT {
                kept.push(secret.clone());
            }
        });
        secret
    }

    /// The text, for whoever has to be given it.
    pub fn expose(&self) -> &str {
        self.0.text()
    }
}

/// Makes a text of the system that is not kept a secret until the [scope](in_scope) ends.
pub fn hold(text: impl Into<String>) {
    drop(Secret::of_system(text));
}

/// Runs this; the secrets that are made meanwhile stay secrets until it is done. Those of tasks that it spawns are not among them.
pub async fn in_scope<F: Future>(future: F) -> F::Output {
    SCOPE.scope(RefCell::default(), future).await
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}
