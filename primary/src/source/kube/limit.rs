//! Every bound of the API server source, unit last, with its reason.

use std::time::Duration;

/// Objects of a page: what a server holds in memory for one answer.
pub const PAGE_OBJECTS: u32 = 500;
/// A page of the largest objects that are read: 500 Pods of 60 KiB.
pub const PAGE_BYTES_MAX: usize = 32 << 20;
/// etcd takes no larger object; one of them must not cost the others their memory.
pub const OBJECT_BYTES_MAX: usize = 1 << 20;
/// One event of a watch: an object and a little around it.
pub const LINE_BYTES_MAX: usize = OBJECT_BYTES_MAX + (64 << 10);
/// Answers that are neither lists nor watches.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Pages of one list: `continue` must not go round for ever.
pub const PAGES_MAX: usize = 1_000;
/// Objects of one kind that are kept of one cluster; the core's quotas are smaller.
pub const OBJECTS_PER_KIND_MAX: usize = 100_000;
/// Endpoints of one cluster that are kept; the core takes a quarter of it.
pub const ENDPOINTS_MAX: usize = 200_000;
/// All pages of one list. A large cluster's pods have some hundred megabytes.
pub const LIST_BYTES_MAX: usize = 1 << 30;
/// What a server says of a fault, as far as it is repeated.
pub const MESSAGE_BYTES_MAX: usize = 300;
/// Changes of one kind that are taken in a second; the rest waits in the connection.
pub const CHANGES_PER_SECOND_MAX: u32 = 1_000;
/// Words of watches that wait for their cluster's task; the watch waits with the next.
pub const WORDS_MAX: usize = 256;
/// Facts of one batch, so that the owner is never held up for long.
pub const FACTS_PER_BATCH: usize = 2_000;
/// Secrets that are looked at for clusters.
pub const SECRETS_MAX: usize = 1_000;
/// Names of gateways of one cluster that are resolved.
pub const HOSTS_PER_CLUSTER_MAX: usize = 64;
/// Addresses of one name.
pub const ADDRESSES_PER_HOST_MAX: usize = 32;
/// Token reviews of one cluster at the same time; the rest waits.
pub const REVIEWS_MAX: usize = 32;
/// A token of a service account has about 1 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Unused connections that are kept open to one server.
pub const IDLE_CONNECTIONS_MAX: usize = 2;

/// How long things may take. Tests make it short.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// TCP and TLS together.
    pub connect_max: Duration,
    /// From request to headers, and between two pieces of an answer.
    pub read_max: Duration,
    /// One page of a list, and any other answer.
    pub answer_max: Duration,
    /// What a watch asks the server to live.
    pub watch: Duration,
    /// Between failures: the first, and no longer than the second.
    pub backoff: (Duration, Duration),
    /// After so long without a failure, backoff begins anew.
    pub healthy: Duration,
    /// How often a server is asked whether it is there.
    pub probe: Duration,
    /// After so long without it a cluster is out of sight.
    pub stale: Duration,
    /// How often it is looked for kinds that are not installed, or not allowed.
    pub look: Duration,
    /// How often everything is listed again, in case a watch missed something.
    pub audit: Duration,
    /// Rejections are told together, and only those that last so long.
    pub tell: Duration,
    /// How long a removal of most of a cluster is held, before a second look.
    pub hold: Duration,
    /// How often files are looked at.
    pub files: Duration,
    /// A cluster not heard for so long after its registration is shown as `timeout`.
    pub sync: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect_max: seconds(5),
            read_max: seconds(10),
            answer_max: seconds(60),
            watch: seconds(290),
            backoff: (Duration::from_millis(800), seconds(30)),
            healthy: seconds(120),
            probe: seconds(5),
            stale: seconds(15),
            look: seconds(30),
            audit: seconds(600),
            tell: seconds(1),
            hold: seconds(60),
            files: seconds(1),
            sync: seconds(30),
        }
    }
}
