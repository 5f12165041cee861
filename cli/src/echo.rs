//! A server that says which cluster, pod and identity it is, and whom it saw.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use diolkos_ops::Shutdown;
use diolkos_tls::{Expect, Identity, Peer, Roots, Usage};
use diolkos_trust::TrustDomain;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Flags of `diolkos echo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EchoArgs {
    /// Where to listen (with --plain, repeatable)
    #[arg(long, required_unless_present = "listen_tcp")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, required_unless_present = "plain")]
    pub(crate) identity: Option<PathBuf>,
    /// Be an application without mutual TLS, as behind a sidecar: plain HTTP
    #[arg(long, conflicts_with_all = ["identity", "allow_source"])]
    pub(crate) plain: bool,
    /// With --plain: answer lines of text too, over plain TCP (repeatable)
    #[arg(long, requires = "plain", value_name = "ADDRESS")]
    pub(crate) listen_tcp: Vec<SocketAddr>,
    /// Trust domain whose workloads may call
    #[arg(long, default_value = "cluster.local")]
    pub(crate) trust_domain: String,
    /// Cluster to answer with
    #[arg(long)]
    pub(crate) cluster: String,
    /// Pod to answer with
    #[arg(long)]
    pub(crate) pod: String,
    /// Refuse connections from outside these ranges (repeatable); none: everyone may connect
    #[arg(long = "allow-source", value_name = "CIDR")]
    pub(crate) allow_source: Vec<IpNet>,
}

/// The answer's body.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Echo {
    pub(crate) cluster: String,
    pub(crate) pod: String,
    /// Who answers.
    pub(crate) identity: String,
    /// Whom the server verified.
    pub(crate) peer: String,
    /// Where the connection came from: a gateway's address, if one stood between.
    pub(crate) source: SocketAddr,
    pub(crate) sni: String,
    pub(crate) alpn: String,
    pub(crate) path: String,
}

#[derive(Debug)]
struct Server {
    cluster: String,
    pod: String,
    identity: Identity,
    roots: Roots,
    acceptor: TlsAcceptorBox,
    allow_source: Vec<IpNet>,
}

pub(crate) async fn run(args: EchoArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let Some(folder) = args.identity else {
        let who = crate::plain::Who { cluster: args.cluster, pod: args.pod };
        return crate::plain::serve(who, &args.listen, &args.listen_tcp, shutdown).await;
    };
    let [listen] = args.listen.as_slice() else { bail!("--listen is given once") };
    let trust_domain = TrustDomain::new(&args.trust_domain)?;
    let identity = Identity::load(&folder)?;
    let roots = Roots::load(&folder, &trust_domain)?;
    let _reload = diolkos_tls::spawn_reload(identity.clone(), roots.clone(), folder);
    let expect = Expect::AnyOf(vec![trust_domain]);
    let config = diolkos_tls::server_config(&identity, &roots, expect, ALPN);
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    tracing::info!(%listen, identity = %identity.spiffe_id(), "echo is up");
    let server = Arc::new(Server {
        cluster: args.cluster,
        pod: args.pod,
        identity,
        roots,
        acceptor: TlsAcceptorBox(TlsAcceptor::from(config)),
        allow_source: args.allow_source,
    });
    loop {
        tokio::select! {
            () = shutdown.wait() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, source)) => {
                    tokio::spawn(serve(server.clone(), stream, source));
                }
                Err(error) => {
                    // Out of descriptors, most likely: give the others time to end.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

async fn serve(server: Arc<Server>, stream: TcpStream, source: SocketAddr) {
    if !allowed(&server.allow_source, source.ip()) {
        tracing::warn!(%source, "refused: the source is outside the allowed ranges");
        return;
    }
    // The answer is one small write; without this it may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let accepting = server.acceptor.0.accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let error = diolkos_tls::explain(&error, &server.identity.spiffe_id());
            tracing::warn!(%source, %error, "refused: no mutual TLS");
            return;
        }
        Err(_) => {
            tracing::warn!(%source, "refused: no handshake within {HANDSHAKE:?}");
            return;
        }
    };
    let tls = stream.get_ref().1;
    let presented = tls.peer_certificates().unwrap_or_default();
    let peer =
        match diolkos_tls::peer_of(presented, &server.roots, SystemTime::now(), Usage::Client) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!(%source, %error, "refused: the client's identity does not hold");
                return;
            }
        };
    let sni = tls.server_name().unwrap_or_default().to_owned();
    let alpn = String::from_utf8_lossy(tls.alpn_protocol().unwrap_or_default()).into_owned();
    let met = Arc::new(Met { peer, source, sni, alpn });
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&server, &met, request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().keep_alive(true);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%source, %error, "connection ended early");
    }
}

/// What the handshake showed.
#[derive(Debug)]
struct Met {
    peer: Peer,
    source: SocketAddr,
    sni: String,
    alpn: String,
}

fn answer(server: &Server, met: &Met, path: &str) -> Response<Full<Bytes>> {
    let echo = Echo {
        cluster: server.cluster.clone(),
        pod: server.pod.clone(),
        identity: server.identity.spiffe_id().to_string(),
        peer: met.peer.id.to_string(),
        source: met.source,
        sni: met.sni.clone(),
        alpn: met.alpn.clone(),
        path: path.to_owned(),
    };
    let mut body = serde_json::to_vec(&echo).unwrap_or_default();
    body.push(b'\n');
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

fn allowed(ranges: &[IpNet], source: IpAddr) -> bool {
    ranges.is_empty() || ranges.iter().any(|range| range.contains(&source))
}

/// `TlsAcceptor` has no `Debug`.
struct TlsAcceptorBox(TlsAcceptor);

impl std::fmt::Debug for TlsAcceptorBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}

/// Ours first where a client offers several: the label says how the client will speak.
const ALPN: &[&str] = &[
    "istio-h2",
    "istio-http/1.1",
    "istio-http/1.0",
    "h2",
    "http/1.1",
    "istio-peer-exchange",
    "istio",
];
const HANDSHAKE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_outside_every_range_is_refused() {
        let ranges = ["127.20.0.0/16".parse().unwrap()];
        assert!(allowed(&ranges, "127.20.3.4".parse().unwrap()));
        assert!(!allowed(&ranges, "127.10.0.1".parse().unwrap()));
        assert!(!allowed(&ranges, "::1".parse().unwrap()));
        assert!(allowed(&[], "127.10.0.1".parse().unwrap()));
    }
}
