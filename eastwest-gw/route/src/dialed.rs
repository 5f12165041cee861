//! What came of the last attempt to connect to a target.

use std::sync::atomic::{AtomicU64, Ordering};

/// One attempt, by the clock of whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialed {
    pub connected: bool,
    /// Since 1970.
    pub at_seconds: u64,
}

/// Written by those who dial and read by those who ask; nobody waits.
#[derive(Debug, Default)]
pub(crate) struct LastDial(AtomicU64);

impl LastDial {
    pub(crate) fn new(last: Option<Dialed>) -> Self {
        Self(AtomicU64::new(last.map_or(0, packed)))
    }

    pub(crate) fn set(&self, dialed: Dialed) {
        let now = packed(dialed);
        // Most are what the one before was: then the line stays with every core that reads it.
        if self.0.load(Ordering::Relaxed) != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> Option<Dialed> {
        let packed = self.0.load(Ordering::Relaxed);
        let dialed = Dialed { connected: packed & 1 == 1, at_seconds: packed >> 1 };
        (packed != 0).then_some(dialed)
    }
}

/// Zero is for never, so the first second of 1970 counts as the next.
fn packed(dialed: Dialed) -> u64 {
    dialed.at_seconds.clamp(1, u64::MAX >> 1) << 1 | u64::from(dialed.connected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_got_and_nothing_before() {
        let last = LastDial::default();
        assert_eq!(last.get(), None);
        for (at, shown) in [(1_764_000_000, 1_764_000_000), (0, 1), (u64::MAX, u64::MAX >> 1)] {
            for connected in [false, true] {
                last.set(Dialed { connected, at_seconds: at });
                assert_eq!(last.get(), Some(Dialed { connected, at_seconds: shown }));
            }
        }
    }
}
