//! A gateway without its primary: listens, admits, and drains.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diolkos_ops::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout, timeout_at};

use crate::connection::{self, Door, Shared};
use crate::control::Control;
use crate::drain::{Drain, EXIT_MAX};
use crate::pending::Pending;
use crate::relay::reset;
use crate::{Config, End, Limits, Metrics};

/// After the system refused a connection (out of files, most likely), others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    pending: Arc<Pending>,
    /// How many sockets it listens on.
    listening: AtomicUsize,
    /// How many connections there are, also those whose hello is awaited.
    alive: watch::Sender<usize>,
}

impl Gateway {
    /// From `shutdown` on, connections have `drain` to end by themselves.
    pub fn new(
        limits: Limits,
        source: Option<IpAddr>,
        drain: Duration,
        shutdown: Shutdown,
    ) -> Self {
        Self::counting(Metrics::default(), limits, source, drain, shutdown)
    }

    pub(crate) fn counting(
        metrics: Metrics,
        limits: Limits,
        source: Option<IpAddr>,
        drain: Duration,
        shutdown: Shutdown,
    ) -> Self {
        let shared = Shared {
            config: Arc::default(),
            metrics: Arc::new(metrics),
            limits,
            source,
            drain: Drain::new(shutdown, drain),
        };
        Self {
            pending: Pending::new(limits.pending_max, limits.pending_per_source_max),
            shared: Arc::new(shared),
            listening: AtomicUsize::new(0),
            alive: watch::Sender::new(0),
        }
    }

    pub fn config(&self) -> &Arc<Config> {
        &self.shared.config
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.shared.drain.shutdown.has_begun()
    }

    /// Listening, with routes, and not about to end; else what it is.
    pub fn ready(&self) -> Result<(), &'static str> {
        if self.is_ending() {
            return Err("draining");
        }
        if !self.shared.config.is_warm() {
            return Err("waiting for its first routes");
        }
        match self.listening.load(Ordering::Relaxed) {
            0 => Err("waiting for the address to listen on"),
            _ => Ok(()),
        }
    }

    pub fn pending(&self) -> usize {
        self.pending.total()
    }

    /// Accepts until the shutdown begins, or until this is dropped.
    pub async fn serve(&self, listener: TcpListener) {
        let _listening = Listening::new(&self.listening);
        self.accept(&listener, &Door::Data, &self.pending).await;
    }

    /// The same for one of the primary's ports. Its clients are waited for apart from those of
    /// the data port: a flood at the one leaves the other's places alone.
    pub async fn serve_control(&self, listener: TcpListener, control: Arc<Control>) {
        let limits = &self.shared.limits;
        let pending = Pending::new(limits.pending_max, limits.pending_per_source_max);
        self.accept(&listener, &Door::Control(control), &pending).await;
    }

    async fn accept(&self, listener: &TcpListener, door: &Door, pending: &Arc<Pending>) {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = self.shared.drain.begun() => {
                    return self.empty_queue(listener, door, pending).await;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((client, peer)) => self.admit(client, peer, door, pending),
                Err(cause) => {
                    self.shared.metrics.accept_failures.inc();
                    tracing::warn!(%cause, "cannot accept a connection");
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
    async fn empty_queue(&self, listener: &TcpListener, door: &Door, pending: &Arc<Pending>) {
        for _ in 0..self.shared.limits.backlog {
            match timeout(Duration::ZERO, listener.accept()).await {
                Ok(Ok((client, peer))) => self.admit(client, peer, door, pending),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    fn admit(&self, client: TcpStream, peer: SocketAddr, door: &Door, pending: &Arc<Pending>) {
        self.shared.metrics.accepted.inc();
        // A socket of both families says ::ffff:10.0.0.1.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        match pending.admit(peer.ip()) {
            Ok(place) => {
                let (shared, alive) = (Arc::clone(&self.shared), Alive::new(&self.alive));
                let door = door.clone();
                tokio::spawn(async move {
                    connection::serve(shared, door, client, peer, place).await;
                    drop(alive);
                });
            }
            Err(full) => {
                self.shared.metrics.count_end(End::from(full));
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

struct Listening<'a>(&'a AtomicUsize);

impl<'a> Listening<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
