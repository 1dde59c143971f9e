//! The client of the operators' API.

use super::{
    aws::{Aws, client, root_cause},
    failure::{Failure, Kind},
    output::say,
};
use checkout_demo::Refused;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::{fmt::Write, time::Duration};
use tokio::time::sleep;
use uuid::Uuid;

/// What is written as `%XX` in a path and in a query: all but what SigV4 leaves as it is.
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The header by which an operator of one machine says who that is.
pub(super) const OPERATOR: HeaderName = HeaderName::from_static("x-operator");

/// The header by which a repeated request takes effect once.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header by which a client says which event it has seen last.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The seconds before a question is asked again.
const PAUSES: [u64; 3] = [1, 2, 4];

/// The most seconds that the API may ask to wait for.
const LONGEST_PAUSE: u64 = 30;

/// The operators' API of one shop.
pub(super) struct Api {
    pub(super) url: String,
    http: Client,
    pub(super) caller: Caller,
    /// The options that name it, for a command to type next.
    pub(super) options: String,
    /// What to do if nothing answers.
    start: String,
    /// How long to wait for an answer, if that is not as usual.
    patience: Option<Duration>,
}

/// Who asks.
pub(super) enum Caller {
    /// Whoever has this token.
    Token(Token),
    /// The owner of the data of one machine, who says this name.
    Owner(Token, Option<String>),
    /// The owner of these credentials.
    Signed(Box<Aws>),
    /// A customer, who needs neither.
    Customer,
}

/// A token. It is never printed.
pub(super) struct Token(HeaderValue);

impl Token {
    /// # Errors
    /// It has characters that no header can have.
    pub(super) fn new(text: &str) -> Result<Self, Failure> {
        let value = HeaderValue::from_str(&format!("Bearer {}", text.trim()));
        let mut value = value.map_err(|_| Failure::new(Kind::Usage, "the token has characters that none can have"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

/// An answer of the API.
pub(super) struct Answer {
    status: StatusCode,
    /// The JSON as it came, because a result's numbers are kept to the digit.
    pub(super) text: String,
}

impl Answer {
    /// # Errors
    /// It is not what was asked for.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        read(&self.text)
    }
}

/// A task as it was told, and the id of that event.
pub(super) struct Event {
    id: String,
    /// The task, as JSON.
    pub(super) task: String,
}

impl Event {
    /// Reads the event of an answer that has one at most.
    fn in_stream(text: &str) -> Option<Self> {
        let of = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name));
        // In JSON a line break stands between its parts only.
        let task = of("data: ").collect::<Vec<_>>().join(" ");
        Some(Self { id: of("id: ").next()?.to_owned(), task })
    }
}

/// Reads JSON that the API has answered with.
///
/// # Errors
/// It is not what was asked for.
pub(super) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let why = format!("the API's answer cannot be read: {error}. Are the API and this command of one version?");
        Failure::new(Kind::NoAnswer, why).with_answer(Some(text.to_owned()))
    })
}

/// Whatever was answered.
pub(super) struct Exchange {
    pub(super) status: StatusCode,
    /// The seconds after which it may be asked again, if it says so.
    pub(super) retry_after: Option<u64>,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) text: String,
}

/// What an answer that is not the one asked for says.
#[derive(Deserialize)]
struct Refusal {
    #[serde(alias = "message")]
    error: Option<String>,
    #[serde(default)]
    details: Vec<Violation>,
}

#[derive(Deserialize)]
struct Violation {
    path: String,
    message: String,
}

