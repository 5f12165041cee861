//! Every bound of the primary, unit last, with its reason.

use std::time::Duration;

/// Handshakes cost most and prove nothing yet: what is beyond waits in the kernel's queue.
pub const HANDSHAKES_MAX: usize = 256;
/// From accept to the end of the TLS handshake.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Connections in all. A proxy keeps one.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Connections that the kernel holds until they are accepted, on each port.
pub const BACKLOG: u32 = 1_024;
/// Connections without a certificate that have not shown a good token yet: anybody can open them.
pub const STRANGERS_MAX: usize = 1_024;
/// From the TLS handshake to a good token. A client sends its stream's headers at once.
pub const PROOF_MAX: Duration = Duration::from_secs(10);
/// For a client to read why its token was refused, and to hang up by itself: what it still sends
/// would otherwise make the system throw the answer away. Nothing more of it is verified.
pub const REFUSED_MAX: Duration = Duration::from_secs(2);
/// Streams of one connection: a proxy needs one, one more while it changes over. There is no bound
/// per identity, for all pods of a Deployment share one.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 4;
/// Streams in all.
pub const STREAMS_MAX: usize = 20_000;
/// From the stream's headers to its first request.
pub const FIRST_REQUEST_MAX: Duration = Duration::from_secs(10);
/// What the service beside the ADS takes for one answer; it has bounds of its own below this. Less
/// than `PROOF_MAX`, so that a stranger is told.
pub const BESIDE_MAX: Duration = Duration::from_secs(9);
/// A gateway with 100,000 routes that comes back names each with its version, about 120 bytes.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// An honest client answers each response once and subscribes now and then.
pub const REQUESTS_PER_SECOND_MAX: u32 = 2_000;
/// Of one poll, so that a client that never stops talking leaves the thread to others.
pub const REQUESTS_PER_POLL_MAX: u32 = 16;
/// How often a connection and its streams may answer each other before others get the thread.
pub const ROUNDS_PER_POLL_MAX: usize = 16;
/// HTTP headers of a request: a token as long as it may be, and the rest.
pub const HEADER_BYTES_MAX: u32 = 24 * 1024;
/// What may wait unsent in HTTP/2 for one stream; what is beyond stays a difference of versions.
pub const UNSENT_BYTES_MAX: usize = 256 * 1024;
/// Shared chunks from this size on are passed on without copying.
pub const COPY_BYTES_MAX: usize = 4 * 1024;
/// Small chunks are gathered into frames of about this size.
pub const FRAME_BYTES: usize = 64 * 1024;
/// A quiet client is asked for a sign of life this often.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// See `PrimarySettings`.
pub const STALL_MAX: Duration = Duration::from_secs(300);
pub const READY_MAX: Duration = Duration::from_secs(30);
/// Longer than a client's longest backoff, so that a restart of a client rebuilds nothing.
pub const LINGER: Duration = Duration::from_secs(10);
/// Streams end by themselves once told to; then the connections are dropped.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Source events that wait for the owner; the source waits with the next.
pub const EVENTS_MAX: usize = 256;
/// Taken together before anything is published: coalescing grows with load, and idle costs none.
pub const EVENTS_PER_TURN_MAX: usize = 64;
/// Questions that wait for the owner.
pub const QUESTIONS_MAX: usize = 1_024;
/// Notices that are remembered, the latest.
pub const NOTICES_MAX: usize = 200;
/// How often the CA certificates that the mesh file names are looked at.
pub const AUTHORITY_INTERVAL: Duration = Duration::from_secs(1);
/// Addresses a node may claim, as many as Kubernetes gives.
pub const INSTANCE_IPS_MAX: usize = 8;
/// A node id, or one value of its metadata: eight IPv6 addresses fit three times.
pub const NODE_VALUE_BYTES_MAX: usize = 1024;
/// Objects of one cluster of which it is told what is wrong with them; the rest is counted.
pub const REJECTED_OBJECTS_MAX: usize = 1_000;
/// An AdmissionReview: etcd takes no object larger than 1.5 MiB, and a pod is a fraction of it.
pub const REVIEW_BYTES_MAX: usize = 1024 * 1024;
/// Less than the 10 s after which an API server stops waiting.
pub const REVIEW_MAX: Duration = Duration::from_secs(8);
/// Webhook connections at once; an API server keeps a handful.
pub const WEBHOOK_CONNECTIONS_MAX: usize = 256;
/// A webhook connection that says nothing.
pub const WEBHOOK_IDLE_MAX: Duration = Duration::from_secs(90);
/// Names that are offered where one is not known: a line or two of a terminal.
pub const LIKE_MAX: usize = 10;
