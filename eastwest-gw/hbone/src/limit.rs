//! Every limit of this crate, with its reason.

use std::time::Duration;

/// One HTTP/2 field section, as RFC 9113 counts it. A CONNECT with Istio's headers has under 2 KiB.
pub const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// What a stream may send before it is answered, on a connection that has had no tunnel yet.
pub const EARLY_BYTES_MAX: u32 = 64 * 1024;

/// The same of all its streams together.
pub const EARLY_CONNECTION_BYTES_MAX: u32 = 1 << 20;

/// The window of a stream once its connection has had a tunnel. Clusters are far apart: 1 MiB is
/// 100 Mbit/s at 80 ms.
pub const WINDOW_BYTES: u32 = 1 << 20;

/// The window of a connection is that of all its streams together: they may be those of many clients
/// behind one gateway, and as many targets as there are may read nothing without stalling the
/// others. HTTP/2 has no wider one than this.
pub const CONNECTION_WINDOW_BYTES_MAX: u32 = i32::MAX as u32;

/// Before settings are changed once more, while the last ones are not acknowledged.
pub const SETTINGS_PAUSE: Duration = Duration::from_millis(20);

/// Tunnels that a calling end opens through one connection: fewer than a server takes, so that none
/// is refused while an ended one is still on its way out.
pub const OUTER_TUNNELS_MAX: usize = 64;

/// A calling end's window of a connection: that of all its tunnels together. They are those of many
/// clients, and as many of them as there are may read nothing without stalling the others.
pub const OUTER_WINDOW_BYTES: u32 = OUTER_TUNNELS_MAX as u32 * WINDOW_BYTES;

/// What small frames that wait to be read may lack to 256 bytes, of all streams of a connection
/// together; beyond it the connection is cut. A window of messages of 20 bytes comes to 12 MiB. They
/// wait for no target, only for the task that takes them out of HTTP/2.
pub const SMALL_FRAMES_MAX: usize = 16 << 20;

/// A frame, either way: HTTP/2's own default.
pub const FRAME_BYTES_MAX: u32 = 16 * 1024;

/// What waits to be written of one stream, beside what the client's window lets go.
pub const SEND_BYTES_MAX: usize = 64 * 1024;

/// What is read from a target at a time; held only while bytes flow.
pub const BUFFER_BYTES: usize = 32 * 1024;

/// Streams that a client reset before they were accepted; HTTP/2's rapid reset (CVE-2023-44487).
pub const RESET_UNSEEN_MAX: usize = 20;

/// CONNECTs that a client gave up before they were answered: so many at once ...
pub const ABANDONED_MAX: u32 = 200;
/// ... and so many a second. Beyond it the connection is cut.
pub const ABANDONED_PER_SECOND: u32 = 20;

/// CONNECTs of one connection that were refused: so many at once ...
pub const REFUSED_MAX: u32 = 1000;
/// ... and so many a second. Beyond it the connection takes no more; its tunnels live on.
pub const REFUSED_PER_SECOND: u32 = 50;

/// How long a peer has to answer our end before its connection is dropped.
pub const LINGER: Duration = Duration::from_secs(1);

/// What an operator may choose. The defaults are the documented ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accept to the end of the first CONNECT's headers, in total: TLS, HTTP/2, headers.
    pub handshake: Duration,
    /// Connections that are not so far yet.
    pub pending_max: usize,
    /// The same for one source: an IPv4 address or an IPv6 /64.
    pub pending_per_source_max: usize,
    pub connections_max: usize,
    /// Of one connection at the same time.
    pub streams_max: u32,
    /// Of all connections together.
    pub tunnels_max: usize,
    /// For the connection to one target.
    pub connect: Duration,
    pub targets_tried_max: usize,
    /// Of a tunnel, without a byte in either direction.
    pub idle: Duration,
    /// Of a connection, without a tunnel.
    pub idle_connection: Duration,
    /// TCP keepalive, first probe and interval.
    pub keepalive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            pending_max: 1024,
            pending_per_source_max: 64,
            connections_max: 4096,
            streams_max: 100,
            tunnels_max: 32_768,
            connect: Duration::from_secs(2),
            targets_tried_max: 3,
            idle: Duration::from_secs(60 * 60),
            idle_connection: Duration::from_secs(10 * 60),
            keepalive: Duration::from_secs(30),
        }
    }
}
