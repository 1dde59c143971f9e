//! A proxy that makes a service of the emulator unreliable: it throttles, fails before or after the call takes effect,
//! and breaks connections.

use crate::http::{Request, response};
use fastrand::Rng;
use reqwest::Client;
use std::{
    io,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A fault of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProxyFault {
    /// The request is throttled, and has no effect.
    Throttled,
    /// The request fails with `InternalServerError`, and has no effect.
    Refused,
    /// The request takes effect, and is answered with `InternalServerError` all the same.
    AnswerLost,
    /// The request takes effect, and the connection breaks without an answer.
    Dropped,
}

/// The probability of each fault. Each is from 0 to 1, and so is their sum.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// A throttled request.
    pub throttled: f64,
    /// A failure before the effect.
    pub refused: f64,
    /// A failure after the effect.
    pub answer_lost: f64,
    /// A broken connection after the effect.
    pub dropped: f64,
}

impl Rates {
    /// The fault for a random number from 0 to 1.
    fn fault(&self, random: f64) -> Option<ProxyFault> {
        let mut below = 0.0;
        let faults = [
            (ProxyFault::Throttled, self.throttled),
            (ProxyFault::Refused, self.refused),
            (ProxyFault::AnswerLost, self.answer_lost),
            (ProxyFault::Dropped, self.dropped),
        ];
        faults.into_iter().find_map(|(fault, rate)| {
            below += rate;
            (random < below).then_some(fault)
        })
    }
}

/// The number of requests, and of those that met each fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All requests.
    pub requests: u64,
    /// Throttled requests.
    pub throttled: u64,
    /// Failures before the effect.
    pub refused: u64,
    /// Failures after the effect.
    pub answer_lost: u64,
    /// Broken connections after the effect.
    pub dropped: u64,
}

impl Counts {
    fn count(&mut self, fault: Option<ProxyFault>) {
        self.requests += 1;
        match fault {
            None => {}
            Some(ProxyFault::Throttled) => self.throttled += 1,
            Some(ProxyFault::Refused) => self.refused += 1,
            Some(ProxyFault::AnswerLost) => self.answer_lost += 1,
            Some(ProxyFault::Dropped) => self.dropped += 1,
        }
    }
}

/// The proxy. Dropping it stops it.
#[derive(Debug)]
pub struct Proxy {
    /// The URL on which it listens, on this machine only.
    pub url: String,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    http: Client,
    rates: Rates,
    dice: Mutex<(Rng, Counts)>,
}

impl Proxy {
    /// Starts a proxy on a free port, in front of the URL `upstream`.
    pub async fn start(upstream: &str, rates: Rates, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a port"));
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            http: Client::builder().no_proxy().build().expect("an HTTP client"),
            rates,
            dice: Mutex::new((Rng::with_seed(seed), Counts::default())),
        });
        let serving = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // A client that is killed in the middle of a request breaks its connection. Nobody has to handle that.
                tokio::spawn(async move { drop(shared.serve(stream).await) });
            }
        });
        Self { url, shared, listener }
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.shared.dice.lock().expect("no holder panics").1
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Shared {
    /// Serves a connection until either side closes it.
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some(request) = Request::read(&mut stream).await? {
            let fault = self.random();
            let answer = match fault {
                Some(ProxyFault::Throttled) => throttle(),
                Some(ProxyFault::Refused) => internal_error(),
                None | Some(ProxyFault::AnswerLost | ProxyFault::Dropped) => {
                    let answer = self.forward(request).await.map_err(io::Error::other)?;
                    match fault {
                        Some(ProxyFault::Dropped) => return Ok(()),
                        Some(ProxyFault::AnswerLost) => internal_error(),
                        _ => answer,
                    }
                }
            };
            stream.write_all(&answer).await?;
        }
        Ok(())
    }

    fn random(&self) -> Option<ProxyFault> {
        let (rng, counts) = &mut *self.dice.lock().expect("no holder panics");
        let fault = self.rates.fault(rng.f64());
        counts.count(fault);
        fault
    }

    async fn forward(&self, request: Request) -> reqwest::Result<Vec<u8>> {
        let method = request.method.parse().unwrap_or(reqwest::Method::POST);
        let mut forwarded = self.http.request(method, format!("{}{}", self.upstream, request.path));
        for (name, value) in request.headers.iter().filter(|(name, _)| !is_of_the_hop(name)) {
            forwarded = forwarded.header(name, value);
        }
        let answer = forwarded.body(request.body).send().await?;
        let status = answer.status();
        let headers: Vec<(String, String)> = answer
            .headers()
            .iter()
            .filter(|(name, _)| !is_of_the_hop(name.as_str()))
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        Ok(response(status.as_u16(), &headers, &answer.bytes().await?))
    }
}

