//! Requests as an application makes them: a name, a connection of its own, plain HTTP or TCP. One
//! line of JSON each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
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
use tokio::time::error::Elapsed;
use tokio::time::{MissedTickBehavior, timeout};

use super::kept;
use super::tally::{Outcome, Tally};
use crate::call::CallArgs;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
    Lines,
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    url: String,
    protocol: Protocol,
    /// Host and port.
    authority: String,
    uri: Uri,
    headers: HeaderMap,
    pub(super) patience: Duration,
    keep: bool,
}

/// One request's story.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    #[serde(skip)]
    started: Instant,
    #[serde(skip)]
    pub(super) stage: &'static str,
    /// Nanoseconds since 1970, when the request began.
    started_ns: u64,
    took_us: u64,
    url: String,
    /// The address dialed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<SocketAddr>,
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
    let (lines, printed) = mpsc::channel(LINES_MAX);
    let pace = Pace::of(args);
    for call in calls {
        tokio::spawn(pace.run(Arc::new(call), lines.clone()));
    }
    drop(lines);
    let failed = match args.report {
        Some(seconds) => report(printed, seconds.max(1), shutdown).await?,
        None => print(printed, shutdown).await?,
    };
    if failed > 0 {
        bail!("{failed} requests failed");
    }
    Ok(())
}

/// All of them; how many failed.
async fn print(mut printed: mpsc::Receiver<Line>, shutdown: Shutdown) -> anyhow::Result<u64> {
    let mut failed = 0;
    loop {
        let line = tokio::select! {
            line = printed.recv() => line,
            () = shutdown.wait() => None,
        };
        let Some(line) = line else { return Ok(failed) };
        failed += u64::from(line.is_failure());
        println!("{}", serde_json::to_string(&line)?);
    }
}

/// The failed ones, and every so often what came of all; how many failed.
async fn report(
    mut printed: mpsc::Receiver<Line>,
    every_seconds: u32,
    shutdown: Shutdown,
) -> anyhow::Result<u64> {
    let mut tally = Tally::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(every_seconds.into()));
    loop {
        let line = tokio::select! {
            line = printed.recv() => line,
            () = shutdown.wait() => None,
            _ = ticks.tick() => {
                tally.print()?;
                continue;
            }
        };
        let Some(line) = line else { break };
        let outcome = line.outcome();
        tally.add(&line.url, line.took_us, outcome);
        if outcome == Outcome::Failed {
            println!("{}", serde_json::to_string(&line)?);
        }
    }
    tally.print()?;
    Ok(tally.failed())
}

impl Line {
    pub(super) fn is_failure(&self) -> bool {
        self.failure.is_some()
    }

    fn outcome(&self) -> Outcome<'_> {
        if self.failure.is_some() || self.status.is_some_and(|status| status >= 500) {
            return Outcome::Failed;
        }
        let by = self.answer.as_ref().and_then(|answer| answer["cluster"].as_str());
        Outcome::Answered { by: by.unwrap_or_default() }
    }
}

impl Call {
    pub(super) fn read(url: &str, args: &CallArgs) -> anyhow::Result<Self> {
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
            keep: args.keep && protocol == Protocol::Lines,
        })
    }

    /// A connection of its own.
    async fn perform(&self) -> Line {
        let mut line = self.begin();
        let walked = timeout(self.patience, self.walk(&mut line)).await;
        line.end(walked, self.patience)
    }

    pub(super) fn begin(&self) -> Line {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Line {
            started: Instant::now(),
            stage: "resolve",
            started_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            took_us: 0,
            url: self.url.clone(),
            address: None,
            status: None,
            answer: None,
            failure: None,
        }
    }

    async fn walk(&self, line: &mut Line) -> anyhow::Result<()> {
        let stream = self.connect(line).await?;
        line.stage = "answer";
        let body = match self.protocol {
            Protocol::Lines => self.exchange_line(&mut BufReader::new(stream)).await?,
            Protocol::Http1 | Protocol::Http2 => {
                let (parts, body) = self.send(stream).await?.into_parts();
                line.status = Some(parts.status.as_u16());
                let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
                body.map_err(|error| anyhow!(error))?.to_bytes()
            }
        };
        line.heard(&body);
        Ok(())
    }

    /// As most applications do: the first address that takes the connection.
    pub(super) async fn connect(&self, line: &mut Line) -> anyhow::Result<TcpStream> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(&self.authority).await?.collect();
        line.stage = "connect";
        let mut last = None;
        for address in addresses {
            line.address = Some(address);
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| anyhow!("the name has no address"), Into::into))
    }

    /// Says its URL, and hears one line.
    pub(super) async fn exchange_line(
        &self,
        stream: &mut BufReader<TcpStream>,
    ) -> anyhow::Result<Bytes> {
        stream.get_mut().write_all(format!("{}\n", self.url).as_bytes()).await?;
        let mut answer = Vec::new();
        let mut from = stream.take(ANSWER_BYTES_MAX as u64);
        if from.read_until(b'\n', &mut answer).await? == 0 {
            bail!("the connection ended without an answer");
        }
        Ok(answer.into())
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

impl Line {
    /// `walked` within the caller's patience, or not.
    pub(super) fn end(
        mut self,
        walked: Result<anyhow::Result<()>, Elapsed>,
        patience: Duration,
    ) -> Self {
        let why = match walked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some(format!("nothing within {patience:?}")),
        };
        self.failure = why.map(|why| Failure { stage: self.stage, why });
        self.took_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self
    }

    /// As JSON if it is, else as text.
    pub(super) fn heard(&mut self, body: &[u8]) {
        let text = || Value::String(String::from_utf8_lossy(body).into_owned());
        self.answer = Some(serde_json::from_slice(body).unwrap_or_else(|_| text()));
    }
}

/// How often, how many and how long.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rate: u32,
    /// 0 is without end.
    count: u64,
    until: Option<tokio::time::Instant>,
}

impl Pace {
    fn of(args: &CallArgs) -> Self {
        let now = tokio::time::Instant::now();
        let until = args.seconds.map(|seconds| now + Duration::from_secs(seconds.into()));
        let count = if until.is_some() { 0 } else { args.count };
        Self { rate: args.rate.max(1), count, until }
    }

    /// Requests at a steady rate, each on its own, so that a slow one delays no other; or one after
    /// the other, where they share a connection.
    async fn run(self, call: Arc<Call>, lines: mpsc::Sender<Line>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.rate);
        ticks.set_missed_tick_behavior(match call.keep {
            true => MissedTickBehavior::Delay,
            false => MissedTickBehavior::Burst,
        });
        let at_once = Arc::new(Semaphore::new(CALLS_MAX));
        let mut kept = kept::Connection::default();
        let mut done = 0;
        while self.count == 0 || done < self.count {
            let at = ticks.tick().await;
            if self.until.is_some_and(|until| at >= until) {
                return;
            }
            done += 1;
            if call.keep {
                let _ = lines.send(kept.perform(&call).await).await;
                continue;
            }
            let Ok(permit) = at_once.clone().acquire_owned().await else { return };
            let (call, lines) = (call.clone(), lines.clone());
            tokio::spawn(async move {
                let _ = lines.send(call.perform().await).await;
                drop(permit);
            });
        }
    }
}

/// Waiting to be printed.
const LINES_MAX: usize = 1024;
/// On their way at once, to one URL.
const CALLS_MAX: usize = 256;
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
