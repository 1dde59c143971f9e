//! The key that opens a task to whoever started it.
//!
//! A task's id is no secret: it stands in logs, and the services that its steps call are given it. So whoever starts a task is
//! given its key as well, in every URL of the answer, and whoever shows the key may read the task and act on it. Nothing is
//! stored: the key is a message authentication code of the id, by a secret of the stage. A repeated start answers with the
//! same key, and whoever can read the table cannot make one.

use crate::request::query_fields;
use axum::http::{HeaderName, request::Parts};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use redaction::Secret;
use sha2::Sha256;
use std::fmt;
use stepwell::TaskId;

/// The header that may carry the key, for clients that keep it out of URLs.
pub const TASK_KEY_HEADER: HeaderName = HeaderName::from_static("x-task-key");

/// The field of the query that carries the key.
const TASK_KEY_FIELD: &str = "key";

/// The length of a key in bytes: 128 bits of the code's 256, which nobody guesses. It has 22 characters in a URL.
const KEY_BYTES: usize = 16;

/// The secrets by which the keys of a stage's tasks are made and recognized.
///
/// The current one makes all keys. The others are accepted as well, so that the secret can be changed while tasks are
/// under way: the next one before it is current, the previous one for as long as its tasks are kept.
#[derive(Clone)]
pub struct TaskKeys {
    current: Hmac<Sha256>,
    accepted: Vec<Hmac<Sha256>>,
    /// The texts, so that no log line has them. They are random characters.
    _texts: Vec<Secret>,
}

/// A secret that is too short.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret for task keys has at least {min} bytes, this one has {bytes}", min = TaskKeys::MIN_SECRET_BYTES)]
pub struct WeakSecret {
    bytes: usize,
}

impl TaskKeys {
    /// The shortest secret: as long as the code of the hash, below which it would be the weakest part (RFC 2104, section 3).
    pub const MIN_SECRET_BYTES: usize = 32;

    /// The keys by this current secret, and by others that are accepted.
    ///
    /// # Errors
    /// A secret is too short.
    pub fn new<S: AsRef<[u8]>>(current: S, accepted: impl IntoIterator<Item = S>) -> Result<Self, WeakSecret> {
        let mut texts: Vec<Secret> = Vec::new();
        let mut code = |secret: S| {
            texts.extend(str::from_utf8(secret.as_ref()).map(Secret::of_system));
            code(secret.as_ref())
        };
        let current = code(current)?;
        let accepted = accepted.into_iter().map(code).collect::<Result<_, _>>()?;
        Ok(Self { current, accepted, _texts: texts })
    }

    /// The task's key, as it stands in a URL: 22 characters of `A-Z a-z 0-9 _ -`.
    ///
    /// It stays a secret while the request is answered.
    pub fn key_of(&self, task: TaskId) -> String {
        let key = in_url(of_task(&self.current, task));
        redaction::hold(key.as_str());
        key
    }

    /// A relative URL of this task with its key: `/order_status` becomes `/order_status/ID?key=KEY`.
    pub fn url(&self, path: &str, task: TaskId) -> String {
        format!("{path}/{task}?{TASK_KEY_FIELD}={}", self.key_of(task))
    }

    /// A pseudonym of a text, as long as a key: always the same for the same text and secret. Nobody without the secret can try
    /// which text it is of.
    pub fn pseudonym(&self, text: &str) -> String {
        // What an id is hashed as is shorter, so no pseudonym is the key of a task.
        in_url(self.current.clone().chain_update("the pseudonym of ").chain_update(text))
    }

    /// Whether the request carries the key of this task, in the query or in the header.
    pub fn open(&self, task: TaskId, request: &Parts) -> bool {
        let header = request.headers.get(TASK_KEY_HEADER).and_then(|value| value.to_str().ok());
        let fields = query_fields(request);
        let field = fields.iter().find(|(name, _)| name == TASK_KEY_FIELD).map(|(_, value)| value.as_str());
        let key = [header, field].into_iter().flatten().find(|key| self.is_key(task, key));
        // A wrong key may be any text, so it is none.
        key.map(redaction::hold).is_some()
    }

    /// Compares in a time that does not depend on where the texts differ.
    fn is_key(&self, task: TaskId, key: &str) -> bool {
        let Ok(key) = BASE64_URL_SAFE_NO_PAD.decode(key) else { return false };
        let same = |secret| of_task(secret, task).verify_truncated_left(&key).is_ok();
        // The library would accept a shorter code, down to one byte.
        key.len() == KEY_BYTES && std::iter::once(&self.current).chain(&self.accepted).any(same)
    }
}

