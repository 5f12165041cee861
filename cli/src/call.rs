//! `diolkos call`: requests through the mesh, one line of result each.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use diolkos_ops::Shutdown;
use diolkos_tls::{Identity, Roots};
use diolkos_trust::{SpiffeId, Subject, TrustDomain, UnverifiedToken};
use diolkos_xds_client::{Backoff, ClientSettings, Credential, NodeClaims};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;

use crate::echo::Echo;
use crate::walk::{
    Failure, Heard, Inner, RefusedBy, Speaker, Stage, Target, TunnelThrough, Walker,
};

/// Flags of `diolkos call`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CallArgs {
    /// What to call, as http://HOST:PORT/PATH (repeatable)
    #[arg(required = true, value_name = "URL")]
    pub(crate) urls: Vec<String>,
    /// Folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, required_unless_present_any = ["proxy", "plain"])]
    pub(crate) identity: Option<PathBuf>,
    #[arg(long, default_value = "cluster.local")]
    pub(crate) trust_domain: String,
    /// The primary's ADS address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) primary: Option<SocketAddr>,
    /// The DNS name in the primary's certificate
    #[arg(long, default_value = crate::PRIMARY_NAME)]
    pub(crate) primary_name: String,
    /// The caller's cluster, as the primary knows it
    #[arg(long, default_value = "")]
    pub(crate) cluster: String,
    /// The caller's pod [default: the token's, else "call"]
    #[arg(long)]
    pub(crate) pod: Option<String>,
    /// Show the primary this service-account token instead of the certificate
    #[arg(long, value_name = "FILE", requires = "primary")]
    pub(crate) token_file: Option<PathBuf>,
    /// Dial from this address
    #[arg(long)]
    pub(crate) source: Option<IpAddr>,
    /// Ask no primary: dial this address with mutual TLS (needs --expect)
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["primary", "proxy"])]
    pub(crate) direct: Option<SocketAddr>,
    /// Ask no primary: go through a tunnel (HBONE) that this gateway ends (needs --gateway-id and
    /// --expect)
    #[arg(long, value_name = "ADDRESS", requires = "gateway_id",
          conflicts_with_all = ["primary", "proxy", "direct"])]
    pub(crate) hbone: Option<SocketAddr>,
    /// With --hbone: the identity the gateway must have
    #[arg(long, value_name = "SPIFFE ID", requires = "hbone")]
    pub(crate) gateway_id: Option<String>,
    /// With --hbone: inside it a tunnel that the server ends, in place of mutual TLS with it
    #[arg(long, requires = "hbone")]
    pub(crate) double: bool,
    /// With --direct and --hbone: the identity the server must have (repeatable)
    #[arg(long, value_name = "SPIFFE ID")]
    pub(crate) expect: Vec<String>,
    /// Ask no primary: send plain HTTP to this sidecar
    #[arg(long, value_name = "ADDRESS", conflicts_with = "primary")]
    pub(crate) proxy: Option<SocketAddr>,
    /// Be an application without mutual TLS, as behind a sidecar: names are resolved by DNS, http://
    /// and tcp:// are spoken plainly, and each line of output is JSON
    #[arg(long, conflicts_with_all = ["identity", "primary", "direct", "proxy"])]
    pub(crate) plain: bool,
    /// With --plain: HTTP/2 from the first byte
    #[arg(long, requires = "plain")]
    pub(crate) http2: bool,
    /// With --plain: give up a request after so many milliseconds
    #[arg(long, requires = "plain", default_value_t = 5000, value_name = "MILLISECONDS")]
    pub(crate) patience: u64,
    /// With --plain: a header, as NAME: VALUE (repeatable)
    #[arg(long, requires = "plain", value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// With --plain: make requests for so many seconds
    #[arg(long = "for", requires = "plain", conflicts_with = "count", value_name = "SECONDS")]
    pub(crate) seconds: Option<u32>,
    /// With --plain: print only the requests that failed or were answered 500 and above, and every
    /// so many seconds what came of all so far
    #[arg(long, requires = "plain", value_name = "SECONDS")]
    pub(crate) report: Option<u32>,
    /// With --plain: all requests to a tcp:// URL go over one connection, and over a new one when
    /// that fails
    #[arg(long, requires = "plain")]
    pub(crate) keep: bool,
    /// Requests to each URL; 0 goes on until ended
    #[arg(long, default_value_t = 1)]
    pub(crate) count: u64,
    /// Requests a second to each URL
    #[arg(long, default_value_t = 50)]
    pub(crate) rate: u32,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Json,
    Text,
}

