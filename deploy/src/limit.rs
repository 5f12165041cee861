//! The bounds of this crate, each with its unit last and its reason.

/// A values file: a page of settings, and a mesh's networks.
pub const VALUES_BYTES_MAX: usize = 256 * 1024;

/// Replicas of a Deployment. A gateway beyond 16 takes no share of a group (ADR 0002).
pub const REPLICAS_MAX: u32 = 16;

/// Addresses of a remote's primary: those of a few load balancers, in both families.
pub const PRIMARY_ADDRESSES_MAX: usize = 16;

/// As Kubernetes bounds the values of labels: a network is one.
pub const LABEL_BYTES_MAX: usize = 63;

/// A drain; the sidecar's has the same bound.
pub const DRAIN_SECONDS_MAX: u64 = 3600;
