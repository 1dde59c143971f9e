//! Calls to AWS: the credentials of the person, signed requests, and the services that the command asks itself.
//!
//! It asks each of them one question, so it sends that by hand: their SDKs would add minutes to the first build of everything.

use super::failure::{Failure, Kind};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use percent_encoding::utf8_percent_encode;
use reqwest::{
    Client, Method, Request,
    header::{HOST, HeaderValue},
};
use serde::Deserialize;
use std::{
    env,
    time::{Duration, SystemTime},
};
use tokio::sync::Mutex;

/// How often a call that was throttled, or was not answered, is made at most, and the wait before the second time. It doubles.
const CALLS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Credentials are asked for anew so long before they expire.
const BEFORE_EXPIRY: Duration = Duration::from_secs(60);

/// What to do without credentials.
const NO_CREDENTIALS: &str = "there are no AWS credentials. Set AWS_PROFILE, log in, or pass --token";

/// The header of a request of the query protocol.
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");

/// Somebody's credentials, and where they are used.
pub(super) struct Aws {
    provider: SharedCredentialsProvider,
    /// What the provider has said last: some of them start a process for it.
    credentials: Mutex<Credentials>,
    pub(super) region: String,
    /// An emulator's address, which takes the place of all services.
    pub(super) endpoint: Option<String>,
    http: Client,
}

/// A call to a service.
pub(super) struct Call<'a> {
    pub(super) service: &'a str,
    pub(super) headers: &'a [(&'static str, &'static str)],
    pub(super) body: String,
}

impl Aws {
    /// The credentials and the region of the environment, taken from where every AWS tool takes them.
    pub(super) async fn of_environment(region: Option<String>) -> Result<Self, Failure> {
        let loader = aws_config::defaults(BehaviorVersion::latest());
        let config = match region {
            Some(region) => loader.region(Region::new(region)),
            None => loader,
        };
        let config = config.load().await;
        let provider = config.credentials_provider().ok_or_else(|| Failure::new(Kind::NotLetIn, NO_CREDENTIALS))?;
        let credentials = Mutex::new(provided(&provider).await?);
        let region = config.region().map(|region| region.as_ref().to_owned());
        let region = region
            .ok_or_else(|| Failure::new(Kind::Usage, "there is no AWS region. Set AWS_REGION, or pass --region"))?;
        let endpoint = env::var("AWS_ENDPOINT_URL").ok().filter(|url| !url.is_empty());
        Ok(Self { provider, credentials, region, endpoint, http: client(false)? })
    }

    /// What `infra/local.sh env` says of a stack on this machine.
    pub(super) fn of_local_stack(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let get = |name: &str| {
            variable(name)
                .ok_or_else(|| Failure::new(Kind::NoAnswer, format!("infra/local.sh env does not say {name}")))
        };
        let (key, secret) = (get("AWS_ACCESS_KEY_ID")?, get("AWS_SECRET_ACCESS_KEY")?);
        let credentials = Credentials::new(key, secret, None, None, "infra/local.sh");
        Ok(Self {
            provider: SharedCredentialsProvider::new(credentials.clone()),
            credentials: Mutex::new(credentials),
            region: get("AWS_REGION")?,
            endpoint: Some(get("AWS_ENDPOINT_URL")?),
            http: client(true)?,
        })
    }

    /// The credentials, which the provider is asked for again before they expire.
    async fn credentials(&self) -> Result<Credentials, Failure> {
        let mut kept = self.credentials.lock().await;
        if kept.expiry().is_some_and(|expiry| expiry < SystemTime::now() + BEFORE_EXPIRY) {
            *kept = provided(&self.provider).await?;
        }
        Ok(kept.clone())
    }

