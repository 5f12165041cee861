//! One line for each connection, whichever way it ends: written when the guard is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use diolkos_ops::printable;
use diolkos_route::{Carried, HostName};

use crate::End;
use crate::shared::{Seat, Shared};

/// Of a name that is not a route's, so much is written. Its characters are those of a DNS name.
const CLAIMED_NAME_BYTES_MAX: usize = 64;

/// In what the bytes went on, where not as they came.
const TUNNEL: &str = "hbone";

#[derive(Debug)]
pub(crate) struct Access {
    seat: Seat,
    peer: SocketAddr,
    began: Instant,
    name: Named,
    target: Option<SocketAddr>,
    tunnel: Option<Tunnel>,
    passed: [u64; 2],
    end: End,
    /// Shed at once: counted, and not worth a line.
    silent: bool,
}

#[derive(Debug)]
enum Named {
    Unknown,
    Claimed(HostName),
    Route(Carried),
}

/// The target is a gateway, or the last one that was asked.
#[derive(Debug)]
enum Tunnel {
    Open,
    Missed(String),
}

impl Access {
    pub(crate) fn begin(seat: Seat, peer: SocketAddr, now: Instant) -> Self {
        Self {
            seat,
            peer,
            began: now,
            name: Named::Unknown,
            target: None,
            tunnel: None,
            passed: [0; 2],
            end: End::Aborted,
            silent: false,
        }
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Who it is for, as somebody says who may.
    pub(crate) fn announced(&mut self, peer: SocketAddr) {
        self.peer = peer;
    }

    pub(crate) fn claimed(&mut self, name: Option<HostName>) {
        self.name = name.map_or(Named::Unknown, Named::Claimed);
    }

    pub(crate) fn routed(&mut self, route: Carried) {
        self.name = Named::Route(route);
    }

    pub(crate) fn dialed(&mut self, target: SocketAddr) {
        self.target = Some(target);
    }

    pub(crate) fn tunnelled(&mut self, gateway: SocketAddr) {
        (self.target, self.tunnel) = (Some(gateway), Some(Tunnel::Open));
    }

    /// With the reason.
    pub(crate) fn not_tunnelled(&mut self, gateway: SocketAddr, why: String) {
        (self.target, self.tunnel) = (Some(gateway), Some(Tunnel::Missed(why)));
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.seat.shared
    }

    pub(crate) fn passed(&mut self, to_target: u64, to_client: u64) {
        self.passed = [to_target, to_client];
    }

    pub(crate) fn ends(&mut self, end: End) {
        self.end = end;
    }

    pub(crate) fn shed(&mut self, end: End) {
        self.end = end;
        self.silent = true;
    }

    fn write(&self) {
        let (sni, claimed) = match &self.name {
            Named::Unknown => (None, None),
            Named::Claimed(name) => {
                let text = name.as_str();
                (None, Some(&text[..text.len().min(CLAIMED_NAME_BYTES_MAX)]))
            }
            Named::Route(route) => (Some(route.name().as_str()), None),
        };
        let [to_target, to_client] = self.passed;
        let why = match &self.tunnel {
            Some(Tunnel::Missed(why)) => Some(printable(why)),
            _ => None,
        };
        tracing::info!(
            target: "access",
            peer = %self.peer,
            sni,
            claimed,
            dialed = self.target.map(tracing::field::display),
            tunnel = self.tunnel.as_ref().map(|_| TUNNEL),
            why = why.as_deref(),
            to_target,
            to_client,
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            end = self.end.label(),
        );
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        if !self.silent {
            self.write();
        }
        self.seat.shared.metrics.count_end(self.end);
    }
}
