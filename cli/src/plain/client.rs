//! Requests as an application makes them: a name, a connection of its own, plain HTTP or TCP. One
//! line of JSON each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use diolkos_ops::Shutdown;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, timeout};

use crate::call::CallArgs;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
    Lines,
}

#[derive(Clone, Debug)]
struct Call {
    url: String,
    protocol: Protocol,
    /// Host and port.
    authority: String,
    uri: Uri,
    headers: HeaderMap,
    patience: Duration,
}

/// One request's story.
#[derive(Clone, Debug, Default, Serialize)]
struct Line {
    /// Nanoseconds since 1970, when the request began.
    started_ns: u64,
    took_us: u64,
    url: String,
    /// The address dialed.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The body: as JSON if it is, else as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

#[derive(Clone, Debug, Serialize)]
struct Failure {
    stage: &'static str,
    why: String,
}

pub(crate) async fn call(args: &CallArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let calls = args.urls.iter().map(|url| Call::read(url, args));
    let calls = calls.collect::<anyhow::Result<Vec<_>>>()?;
    let (lines, mut printed) = mpsc::channel(LINES_MAX);
    for call in calls {
        tokio::spawn(pace(Arc::new(call), args.count, args.rate.max(1), lines.clone()));
    }
    drop(lines);
    let mut failed = 0_u64;
    loop {
        let line = tokio::select! {
            line = printed.recv() => line,
            () = shutdown.wait() => None,
        };
        let Some(line) = line else { break };
        failed += u64::from(line.failure.is_some());
        println!("{}", serde_json::to_string(&line)?);
    }
    if failed > 0 {
        bail!("{failed} requests failed");
    }
    Ok(())
}

impl Call {
    fn read(url: &str, args: &CallArgs) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        let (protocol, port) = match uri.scheme_str() {
            Some("http") if args.http2 => (Protocol::Http2, Some(80)),
            Some("http") => (Protocol::Http1, Some(80)),
            Some("tcp") => (Protocol::Lines, None),
            _ => bail!("{url}: use http://HOST:PORT/PATH or tcp://HOST:PORT"),
        };
        let host = uri.host().with_context(|| format!("{url} has no host"))?;
        let port = uri.port_u16().or(port).with_context(|| format!("{url} has no port"))?;
        let mut headers = HeaderMap::new();
        for header in &args.header {
            let (name, value) = header.split_once(':').context("a header is NAME: VALUE")?;
            let name: HeaderName = name.trim().parse().context("a header's name")?;
            headers.append(name, HeaderValue::from_str(value.trim())?);
        }
        Ok(Self {
            url: url.to_owned(),
            protocol,
            authority: format!("{host}:{port}"),
            uri,
            headers,
            patience: Duration::from_millis(args.patience),
        })
    }

    async fn perform(&self) -> Line {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = Instant::now();
        let mut line = Line {
            started_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            url: self.url.clone(),
            ..Line::default()
        };
        let mut stage = "resolve";
        match timeout(self.patience, self.walk(&mut line, &mut stage)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => line.failure = Some(Failure { stage, why: format!("{error:#}") }),
            Err(_) => {
                let why = format!("nothing within {:?}", self.patience);
                line.failure = Some(Failure { stage, why });
            }
        }
        line.took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        line
    }

    async fn walk(&self, line: &mut Line, stage: &mut &'static str) -> anyhow::Result<()> {
        // As most applications do: the first address that takes the connection.
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(&self.authority).await?.collect();
        *stage = "connect";
        let mut last = None;
        let mut connected = None;
        for address in addresses {
            line.address = Some(address);
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(error) => last = Some(error),
            }
        }
        let stream = match (connected, last) {
            (Some(stream), _) => stream,
            (None, Some(error)) => return Err(error.into()),
            (None, None) => bail!("the name has no address"),
        };
        stream.set_nodelay(true)?;
        *stage = "answer";
        let body = match self.protocol {
            Protocol::Lines => exchange_line(stream, &self.url).await?,
            Protocol::Http1 | Protocol::Http2 => {
                let (parts, body) = self.send(stream).await?.into_parts();
                line.status = Some(parts.status.as_u16());
                let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
                body.map_err(|error| anyhow::anyhow!(error))?.to_bytes()
            }
        };
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        line.answer = Some(serde_json::from_slice(&body).unwrap_or_else(|_| text()));
        Ok(())
    }

    async fn send(&self, stream: TcpStream) -> anyhow::Result<Response<hyper::body::Incoming>> {
        let stream = TokioIo::new(stream);
        if self.protocol == Protocol::Http2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            let mut request = Request::get(self.uri.clone()).body(Empty::<Bytes>::new())?;
            request.headers_mut().extend(self.headers.clone());
            return Ok(sender.send_request(request).await?);
        }
        let (mut sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::get(path).body(Empty::<Bytes>::new())?;
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        request.headers_mut().insert(HOST, HeaderValue::from_str(host)?);
        request.headers_mut().extend(self.headers.clone());
        Ok(sender.send_request(request).await?)
    }
}

async fn exchange_line(mut stream: TcpStream, line: &str) -> anyhow::Result<Bytes> {
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = Vec::new();
    let mut from = BufReader::new(stream).take(ANSWER_BYTES_MAX as u64);
    if from.read_until(b'\n', &mut answer).await? == 0 {
        bail!("the connection ended without an answer");
    }
    Ok(answer.into())
}

/// Requests at a steady rate, each on its own, so that a slow one delays no other.
async fn pace(call: Arc<Call>, count: u64, rate: u32, lines: mpsc::Sender<Line>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let at_once = Arc::new(Semaphore::new(CALLS_MAX));
    let mut done = 0;
    while count == 0 || done < count {
        ticks.tick().await;
        let Ok(permit) = at_once.clone().acquire_owned().await else { return };
        let (call, lines) = (call.clone(), lines.clone());
        tokio::spawn(async move {
            let _ = lines.send(call.perform().await).await;
            drop(permit);
        });
        done += 1;
    }
}

/// Waiting to be printed.
const LINES_MAX: usize = 1024;
/// On their way at once, to one URL.
const CALLS_MAX: usize = 256;
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
