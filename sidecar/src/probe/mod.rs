//! The kubelet's probes, asked again where it may not: at the application itself.

mod grpc;
mod http;
mod trusting;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use diolkos_inject::{Action, Probe};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// # Errors
/// Why the application is not well.
pub(crate) async fn ask(probe: &Probe, ip: IpAddr) -> Result<String, String> {
    let most = Duration::from_secs(u64::from(probe.timeout_s));
    let asked = async {
        match &probe.action {
            Action::HttpGet { port, path, scheme, headers } => {
                let address = SocketAddr::new(ip, *port);
                self::http::get(address, path, *scheme, headers).await
            }
            Action::TcpSocket { port } => connect(SocketAddr::new(ip, *port))
                .await
                .map(|_| format!("port {port} takes connections")),
            Action::Grpc { port, service } => {
                self::grpc::check(SocketAddr::new(ip, *port), service).await
            }
        }
    };
    timeout(most, asked).await.map_err(|_| format!("no answer within {} s", probe.timeout_s))?
}

/// From the address that Envoy's inbound side hands on from, so that the pod's redirect leaves it
/// alone; where there is no such address there is no redirect either.
async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let (socket, source) = match address {
        SocketAddr::V4(_) => (TcpSocket::new_v4(), HANDED_ON_V4),
        SocketAddr::V6(_) => (TcpSocket::new_v6(), HANDED_ON_V6),
    };
    let socket = socket.map_err(failed)?;
    if let Err(error) = socket.bind(SocketAddr::new(source, 0)) {
        tracing::debug!(%source, %error, "probing from any address");
    }
    socket.connect(address).await.map_err(failed)
}

const HANDED_ON_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
const HANDED_ON_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6));
