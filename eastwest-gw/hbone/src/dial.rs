//! From a route to a connected target: the chosen one, else the next ones in order.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use diolkos_route::Route;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::{Limits, Metrics};

pub(crate) async fn dial(
    route: &Route,
    source: Option<IpAddr>,
    limits: &Limits,
    metrics: &Metrics,
) -> Option<(TcpStream, SocketAddr)> {
    for target in route.candidates(rand::random()).take(limits.targets_tried_max) {
        match timeout(limits.connect, connect(target.address, source)).await {
            Ok(Ok(stream)) => return Some((stream, target.address)),
            Ok(Err(cause)) => failed(route, target.address, &cause.to_string()),
            Err(_) => failed(route, target.address, "no answer in time"),
        }
        metrics.dial_failures.inc();
    }
    None
}

fn failed(route: &Route, target: SocketAddr, cause: &str) {
    tracing::debug!(route = route.name().as_str(), %target, cause, "dial failed");
}

async fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source.filter(|source| source.is_ipv4() == target.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(target).await
}

/// Small writes go out at once, and a peer that vanished is noticed.
pub(crate) fn tune(stream: &TcpStream, keepalive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(keepalive).with_interval(keepalive);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// The next close says RST.
pub(crate) fn reset(stream: &TcpStream) {
    // Fails on a socket that is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
