//! From an address to an HTTP/2 connection: TCP, TLS with the primary's name checked, pings.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use diolkos_tls::{Expect, TlsError};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::body::Body;

use crate::ClientSettings;
use crate::limit;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{step} with {address} took longer than {} ms", limit::CONNECT_MS_MAX)]
    Deadline { step: &'static str, address: SocketAddr },
    #[error("cannot dial from {source_ip}: {cause}")]
    Source { source_ip: IpAddr, cause: io::Error },
    #[error("cannot connect to {address}: {cause}")]
    Tcp { address: SocketAddr, cause: io::Error },
    #[error("TLS with {address} failed: {cause}")]
    Tls { address: SocketAddr, cause: TlsError },
    #[error("server name: {0}")]
    Name(TlsError),
    #[error("HTTP/2 with {address} failed: {cause}")]
    Http { address: SocketAddr, cause: hyper::Error },
}

/// An open connection; closed when dropped.
#[derive(Debug)]
pub(crate) struct Channel {
    sender: SendRequest<Body>,
    driver: AbortHandle,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

pub(crate) async fn open(settings: &ClientSettings) -> Result<Channel, ConnectError> {
    let address = settings.address;
    let tcp = within("TCP", address, dial(address, settings.source)).await??;
    let name = diolkos_tls::server_name(&settings.server).map_err(ConnectError::Name)?;
    let expect = Expect::Dns(settings.server.clone());
    let config = diolkos_tls::client_config(&settings.identity, &settings.roots, expect, &["h2"]);
    let tls = within("TLS", address, TlsConnector::from(config).connect(name, tcp))
        .await?
        .map_err(|error| {
            let cause = diolkos_tls::explain(&error, &settings.identity.spiffe_id());
            ConnectError::Tls { address, cause }
        })?;
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(limit::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limit::STREAM_WINDOW_BYTES)
        .keep_alive_interval(Duration::from_millis(limit::PING_MS))
        .keep_alive_timeout(Duration::from_millis(limit::PONG_MS_MAX))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(tls));
    let (sender, connection) = within("HTTP/2", address, handshake)
        .await?
        .map_err(|cause| ConnectError::Http { address, cause })?;
    // Its end shows on the stream, which is where it is told.
    let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    Ok(Channel { sender, driver })
}

async fn within<T>(
    step: &'static str,
    address: SocketAddr,
    future: impl Future<Output = T>,
) -> Result<T, ConnectError> {
    timeout(limit::CONNECT_MAX, future).await.map_err(|_| ConnectError::Deadline { step, address })
}

async fn dial(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, ConnectError> {
    let tcp = |cause| ConnectError::Tcp { address, cause };
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(tcp)?;
    if let Some(source_ip) = source {
        socket
            .bind(SocketAddr::new(source_ip, 0))
            .map_err(|cause| ConnectError::Source { source_ip, cause })?;
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
