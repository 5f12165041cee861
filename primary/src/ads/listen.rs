//! The door: who waits outside, who may come in.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use diolkos_ops::Shutdown;
use diolkos_tls::{Identity, Roots};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::connection;
use crate::authority::TokenIssuers;
use crate::beside::Beside;
use crate::core::Ledger;
use crate::limit;
use crate::metrics::Metrics;
use crate::owner::Owner;

/// What every connection needs.
pub(crate) struct Served {
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) identity: Identity,
    pub(crate) roots: Roots,
    pub(crate) tokens: watch::Receiver<Option<Arc<TokenIssuers>>>,
    /// Places for connections that have proved nothing yet.
    pub(crate) strangers: Arc<Semaphore>,
    pub(crate) owner: Owner,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stall_max: Duration,
    pub(crate) denials: Arc<Mutex<Ledger>>,
    pub(crate) beside: Option<Beside>,
}

impl Served {
    /// One line for each reason, however often someone tries.
    pub(super) fn deny(&self, line: &str) {
        self.metrics.denied.inc();
        let line = diolkos_ops::printable(line).into_owned();
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        if denials.note(line.clone(), SystemTime::now()) {
            drop(denials);
            tracing::warn!("refused: {line}");
        }
    }
}

pub(crate) struct Listener {
    socket: TcpListener,
}

impl Listener {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: diolkos_ops::listen(address, limit::BACKLOG)? })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Until shutdown; then waits for the connections to end.
    pub(crate) async fn serve(self, served: Arc<Served>, shutdown: Shutdown) {
        let connections = Arc::new(Semaphore::new(limit::CONNECTIONS_MAX));
        let handshakes = Arc::new(Semaphore::new(limit::HANDSHAKES_MAX));
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            // Places first: who finds none waits in the kernel's queue.
            let places = async {
                let connection = connections.clone().acquire_owned().await;
                (connection, handshakes.clone().acquire_owned().await)
            };
            let accepted = tokio::select! {
                biased;
                () = shutdown.wait() => break,
                accepted = async {
                    let places = places.await;
                    (places, self.socket.accept().await)
                } => accepted,
                Some(_) = tasks.join_next() => continue,
            };
            let ((Ok(connection), Ok(handshake)), accepted) = accepted else {
                unreachable!("the semaphores are never closed")
            };
            match accepted {
                Ok((tcp, address)) => {
                    let (served, shutdown) = (served.clone(), shutdown.clone());
                    tasks.spawn(async move {
                        connection::run(tcp, address, served, handshake, shutdown).await;
                        drop(connection);
                    });
                }
                Err(cause) => {
                    // Out of descriptors, most likely; do not spin until some come back.
                    tracing::warn!(%cause, "cannot accept a client");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
