//! One line for each connection, whichever way it ends: written when the guard is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use diolkos_route::{HostName, Route};

use crate::metrics::Direction;
use crate::{End, Metrics};

/// Of a name that is not a route's, so much is written. Its characters are those of a DNS name.
const CLAIMED_NAME_BYTES_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Access {
    metrics: Arc<Metrics>,
    peer: SocketAddr,
    began: Instant,
    name: Named,
    target: Option<SocketAddr>,
    to_target: AtomicU64,
    to_client: AtomicU64,
    end: End,
}

#[derive(Debug)]
enum Named {
    Unknown,
    Claimed(HostName),
    Route(Arc<Route>),
}

impl Access {
    pub(crate) fn begin(metrics: &Arc<Metrics>, peer: SocketAddr) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            peer,
            began: Instant::now(),
            name: Named::Unknown,
            target: None,
            to_target: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            end: End::Aborted,
        }
    }

    pub(crate) fn claimed(&mut self, name: Option<HostName>) {
        self.name = name.map_or(Named::Unknown, Named::Claimed);
    }

    pub(crate) fn routed(&mut self, route: &Arc<Route>) {
        self.name = Named::Route(Arc::clone(route));
    }

    pub(crate) fn dialed(&mut self, target: SocketAddr) {
        self.target = Some(target);
    }

    pub(crate) fn passed(&self, direction: Direction, bytes: u64) {
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
        let (sni, claimed) = match &self.name {
            Named::Unknown => (None, None),
            Named::Claimed(name) => {
                let text = name.as_str();
                (None, Some(&text[..text.len().min(CLAIMED_NAME_BYTES_MAX)]))
            }
            Named::Route(route) => (Some(route.name().as_str()), None),
        };
        tracing::info!(
            target: "access",
            peer = %self.peer,
            sni,
            claimed,
            dialed = self.target.map(tracing::field::display),
            to_target = self.to_target.load(Ordering::Relaxed),
            to_client = self.to_client.load(Ordering::Relaxed),
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            end = self.end.label(),
        );
    }
}