    /// Signs a request for a service (SigV4).
    pub(super) async fn sign(&self, service: &str, request: &mut Request) -> Result<(), Failure> {
        let failed = |error: &dyn std::error::Error| Failure::refused(format!("the request cannot be signed: {error}"));
        let identity = self.credentials().await?.into();
        let params = SigningParams::builder().identity(&identity).region(&self.region).name(service);
        let params = params.time(SystemTime::now()).settings(SigningSettings::default()).build();
        let params = params.map_err(|error| failed(&error))?.into();
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
        let headers = request.headers().iter().filter(|(name, _)| *name != HOST);
        let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable =
            SignableRequest::new(request.method().as_str(), request.url().as_str(), headers, SignableBody::Bytes(body));
        let signed = sign(signable.map_err(|error| failed(&error))?, &params).map_err(|error| failed(&error))?;
        for header in signed.into_parts().0.into_parts().0 {
            let mut value = HeaderValue::from_str(header.value()).map_err(|error| failed(&error))?;
            value.set_sensitive(header.sensitive());
            request.headers_mut().insert(header.name(), value);
        }
        Ok(())
    }

    /// Looks up the base URL of a stack's API. `None` if there is no such stack, or it is still being made.
    pub(super) async fn api_url(&self, stack: &str) -> Result<Option<String>, Failure> {
        let name = utf8_percent_encode(stack, super::api::RESERVED);
        let call = Call {
            service: "cloudformation",
            headers: &[FORM],
            body: format!("Action=DescribeStacks&Version=2010-05-15&StackName={name}"),
        };
        match self.call(call).await? {
            Ok(xml) => Ok(self.reachable(output(&xml, "ApiUrl"), output(&xml, "ApiId"))),
            Err(refused) if refused.text.contains("does not exist") => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    /// A name under localhost resolves on some machines only, so there the emulator's address by path is used.
    fn reachable(&self, url: Option<&str>, id: Option<&str>) -> Option<String> {
        let url = url?;
        let is_name = url.contains(".localhost");
        Some(match (&self.endpoint, id) {
            (Some(endpoint), Some(id)) if is_name => format!("{endpoint}/_aws/execute-api/{id}"),
            _ => url.to_owned(),
        })
    }

    /// The URL of a service.
    fn url(&self, service: &str) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{}/", endpoint.trim_end_matches('/')),
            None => format!("https://{service}.{}.{}/", self.region, domain(&self.region)),
        }
    }

    /// Looks up the ARN of whoever these credentials are of.
    pub(super) async fn who(&self) -> Result<String, Failure> {
        let call =
            Call { service: "sts", headers: &[FORM], body: "Action=GetCallerIdentity&Version=2011-06-15".to_owned() };
        let xml = self.call(call).await??;
        let arn =
            element(&xml, "Arn").ok_or_else(|| Failure::new(Kind::NoAnswer, "AWS (sts) does not say who you are"))?;
        Ok(arn.to_owned())
    }

    /// Invokes a function and waits so long for its answer, JSON. It is invoked once: it may change something.
    ///
    /// # Errors
    /// There is no answer, or the function has failed.
    pub(super) async fn invoke(&self, function: &str, body: String, patience: Duration) -> Result<String, Failure> {
        const SERVICE: &str = "lambda";
        let name = utf8_percent_encode(function, super::api::RESERVED);
        let url = format!("{}2015-03-31/functions/{name}/invocations", self.url(SERVICE));
        let request = self.http.request(Method::POST, &url).timeout(patience).body(body);
        let mut request = request.build().map_err(|error| unreachable(&url, &error))?;
        self.sign(SERVICE, &mut request).await?;
        let lost = |error: &reqwest::Error| Failure { look_first: !error.is_connect(), ..unreachable(&url, error) };
        let answer = self.http.execute(request).await.map_err(|error| lost(&error))?;
        let (status, failed) = (answer.status(), answer.headers().contains_key("x-amz-function-error"));
        let text = answer.text().await.map_err(|error| lost(&error))?;
        if !status.is_success() {
            return Err(Refusal { service: SERVICE.to_owned(), status: status.as_u16(), text }.into());
        }
        if failed { Err(Failure::new(Kind::NoAnswer, format!("{function} failed: {}", said(&text)))) } else { Ok(text) }
    }

