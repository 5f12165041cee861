//! Every time and bound, unit last, with its reason.

/// How often a quiet watch is checked by a consistent read (`limit=1`). An API server that was set
/// back to an older snapshot is noticed within twice this.
pub const PROBE_INTERVAL_MS: u64 = 30_000;
/// A suspicious removal waits so long, and then for a list that agrees with it.
pub const HOLD_MS: u64 = 60_000;
/// Fewer endpoints than this vanish by ordinary means: a namespace, a small cluster.
pub const SUSPICIOUS_ENDPOINTS_MIN: usize = 20;
/// How often a watch is compared with a list, plus or minus a tenth.
pub const AUDIT_INTERVAL_MS: u64 = 600_000;
/// An event that is under way has come by then.
pub const AUDIT_GRACE_MS: u64 = 30_000;
/// Beyond these a second look at fewer is as good.
pub const AUDIT_SUSPECTS_MAX: usize = 1_024;