/// Headers that belong to one connection, not to the request. The host is the request's: its signature names it.
fn is_of_the_hop(name: &str) -> bool {
    ["connection", "content-length", "transfer-encoding"].iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

fn error(status: u16, kind: &str) -> Vec<u8> {
    let headers = [("content-type".to_owned(), "application/x-amz-json-1.0".to_owned())];
    let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
    let body = serde_json::json!({"__type": kind, "message": "The proxy of the tests makes this error"});
    response(status, &headers, body.to_string().as_bytes())
}

fn throttle() -> Vec<u8> {
    error(400, "ProvisionedThroughputExceededException")
}

fn internal_error() -> Vec<u8> {
    error(500, "InternalServerError")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A service that answers every request with its body, and its number of requests.
    async fn echo() -> (String, Arc<AtomicU64>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (url, had) = (format!("http://{}", listener.local_addr().unwrap()), Arc::<AtomicU64>::default());
        let counted = Arc::clone(&had);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = Request::read(&mut stream).await.unwrap() {
                        counted.fetch_add(1, Ordering::Relaxed);
                        let target = request.headers.iter().filter(|(name, _)| name == "x-amz-target").cloned();
                        let answer = response(200, &target.collect::<Vec<_>>(), &request.body);
                        stream.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        (url, had)
    }

    /// The answer to a request through a proxy of these rates, and the number of requests that reached the service.
    async fn through(rates: Rates) -> (reqwest::Result<(u16, String)>, Counts, u64) {
        let (upstream, had) = echo().await;
        let proxy = Proxy::start(&upstream, rates, 1).await;
        let http = Client::builder().no_proxy().build().unwrap();
        let request = http.post(&proxy.url).header("x-amz-target", "DynamoDB_20120810.GetItem").body("hello");
        let answer = match request.send().await {
            Ok(answer) => Ok((answer.status().as_u16(), answer.text().await.unwrap())),
            Err(error) => Err(error),
        };
        (answer, proxy.counts(), had.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn without_faults_request_and_answer_pass_unchanged() {
        let (upstream, had) = echo().await;
        let proxy = Proxy::start(&upstream, Rates::default(), 1).await;
        let http = Client::builder().no_proxy().build().unwrap();
        for body in ["one", "", "three"] {
            let answer = http.post(&proxy.url).header("x-amz-target", "GetItem").body(body).send().await.unwrap();
            assert_eq!(answer.headers()["x-amz-target"], "GetItem");
            assert_eq!(answer.text().await.unwrap(), body);
        }
        assert_eq!(proxy.counts(), Counts { requests: 3, ..Counts::default() });
        assert_eq!(had.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn throttled_and_refused_requests_do_not_take_effect() {
        let (answer, counts, had) = through(Rates { throttled: 1.0, ..Rates::default() }).await;
        let (status, text) = answer.unwrap();
        assert_eq!((status, had), (400, 0));
        assert!(text.contains("ProvisionedThroughputExceededException"), "{text}");
        assert_eq!(counts, Counts { requests: 1, throttled: 1, ..Counts::default() });

        let (answer, counts, had) = through(Rates { refused: 1.0, ..Rates::default() }).await;
        assert_eq!((answer.unwrap().0, had), (500, 0));
        assert_eq!(counts, Counts { requests: 1, refused: 1, ..Counts::default() });
    }

    #[tokio::test]
    async fn request_with_a_lost_answer_or_a_broken_connection_takes_effect() {
        let (answer, counts, had) = through(Rates { answer_lost: 1.0, ..Rates::default() }).await;
        let (status, text) = answer.unwrap();
        assert_eq!((status, had), (500, 1));
        assert!(text.contains("InternalServerError"), "{text}");
        assert_eq!(counts, Counts { requests: 1, answer_lost: 1, ..Counts::default() });

        let (answer, counts, had) = through(Rates { dropped: 1.0, ..Rates::default() }).await;
        assert!(answer.is_err(), "{answer:?}");
        assert!(had >= 1, "it took effect");
        assert_eq!(counts.dropped, counts.requests);
    }

    #[test]
    fn each_fault_occurs_at_its_rate() {
        let rates = Rates { throttled: 0.1, refused: 0.2, answer_lost: 0.3, dropped: 0.1 };
        let faults = [0.05, 0.15, 0.4, 0.65, 0.75].map(|random| rates.fault(random));
        let expected =
            [ProxyFault::Throttled, ProxyFault::Refused, ProxyFault::AnswerLost, ProxyFault::Dropped].map(Some);
        assert_eq!((&faults[..4], faults[4]), (&expected[..], None));
    }
}
