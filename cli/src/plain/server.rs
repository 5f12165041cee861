//! Plain HTTP that says who answers and what it was sent, and plain TCP that does so line by line.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use diolkos_ops::Shutdown;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Who answers.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) cluster: String,
    pub(crate) pod: String,
}

/// The body of an answer over HTTP, and a line of one over TCP.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Plain {
    pub(super) cluster: String,
    pub(super) pod: String,
    /// Where the connection came from: loopback, if a sidecar stands before this.
    pub(super) source: SocketAddr,
    /// Where it came to.
    pub(super) local: SocketAddr,
    /// HTTP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<Seen>,
    /// TCP only: the line that is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) version: String,
    pub(super) host: String,
    /// `x-forwarded-client-cert`, where the sidecar says who called.
    pub(super) client_cert: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
}

/// Until the end.
pub(crate) async fn serve(
    who: Who,
    http: &[SocketAddr],
    tcp: &[SocketAddr],
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let who = Arc::new(who);
    for (address, kind) in
        http.iter().map(|at| (at, Kind::Http)).chain(tcp.iter().map(|at| (at, Kind::Lines)))
    {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        tracing::info!(listen = %address, ?kind, "plain echo is up");
        tokio::spawn(accept(listener, kind, who.clone()));
    }
    shutdown.wait().await;
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Http,
    Lines,
}

async fn accept(listener: TcpListener, kind: Kind, who: Arc<Who>) {
    loop {
        let Ok((stream, source)) = listener.accept().await else {
            // Out of descriptors, most likely: give the others time to end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let Ok(local) = stream.local_addr() else { continue };
        let ends = Ends { source: canonical(source), local: canonical(local) };
        match kind {
            Kind::Http => drop(tokio::spawn(converse(stream, who.clone(), ends))),
            Kind::Lines => drop(tokio::spawn(answer_lines(stream, who.clone(), ends))),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    source: SocketAddr,
    local: SocketAddr,
}

/// IPv4 as such, also where one socket listens to both families.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

async fn converse(stream: TcpStream, who: Arc<Who>, ends: Ends) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&who, ends, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(source = %ends.source, %error, "connection ended early");
    }
}

/// `/status/503` is answered with that status.
fn answer(who: &Who, ends: Ends, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let status = path.strip_prefix("/status/").and_then(|code| code.parse::<u16>().ok());
    let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or_default();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request.headers();
    let host = match request.uri().authority() {
        Some(authority) => authority.to_string(),
        None => headers.get(HOST).map(text).unwrap_or_default(),
    };
    let seen = Seen {
        method: request.method().to_string(),
        path: path.to_owned(),
        version: format!("{:?}", request.version()),
        host,
        client_cert: headers.get("x-forwarded-client-cert").map(text),
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
    };
    let body = Plain::new(who, ends, Some(seen), None);
    let mut response = Response::new(Full::new(Bytes::from(body.line_of_json())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The caller speaks first: a server that did would be misread by a sidecar that sniffs.
async fn answer_lines(stream: TcpStream, who: Arc<Who>, ends: Ends) {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    loop {
        let mut line = String::new();
        let read = (&mut from).take(LINE_BYTES_MAX).read_line(&mut line).await;
        if !read.is_ok_and(|count| count > 0) {
            return;
        }
        let answer = Plain::new(&who, ends, None, Some(line.trim_end().to_owned()));
        if to.write_all(&answer.line_of_json()).await.is_err() {
            return;
        }
    }
}

/// Longer ones are answered in parts.
const LINE_BYTES_MAX: u64 = 4096;

impl Plain {
    fn new(who: &Who, ends: Ends, request: Option<Seen>, line: Option<String>) -> Self {
        let Who { cluster, pod } = who.clone();
        Self { cluster, pod, source: ends.source, local: ends.local, request, line }
    }

    fn line_of_json(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}