/// One request's story.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Line {
    /// Nanoseconds since 1970, when the request began.
    pub(crate) started_ns: u64,
    pub(crate) took_us: u64,
    pub(crate) url: String,
    /// The address dialed: an endpoint, a gateway, or a sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<SocketAddr>,
    /// The cluster whose gateway that address is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway_of: Option<String>,
    #[serde(default)]
    pub(crate) attempts: usize,
    /// The identity the client verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) echo: Option<Echo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<FailureLine>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct FailureLine {
    pub(crate) stage: String,
    pub(crate) refused_by: String,
    pub(crate) why: String,
}

/// How requests get to their target.
#[derive(Debug)]
enum Way {
    Direct { speaker: Speaker, address: SocketAddr, expect: Vec<SpiffeId> },
    Tunnel { speaker: Speaker, through: TunnelThrough, expect: Vec<SpiffeId> },
    Mesh(Walker),
    Proxy { address: SocketAddr, source: Option<IpAddr> },
}

#[derive(Clone, Debug)]
struct Call {
    url: String,
    target: Target,
    path: String,
}

pub(crate) async fn run(args: CallArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    if args.plain {
        return crate::plain::call(&args, shutdown).await;
    }
    let calls = args.urls.iter().map(|url| parse_url(url)).collect::<Result<Vec<_>, _>>()?;
    let way = Arc::new(way(&args, &calls)?);
    let (lines, mut printed) = mpsc::channel(LINES_MAX);
    for call in calls {
        tokio::spawn(pace(way.clone(), call, args.count, args.rate.max(1), lines.clone()));
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
        match args.output {
            Output::Json => println!("{}", serde_json::to_string(&line)?),
            Output::Text => println!("{}", text(&line)),
        }
    }
    if failed > 0 {
        bail!("{failed} requests failed");
    }
    Ok(())
}

fn way(args: &CallArgs, calls: &[Call]) -> anyhow::Result<Way> {
    let speaker = match &args.identity {
        Some(dir) => {
            let identity = Identity::load(dir)?;
            let roots = Roots::load(dir, &TrustDomain::new(&args.trust_domain)?)?;
            Some(Speaker::new(identity, roots, args.source))
        }
        None => None,
    };
    if let Some(address) = args.proxy {
        return Ok(Way::Proxy { address, source: args.source });
    }
    let speaker = speaker.ok_or_else(|| anyhow!("--identity is needed"))?;
    if let Some(address) = args.direct {
        return Ok(Way::Direct { speaker, address, expect: expected(args, "--direct")? });
    }
    if let (Some(address), Some(gateway)) = (args.hbone, &args.gateway_id) {
        let inner = if args.double { Inner::Tunnel } else { Inner::Mtls };
        let through = TunnelThrough { address, gateway: SpiffeId::parse(gateway)?, inner };
        return Ok(Way::Tunnel { speaker, through, expect: expected(args, "--hbone")? });
    }
    let settings = asking(args, &speaker)?;
    let targets: Vec<Target> = calls.iter().map(|call| call.target.clone()).collect();
    Ok(Way::Mesh(Walker::start(settings, speaker, &targets)))
}

fn expected(args: &CallArgs, flag: &str) -> anyhow::Result<Vec<SpiffeId>> {
    let expect = args.expect.iter().map(|id| SpiffeId::parse(id));
    let expect = expect.collect::<Result<Vec<_>, _>>()?;
    if expect.is_empty() {
        bail!("{flag} needs --expect: no identity is never any identity");
    }
    Ok(expect)
}