/// Shows no secret.
impl fmt::Debug for TaskKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskKeys").field("accepted", &self.accepted.len()).finish_non_exhaustive()
    }
}

fn code(secret: &[u8]) -> Result<Hmac<Sha256>, WeakSecret> {
    let weak = WeakSecret { bytes: secret.len() };
    if secret.len() < TaskKeys::MIN_SECRET_BYTES {
        return Err(weak);
    }
    // A secret of any length is a key for HMAC.
    Hmac::new_from_slice(secret).map_err(|_| weak)
}

/// The part of the code that is kept, as it stands in a URL.
fn in_url(code: Hmac<Sha256>) -> String {
    let code = code.finalize().into_bytes();
    let kept = code.first_chunk::<KEY_BYTES>();
    kept.map_or_else(String::new, |kept| BASE64_URL_SAFE_NO_PAD.encode(kept))
}

fn of_task(secret: &Hmac<Sha256>, task: TaskId) -> Hmac<Sha256> {
    secret.clone().chain_update(task.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use test_case::test_case;

    const OLD: [u8; 32] = [1; 32];
    const NEW: [u8; 32] = [2; 32];

    fn task(id: &str) -> TaskId {
        id.parse().unwrap()
    }

    fn ours() -> TaskId {
        task("018f4e4e-7c1a-7000-8000-0123456789ab")
    }

    fn keys(current: [u8; 32], accepted: &[[u8; 32]]) -> TaskKeys {
        TaskKeys::new(current, accepted.iter().copied()).unwrap()
    }

    fn request(url: &str, header: Option<&str>) -> Parts {
        let request = header.into_iter().fold(Request::get(url), |request, key| request.header("X-Task-Key", key));
        request.body(()).unwrap().into_parts().0
    }

    /// Made with Python's `hmac`.
    #[test]
    fn key_is_the_first_half_of_hmac_sha256() {
        assert_eq!(keys(OLD, &[]).key_of(ours()), "sOIPYuV4m0gvx2XBkqWtNA");
    }

    #[test]
    fn url_and_header_open_their_own_task_only() {
        let keys = keys(OLD, &[]);
        let url = keys.url("/order_status", ours());
        assert_eq!(url, format!("/order_status/{}?key={}", ours(), keys.key_of(ours())));
        assert!(keys.open(ours(), &request(&url, None)));
        assert!(keys.open(ours(), &request("/", Some(&keys.key_of(ours())))));
        let other = task("018f4e4e-7c1a-7000-8000-0123456789ac");
        assert!(!keys.open(other, &request(&url, None)));
        assert!(!keys.open(ours(), &request("/", None)));
    }

    #[test_case(|key| key[..21].to_owned(); "one character less")]
    #[test_case(|key| key[..2].to_owned(); "one byte")]
    #[test_case(|_| String::new(); "none")]
    #[test_case(|key| format!("{key}AA"); "one byte more")]
    #[test_case(|key| key.to_lowercase(); "another case")]
    #[test_case(|key| format!("%{key}"); "not base64")]
    fn anything_but_the_key_opens_nothing(change: impl Fn(&str) -> String) {
        let keys = keys(OLD, &[]);
        let changed = change(&keys.key_of(ours()));
        assert!(!keys.open(ours(), &request("/", Some(&changed))), "{changed}");
    }

    #[test]
    fn secret_can_be_changed_while_tasks_are_under_way() {
        let (before, after) = (keys(OLD, &[NEW]), keys(NEW, &[OLD]));
        let (old, new) = (before.key_of(ours()), after.key_of(ours()));
        assert_ne!(old, new);
        for keys in [before, after] {
            assert!(keys.open(ours(), &request("/", Some(&old))));
            assert!(keys.open(ours(), &request("/", Some(&new))));
        }
        assert!(!keys(NEW, &[]).open(ours(), &request("/", Some(&old))), "the old secret was withdrawn");
    }

    #[test]
    fn short_secret_is_refused_and_none_is_shown() {
        assert_eq!(TaskKeys::new("short", []).unwrap_err(), WeakSecret { bytes: 5 });
        assert_eq!(TaskKeys::new(&OLD[..], [&NEW[..31]]).unwrap_err(), WeakSecret { bytes: 31 });
        assert_eq!(format!("{:?}", keys(OLD, &[NEW])), "TaskKeys { accepted: 1, .. }");
    }
}
