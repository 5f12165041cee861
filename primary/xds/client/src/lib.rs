//! One delta ADS stream to a primary, over TLS, for whoever needs configuration.
//!
//! ```text
//!  settings, subscriptions ─> connect ─┬─> XdsHandle         subscribe, unsubscribe; drop to end
//!                                      └─> Receiver<Incoming> Connected, Update, Disconnected
//!
//!  Update ── accept() or drop ─> ACK, its names and versions are remembered
//!         ── reject(reason)   ─> NACK, what was held before stays held
//! ```
//!
//! - [`connect`] never fails and never ends by itself: a lost stream is taken up again with
//!   exponential backoff and jitter, naming the versions already held, so that the primary sends
//!   only what differs. Nothing held is ever withdrawn because a stream ended.
//! - One update is out at a time: the next comes after the last was answered. A slow reader
//!   therefore holds back the stream, and memory stays bounded by one message.
//! - Why there is no stream is told as it is ([`Why`]): the primary is away, refuses us, or is not
//!   whom we trust. A refusal of our certificate comes after the handshake, in TLS 1.3.
//! - A dead peer is noticed within ten seconds or so, by HTTP/2 pings; an istiod, which allows fewer
//!   of them ([`Pings`]), within half a minute.
//! - What to send when is decided by [`Protocol`], which is pure; the rest moves bytes.

mod backoff;
mod credential;
mod driver;
mod limit;
mod node;
mod observed;
mod pings;
mod protocol;
mod transport;
mod wanted;
mod why;

pub use backoff::Backoff;
pub use credential::{Credential, read_token};
pub use driver::{Incoming, Update, XdsHandle, connect};
pub use limit::{CONNECT_MS_MAX, MESSAGE_BYTES_MAX, PING_MS, PONG_MS_MAX};
pub use node::NodeClaims;
pub use pings::Pings;
pub use protocol::{Answered, Offer, Protocol, Subscription, Verdict};
pub use why::Why;

use std::net::IpAddr;

use diolkos_ops::HostPort;
use diolkos_tls::Roots;

/// Where the primary is, and who asks.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Looked up anew for each stream, and each address tried: a primary may move.
    pub place: HostPort,
    /// A DNS name, or an IP address, that the primary's certificate must carry.
    pub server: String,
    pub credential: Credential,
    pub roots: Roots,
    pub node: NodeClaims,
    /// The address to dial from.
    pub source: Option<IpAddr>,
    pub backoff: Backoff,
    pub pings: Pings,
}
