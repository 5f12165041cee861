//! The byte path: as many threads as cores, each with an event loop of its own, and no task or
//! buffer for a connection. See docs/adr/0007.
//!
//! ```text
//!  Engine ──Open, Close, Drain, Stop──> inbox of each lane
//!  lane:  epoll ──> accept ──> hello ──> dial ──> relay (two ways) ──> over
//!           │                                        ├ copy: the lane's one buffer
//!           └ wheel: every deadline                   └ splice: a pipe of the lane's few
//! ```
//!
//! A connection stays with the lane that accepted it, so nothing of it is shared or locked. What
//! lanes share is counted in [`crate::shared`].

mod conn;
mod dial;
mod handshake;
mod hello;
mod inbox;
mod lane;
mod pipe;
mod relay;
mod side;
mod slab;
mod tools;
mod way;
mod wheel;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::fd::OwnedFd;
use rustix::net::sockopt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::limit::THREADS_MAX;
use crate::shared::{Door, Shared};
use inbox::{Command, Inbox, Listening};
use lane::Lane;

/// The lanes at work. They stop when it is dropped, whatever they carry.
#[derive(Debug)]
pub(crate) struct Engine {
    lanes: Vec<(Arc<Inbox>, Option<JoinHandle<()>>)>,
    doors: AtomicU32,
}

/// A socket that is accepted from for as long as this is held.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    engine: &'a Engine,
    number: u32,
    listening: Weak<Listening>,
    open: mpsc::Receiver<()>,
}

impl Engine {
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let threads = shared.path.threads.get().min(THREADS_MAX);
        let mut engine = Self { lanes: Vec::new(), doors: AtomicU32::new(0) };
        // Whoever listens to the log here listens to what lanes say.
        let log = tracing::dispatcher::get_default(Clone::clone);
        for number in 0..threads {
            let inbox = Arc::new(Inbox::new()?);
            let lane = Lane::new(Arc::clone(shared), Arc::clone(&inbox))?;
            let log = log.clone();
            let named = thread::Builder::new().name(format!("lane-{number}"));
            let running =
                named.spawn(move || tracing::dispatcher::with_default(&log, || lane.run()))?;
            engine.lanes.push((inbox, Some(running)));
        }
        Ok(engine)
    }

    pub(crate) fn open(
        &self,
        listener: TcpListener,
        door: Arc<Door>,
        shared: &Shared,
    ) -> io::Result<Opened<'_>> {
        let socket = OwnedFd::from(listener.into_std()?);
        // Every socket that it accepts has these from it.
        sockopt::set_tcp_nodelay(&socket, true)?;
        dial::keep_alive(&socket, shared.limits.keepalive)?;
        let number = self.doors.fetch_add(1, Ordering::Relaxed);
        let (open, closed) = mpsc::channel(1);
        let listening = Listening { number, socket, door, _open: open };
        let listening = Arc::new(listening);
        self.tell(|| Command::Open(Arc::clone(&listening)));
        Ok(Opened { engine: self, number, listening: Arc::downgrade(&listening), open: closed })
    }

    pub(crate) fn drain(&self, end: Instant) {
        self.tell(|| Command::Drain(end));
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for (inbox, _) in &self.lanes {
            inbox.put(command());
        }
    }
}

impl Opened<'_> {
    /// Returns when the socket is closed and everyone to whom the system said yes is served.
    pub(crate) async fn close(mut self) {
        let begun =
            self.listening.upgrade().map(|listening| handshake::begin_none(&listening.socket));
        match begun {
            // Those that have begun may end: one that is answered is not to be reset.
            Some(Ok(())) => tokio::time::sleep(handshake::LAST_ONES).await,
            Some(Err(cause)) => tracing::debug!(%cause, "handshakes go on to the end"),
            None => {}
        }
        self.engine.tell(|| Command::Close(self.number));
        // Nothing is ever sent: it returns when no lane is left that holds the other end.
        let _ = self.open.recv().await;
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.engine.tell(|| Command::Close(self.number));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tell(|| Command::Stop);
        for (_, running) in &mut self.lanes {
            if let Some(running) = running.take() {
                let _ = running.join();
            }
        }
    }
}
