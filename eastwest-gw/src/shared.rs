//! What every connection of a gateway shares.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diolkos_ops::{Drain, Pending};
use diolkos_route::{ClientHello, Decision};
use tokio::sync::Notify;

use crate::control::Control;
use crate::egress::Egress;
use crate::limit::{CONTROL_SHARE, LONG_HELLO_SHARE};
use crate::unknown::Unknown;
use crate::{BytePath, Config, End, Limits, Metrics};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) source: Option<IpAddr>,
    pub(crate) path: BytePath,
    pub(crate) drain: Drain,
    pub(crate) unknown: Unknown,
    pub(crate) census: Census,
}

/// One way in: by which routes those are served who come through it, and how many. Each has its own
/// places: a flood at one leaves those of the others alone.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) leads: Leads,
    pub(crate) pending: Arc<Pending>,
    /// Those of them with a long hello.
    pub(crate) long: Arc<Pending>,
    connections_max: usize,
    connections: AtomicUsize,
}

#[derive(Debug)]
pub(crate) enum Leads {
    /// By the routes of the primary.
    ToServices,
    /// To the primary.
    ToPrimary(Arc<Control>),
    /// To services behind other networks, each by a tunnel.
    Out(Arc<Egress>),
}

impl Door {
    pub(crate) fn new(leads: Leads, limits: &Limits) -> Arc<Self> {
        let connections_max = match leads {
            Leads::ToServices | Leads::Out(_) => limits.connections_max,
            Leads::ToPrimary(_) => limits.connections_max.div_ceil(CONTROL_SHARE),
        };
        Arc::new(Self {
            leads,
            pending: Pending::new(limits.pending_max, limits.pending_per_source_max),
            long: Pending::new(
                limits.pending_max.div_ceil(LONG_HELLO_SHARE),
                limits.pending_per_source_max.div_ceil(LONG_HELLO_SHARE),
            ),
            connections_max,
            connections: AtomicUsize::new(0),
        })
    }
}

impl Shared {
    pub(crate) fn new(
        metrics: Metrics,
        limits: Limits,
        source: Option<IpAddr>,
        path: BytePath,
        drain: Drain,
    ) -> Self {
        Self {
            config: Arc::default(),
            metrics: Arc::new(metrics),
            limits,
            source,
            path,
            drain,
            unknown: Unknown::new(limits.unknown_names_per_minute_max),
            census: Census::default(),
        }
    }

    pub(crate) fn decide(&self, door: &Door, hello: &ClientHello) -> Decision {
        match &door.leads {
            Leads::ToServices => self.config.decide(hello),
            Leads::ToPrimary(control) => control.decide(hello),
            Leads::Out(egress) => egress.decide(hello),
        }
    }

    /// Whether this peer says for whom it connects. Only at the data port: before the
    /// others nobody else stands.
    pub(crate) fn announces(&self, door: &Door, peer: IpAddr) -> bool {
        let trusted = &self.path.proxy_protocol_from;
        matches!(door.leads, Leads::ToServices) && trusted.iter().any(|net| net.contains(&peer))
    }

    /// Before a byte is read.
    pub(crate) fn admits(&self, door: &Door, peer: SocketAddr) -> Result<(), End> {
        // Who asks is one of them already.
        if door.connections.load(Ordering::Relaxed) > door.connections_max {
            return Err(End::ConnectionsFull);
        }
        if self.unknown.is_shut_out(peer.ip()) {
            return Err(End::SourceShutOut);
        }
        Ok(())
    }
}

/// One of those who are there, and came through a door; no more when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) shared: Arc<Shared>,
    door: Arc<Door>,
}

impl Seat {
    pub(crate) fn take(shared: &Arc<Shared>, door: &Arc<Door>) -> Self {
        shared.census.enter();
        door.connections.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared), door: Arc::clone(door) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.door.connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.census.leave();
    }
}

/// How many connections there are, also those whose hello is awaited.
#[derive(Debug, Default)]
pub(crate) struct Census {
    alive: AtomicUsize,
    /// Told when there are none.
    none: Notify,
}

impl Census {
    fn enter(&self) {
        self.alive.fetch_add(1, Ordering::SeqCst);
    }

    fn leave(&self) {
        if self.alive.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.none.notify_waiters();
        }
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    /// Returns when there are none.
    pub(crate) async fn emptied(&self) {
        loop {
            let none = self.none.notified();
            tokio::pin!(none);
            // Before the look, so that whoever leaves right after it is heard.
            none.as_mut().enable();
            if self.alive() == 0 {
                return;
            }
            none.await;
        }
    }
}
