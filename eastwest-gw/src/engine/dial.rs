//! From a route to a connected target: the chosen one, else the next ones in order.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use diolkos_route::{Dialed as LastDial, Route};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use super::side::Side;
use crate::shared::Shared;

#[derive(Debug)]
pub(super) struct Dialing {
    route: Arc<Route>,
    /// Decides the order of the targets.
    random: u64,
    tried: usize,
    held: Vec<u8>,
    pub(super) address: SocketAddr,
    pub(super) until: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Dialed {
    /// For the system to say whether it worked.
    Waiting,
    /// So many of the bytes held went out.
    Connected(usize),
    Nobody,
}

impl Dialing {
    pub(super) fn new(route: &Arc<Route>, held: Vec<u8>, now: Instant) -> Self {
        Self {
            route: Arc::clone(route),
            random: rand::random(),
            tried: 0,
            held,
            address: SocketAddr::from(([0; 4], 0)),
            until: now,
        }
    }

    pub(super) fn into_held(self) -> Vec<u8> {
        self.held
    }

    /// Dials until somebody answers or may yet answer, or nobody is left.
    pub(super) fn next(
        &mut self,
        target: &mut Option<Side>,
        shared: &Shared,
        now: Instant,
    ) -> Dialed {
        loop {
            *target = None;
            let mut order =
                self.route.candidates(self.random).take(shared.limits.targets_tried_max);
            let Some(next) = order.nth(self.tried) else { return Dialed::Nobody };
            self.tried += 1;
            self.address = next.address;
            self.until = now + shared.limits.connect;
            match begin(next.address, shared.source) {
                Ok(socket) => {
                    let side = target.insert(Side::silent(socket));
                    match self.greet(side) {
                        Ok(dialed) => return dialed,
                        Err(cause) => self.failed(shared, &cause.to_string()),
                    }
                }
                Err(cause) => self.failed(shared, &cause.to_string()),
            }
        }
    }

    /// Sends what is held; the first send says whether somebody answered.
    pub(super) fn greet(&self, target: &mut Side) -> Result<Dialed> {
        match target.send(&self.held)? {
            0 => Ok(Dialed::Waiting),
            sent => {
                self.note(true);
                Ok(Dialed::Connected(sent))
            }
        }
    }

    /// For whoever asks in which state the target is.
    fn note(&self, connected: bool) {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.route.note(self.address, LastDial { connected, at_seconds: at.as_secs() });
    }

    pub(super) fn failed(&self, shared: &Shared, cause: &str) {
        self.note(false);
        shared.metrics.dial_failures.inc();
        let (sni, target) = (self.route.name().as_str(), self.address);
        tracing::debug!(sni, %target, cause, "dial failed");
    }
}

fn begin(target: SocketAddr, source: Option<IpAddr>) -> Result<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(source) = source {
        bind(&socket, &SocketAddr::new(source, 0))?;
    }
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(cause) => Err(cause),
    }
}

/// A peer that vanished is noticed. What a listener has, the sockets that it accepts have too.
pub(super) fn keep_alive(socket: impl AsFd, interval: Duration) -> Result<()> {
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, interval)?;
    sockopt::set_tcp_keepintvl(&socket, interval)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_a_listener_has_the_sockets_that_it_accepts_have_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let interval = Duration::from_secs(31);
        keep_alive(&listener, interval).unwrap();
        sockopt::set_tcp_nodelay(&listener, true).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(sockopt::socket_keepalive(&accepted), Ok(true));
        assert_eq!(sockopt::tcp_keepidle(&accepted), Ok(interval));
        assert_eq!(sockopt::tcp_keepintvl(&accepted), Ok(interval));
        assert_eq!(sockopt::tcp_nodelay(&accepted), Ok(true));
    }
}
