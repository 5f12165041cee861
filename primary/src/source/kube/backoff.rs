//! How long to wait after a failure.

use std::time::{Duration, Instant};

use rand::Rng as _;

use super::limit::Pace;

/// Doubles from failure to failure; begins anew after a healthy while. Each wait is somewhere in
/// its upper half, so that those who failed together do not come back together.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    healthy: Duration,
    next: Duration,
    failed: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(pace: Pace) -> Self {
        let (first, most) = pace.backoff;
        Self { first, most, healthy: pace.healthy, next: first, failed: None }
    }

    pub(super) fn after_failure(&mut self, now: Instant) -> Duration {
        let quiet = self.failed.is_some_and(|at| now.duration_since(at) > self.healthy + self.next);
        if quiet {
            self.next = self.first;
        }
        self.failed = Some(now);
        let wait = self.next;
        self.next = (self.next * 2).min(self.most);
        wait.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regress_istio_45992_waits_grow_to_a_bound_never_end_and_begin_anew_after_health() {
        let pace = Pace::default();
        let mut backoff = Backoff::new(pace);
        let mut now = Instant::now();
        for failure in 0..1_000_u32 {
            let wait = backoff.after_failure(now);
            let full = pace.backoff.0 * 2_u32.saturating_pow(failure.min(10));
            let full = full.min(pace.backoff.1);
            assert!(wait <= full && wait * 2 >= full, "failure {failure}: {wait:?} of {full:?}");
            now += wait;
        }
        let wait = backoff.after_failure(now + pace.healthy + pace.backoff.1 * 2);
        assert!(wait <= pace.backoff.0, "{wait:?} after a healthy while");
    }
}
