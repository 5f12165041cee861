//! One request over one connection, and who refused it if it failed.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use diolkos_hbone::{Outer, Tunnel, TunnelError};
use diolkos_tls::{Expect, Identity, Roots, Usage};
use diolkos_trust::SpiffeId;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Who speaks: the identity shown, the roots believed, the address dialed from.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    pub(crate) identity: Identity,
    pub(crate) roots: Roots,
    pub(crate) source: Option<IpAddr>,
}

/// A gateway that ends tunnels.
#[derive(Clone, Debug)]
pub(crate) struct TunnelThrough {
    pub(crate) address: SocketAddr,
    pub(crate) gateway: SpiffeId,
    pub(crate) inner: Inner,
}

/// What is spoken with the server inside the gateway's tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inner {
    Mtls,
    Tunnel,
}

#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// The identity the client verified, if the connection was mutual TLS.
    pub(crate) server: Option<SpiffeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) refused_by: RefusedBy,
    pub(crate) why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    Connect,
    Discovery,
    Handshake,
    Request,
}

impl Stage {
    /// Nothing of the request has left yet, so another address may be tried.
    pub(crate) fn before_request(self) -> bool {
        !matches!(self, Self::Request)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RefusedBy {
    /// We did not believe the server.
    Client,
    /// The gateway opened no tunnel, and said why.
    Gateway,
    /// A failure, not a refusal.
    Nobody,
    /// Whoever answers at the address closed without a word.
    Peer,
    Primary,
    /// The server did not believe us, and said so.
    Server,
}

impl Failure {
    pub(crate) fn new(stage: Stage, refused_by: RefusedBy, why: impl Into<String>) -> Self {
        Self { stage, refused_by, why: why.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.refused_by {
            RefusedBy::Client => "refused by the client",
            RefusedBy::Gateway => "refused by the gateway",
            RefusedBy::Nobody => "failed",
            RefusedBy::Peer => "closed by the peer",
            RefusedBy::Primary => "refused by the primary",
            RefusedBy::Server => "refused by the server",
        };
        write!(f, "{who} ({:?}): {}", self.stage, self.why)
    }
}

impl std::error::Error for Failure {}

impl Speaker {
    pub(crate) async fn mtls(
        &self,
        address: SocketAddr,
        sni: &str,
        expected: &[SpiffeId],
        authority: &str,
        path: &str,
    ) -> Result<Heard, Failure> {
        let stream = dial(address, self.source).await?;
        self.mtls_over(stream, address, sni, expected, authority, path).await
    }

    /// TunnelThrough the tunnel that a gateway ends: with mutual TLS to the server inside it, or a tunnel
    /// of the server's own.
    pub(crate) async fn tunnel(
        &self,
        through: &TunnelThrough,
        sni: &str,
        expected: &[SpiffeId],
        authority: &str,
        path: &str,
    ) -> Result<Heard, Failure> {
        let address = through.address;
        let stream = dial(address, self.source).await?;
        let gateway = vec![through.gateway.clone()];
        let (_outer, tunnel) = self.open(stream, address, gateway, authority).await?;
        match through.inner {
            Inner::Mtls => self.mtls_over(tunnel, address, sni, expected, authority, path).await,
            Inner::Tunnel => {
                let (inner, tunnel) =
                    self.open(tunnel, address, expected.to_vec(), authority).await?;
                let server = Some(inner.peer().id.clone());
                ask(tunnel, address, authority, path, server).await
            }
        }
    }

    async fn open<S>(
        &self,
        stream: S,
        address: SocketAddr,
        expected: Vec<SpiffeId>,
        authority: &str,
    ) -> Result<(Outer, Tunnel), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let opening = async {
            let expect = Expect::Ids(expected);
            let outer = Outer::connect(stream, &self.identity, &self.roots, expect).await;
            let outer = outer.map_err(|error| {
                let why = format!("{address}: {error}");
                Failure::new(Stage::Handshake, RefusedBy::Nobody, why)
            })?;
            let tunnel = outer.open(authority).await.map_err(|error| {
                let refused_by = match error {
                    TunnelError::Refused { .. } => RefusedBy::Gateway,
                    _ => RefusedBy::Nobody,
                };
                Failure::new(Stage::Handshake, refused_by, format!("{address}: {error}"))
            })?;
            Ok((outer, tunnel))
        };
        tokio::time::timeout(HANDSHAKE, opening).await.unwrap_or_else(|_| {
            let why = format!("no tunnel through {address} within {HANDSHAKE:?}");
            Err(Failure::new(Stage::Handshake, RefusedBy::Nobody, why))
        })
    }

    async fn mtls_over<S>(
        &self,
        stream: S,
        address: SocketAddr,
        sni: &str,
        expected: &[SpiffeId],
        authority: &str,
        path: &str,
    ) -> Result<Heard, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let own = self.identity.spiffe_id();
        let expect = Expect::Ids(expected.to_vec());
        let config = diolkos_tls::client_config(&self.identity, &self.roots, expect, ALPN);
        let name = diolkos_tls::server_name(sni).map_err(|error| {
            Failure::new(Stage::Handshake, RefusedBy::Nobody, error.to_string())
        })?;
        let connecting = TlsConnector::from(config).connect(name, stream);
        let stream = tokio::time::timeout(HANDSHAKE, connecting)
            .await
            .map_err(|_| {
                let why = format!("no TLS answer from {address} within {HANDSHAKE:?}");
                Failure::new(Stage::Handshake, RefusedBy::Nobody, why)
            })?
            .map_err(|error| refusal(Stage::Handshake, address, &own, &error))?;
        let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = diolkos_tls::peer_of(presented, &self.roots, SystemTime::now(), Usage::Server)
            .map_err(|error| {
            Failure::new(Stage::Handshake, RefusedBy::Client, error.to_string())
        })?;
        ask(stream, address, authority, path, Some(peer.id)).await
    }
}

/// Without TLS: to a plaintext endpoint, or to a sidecar that speaks mTLS for us.
pub(crate) async fn plain(
    address: SocketAddr,
    source: Option<IpAddr>,
    authority: &str,
    path: &str,
) -> Result<Heard, Failure> {
    let stream = dial(address, source).await?;
    ask(stream, address, authority, path, None).await
}

async fn dial(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, Failure> {
    let dialing = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok::<_, io::Error>(stream)
    };
    let refused = |why: String| Failure::new(Stage::Connect, RefusedBy::Nobody, why);
    tokio::time::timeout(CONNECT, dialing)
        .await
        .map_err(|_| refused(format!("{address} did not answer within {CONNECT:?}")))?
        .map_err(|error| refused(format!("{address}: {error}")))
}

async fn ask<S>(
    stream: S,
    address: SocketAddr,
    authority: &str,
    path: &str,
    server: Option<SpiffeId>,
) -> Result<Heard, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asking = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driving = tokio::spawn(connection);
        let request = Request::get(path)
            .header(HOST, authority)
            .body(Empty::<Bytes>::new())
            .map_err(|error| io::Error::other(error.to_string()))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await?.to_bytes();
        drop(sender);
        // The connection ends with its only request.
        driving.await??;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Heard { status, body, server })
    };
    match tokio::time::timeout(REQUEST, asking).await {
        Ok(Ok(heard)) => Ok(heard),
        Ok(Err(error)) => Err(request_failure(address, error.as_ref())),
        Err(_) => Err(Failure::new(
            Stage::Request,
            RefusedBy::Nobody,
            format!("no answer from {address} within {REQUEST:?}"),
        )),
    }
}

