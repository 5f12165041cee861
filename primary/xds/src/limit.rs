//! Every bound of the crate, unit last, with its reason.

/// A client further behind than this compares everything it has once; nobody waits for it.
pub const CATALOG_LOG_ENTRIES_MAX: usize = 4096;
/// A mesh of 100 clusters with 1,000 services has 100,000 names; one client may name them all.
pub const SUBSCRIBED_NAMES_MAX: usize = 262_144;
/// An SNI-shaped name of the longest host fits several times.
pub const NAME_BYTES_MAX: usize = 1024;
/// A reason is shown to people, not stored for machines.
pub const NACK_REASON_BYTES_MAX: usize = 1024;
/// Of one response, for the record of what was refused.
pub const NACK_NAMES_MAX: usize = 8;
/// The latest are kept.
pub const NACKS_MAX: usize = 16;
/// Types a client asked for and we do not serve, kept to be shown.
pub const UNKNOWN_TYPES_MAX: usize = 8;
/// Half of what gRPC libraries accept in one message by default. A single larger resource still
/// goes out, alone; a state-of-the-world response of clusters or listeners cannot be divided.
pub const RESPONSE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Clusters whose changes are counted. Beyond it counting starts over, which costs each client its
/// endpoints once more.
pub const GENERATIONS_MAX: usize = 65_536;
/// Of one pod, as services call them. Each costs its proxy three filter chains.
pub const INBOUND_PORTS_MAX: usize = 256;
/// Of one port of a headless service: each has a listener of its own in every redirected client.
/// The rest is reached as an address that no service has.
pub const DIRECT_ADDRESSES_MAX: usize = 256;
