//! The end of a server: GOAWAY at once, tunnels get their time.

use std::sync::OnceLock;
use std::time::Duration;

use diolkos_ops::Shutdown;
use tokio::time::{Instant, sleep_until};

use crate::limit::{EXIT_MAX, LINGER, SPREAD_MAX};

#[derive(Debug)]
pub(crate) struct Drain {
    shutdown: Shutdown,
    time: Duration,
    /// Set by whoever sees the shutdown first: the drain time is everyone's, not each one's.
    began: OnceLock<Instant>,
}

impl Drain {
    pub(crate) fn new(shutdown: Shutdown, time: Duration) -> Self {
        Self { shutdown, time, began: OnceLock::new() }
    }

    /// Returns when the shutdown has begun, with the end of the drain time.
    pub(crate) async fn begun(&self) -> Instant {
        self.shutdown.wait().await;
        *self.began.get_or_init(Instant::now) + self.time
    }

    /// Returns when this tunnel should be closed: never before the drain time is over.
    pub(crate) async fn deadline(&self) {
        let draw = rand::random();
        sleep_until(self.begun().await + spread(self.time, draw)).await;
    }

    /// Returns when a connection is dropped, whatever it still has.
    pub(crate) async fn over(&self) {
        sleep_until(self.begun().await + EXIT_MAX - LINGER / 2).await;
    }
}

/// `draw` is uniform in 0.0..1.0. A short drain is meant to be short.
fn spread(time: Duration, draw: f64) -> Duration {
    SPREAD_MAX.min(time).mul_f64(draw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r16_the_spread_keeps_the_close_within_the_exit() {
        let seconds = Duration::from_secs;
        assert_eq!(spread(seconds(60), 0.0), seconds(0));
        assert_eq!(spread(seconds(60), 1.0), seconds(3));
        assert_eq!(spread(seconds(1), 1.0), seconds(1));
        assert!(SPREAD_MAX + LINGER < EXIT_MAX - LINGER / 2);
    }
}
