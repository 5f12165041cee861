//! The end of whatever serves connections: new connections stop at once, those there are get their time.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use crate::Shutdown;

/// After the drain time, connections are closed over this long, so that not all clients come back
/// at the same moment. With the close itself it stays under [`EXIT_MAX`].
pub const SPREAD_MAX: Duration = Duration::from_secs(3);

/// How long after the drain time the process may still be there.
pub const EXIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Drain {
    shutdown: Shutdown,
    time: Duration,
    /// Set by whoever sees the shutdown first: the drain time is everyone's, not each one's.
    began: OnceLock<Instant>,
}

impl Drain {
    pub fn new(shutdown: Shutdown, time: Duration) -> Self {
        Self { shutdown, time, began: OnceLock::new() }
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    pub fn time(&self) -> Duration {
        self.time
    }

    /// Returns when the shutdown has begun, with the end of the drain time.
    pub async fn begun(&self) -> Instant {
        self.shutdown.wait().await;
        *self.began.get_or_init(Instant::now) + self.time
    }
}

/// How long after the drain time one connection should be closed. `draw` is uniform in 0.0..1.0. A
/// short drain is meant to be short.
pub fn spread(time: Duration, draw: f64) -> Duration {
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
        assert!(SPREAD_MAX + seconds(1) < EXIT_MAX);
    }
}
