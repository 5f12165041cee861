//! Bounds, unit last, with their reason.

/// Ports that one annotation may list: the ruleset and its arguments grow with them.
pub const EXCLUDED_PORTS_MAX: usize = 128;
pub const EXCLUDED_RANGES_MAX: usize = 128;
/// Containers with probes; a pod of more is no workload of this mesh.
pub const CONTAINERS_MAX: usize = 64;
/// Headers of one HTTP probe.
pub const PROBE_HEADERS_MAX: usize = 32;
/// The probes of a pod as JSON in one environment variable; the system takes 128 KiB at most.
pub const PROBES_BYTES_MAX: usize = 64 * 1024;
/// The kubelet's own default.
pub const PROBE_TIMEOUT_S: u32 = 1;
pub const PROBE_TIMEOUT_S_MAX: u32 = 300;
