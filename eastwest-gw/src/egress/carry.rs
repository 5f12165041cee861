//! One connection on its way out: a tunnel by the first gateway that gives one, then its bytes.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use diolkos_hbone::{Over, Tally, Toward, Tunnel, relay};
use diolkos_ops::metrics::Gauged;
use diolkos_ops::spread;
use diolkos_route::{Dialed, Route, sni};
use rustix::fd::OwnedFd;
use tokio::net::TcpStream;
use tokio::time::sleep_until;

use super::Egress;
use super::fault::Failure;
use super::link::Place;
use crate::access::Access;
use crate::metrics::Direction;
use crate::shared::Shared;
use crate::{End, Metrics};

/// What a lane hands over: a connection whose name is a route.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) client: OwnedFd,
    /// What was read of it.
    pub(crate) held: Vec<u8>,
    pub(crate) route: Arc<Route>,
    pub(crate) access: Access,
}

impl Egress {
    /// Takes it to its end.
    pub(crate) fn carry(self: &Arc<Self>, outbound: Outbound) {
        let egress = Arc::clone(self);
        self.tasks.spawn(async move { egress.pass(outbound).await });
    }

    /// Whoever sees the close finds it counted: the socket is dropped last.
    async fn pass(self: Arc<Self>, outbound: Outbound) {
        let Outbound { client, held, route, mut access } = outbound;
        let shared = Arc::clone(access.shared());
        // Sockets of lanes never block.
        let client = match TcpStream::from_std(client.into()) {
            Ok(client) => client,
            Err(cause) => {
                tracing::warn!(%cause, "cannot watch a connection");
                return;
            }
        };
        let mut closing = pin!(deadline(&shared));
        let opened = tokio::select! {
            opened = self.open(&route, &mut access, &shared) => opened.ok_or(End::NoTarget),
            () = &mut closing => Err(End::Drained),
        };
        drop(route);
        let (tunnel, _place) = match opened {
            Ok(opened) => opened,
            Err(end) => return access.ends(end),
        };
        let _open = (Gauged::new(&self.metrics.tunnels), Gauged::new(&shared.metrics.active));
        let passed = Passed::new(&shared.metrics);
        let (stream, idle) = (tunnel.into_stream(), shared.limits.idle);
        let over = relay(stream, &client, Bytes::from(held), idle, &passed, closing).await;
        access.passed(passed.of(Direction::ToTarget), passed.of(Direction::ToClient));
        access.ends(match over {
            Over::Finished => End::Finished,
            Over::SocketFault => End::ClientFault,
            Over::StreamFault => End::TargetFault,
            Over::Idle => End::Idle,
            Over::Closed => End::Drained,
        });
        drop(access);
    }

    async fn open(
        &self,
        route: &Route,
        access: &mut Access,
        shared: &Shared,
    ) -> Option<(Tunnel, Place)> {
        let name = sni::decode(route.name().as_str()).ok()?;
        let authority = format!("{}:{}", name.host(), name.port());
        for target in route.candidates(rand::random()).take(shared.limits.targets_tried_max) {
            let gateway = target.address;
            let opened = self.pool.open(gateway, &authority).await;
            note(route, gateway, opened.is_ok());
            match opened {
                Ok(opened) => {
                    self.metrics.opened.inc();
                    access.tunnelled(gateway);
                    return Some(opened);
                }
                Err(failure) => {
                    shared.metrics.dial_failures.inc();
                    self.failed(gateway, &failure);
                    access.not_tunnelled(gateway, failure.to_string());
                }
            }
        }
        None
    }

    fn failed(&self, gateway: SocketAddr, failure: &Failure) {
        self.metrics.failed(failure.fault);
        tracing::debug!(%gateway, cause = %failure, "no tunnel");
    }
}

/// For whoever asks in which state the gateway is.
fn note(route: &Route, gateway: SocketAddr, connected: bool) {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    route.note(gateway, Dialed { connected, at_seconds: at.as_secs() });
}

/// Returns when this connection should be closed: never before the drain time is over.
async fn deadline(shared: &Shared) {
    let draw = rand::random();
    sleep_until(shared.drain.begun().await + spread(shared.drain.time(), draw)).await;
}

/// The stream leads to the target here.
struct Passed<'a> {
    metrics: &'a Metrics,
    bytes: [AtomicU64; 2],
}

impl<'a> Passed<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        Self { metrics, bytes: Default::default() }
    }

    fn of(&self, direction: Direction) -> u64 {
        self.bytes[direction as usize].load(Ordering::Relaxed)
    }
}

impl Tally for Passed<'_> {
    fn passed(&self, toward: Toward, bytes: usize) {
        let direction = match toward {
            Toward::Stream => Direction::ToTarget,
            Toward::Socket => Direction::ToClient,
        };
        let mut all = [0; 2];
        all[direction as usize] = bytes as u64;
        self.metrics.count_bytes(all, 0);
        self.bytes[direction as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
