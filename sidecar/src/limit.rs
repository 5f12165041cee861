//! Every bound of the sidecar, unit last, with its reason.

use std::time::Duration;

/// Secrets that one SDS stream may ask for; Envoy asks for one.
pub(crate) const SECRET_NAMES_MAX: usize = 16;
pub(crate) const SECRET_NAME_BYTES_MAX: usize = 256;
/// A request for secrets names a node and a few names.
pub(crate) const SDS_REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Envoy keeps one for each worker.
pub(crate) const SDS_CONNECTIONS_MAX: usize = 256;
/// Answers that wait for Envoy; a stream is told of the latest secret, not of each.
pub(crate) const SDS_ANSWERS_MAX: usize = 4;
/// Between ends of Envoy and its next start.
pub(crate) const RESTART_BASE: Duration = Duration::from_millis(500);
pub(crate) const RESTART_CAP: Duration = Duration::from_secs(30);
/// An Envoy that ran this long makes its next end count as the first.
pub(crate) const STABLE: Duration = Duration::from_secs(60);
/// Questions to Envoy's admin port, on loopback.
pub(crate) const ADMIN_MAX: Duration = Duration::from_secs(2);
pub(crate) const ADMIN_BYTES_MAX: usize = 1024 * 1024;
/// How often a drain looks whether it is over.
pub(crate) const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// From the word to end to the end of Envoy; then it is killed.
pub(crate) const END_MAX: Duration = Duration::from_secs(2);
/// What an application may answer a probe with before it is read no further.
pub(crate) const PROBE_HEADER_BYTES_MAX: usize = 64 * 1024;