/// What a client of the primary needs, that is known by its certificate or by a token.
fn asking(args: &CallArgs, speaker: &Speaker) -> anyhow::Result<ClientSettings> {
    let address =
        args.primary.context("one of --primary, --direct, --hbone and --proxy is needed")?;
    let (credential, who) = match &args.token_file {
        Some(file) => (Credential::Token(file.clone()), bearer(file)?),
        None => {
            let id = speaker.identity.spiffe_id();
            let name = id.workload_name().with_context(|| {
                format!("identity {id} is not a workload's: /ns/NAMESPACE/sa/ACCOUNT")
            })?;
            let who = Subject {
                namespace: name.namespace.to_owned(),
                service_account: name.service_account.to_owned(),
                pod: None,
            };
            (Credential::Certificate(speaker.identity.clone()), who)
        }
    };
    Ok(ClientSettings {
        place: address.into(),
        server: args.primary_name.clone(),
        node: NodeClaims {
            kind: "sidecar".into(),
            ip: args.source.unwrap_or(IpAddr::from([127, 0, 0, 1])),
            pod: args.pod.clone().or(who.pod).unwrap_or_else(|| "call".into()),
            namespace: who.namespace,
            domain: "cluster.local".into(),
            cluster: args.cluster.clone(),
            network: None,
            service_account: Some(who.service_account),
            labels: Default::default(),
            extra: Default::default(),
        },
        credential,
        roots: speaker.roots.clone(),
        source: args.source,
        backoff: Backoff::default(),
        pings: Default::default(),
    })
}

/// Whom our own token speaks of.
fn bearer(file: &Path) -> anyhow::Result<Subject> {
    let named = || format!("token file {}", file.display());
    let token = diolkos_xds_client::read_token(file).map_err(|cause| anyhow!(cause));
    let token = token.with_context(named)?;
    UnverifiedToken::parse(&token).and_then(|token| token.subject()).with_context(named)
}

/// Requests at a steady rate, each on its own, so that a slow one delays no other.
async fn pace(way: Arc<Way>, call: Call, count: u64, rate: u32, lines: mpsc::Sender<Line>) {
    if let Way::Mesh(walker) = &*way
        && let Err(failure) = walker.ready(&call.target, READY).await
    {
        let _ = lines.send(line(&call, SystemTime::now(), Instant::now(), Err(failure))).await;
        return;
    }
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    while count == 0 || sent < count {
        ticks.tick().await;
        let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
        if lines.is_closed() {
            return;
        }
        sent += 1;
        let (way, call, lines) = (way.clone(), call.clone(), lines.clone());
        tokio::spawn(async move {
            let (started, clock) = (SystemTime::now(), Instant::now());
            let result = one(&way, &call).await;
            let _ = lines.send(line(&call, started, clock, result)).await;
            drop(permit);
        });
    }
}

struct Reached {
    address: SocketAddr,
    gateway_of: Option<String>,
    attempts: usize,
    heard: Heard,
}

async fn one(way: &Way, call: &Call) -> Result<Reached, Failure> {
    let authority = format!("{}:{}", call.target.host, call.target.port);
    match way {
        Way::Mesh(walker) => {
            let walked = walker.request(&call.target, &call.path).await?;
            Ok(Reached {
                address: walked.address,
                gateway_of: walked.through_gateway_of,
                attempts: walked.attempts,
                heard: walked.heard,
            })
        }
        Way::Direct { speaker, address, expect } => {
            let sni = format!("outbound_.{}_._.{}", call.target.port, call.target.host);
            let heard = speaker.mtls(*address, &sni, expect, &authority, &call.path).await?;
            Ok(Reached { address: *address, gateway_of: None, attempts: 1, heard })
        }
        Way::Tunnel { speaker, through, expect } => {
            let sni = format!("outbound_.{}_._.{}", call.target.port, call.target.host);
            let heard = speaker.tunnel(through, &sni, expect, &authority, &call.path).await?;
            Ok(Reached { address: through.address, gateway_of: None, attempts: 1, heard })
        }
        Way::Proxy { address, source } => {
            let heard = crate::walk::plain(*address, *source, &authority, &call.path).await?;
            Ok(Reached { address: *address, gateway_of: None, attempts: 1, heard })
        }
    }
}

