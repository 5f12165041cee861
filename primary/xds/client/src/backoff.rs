//! How long to wait before the next attempt.

use std::time::Duration;

/// Doubles from `base` to `cap`; each wait is drawn from the upper half, so that a thousand
/// clients of one restarted primary do not come back as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    pub cap: Duration,
    /// A stream that lived this long makes the next failure count as the first.
    pub stable: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(5),
            stable: Duration::from_secs(5),
        }
    }
}

impl Backoff {
    /// `failures` counts from 0; `draw` is uniform in 0.0..1.0.
    pub fn wait(&self, failures: u32, draw: f64) -> Duration {
        let full = self.base.saturating_mul(2_u32.saturating_pow(failures)).min(self.cap);
        full.mul_f64(0.5 + draw.clamp(0.0, 1.0) / 2.0)
    }

    /// The failures that still count once a stream that lived for `lived` has ended; `None` if
    /// there was no stream.
    pub fn counted(&self, failures: u32, lived: Option<Duration>) -> u32 {
        match lived {
            Some(lived) if lived >= self.stable => 0,
            _ => failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_keep_half_as_jitter() {
        let backoff = Backoff::default();
        for (failures, least_ms, most_ms) in
            [(0, 50, 100), (1, 100, 200), (5, 1_600, 3_200), (6, 2_500, 5_000), (200, 2_500, 5_000)]
        {
            assert_eq!(backoff.wait(failures, 0.0), Duration::from_millis(least_ms));
            assert_eq!(backoff.wait(failures, 1.0), Duration::from_millis(most_ms));
        }
    }

    #[test]
    fn only_a_stable_stream_starts_the_count_anew() {
        let backoff = Backoff::default();
        assert_eq!(backoff.counted(3, None), 3);
        assert_eq!(backoff.counted(3, Some(Duration::from_secs(4))), 3);
        assert_eq!(backoff.counted(3, Some(Duration::from_secs(5))), 0);
    }
}
