//! How long what may take, and how much is kept.

use std::time::Duration;

/// Of one cluster's API server, from the start of its process; 4 s on two idle cores.
pub const API_READY_WITHIN: Duration = Duration::from_secs(120);
/// Of every other thing that a cluster waits for while it comes up.
pub const READY_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks at something that cannot be watched.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Of one request to an API server.
pub(crate) const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// Of one program that sets something up: `ip`, `nft`, `mount`.
pub(crate) const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// From the kill of a topology to the last trace of it: the kernel takes network namespaces apart
/// one by one.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(60);
/// Until the supervisor answers at all.
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// From TERM to KILL of a program that a fault stops.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Of one request to the supervisor.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Lines of progress that the supervisor keeps for those who ask late.
pub(crate) const PROGRESS_LINES_MAX: usize = 2000;
/// Of a log, shown when its program ended.
pub(crate) const LOG_TAIL_LINES: usize = 15;
/// Of a log, read for that.
pub(crate) const LOG_TAIL_BYTES: u64 = 16 * 1024;
/// Of a file of manifests.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Objects applied to one cluster at a time.
pub(crate) const APPLY_AT_ONCE: usize = 8;
/// Between two tries of what an API server refused for the moment.
pub(crate) const TRY_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// For which an object is applied again that was refused for the moment: its kind or namespace may
/// be on its way, its webhook may start.
pub(crate) const APPLY_WITHIN: Duration = Duration::from_secs(60);
/// Of what a program in a pod prints, kept where it is not passed on.
pub(crate) const OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// For a pod to be there that something is to run in.
pub(crate) const POD_WITHIN: Duration = Duration::from_secs(30);