fn line(
    call: &Call,
    started: SystemTime,
    clock: Instant,
    result: Result<Reached, Failure>,
) -> Line {
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut line = Line {
        started_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        took_us: u64::try_from(clock.elapsed().as_micros()).unwrap_or(u64::MAX),
        url: call.url.clone(),
        address: None,
        gateway_of: None,
        attempts: 0,
        server: None,
        echo: None,
        failure: None,
    };
    match result.and_then(understood) {
        Ok((reached, echo)) => {
            line.address = Some(reached.address);
            line.gateway_of = reached.gateway_of;
            line.attempts = reached.attempts;
            line.server = reached.heard.server.map(|id| id.to_string());
            line.echo = echo;
        }
        Err(failure) => {
            line.failure = Some(FailureLine {
                stage: format!("{:?}", failure.stage).to_lowercase(),
                refused_by: format!("{:?}", failure.refused_by).to_lowercase(),
                why: failure.why,
            });
        }
    }
    line
}

/// Any server may be called; only an echo's answer can be read.
fn understood(reached: Reached) -> Result<(Reached, Option<Echo>), Failure> {
    if !reached.heard.status.is_success() {
        let body = String::from_utf8_lossy(&reached.heard.body);
        let body: String = body.chars().filter(|c| !c.is_control()).take(200).collect();
        let why = format!("{} answered {}: {body}", reached.address, reached.heard.status);
        return Err(Failure::new(Stage::Request, RefusedBy::Nobody, why));
    }
    let echo = serde_json::from_slice(&reached.heard.body).ok();
    Ok((reached, echo))
}

fn text(line: &Line) -> String {
    if let Some(failure) = &line.failure {
        return format!(
            "{}  FAILED at {} ({}): {}",
            line.url, failure.stage, failure.refused_by, failure.why
        );
    }
    let to = line.address.map(|address| address.to_string()).unwrap_or_default();
    let way = match &line.gateway_of {
        Some(cluster) => format!("through gateway {to} of {cluster}"),
        None => format!("direct to {to}"),
    };
    let whom = match &line.echo {
        Some(echo) => {
            format!("{}/{} as {}, saw {}", echo.cluster, echo.pod, echo.identity, echo.peer)
        }
        None => "an answer that is not an echo's".into(),
    };
    format!("{}  {way}: {whom}  ({} us)", line.url, line.took_us)
}

fn parse_url(url: &str) -> anyhow::Result<Call> {
    let parsed: hyper::Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
    if parsed.scheme_str() != Some("http") {
        bail!("{url:?}: give http://HOST:PORT/PATH; mutual TLS is the mesh's part");
    }
    let host = parsed.host().with_context(|| format!("{url:?} has no host"))?;
    // Short names are the sidecar's comfort; here the namespace must be said.
    let host = match host.split('.').count() {
        2 => format!("{host}.svc.cluster.local"),
        _ => host.to_owned(),
    };
    Ok(Call {
        url: url.to_owned(),
        target: Target { host, port: parsed.port_u16().unwrap_or(80) },
        path: parsed.path().to_owned(),
    })
}

const READY: Duration = Duration::from_secs(10);
const IN_FLIGHT_MAX: usize = 256;
const LINES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_service_namespace_and_port() {
        let call = parse_url("http://catalog.shop:8080/items").unwrap();
        assert_eq!(call.target.host, "catalog.shop.svc.cluster.local");
        assert_eq!((call.target.port, &*call.path), (8080, "/items"));
        assert_eq!(parse_url("http://a.b.svc.x.y").unwrap().target.host, "a.b.svc.x.y");
        let error = parse_url("https://catalog.shop").unwrap_err().to_string();
        assert!(error.contains("give http://HOST:PORT/PATH"), "{error}");
    }
}
