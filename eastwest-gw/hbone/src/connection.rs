//! One client's connection: TLS, HTTP/2, and a task for each CONNECT.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use diolkos_ops::metrics::Gauged;
use diolkos_ops::{Place, printable};
use diolkos_tls::{Peer, Usage, explain, peer_of};
use h2::Reason;
use h2::server::{Builder, Connection};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::dial::tune;
use crate::drain::over;
use crate::limit;
use crate::server::{ALPN, Shared};
use crate::tunnel::{self, Worth};
use crate::{Limits, Refused};

type Http2 = Connection<TlsStream<TcpStream>, Bytes>;

pub(crate) async fn serve(shared: Arc<Shared>, client: TcpStream, at: SocketAddr, place: Place) {
    let deadline = Instant::now() + shared.limits.handshake;
    let pending = Gauged::new(&shared.metrics.pending);
    let opened = timeout_at(deadline, open(&shared, client)).await;
    let (caller, http2) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(why)) => return turned_away(&shared, at, Refused::Handshake, &why),
        Err(_) => return turned_away(&shared, at, Refused::HandshakeTimeout, "no answer in time"),
    };
    let _connected = Gauged::new(&shared.metrics.connections);
    let mut session = Session {
        at,
        caller: Arc::new(caller),
        http2,
        awaited: Some((pending, place)),
        tunnels: JoinSet::new(),
        proven: Arc::new(Notify::new()),
        abandoned: Allowance::new(limit::ABANDONED_MAX, limit::ABANDONED_PER_SECOND),
        refused: Allowance::new(limit::REFUSED_MAX, limit::REFUSED_PER_SECOND),
        until: Some(deadline),
        leaving: false,
        shared,
    };
    session.run().await;
    session.end().await;
}

fn turned_away(shared: &Shared, at: SocketAddr, refused: Refused, why: &str) {
    shared.metrics.count_refused(refused);
    let why = printable(why);
    tracing::info!(target: "access", peer = %at, end = refused.label(), why = &*why);
}

async fn open(shared: &Shared, client: TcpStream) -> Result<(Peer, Http2), String> {
    let own = shared.identity.spiffe_id();
    let said = |error: &io::Error| explain(error, &own).to_string();
    tune(&client, shared.limits.keepalive).map_err(|error| said(&error))?;
    let accepting = TlsAcceptor::from(Arc::clone(&shared.tls)).accept(client);
    let stream = accepting.await.map_err(|error| said(&error))?;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(ALPN.as_bytes()) {
        return Err(format!("the client does not offer {ALPN}"));
    }
    let presented = session.peer_certificates().unwrap_or_default();
    let peer = peer_of(presented, &shared.roots, SystemTime::now(), Usage::Client)
        .map_err(|error| error.to_string())?;
    let http2 = builder(&shared.limits).handshake(stream).await;
    Ok((peer, http2.map_err(|error| error.to_string())?))
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(limit::HEADER_BYTES_MAX)
        .max_frame_size(limit::FRAME_BYTES_MAX)
        .initial_window_size(limit::EARLY_BYTES_MAX)
        .initial_connection_window_size(limit::EARLY_CONNECTION_BYTES_MAX)
        .max_send_buffer_size(limit::SEND_BYTES_MAX)
        .data_frame_budget(limit::SMALL_FRAMES_MAX)
        .max_pending_accept_reset_streams(limit::RESET_UNSEEN_MAX);
    builder
}

/// When the windows are made wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Widens {
    Later,
    Now,
    Done,
}

struct Session {
    shared: Arc<Shared>,
    at: SocketAddr,
    caller: Arc<Peer>,
    http2: Http2,
    /// Held until the first CONNECT.
    awaited: Option<(Gauged, Place)>,
    tunnels: JoinSet<Worth>,
    /// Told when a tunnel is open.
    proven: Arc<Notify>,
    abandoned: Allowance,
    refused: Allowance,
    /// While there is no tunnel: how long one is waited for.
    until: Option<Instant>,
    /// GOAWAY was said.
    leaving: bool,
}

