//! Every bound of the client, unit last, with its reason.

use std::time::Duration;

/// A projected token is 1 to 2 KiB.
pub(crate) const TOKEN_BYTES_MAX: u64 = 16 * 1024;
/// Of one address; a name may have several.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(3);
/// From the request to the CA's answer: it may have to ask an API server.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(25);
/// Between attempts, while there is no certificate or it should be renewed.
pub(crate) const RETRY_BASE: Duration = Duration::from_millis(200);
pub(crate) const RETRY_CAP: Duration = Duration::from_secs(15);
/// How often the roots are looked at, and the clock: it may have been set.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
