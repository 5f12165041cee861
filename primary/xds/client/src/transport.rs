//! From an address to an HTTP/2 connection: TCP, TLS with the primary's name checked, pings.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use diolkos_tls::Expect;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::body::Body;

use crate::ClientSettings;
use crate::credential::Credential;
use crate::limit;
use crate::observed::{Fault, Observed};
use crate::why::{Why, plain};

/// An open connection; closed when dropped.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) address: SocketAddr,
    sender: SendRequest<Body>,
    driver: AbortHandle,
    /// Why the connection failed, if it did.
    pub(crate) fault: Fault,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

const ALPN: &[&str] = &["h2"];

/// To the first address of the primary's name that is a good one; else what the last one failed of.
pub(crate) async fn open(settings: &ClientSettings) -> Result<Channel, Why> {
    let found = settings.place.look_up().await;
    let addresses = found.map_err(|cause| Why::unknown(&settings.place, &plain(&cause)))?;
    let of_its_family = |address: &SocketAddr| {
        settings.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    };
    let mut last = Why::unknown(&settings.place, "it has none of the family we dial from");
    for address in addresses.into_iter().filter(of_its_family) {
        match open_at(settings, address).await {
            Ok(channel) => return Ok(channel),
            Err(why) => last = why,
        }
    }
    Err(last)
}

async fn open_at(settings: &ClientSettings, address: SocketAddr) -> Result<Channel, Why> {
    let tcp = within("TCP", address, dial(address, settings.source)).await??;
    let name = diolkos_tls::server_name(&settings.server)
        .map_err(|error| Why::Own(format!("the primary's name: {error}")))?;
    let expect = Expect::Dns(settings.server.clone());
    let own = settings.credential.spiffe_id();
    let config = match &settings.credential {
        Credential::Certificate(identity) => {
            diolkos_tls::client_config(identity, &settings.roots, expect, ALPN)
        }
        Credential::Token(_) => diolkos_tls::anonymous_client_config(&settings.roots, expect, ALPN),
    };
    let tls = within("TLS", address, TlsConnector::from(config).connect(name, tcp))
        .await?
        .map_err(|error| Why::of_handshake(address, own.as_ref(), &error))?;
    let (observed, fault) = Observed::new(tls, address, own);
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(limit::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limit::STREAM_WINDOW_BYTES)
        .keep_alive_interval(settings.pings.every)
        .keep_alive_timeout(settings.pings.patience)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(observed));
    let (sender, connection) = within("HTTP/2", address, handshake).await?.map_err(|error| {
        fault.get().unwrap_or_else(|| Why::ended(address, &format!("HTTP/2: {error}")))
    })?;
    // Its end shows on the stream, which is where it is told.
    let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    Ok(Channel { address, sender, driver, fault })
}

async fn within<T>(
    step: &'static str,
    address: SocketAddr,
    future: impl Future<Output = T>,
) -> Result<T, Why> {
    timeout(limit::CONNECT_MAX, future).await.map_err(|_| Why::silent(address, step))
}

async fn dial(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, Why> {
    let tcp = |cause: io::Error| Why::away(address, &plain(&cause));
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(tcp)?;
    if let Some(source) = source {
        let own = |cause| Why::Own(format!("cannot dial from {source}: {}", plain(&cause)));
        socket.bind(SocketAddr::new(source, 0)).map_err(own)?;
    }
    let stream = socket.connect(address).await.map_err(tcp)?;
    stream.set_nodelay(true).map_err(tcp)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(tcp)?;
    Ok(stream)
}

/// tonic speaks to anything that is a tower service.
#[derive(Clone, Debug)]
pub(crate) struct Calls(SendRequest<Body>);

impl Channel {
    pub(crate) fn calls(&self) -> Calls {
        Calls(self.sender.clone())
    }

    /// What a stream's status means: what the connection failed of goes before what the layers
    /// above made of it, and what the primary said of the stream before both.
    pub(crate) fn told(&self, status: &Status) -> Why {
        let by_transport = std::error::Error::source(status).is_some();
        let fault = self.fault.get().filter(|_| by_transport);
        fault.unwrap_or_else(|| Why::of_status(self.address, status))
    }
}

impl tower_service::Service<http::Request<Body>> for Calls {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send + 'static>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
