//! How many sockets the system lets the process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{EgressLimits, Limits};

/// Of one connection: one to the client and one to the target.
const FILES_PER_CONNECTION: u64 = 2;

/// As far up as the process may go by itself: what is given at first is meant for programs that
/// call select(2). Says so where that is not enough for the connections it may have.
pub(crate) fn raise_limit(limits: &Limits, egress: Option<&EgressLimits>) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(cause) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%cause, "cannot raise the limit on open files");
    }
    // Those on their way out have one each, and some together the one that their tunnels go through.
    let out = egress.map_or(0, |egress| limits.connections_max + egress.connections_max);
    let wanted = FILES_PER_CONNECTION * limits.connections_max as u64 + out as u64;
    if let Some(files) = getrlimit(Resource::Nofile).current.filter(|files| *files < wanted) {
        tracing::warn!(
            files,
            wanted,
            "the limit on open files comes before that on connections; raise it, or lower \
             --max-connections"
        );
    }
}
