//! The bounds that no operator chooses; those that one may are in [`crate::Limits`].

use std::time::Duration;

/// Ports of the primary that one gateway passes through. There are two, for two uses each.
pub const CONTROL_PORTS_MAX: usize = 4;

/// Each of them may have this part of the data port's connections: beside them, not of them.
pub const CONTROL_SHARE: usize = 16;

/// Addresses of the primary's name that are kept. A Service has one of each family, a headless one
/// or a load balancer's name a few.
pub const CONTROL_ADDRESSES_MAX: usize = 16;

/// How long one lookup may take; the system's own patience can be a minute.
pub const CONTROL_LOOKUP_MAX: Duration = Duration::from_secs(5);

/// Between lookups: for so long a primary that moved is looked for where it was.
pub const CONTROL_LOOKUP_INTERVAL: Duration = Duration::from_secs(5);

/// The same after one that failed.
pub const CONTROL_LOOKUP_RETRY: Duration = Duration::from_secs(1);

/// Sources that are remembered for asking for names that are not there: 64 KiB of table. Beyond it
/// whoever asked least is forgotten.
pub const UNKNOWN_SOURCES_MAX: usize = 4096;

/// A hello that is longer and not complete takes a place among the long ones. What clients send has
/// 2 KiB or so, with post-quantum keys too.
pub const LONG_HELLO_BYTES: usize = 4096;

/// This part of those who are awaited, and of those of one source, may have a long one: so that the
/// awaited hold less than 8 KiB each, taken together.
pub const LONG_HELLO_SHARE: usize = 8;

/// Event loops of one gateway.
pub const THREADS_MAX: usize = 256;

/// Networks that PROXY headers are taken from.
pub const PROXY_NETWORKS_MAX: usize = 64;

/// How long bytes to a gateway of another network may stay without an acknowledgement.
pub const EGRESS_UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// How long an answer to a CONNECT is waited for though nobody needs it any more. A gateway has given
/// its own by then, whatever became of its dials.
pub const EGRESS_LATE_ANSWER: Duration = Duration::from_secs(10);

/// Resources, and chains of them, that are not in force and told of with their reason.
pub const STANDING_MAX: usize = 1024;
