//! Sessions: a cookie that says until when it is valid, signed. Nothing is stored, so a restart of the server logs nobody out.

use axum::http::{HeaderMap, HeaderValue, header};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use std::{
    fmt, io,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use subtle::ConstantTimeEq;

/// How long a session lasts: a shift.
pub const SESSION: Duration = Duration::from_secs(12 * 60 * 60);

/// How long the link of a start logs in, if nobody has used it. What was printed may be kept in a log.
pub const LINK: Duration = Duration::from_secs(60 * 60);

/// How many random bytes a code or a key has.
const BYTES: usize = 32;

/// What a person logs in with.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Credentials {
    /// That of the link.
    Code(String),
    /// The token.
    Token(String),
}

impl Credentials {
    /// What it is, for the log.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Code(_) => "link",
            Self::Token(_) => "token",
        }
    }
}

/// What sessions begin with, and what signs them.
pub(crate) struct Sessions {
    /// The code of the link and its end; `None` once it was used.
    code: Mutex<Option<(String, SystemTime)>>,
    token: Option<String>,
    signature: Hmac<Sha256>,
}

impl Sessions {
    /// Makes them with the code of the link.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn new(token: Option<String>) -> io::Result<(Self, String)> {
        let code = random()?;
        let key = token.clone().map_or_else(random, Ok)?;
        let signature = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(io::Error::other)?;
        let until = SystemTime::now() + LINK;
        Ok((Self { code: Mutex::new(Some((code.clone(), until))), token, signature }, code))
    }

    /// The cookie of a new session, if the credentials are right. A code is right once.
    pub(crate) fn begin(&self, credentials: &Credentials, headers: &HeaderMap) -> Option<HeaderValue> {
        let now = SystemTime::now();
        let is_right = match credentials {
            Credentials::Token(given) => self.token.as_deref().is_some_and(|token| is_same(token, given.trim())),
            Credentials::Code(given) => {
                // Whoever panicked over it has changed nothing.
                let mut code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
                code.take_if(|(code, until)| now < *until && is_same(code, given)).is_some()
            }
        };
        let end = (now + SESSION).duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        is_right.then(|| cookie(headers, &format!("{end}.{}", self.sign(end)), SESSION))?
    }

    /// Whether the request belongs to a session.
    pub(crate) fn is_open(&self, headers: &HeaderMap) -> bool {
        let name = cookie_name(headers);
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut values = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        values.any(|(of, value)| of == name && self.is_valid(value))
    }

    fn is_valid(&self, value: &str) -> bool {
        let Some((end, signature)) = value.split_once('.') else { return false };
        let Ok(end) = end.parse() else { return false };
        is_same(&self.sign(end), signature) && SystemTime::now() < SystemTime::UNIX_EPOCH + Duration::from_secs(end)
    }

    /// The cookie that ends the session in this browser.
    pub(crate) fn end(&self, headers: &HeaderMap) -> HeaderValue {
        cookie(headers, "", Duration::ZERO).unwrap_or(HeaderValue::from_static(""))
    }

    /// The signature of a session that ends at this second.
    pub(crate) fn sign(&self, end: u64) -> String {
        let code = self.signature.clone().chain_update("a session of the console until ").chain_update(end.to_string());
        hex(&code.finalize().into_bytes())
    }
}

/// Shows no secret.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// The name of the cookie. Browsers send cookies to all ports of a host, so each port has its own.
fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let port: String = port.chars().filter(char::is_ascii_digit).collect();
    format!("stepwell_console_{port}")
}

fn cookie(headers: &HeaderMap, value: &str, age: Duration) -> Option<HeaderValue> {
    let (name, age) = (cookie_name(headers), age.as_secs());
    HeaderValue::try_from(format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict")).ok()
}

/// Compares in a time that does not depend on where the texts differ.
fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

fn random() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
