//! A gateway without its primary: listens, admits, and drains.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diolkos_ops::{Drain, EXIT_MAX, Shutdown};
use tokio::net::TcpListener;
use tokio::time::timeout_at;

use crate::control::Control;
use crate::engine::Engine;
use crate::shared::{Door, Leads, Shared};
use crate::{BytePath, Config, Egress, Limits, Metrics};

#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    engine: Engine,
    /// The data port, wherever it is.
    data: Arc<Door>,
    /// How many sockets it listens on.
    listening: AtomicUsize,
}

impl Gateway {
    /// From `shutdown` on, connections have `drain` to end by themselves.
    ///
    /// # Errors
    /// When the system refuses a thread, or what one needs.
    pub fn new(
        limits: Limits,
        source: Option<IpAddr>,
        drain: Duration,
        shutdown: Shutdown,
    ) -> io::Result<Self> {
        Self::moving(BytePath::default(), limits, source, drain, shutdown)
    }

    /// The same, with bytes moved as `path` says.
    ///
    /// # Errors
    /// When the system refuses a thread, or what one needs.
    pub fn moving(
        path: BytePath,
        limits: Limits,
        source: Option<IpAddr>,
        drain: Duration,
        shutdown: Shutdown,
    ) -> io::Result<Self> {
        let drain = Drain::new(shutdown, drain);
        Self::start(Shared::new(Metrics::default(), limits, source, path, drain))
    }

    pub(crate) fn start(shared: Shared) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let data = Door::new(Leads::ToServices, &shared.limits);
        let engine = Engine::start(&shared)?;
        Ok(Self { shared, engine, data, listening: AtomicUsize::new(0) })
    }

    pub fn config(&self) -> &Arc<Config> {
        &self.shared.config
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.shared.drain.shutdown().has_begun()
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
        self.data.pending.total()
    }

    /// Accepts until the shutdown begins, or until this is dropped.
    pub async fn serve(&self, listener: TcpListener) {
        let _listening = Listening::new(&self.listening);
        self.accept(listener, Arc::clone(&self.data)).await;
    }

    /// The same for one of the primary's ports. Its clients are counted apart from those of the
    /// data port: a flood at the one leaves the other's places alone.
    pub async fn serve_control(&self, listener: TcpListener, control: Arc<Control>) {
        let door = Door::new(Leads::ToPrimary(control), &self.shared.limits);
        self.accept(listener, door).await;
    }

    /// The same for the way out, which has its own places as well.
    pub async fn serve_egress(&self, listener: TcpListener, egress: Arc<Egress>) {
        let door = Door::new(Leads::Out(egress), &self.shared.limits);
        self.accept(listener, door).await;
    }

    async fn accept(&self, listener: TcpListener, door: Arc<Door>) {
        let opened = match self.engine.open(listener, door, &self.shared) {
            Ok(opened) => opened,
            Err(cause) => {
                tracing::error!(%cause, "cannot accept from a socket");
                self.shared.drain.begun().await;
                return;
            }
        };
        let end = self.shared.drain.begun().await;
        self.engine.drain(end.into_std());
        opened.close().await;
    }

    /// Waits for the connections there are. After the shutdown began this takes no longer than the
    /// drain time and five seconds.
    pub async fn drained(&self) {
        let end = self.shared.drain.begun().await;
        self.engine.drain(end.into_std());
        let census = &self.shared.census;
        if timeout_at(end + EXIT_MAX, census.emptied()).await.is_err() {
            tracing::warn!(connections = census.alive(), "left after the drain");
        }
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
