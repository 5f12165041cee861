//! CPU time of the calling thread, and affinity.

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::stats;

/// Nanoseconds this thread has run.
pub(crate) fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// What two readings cost with nothing between them.
pub(crate) fn overhead_ns() -> u64 {
    let mut readings: Vec<f64> = (0..1_001)
        .map(|_| {
            let begin = thread_ns();
            (thread_ns() - begin) as f64
        })
        .collect();
    stats::median(&mut readings) as u64
}

/// Keeps this thread, and those it starts from here on, on one core. No such core is no error: a
/// machine with one core has its bench too.
pub(crate) fn pin(core: usize) -> bool {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return false;
    }
    set.set(core);
    sched_setaffinity(None, &set).is_ok()
}
