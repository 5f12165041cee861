//! Accepts connections, admits them, and drains.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diolkos_ops::{Drain, EXIT_MAX, Pending, Shutdown};
use diolkos_tls::{Expect, Identity, Roots, tunnel_server_config};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout, timeout_at};

use crate::dial::reset;
use crate::{Gate, Limits, Metrics, Refused, connection};

/// After the system refused a connection (out of files, most likely), others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What tunnels are spoken in.
pub(crate) const ALPN: &str = "h2";

pub struct ServerSettings {
    /// Who the server is to its clients. They must be of its own trust domain.
    pub identity: Identity,
    pub roots: Roots,
    pub gate: Arc<dyn Gate>,
    pub limits: Limits,
    /// The address to dial targets from.
    pub source: Option<IpAddr>,
    /// How long tunnels may live on after the shutdown began.
    pub drain: Duration,
}

impl std::fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerSettings")
            .field("identity", &self.identity.spiffe_id())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    pending: Arc<Pending>,
    /// How many connections there are.
    alive: watch::Sender<usize>,
}

/// What every connection of a server shares.
pub(crate) struct Shared {
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) identity: Identity,
    pub(crate) roots: Roots,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) source: Option<IpAddr>,
    pub(crate) drain: Drain,
    pub(crate) tunnels: AtomicUsize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Server {
    pub fn new(settings: ServerSettings, metrics: Metrics, shutdown: Shutdown) -> Self {
        let ServerSettings { identity, roots, gate, limits, source, drain } = settings;
        let expect = Expect::AnyOf(vec![identity.spiffe_id().trust_domain()]);
        let shared = Shared {
            tls: tunnel_server_config(&identity, &roots, expect, &[ALPN]),
            identity,
            roots,
            gate,
            metrics,
            limits,
            source,
            drain: Drain::new(shutdown, drain),
            tunnels: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
            pending: Pending::new(limits.pending_max, limits.pending_per_source_max),
            alive: watch::Sender::new(0),
        }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Accepts until the shutdown begins, or until this is dropped.
    pub async fn serve(&self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = self.shared.drain.begun() => return self.empty_queue(&listener).await,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((client, at)) => self.admit(client, at),
                Err(cause) => {
                    self.shared.metrics.accept_failures.inc();
                    tracing::warn!(%cause, "cannot accept a connection for tunnels");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits for the connections there are. After the shutdown began this takes no longer than the
    /// drain time and five seconds.
    pub async fn drained(&self) {
        let end = self.shared.drain.begun().await + EXIT_MAX;
        let mut alive = self.alive.subscribe();
        let none = alive.wait_for(|count| *count == 0);
        if timeout_at(end, none).await.is_err() {
            tracing::warn!(connections = *self.alive.borrow(), "left after the drain");
        }
    }

    /// Takes those for whom the kernel has already said yes: closing the socket would reset them.
    async fn empty_queue(&self, listener: &TcpListener) {
        while let Ok(Ok((client, at))) = timeout(Duration::ZERO, listener.accept()).await {
            self.admit(client, at);
        }
    }

    fn admit(&self, client: TcpStream, at: SocketAddr) {
        let shared = &self.shared;
        shared.metrics.accepted.inc();
        let room = match *self.alive.borrow() < shared.limits.connections_max {
            true => self.pending.admit(Some(at.ip())).map_err(Refused::from),
            false => Err(Refused::ConnectionsFull),
        };
        match room {
            Ok(place) => {
                let (alive, shared) = (Alive::new(&self.alive), Arc::clone(shared));
                tokio::spawn(async move {
                    let _alive = alive;
                    connection::serve(shared, client, at, place).await;
                });
            }
            Err(full) => {
                shared.metrics.count_refused(full);
                // RST: a flood must leave nothing behind, not even TIME_WAIT.
                reset(&client);
            }
        }
    }
}

struct Alive(watch::Sender<usize>);

impl Alive {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A place among the tunnels; given back when dropped.
#[derive(Debug)]
pub(crate) struct TunnelPlace(Arc<Shared>);

impl TunnelPlace {
    pub(crate) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.tunnels.fetch_add(1, Ordering::Relaxed);
        // Made at once: its drop gives back what was taken here.
        let place = Self(Arc::clone(shared));
        (before < shared.limits.tunnels_max).then_some(place)
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}
