//! One line for each CONNECT, whichever way it ends: written when the guard is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use diolkos_ops::printable;
use diolkos_tls::Peer;

use crate::metrics::{Direction, Metrics};
use crate::{Destination, End};

/// Of an authority that is no service's, so much is written.
const CLAIMED_CHARS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Access {
    metrics: Metrics,
    at: SocketAddr,
    caller: Arc<Peer>,
    cluster: Option<Arc<str>>,
    began: Instant,
    name: Named,
    target: Option<SocketAddr>,
    to_target: AtomicU64,
    to_client: AtomicU64,
    end: End,
}

#[derive(Debug)]
enum Named {
    Claimed(String),
    Service(Destination),
}

impl Access {
    pub(crate) fn begin(
        metrics: &Metrics,
        at: SocketAddr,
        caller: &Arc<Peer>,
        authority: &str,
    ) -> Self {
        let claimed: String = authority.chars().take(CLAIMED_CHARS_MAX).collect();
        Self {
            metrics: metrics.clone(),
            at,
            caller: Arc::clone(caller),
            cluster: None,
            began: Instant::now(),
            name: Named::Claimed(claimed),
            target: None,
            to_target: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            end: End::Aborted,
        }
    }

    pub(crate) fn of_cluster(&mut self, cluster: Option<Arc<str>>) {
        self.cluster = cluster;
    }

    pub(crate) fn routed(&mut self, service: Destination) {
        self.name = Named::Service(service);
    }

    pub(crate) fn dialed(&mut self, target: SocketAddr) {
        self.target = Some(target);
    }

    pub(crate) fn count(&self, direction: Direction, bytes: u64) {
        self.metrics.count_bytes(direction, bytes);
        let count = match direction {
            Direction::ToTarget => &self.to_target,
            Direction::ToClient => &self.to_client,
        };
        count.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn end(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.metrics.count_end(self.end);
        let (service, claimed) = match &self.name {
            Named::Claimed(text) => (None, Some(printable(text))),
            Named::Service(service) => (Some(service.to_string()), None),
        };
        tracing::info!(
            target: "access",
            peer = %self.at,
            caller = %self.caller.id,
            cluster = self.cluster.as_deref(),
            service,
            claimed = claimed.as_deref(),
            dialed = self.target.map(tracing::field::display),
            to_target = self.to_target.load(Ordering::Relaxed),
            to_client = self.to_client.load(Ordering::Relaxed),
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            end = self.end.label(),
        );
    }
}