impl Session {
    /// Until the client goes, is told to, or has been told and goes no more.
    async fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        let proven = Arc::clone(&self.proven);
        let expiry = sleep_until(expiry(self.caller.not_after));
        let mut leave = pin!(async {
            tokio::select! {
                _ = shared.drain.begun() => {}
                () = expiry => {}
            }
        });
        let mut over = pin!(over(&shared.drain));
        let mut widened = pin!(proven.notified());
        // Not before it has shown that its bytes go somewhere.
        let mut widens = Widens::Later;
        loop {
            if widens == Widens::Now && self.widen() {
                widens = Widens::Done;
            }
            let idle = self.tunnels.is_empty().then_some(self.until).flatten();
            tokio::select! {
                next = self.http2.accept() => match next {
                    Some(Ok((request, respond))) => {
                        self.awaited = None;
                        let (shared, caller) = (Arc::clone(&shared), Arc::clone(&self.caller));
                        let (at, proven) = (self.at, Arc::clone(&proven));
                        let tunnel = tunnel::serve(shared, at, caller, request, respond, proven);
                        self.tunnels.spawn(tunnel);
                        self.until = None;
                    }
                    Some(Err(cause)) => {
                        tracing::debug!(peer = %self.at, %cause, "a connection broke");
                        return;
                    }
                    None => return,
                },
                Some(worth) = self.tunnels.join_next() => {
                    if !self.count(worth.unwrap_or(Worth::Used)).await {
                        return;
                    }
                }
                () = &mut widened, if widens == Widens::Later => widens = Widens::Now,
                () = sleep(limit::SETTINGS_PAUSE), if widens == Widens::Now => {}
                () = sleep_until(idle.unwrap_or_else(far)), if idle.is_some() => {
                    if self.leaving {
                        return;
                    }
                    if self.awaited.is_some() {
                        let why = "no CONNECT in time";
                        return turned_away(&shared, self.at, Refused::HandshakeTimeout, why);
                    }
                    self.leave();
                }
                () = &mut leave, if !self.leaving => self.leave(),
                () = &mut over => return,
            }
        }
    }

    /// A tunnel ended. False when that was once too often.
    async fn count(&mut self, worth: Worth) -> bool {
        if self.tunnels.is_empty() {
            let patience =
                if self.leaving { limit::LINGER } else { self.shared.limits.idle_connection };
            self.until = Some(Instant::now() + patience);
        }
        match worth {
            Worth::Abandoned if !self.abandoned.spend(Instant::now()) => {
                self.shared.metrics.count_refused(Refused::Abandoning);
                tracing::warn!(peer = %self.at, caller = %self.caller.id, "cut: it resets CONNECTs");
                self.http2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let closed = std::future::poll_fn(|cx| self.http2.poll_closed(cx));
                // Whoever does not take the GOAWAY in time is cut off.
                let _ = timeout(limit::LINGER, closed).await;
                return false;
            }
            Worth::Refused if !self.leaving && !self.refused.spend(Instant::now()) => {
                self.shared.metrics.count_refused(Refused::Insisting);
                tracing::warn!(peer = %self.at, caller = %self.caller.id, "no more: it insists");
                self.leave();
            }
            _ => {}
        }
        true
    }

    /// Its tunnels live on.
    fn leave(&mut self) {
        self.leaving = true;
        self.http2.graceful_shutdown();
        if self.tunnels.is_empty() {
            self.until = Some(Instant::now() + limit::LINGER);
        }
    }

    /// Says whether it is done: not while our first settings are not acknowledged, which takes a round
    /// trip, and a CONNECT may come before.
    fn widen(&mut self) -> bool {
        let all = self.shared.limits.streams_max.saturating_mul(limit::WINDOW_BYTES);
        self.http2.set_target_window_size(all.min(limit::CONNECTION_WINDOW_BYTES_MAX));
        self.http2.set_initial_window_size(limit::WINDOW_BYTES).is_ok()
    }

    /// Without the connection every tunnel breaks, and says so to its target.
    async fn end(self) {
        let Self { http2, mut tunnels, .. } = self;
        drop(http2);
        while tunnels.join_next().await.is_some() {}
    }
}

/// When its certificate ends, a client is asked to come again with a fresh one.
fn expiry(not_after: SystemTime) -> Instant {
    let left = not_after.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now().checked_add(left).unwrap_or_else(far)
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(365 * 24 * 60 * 60)
}

/// So many at once, and so many a second.
#[derive(Debug)]
struct Allowance {
    max: f64,
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(max: u32, per_second: u32) -> Self {
        let max = f64::from(max);
        Self { max, per_second: per_second.into(), left: max, at: Instant::now() }
    }

    fn spend(&mut self, now: Instant) -> bool {
        let since = now.duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * self.per_second).min(self.max);
        self.at = now;
        let has = self.left >= 1.0;
        if has {
            self.left -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_what_it_says_at_once_and_by_the_second() {
        let mut allowance = Allowance::new(3, 2);
        let began = allowance.at;
        let mut spent = |second| {
            let now = began + Duration::from_secs(second);
            std::iter::from_fn(|| allowance.spend(now).then_some(())).count()
        };
        assert_eq!([spent(0), spent(1), spent(61)], [3, 2, 3]);
    }
}