impl Api {
    /// # Errors
    /// The URL is none.
    pub(super) fn new(url: &str, caller: Caller, options: String, start: String) -> Result<Self, Failure> {
        let wrong = || Failure::new(Kind::Usage, format!("'{url}' is no URL such as http://127.0.0.1:8081"));
        let parsed = Url::parse(url).map_err(|_| wrong())?;
        let host = parsed.host_str().ok_or_else(wrong)?;
        let is_local = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            http: client(is_local)?,
            caller,
            options,
            start,
            patience: None,
        })
    }

    /// The same API, which is waited for so long.
    pub(super) fn waiting(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// The same API, asked by a customer.
    pub(super) fn for_customers(self) -> Self {
        Self { caller: Caller::Customer, ..self }
    }

    /// Asks, and again after a pause where the answer is lost or put off, so that one lost answer does not end a long look.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Answer, Failure> {
        self.get_with(path, query, HeaderMap::new()).await
    }

    /// Waits until a task is another than in the event that was seen last; `None` once nothing follows by itself.
    pub(super) async fn next_event(&self, task: &str, seen: Option<&Event>) -> Result<Option<Event>, Failure> {
        let id = seen.and_then(|event| HeaderValue::from_str(&event.id).ok());
        let headers = HeaderMap::from_iter(id.map(|id| (LAST_EVENT_ID, id)));
        loop {
            let answer = self.get_with(&["tasks", task, "events"], &[], headers.clone()).await?;
            if answer.status == StatusCode::NO_CONTENT {
                return Ok(None);
            }
            match Event::in_stream(&answer.text) {
                Some(event) if seen.is_none_or(|seen| seen.id != event.id) => return Ok(Some(event)),
                // Something in between has not passed on what was seen.
                Some(_) => sleep(Duration::from_secs(1)).await,
                None => {}
            }
        }
    }

    async fn get_with(&self, path: &[&str], query: &[(&str, String)], headers: HeaderMap) -> Result<Answer, Failure> {
        for pause in PAUSES {
            match self.ask(Method::GET, path, query, None, headers.clone()).await {
                Err(failure) if failure.passes => {
                    let pause = failure.retry_after.map_or(pause, |wait| wait.clamp(pause, LONGEST_PAUSE));
                    say(format_args!("{failure}. Asking again in {pause} s"));
                    sleep(Duration::from_secs(pause)).await;
                }
                answered => return answered,
            }
        }
        self.ask(Method::GET, path, query, None, headers).await
    }

    pub(super) async fn post(&self, path: &[&str], body: String) -> Result<Answer, Failure> {
        self.ask(Method::POST, path, &[], Some(body), HeaderMap::new()).await
    }

    /// Asks for what a `POST` shows that changes nothing.
    pub(super) async fn look(&self, path: &[&str]) -> Result<Answer, Failure> {
        self.count(path, String::new()).await
    }

    /// Asks with a body, which changes nothing.
    pub(super) async fn count(&self, path: &[&str], body: String) -> Result<Answer, Failure> {
        let answered = self.post(path, body).await;
        answered.map_err(|failure| Failure { look_first: false, ..failure })
    }

    /// Sends a request with an idempotency key, and again if no answer comes: it takes effect once.
    pub(super) async fn post_once(&self, path: &[&str], body: String) -> Result<Answer, Failure> {
        self.post_once_as(&Uuid::new_v4().to_string(), path, body).await
    }

    /// The same with this idempotency key.
    pub(super) async fn post_once_as(&self, key: &str, path: &[&str], body: String) -> Result<Answer, Failure> {
        let key = HeaderValue::from_str(key)
            .map_err(|_| Failure::new(Kind::Usage, "--idempotency-key has characters that no header can have"))?;
        let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, key)]);
        let first = self.ask(Method::POST, path, &[], Some(body.clone()), headers.clone()).await;
        match first {
            Err(failure) if failure.kind == Kind::NoAnswer => {
                self.ask(Method::POST, path, &[], Some(body), headers).await
            }
            answered => answered,
        }
    }

    /// Asks and reads the answer.
    pub(super) async fn get_as<T: DeserializeOwned>(&self, path: &[&str]) -> Result<(Answer, T), Failure> {
        let answer = self.get(path, &[]).await?;
        let read = answer.read()?;
        Ok((answer, read))
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<String>,
        headers: HeaderMap,
    ) -> Result<Answer, Failure> {
        let mut target = String::new();
        for segment in path {
            target.extend(["/", &utf8_percent_encode(segment, RESERVED).to_string()]);
        }
        for (place, (name, value)) in query.iter().enumerate() {
            let mark = if place == 0 { '?' } else { '&' };
            // A text can always be written to.
            let _ = write!(target, "{mark}{name}={}", utf8_percent_encode(value, RESERVED));
        }
        self.send(method, &target, body, headers).await
    }

    /// Sends a request to a path with its query, and reads the answer.
    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<String>,
        headers: HeaderMap,
    ) -> Result<Answer, Failure> {
        let changes = method != Method::GET;
        let Exchange { status, retry_after, text, .. } = self.exchange(method, target, body, headers).await?;
        if status.is_success() {
            Ok(Answer { status, text })
        } else {
            Err(self.refused(status, retry_after, text, changes))
        }
    }

    /// Sends a request with these further headers, in the caller's name, and takes whatever is answered.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Option<String>,
        headers: HeaderMap,
    ) -> Result<Exchange, Failure> {
        let changes = method != Method::GET;
        let mut request = self.http.request(method, format!("{}{target}", self.url)).headers(headers);
        if let Some(patience) = self.patience {
            request = request.timeout(patience);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let mut request = request.build().map_err(|error| self.no_answer(&error, false))?;
        match &self.caller {
            Caller::Token(Token(value)) => drop(request.headers_mut().insert(AUTHORIZATION, value.clone())),
            Caller::Owner(Token(value), name) => {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
                if let Some(name) = name.as_deref().and_then(|name| HeaderValue::from_str(name).ok()) {
                    request.headers_mut().entry(OPERATOR).or_insert(name);
                }
            }
            Caller::Signed(aws) => aws.sign("execute-api", &mut request).await?,
            Caller::Customer => {}
        }
        let response = self.http.execute(request).await.map_err(|error| self.no_answer(&error, changes))?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let text = response.text().await.map_err(|error| self.no_answer(&error, changes))?;
        Ok(Exchange { status, retry_after, content_type, text })
    }

    fn no_answer(&self, error: &reqwest::Error, changes: bool) -> Failure {
        let Self { url, start, .. } = self;
        let told = if error.is_connect() {
            format!("nothing answers at {url} ({}). {start}", root_cause(error))
        } else {
            format!("{url} did not answer ({})", root_cause(error))
        };
        let passes = !error.is_connect() || error.is_timeout();
        Failure { passes, look_first: changes && !error.is_connect(), ..Failure::new(Kind::NoAnswer, told) }
    }

    /// What an answer that is not the one asked for has to say.
    pub(super) fn refused(&self, status: StatusCode, wait: Option<u64>, text: String, changes: bool) -> Failure {
        let refusal: Option<Refusal> = serde_json::from_str(&text).ok();
        let is_json = refusal.is_some();
        let (error, details) = refusal.map_or((None, Vec::new()), |refusal| (refusal.error, refusal.details));
        let reason = status.canonical_reason().unwrap_or_default();
        let mut message = error.unwrap_or_else(|| format!("the API answered {reason}"));
        for Violation { path, message: why } in details {
            // A question has its fields from the options of the same names.
            let path = match path.strip_prefix('/') {
                Some(name) if !changes => format!("--{}", name.replace('_', "-")),
                Some(_) => path,
                None => "/".to_owned(),
            };
            message.push_str(&format!("\n  {path}: {why}"));
        }
        message.push_str(&format!(" ({})", status.as_u16()));
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                message.push_str("\n  ");
                message.push_str(match self.caller {
                    Caller::Owner(..) => {
                        "Is this the folder of the shop that runs there? Its file operator-token is what it lets in"
                    }
                    Caller::Token(_) if status == StatusCode::FORBIDDEN => {
                        "Has the token the scope tasks.read, to change something tasks.write, to start a task start beside it, and to see an input tasks.reveal?"
                    }
                    Caller::Token(_) | Caller::Signed(_) | Caller::Customer => {
                        "Does the stack want tokens (--token) or AWS credentials, and may yours do execute-api:Invoke?"
                    }
                });
                Kind::NotLetIn
            }
            StatusCode::UNPROCESSABLE_ENTITY if !changes => Kind::Usage,
            // The host in between has lost the answer, or the API does not know what its store has done.
            _ if status.is_server_error() => Kind::NoAnswer,
            _ => Kind::Refused,
        };
        let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let look_first = changes && kind == Kind::NoAnswer;
        let failure = Failure::new(kind, message).with_answer(is_json.then_some(text));
        let is_not_found = status == StatusCode::NOT_FOUND;
        Failure { retry_after: wait, passes, look_first, is_not_found, ..failure }
    }
}

/// The seconds after which it may be asked again, if it says so.
fn retry_after(response: &Response) -> Option<u64> {
    response.headers().get("retry-after")?.to_str().ok()?.parse().ok()
}

/// The customers' side of the same API, for the demo.
impl checkout_demo::Shop for Api {
    async fn get(&self, path: &str) -> Result<Value, Refused> {
        self.send(Method::GET, path, None, HeaderMap::new()).await?.read().map_err(Refused::from)
    }

    async fn post(&self, path: &str, body: String) -> Result<Value, Refused> {
        let body = Some(body).filter(|body| !body.is_empty());
        self.send(Method::POST, path, body, HeaderMap::new()).await?.read().map_err(Refused::from)
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { why: failure.message, retry_after: failure.retry_after }
    }
}
