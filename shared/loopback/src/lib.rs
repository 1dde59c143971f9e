//! An HTTP API on a port of this machine: what API Gateway does on AWS.
//!
//! [`serve`] listens on the loopback interface only. A page in a browser reaches it all the same, by a name of its own that
//! resolves to 127.0.0.1 (DNS rebinding); so a request has to name this machine as its `Host`.
//! A link of another site leads to a page of this machine, and to nothing else.

#[cfg(test)]
mod tests;

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, header,
        uri::{Authority, Uri},
    },
    middleware::{Next, from_fn},
    response::Response,
};
use http_api::{ClientAddress, RequestId, refusal};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot};
use uuid::Uuid;

/// The names of this machine that a request may be sent to.
const OWN_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The reason why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program listens on it.
    #[error("port {port} is in use by another program; end that one, or name another port")]
    InUse {
        /// The port.
        port: u16,
    },
    /// The system refuses it.
    #[error("port {port} cannot be listened on: {source}")]
    Io {
        /// The port.
        port: u16,
        /// The reason.
        source: io::Error,
    },
}

/// Listens on a port of the loopback interface, or on any free one if `port` is 0.
///
/// # Errors
/// See [`ListenError`].
pub async fn listen(port: u16) -> Result<TcpListener, ListenError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { port },
        _ => ListenError::Io { port, source },
    })
}

/// Serves an API until `stop`. Then it takes no new connections, and returns when the open requests are answered, or after `grace`.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> io::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let stop = async move {
        stop.await;
        // Nobody waits any more if the listener has failed.
        let _ = stopping.send(());
    };
    let router = on_this_machine(router).into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, router).with_graceful_shutdown(stop).into_future();
    let grace_is_over = async {
        // An error says that `stop` was dropped, and so that serving has ended.
        let _ = stopped.await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        served = served => served,
        () = grace_is_over => {
            tracing::warn!(?grace, "requests were still open and are broken off");
            Ok(())
        }
    }
}

/// Refuses requests to other hosts, and adds the request's id and the client's address.
fn on_this_machine(router: Router) -> Router {
    router.layer(from_fn(async |mut request: Request, next: Next| {
        if !is_for_this_machine(&request) {
            let text = "This API answers on this machine only: send the header Host with 127.0.0.1 or localhost";
            return refusal(StatusCode::MISDIRECTED_REQUEST, text);
        }
        let is_link = is_link_of_another_site(&request);
        if !is_link && is_from_another_site(request.headers()) {
            return of_another_site();
        }
        let peer = request.extensions().get().map(|ConnectInfo::<SocketAddr>(peer)| peer.ip());
        let extensions = request.extensions_mut();
        extensions.insert(RequestId(Uuid::new_v4().to_string()));
        extensions.insert(ClientAddress(peer.as_ref().map(IpAddr::to_canonical)));
        let response = next.run(request).await;
        if is_link && !is_page(&response) { of_another_site() } else { response }
    }))
}

fn of_another_site() -> Response {
    refusal(StatusCode::FORBIDDEN, "This API takes no requests from pages of other sites")
}

/// Whether each host that the request names is this machine, and it names one.
fn is_for_this_machine(request: &Request) -> bool {
    let named = request.headers().get_all(header::HOST).iter().map(|host| Authority::try_from(host.as_bytes()).ok());
    let mut named = named.chain(request.uri().authority().map(|authority| Some(authority.clone()))).peekable();
    let is_own = |authority: Authority| {
        let bare = authority.as_str().strip_prefix(authority.host()).is_some_and(|port| {
            port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
        });
        bare && OWN_NAMES.iter().any(|own| own.eq_ignore_ascii_case(authority.host()))
    };
    named.peek().is_some() && named.all(|authority| authority.is_some_and(is_own))
}

/// Whether somebody follows a link of another site, and has the answer shown as a page of its own, not in a frame.
fn is_link_of_another_site(request: &Request) -> bool {
    let is = |name, value| request.headers().get(name).is_some_and(|header| header == value);
    request.method() == Method::GET
        && !request.headers().contains_key(header::ORIGIN)
        && is("sec-fetch-site", "cross-site")
        && is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
}

/// Whether an answer is a page, or leads to one: no data of an API.
fn is_page(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    response.status().is_redirection() || kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

/// Whether a browser says that a page of another site has made the request. Such a page may send simple requests without being asked
/// first, and a checkout is one.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    let is_own = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        origin.and_then(|origin| origin.host().map(|host| OWN_NAMES.contains(&host))).unwrap_or_default()
    };
    headers.get(header::ORIGIN).is_some_and(|origin| !is_own(origin))
        || headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}
