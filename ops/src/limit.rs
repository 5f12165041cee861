//! The bounds of this crate, each with its unit last and its reason.

use std::time::Duration;

/// A slow reader or writer on the admin endpoint holds a connection no longer than this, from
/// accept to close; a debug page of some megabytes over a tunnel needs a few seconds.
pub const ADMIN_CONNECTION_MAX: Duration = Duration::from_secs(15);

/// A client that says nothing is gone sooner than one that reads slowly.
pub const ADMIN_HEADER_MAX: Duration = Duration::from_secs(5);

/// Request line and headers; hyper's own floor. A longer one is answered 431 or closed.
pub const ADMIN_HEADER_BYTES_MAX: usize = 8 * 1024;

/// A person, a probe and a scraper need three; what comes on top of this is closed at once.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;

/// The same where anybody may ask: whoever holds some of them must not keep the kubelet out.
pub const HEALTH_CONNECTIONS_MAX: usize = 512;

/// Connections that wait to be accepted; as many as tokio asks the system for.
pub const ADMIN_BACKLOG: u32 = 1024;

/// Pairs of a query string that are kept; no page takes more than a handful.
pub const ADMIN_QUERY_PAIRS_MAX: usize = 16;

/// How long the admin endpoint rests after the system refused it a connection.
pub const ADMIN_ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long a name may be looked up; the system's own patience can be a minute.
pub const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// Addresses of a name that are tried. A Service has one of each family, a headless one or a load
/// balancer's name a few.
pub const ADDRESSES_MAX: usize = 16;
