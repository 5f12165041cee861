//! Which streams have a frame out that HTTP/2 found no room for, and since when.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Stalls {
    base: Instant,
    streams: Mutex<Vec<Arc<Stall>>>,
}

#[derive(Debug)]
pub(super) struct Stall {
    base: Instant,
    /// Milliseconds after `base`, and one; 0 while nothing waits.
    since: AtomicU64,
}

impl Stalls {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { base: Instant::now(), streams: Mutex::default() })
    }

    pub(super) fn stream(&self) -> Arc<Stall> {
        let stall = Arc::new(Stall { base: self.base, since: AtomicU64::new(0) });
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stall| Arc::strong_count(stall) > 1);
        streams.push(stall.clone());
        stall
    }

    /// Of the stream that has waited longest.
    pub(super) fn longest(&self) -> Duration {
        let now = millis(self.base);
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = streams
            .iter()
            .map(|stall| stall.since.load(Ordering::Relaxed))
            .filter(|since| *since > 0)
            .map(|since| now.saturating_sub(since - 1))
            .max();
        Duration::from_millis(longest.unwrap_or_default())
    }
}

impl Stall {
    /// A frame was handed over. Unless the next is asked for, it waits.
    pub(super) fn writing(&self) {
        self.since.store(millis(self.base) + 1, Ordering::Relaxed);
    }

    pub(super) fn written(&self) {
        self.since.store(0, Ordering::Relaxed);
    }
}

fn millis(base: Instant) -> u64 {
    u64::try_from(base.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
}