    /// Makes a call, again if it was throttled or is not answered. It must not change anything.
    ///
    /// # Errors
    /// The service cannot be reached. What it refuses is the inner error.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Result<String, Refusal>, Failure> {
        let Call { service, headers, body } = call;
        let url = self.url(service);
        let mut wait = FIRST_WAIT;
        for last in (0..CALLS).rev() {
            let request = self.http.request(Method::POST, &url).body(body.clone());
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let mut request = request.build().map_err(|error| unreachable(&url, &error))?;
            self.sign(service, &mut request).await?;
            match self.http.execute(request).await {
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.map_err(|error| unreachable(&url, &error))?;
                    let again = status.is_server_error() || text.contains("Throttling");
                    if status.is_success() {
                        return Ok(Ok(text));
                    } else if last == 0 || !again {
                        let service = service.to_owned();
                        return Ok(Err(Refusal { service, status: status.as_u16(), text }));
                    }
                }
                Err(error) if last == 0 || error.is_connect() => return Err(unreachable(&url, &error)),
                Err(_) => {}
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Err(Failure::new(Kind::NoAnswer, format!("{url} does not answer")))
    }
}

/// Asks for credentials.
async fn provided(provider: &SharedCredentialsProvider) -> Result<Credentials, Failure> {
    let provided = provider.provide_credentials().await;
    provided.map_err(|error| Failure::new(Kind::NotLetIn, format!("{NO_CREDENTIALS}\n  {}", root_cause(&error))))
}

/// What a service has refused.
pub(super) struct Refusal {
    service: String,
    status: u16,
    pub(super) text: String,
}

impl From<Refusal> for Failure {
    fn from(Refusal { service, status, text }: Refusal) -> Self {
        let kind = if matches!(status, 401 | 403) { Kind::NotLetIn } else { Kind::NoAnswer };
        Self::new(kind, format!("AWS ({service}) answered {status}: {}", said(&text)))
    }
}

/// The sentence in an answer that is an error, in XML or in JSON.
fn said(text: &str) -> String {
    #[derive(Deserialize)]
    struct Said {
        #[serde(alias = "Message", alias = "errorMessage")]
        message: String,
    }
    let of_xml = || element(text, "Message").map(str::to_owned);
    let of_json = || Some(serde_json::from_str::<Said>(text).ok()?.message);
    of_json().or_else(of_xml).unwrap_or_else(|| text.trim().to_owned())
}

/// An output of a stack, in the XML that describes it.
fn output<'a>(xml: &'a str, key: &str) -> Option<&'a str> {
    let members = xml.split("<member>");
    members.filter(|member| element(member, "OutputKey") == Some(key)).find_map(|member| element(member, "OutputValue"))
}

/// The text of the first element with this name. The texts that are looked for have no characters that XML escapes.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// The domain of AWS in a region.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// A client for HTTP. A proxy knows nothing of what is on this machine; for the rest the environment says whether there is one.
pub(super) fn client(is_local: bool) -> Result<Client, Failure> {
    let builder = Client::builder().timeout(Duration::from_secs(30)).connect_timeout(Duration::from_secs(10));
    let builder = if is_local { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| Failure::refused(format!("TLS cannot be used: {}", root_cause(&error))))
}

/// That nothing answers at a URL.
pub(super) fn unreachable(url: &str, error: &reqwest::Error) -> Failure {
    Failure::new(Kind::NoAnswer, format!("{url} does not answer: {}", root_cause(error)))
}

/// The innermost cause of an error, which says most.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::{output, said};

    #[test]
    fn output_of_a_stack_is_found_in_any_order() {
        let xml = "<Outputs><member><Description>no</Description><OutputValue>abc</OutputValue><OutputKey>ApiId</OutputKey></member>\
                   <member><OutputKey>ApiUrl</OutputKey><OutputValue>https://abc.execute-api</OutputValue></member></Outputs>";
        assert_eq!((output(xml, "ApiUrl"), output(xml, "ApiId")), (Some("https://abc.execute-api"), Some("abc")));
        assert_eq!(output(xml, "Api"), None);
    }

    #[test]
    fn sentence_of_an_error_is_found_in_xml_and_json() {
        assert_eq!(said("<Error><Code>C</Code><Message>no right</Message></Error>"), "no right");
        assert_eq!(said(r#"{"__type": "T", "message": "no log"}"#), "no log");
        assert_eq!(said(r#"{"errorType": "T", "errorMessage": "no table"}"#), "no table");
        assert_eq!(said(" Bad Gateway\n"), "Bad Gateway");
    }
}
