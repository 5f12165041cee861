//! Every bound of the core, unit last, with its reason.

/// A cluster or network name becomes a label value and a part of file names.
pub const CLUSTER_NAME_BYTES_MAX: usize = 253;
/// RFC 1035.
pub const DNS_LABEL_BYTES_MAX: usize = 63;
/// RFC 1035, as Kubernetes counts it.
pub const DNS_NAME_BYTES_MAX: usize = 253;
