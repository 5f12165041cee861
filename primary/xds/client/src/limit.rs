//! Every bound of the client, unit last, with its reason.

use std::time::Duration;

/// A first answer holds every resource of a kind: a hundred thousand clusters of 2 kB each.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// For TCP, TLS and HTTP/2 each. A primary that cannot answer in this time is as good as away.
pub const CONNECT_MS_MAX: u64 = 5_000;
/// A quiet connection is asked for a sign of life this often...
pub const PING_MS: u64 = 4_000;
/// ...and given up after this long without one.
pub const PONG_MS_MAX: u64 = 4_000;
/// An istiod ends a stream with more than two pings within half of its keepalive time, which is 30 s
/// unless told otherwise; Istio's own agents ping it at that time. A peer that is gone is noticed
/// by TCP's probes before.
pub(crate) const ISTIOD_PING_MS: u64 = 30_000;
pub(crate) const ISTIOD_PONG_MS_MAX: u64 = 10_000;
/// For the reason of a stream that takes no more requests; usually it is there already.
pub(crate) const LAST_WORD_MAX: Duration = Duration::from_secs(1);
/// Events on their way to the reader. One update is out at a time; the rest are state changes.
pub(crate) const INCOMING_MAX: usize = 4;
/// Requests on their way out. At most one per kind on connect, then one per answer.
pub(crate) const REQUESTS_MAX: usize = 16;
/// What the peer may send before we read it: one large answer without a round trip per 64 kB.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

pub(crate) const CONNECT_MAX: Duration = Duration::from_millis(CONNECT_MS_MAX);
