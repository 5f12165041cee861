//! One line for each connection, whichever way it ends: written when the guard is dropped.

use std::net::SocketAddr;
use std::time::Instant;

use diolkos_route::{Carried, HostName};

use crate::End;
use crate::shared::Seat;

/// Of a name that is not a route's, so much is written. Its characters are those of a DNS name.
const CLAIMED_NAME_BYTES_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Access {
    seat: Seat,
    peer: SocketAddr,
    began: Instant,
    name: Named,
    target: Option<SocketAddr>,
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

impl Access {
    pub(crate) fn begin(seat: Seat, peer: SocketAddr, now: Instant) -> Self {
        Self {
            seat,
            peer,
            began: now,
            name: Named::Unknown,
            target: None,
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
        tracing::info!(
            target: "access",
            peer = %self.peer,
            sni,
            claimed,
            dialed = self.target.map(tracing::field::display),
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
