//! Which streams wait for their client, and since when: for room to write a frame, or for the
//! answer to a response. A session sends no second response of a type before the first is answered,
//! so a client that stopped reading shows by either.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diolkos_xds::ResourceType;

use crate::metrics::index;

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Stalls {
    base: Instant,
    streams: Mutex<Vec<Arc<Stall>>>,
}

#[derive(Debug)]
pub(super) struct Stall {
    base: Instant,
    /// A frame was handed over and the next not asked for. Milliseconds after `base`, and one; 0
    /// while nothing waits.
    frame: AtomicU64,
    /// By type: a response is not answered yet. Counted as above.
    answers: [AtomicU64; 4],
}

impl Stalls {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { base: Instant::now(), streams: Mutex::default() })
    }

    pub(super) fn stream(&self) -> Arc<Stall> {
        let stall = Arc::new(Stall {
            base: self.base,
            frame: AtomicU64::new(0),
            answers: Default::default(),
        });
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
            .flat_map(|stall| stall.answers.iter().chain([&stall.frame]))
            .map(|since| since.load(Ordering::Relaxed))
            .filter(|since| *since > 0)
            .map(|since| now.saturating_sub(since - 1))
            .max();
        Duration::from_millis(longest.unwrap_or_default())
    }
}

impl Stall {
    /// A frame was handed over. Unless the next is asked for, it waits.
    pub(super) fn writing(&self) {
        self.frame.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn written(&self) {
        self.frame.store(0, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, kind: ResourceType) {
        let answer = &self.answers[index(kind)];
        // Only this stream's task writes.
        if answer.load(Ordering::Relaxed) == 0 {
            answer.store(self.now(), Ordering::Relaxed);
        }
    }

    pub(super) fn answered(&self, kind: ResourceType) {
        self.answers[index(kind)].store(0, Ordering::Relaxed);
    }

    /// Nothing is waited for any more.
    pub(super) fn over(&self) {
        self.written();
        ResourceType::ORDER.into_iter().for_each(|kind| self.answered(kind));
    }

    fn now(&self) -> u64 {
        millis(self.base) + 1
    }
}

fn millis(base: Instant) -> u64 {
    u64::try_from(base.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
}
