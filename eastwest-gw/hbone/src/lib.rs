//! HBONE, both ends: bytes through an HTTP/2 CONNECT over mutual TLS 1.3.
//!
//! ```text
//!  client ══ TLS 1.3, both certificates ══> Server ──> Gate: who may reach what ──> Route
//!         ── CONNECT host:port ──────────>    │ 4xx, 503: with the reason             │
//!         <───────────────────────── 200 ──   └──────── dial, at most three targets <─┘
//!         <═══════════ DATA, as it comes ══════════════════════════════> target
//! ```
//!
//! - **Who may** is the [`Gate`]'s to say, from the verified [`Peer`](diolkos_tls::Peer) and the
//!   [`Destination`]; nothing else that a client sends counts, `baggage` and `forwarded` least of all.
//! - **Where to** is a route's target. Nothing is dialed because a client named it.
//! - **When**: 200 is said once a target is connected, and no byte goes there before. What a client
//!   sends earlier waits in its stream's window; of a refused one nobody ever reads it.
//! - **Both ways** bytes pass as they are, at the pace of the slower end. END_STREAM is FIN and FIN
//!   is END_STREAM; RST_STREAM is RST and RST is RST_STREAM.
//! - **Limits** are in [`limit`] and [`Limits`]. An end is one line of the access log and one count.
//! - **The end** is GOAWAY, the drain time for the tunnels there are, then FIN for each.
//! - **The calling end** is [`Outer`], which opens tunnels, and the same [`relay`](relay()).

mod access;
mod alive;
mod client;
mod connection;
mod destination;
mod dial;
mod drain;
mod end;
pub mod limit;
mod metrics;
mod relay;
mod server;
mod tunnel;

use std::sync::Arc;

use diolkos_route::Route;
use diolkos_tls::Peer;

pub use alive::Probes;
pub use client::{Carrying, Outer, OuterError, Tunnel, TunnelError};
pub use destination::Destination;
pub use end::{End, Refused};
pub use limit::Limits;
pub use metrics::{Direction, Metrics};
pub use relay::{Over, Stream, Tally, Toward, relay};
pub use server::{Server, ServerSettings};

/// Decides who may reach what. Asked for every CONNECT, so that a change counts for the next one.
pub trait Gate: Send + Sync + 'static {
    fn admit(&self, caller: &Peer, to: &Destination) -> Admission;
}

/// What becomes of one CONNECT.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The caller's cluster, where it is proven. For the access log.
    pub cluster: Option<Arc<str>>,
    pub route: Result<Arc<Route>, Refused>,
}