/// In TLS 1.3 a server's refusal of our certificate arrives after our side of the handshake.
fn request_failure(address: SocketAddr, error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut cause = Some(error);
    while let Some(current) = cause {
        let io = current.downcast_ref::<io::Error>();
        let tls = io.and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            let why = format!("{address} answered with the TLS alert {alert:?}");
            return Failure::new(Stage::Request, RefusedBy::Server, why);
        }
        cause = current.source();
    }
    Failure::new(Stage::Request, RefusedBy::Nobody, format!("{address}: {error}"))
}

fn refusal(stage: Stage, address: SocketAddr, own: &SpiffeId, error: &io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (refused_by, why) = match tls {
        Some(rustls::Error::AlertReceived(alert)) => {
            (RefusedBy::Server, format!("{address} answered with the TLS alert {alert:?}"))
        }
        Some(_) => (RefusedBy::Client, format!("{address}: {}", diolkos_tls::explain(error, own))),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                (RefusedBy::Peer, format!("{address} closed the connection: {error}"))
            }
            _ => (RefusedBy::Nobody, format!("{address}: {error}")),
        },
    };
    Failure::new(stage, refused_by, why)
}

/// What an Istio sidecar offers for HTTP/1.1.
const ALPN: &[&str] = &["istio-http/1.1", "istio", "http/1.1"];
const CONNECT: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(3);
const REQUEST: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 64 * 1024;
