//! What one lane has once, for all its connections.

use std::time::{Duration, Instant};

use super::pipe::Pipes;
use crate::Metrics;

/// One read of a direction that copies.
const SCRATCH_BYTES: usize = 64 * 1024;

/// How late the bytes of a connection that lives on are counted.
const COUNTED_WITHIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Tools {
    pub(super) scratch: Box<[u8]>,
    pub(super) pipes: Pipes,
    pub(super) tally: Tally,
    /// Of this round of the loop.
    pub(super) now: Instant,
}

impl Tools {
    pub(super) fn new(splices: bool, now: Instant) -> Self {
        Self {
            scratch: vec![0; SCRATCH_BYTES].into(),
            pipes: Pipes::new(splices),
            tally: Tally { bytes: [0; 2], spliced: 0, told: now },
            now,
        }
    }
}

/// Bytes that are not in the metrics yet: lanes do not contend for a counter with every read.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) bytes: [u64; 2],
    pub(super) spliced: u64,
    told: Instant,
}

impl Tally {
    pub(super) fn tell(&mut self, metrics: &Metrics, now: Instant) {
        self.told = now;
        metrics.count_bytes(std::mem::take(&mut self.bytes), std::mem::take(&mut self.spliced));
    }

    /// When to tell at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.bytes != [0; 2]).then(|| self.told + COUNTED_WITHIN)
    }
}
