//! One client connection, from accept to close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use diolkos_ops::Shutdown;
use diolkos_tls::{Peer, Usage, peer_of};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::inline::{Inline, Together};
use super::listen::Served;
use super::service::Service;
use super::stall::Stalls;
use super::stranger::{self, Patience, Proof, Standing};
use crate::limit;

pub(super) async fn run(
    tcp: TcpStream,
    address: SocketAddr,
    served: Arc<Served>,
    handshaking: OwnedSemaphorePermit,
    shutdown: Shutdown,
) {
    let admitted = match timeout(limit::HANDSHAKE_MAX, admit(tcp, &served)).await {
        Ok(admitted) => admitted,
        Err(_) => Err(format!("no TLS handshake within {} s", limit::HANDSHAKE_MAX.as_secs())),
    };
    drop(handshaking);
    match admitted {
        // Without the port, which differs each time: one line for one who keeps trying.
        Err(cause) => served.deny(&format!("client at {}: {cause}", address.ip())),
        Ok(admitted) => {
            served.metrics.connections.inc();
            converse(admitted, address, &served, &shutdown).await;
            served.metrics.connections.dec();
        }
    }
}

struct Admitted {
    tls: TlsStream<TcpStream>,
    /// Whom the certificate names, if there is one.
    peer: Option<Peer>,
    proof: Arc<Proof>,
    patience: Patience,
}

async fn admit(tcp: TcpStream, served: &Served) -> Result<Admitted, String> {
    prepare(&tcp).map_err(|error| error.to_string())?;
    let tls = TlsAcceptor::from(served.tls.clone())
        .accept(tcp)
        .await
        .map_err(|error| diolkos_tls::explain(&error, &served.identity.spiffe_id()).to_string())?;
    let (_, session) = tls.get_ref();
    let (peer, place) = match session.peer_certificates() {
        None | Some([]) => (None, Some(stranger::place(&served.strangers)?)),
        Some(presented) => {
            let peer = peer_of(presented, &served.roots, SystemTime::now(), Usage::Client);
            (Some(peer.map_err(|error| error.to_string())?), None)
        }
    };
    let standing = if peer.is_some() { Standing::Proven } else { Standing::Unknown };
    let proof = Arc::new(Proof::new(standing));
    let patience = Patience::new(&proof, place);
    Ok(Admitted { tls, peer, proof, patience })
}

fn prepare(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(limit::PING_INTERVAL)
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

async fn converse(
    admitted: Admitted,
    address: SocketAddr,
    served: &Arc<Served>,
    shutdown: &Shutdown,
) {
    let Admitted { tls, peer, proof, mut patience } = admitted;
    let stalls = Stalls::new();
    let id = peer.as_ref().map_or("by token".into(), |peer| peer.id.to_string());
    let service = Service::new(served.clone(), peer, proof, address, stalls.clone());
    let inline = Inline::default();
    let connection = http2::Builder::new(inline.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limit::STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(limit::HEADER_BYTES_MAX)
        .max_send_buf_size(limit::UNSENT_BYTES_MAX)
        .keep_alive_interval(limit::PING_INTERVAL)
        // A peer that cannot be written to does not answer pings either: the same patience.
        .keep_alive_timeout(served.stall_max)
        .serve_connection(TokioIo::new(tls), service);
    let mut together = Together::new(connection, inline);

    let mut look = tokio::time::interval((served.stall_max / 4).max(Duration::from_millis(10)));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let drained = tokio::time::sleep(Duration::MAX / 2);
    tokio::pin!(drained);
    let mut draining = false;
    loop {
        tokio::select! {
            // However it ended, its streams have said so.
            _ = &mut together => return,
            () = shutdown.wait(), if !draining => {
                draining = true;
                std::pin::Pin::new(together.connection()).graceful_shutdown();
                drained.as_mut().reset(tokio::time::Instant::now() + limit::DRAIN_MAX);
            }
            () = &mut drained, if draining => return,
            why = patience.over() => {
                if let Some(why) = why {
                    served.deny(&format!("client at {}: {why}", address.ip()));
                }
                return;
            }
            _ = look.tick() => {
                let waited = stalls.longest();
                if waited > served.stall_max {
                    served.metrics.stalled.inc();
                    tracing::warn!(
                        client = %id, %address, waited_s = waited.as_secs(),
                        "this client did not read, or did not answer, for too long: cut"
                    );
                    return;
                }
            }
        }
    }
}
