//! The end of a gateway: new connections stop at once, those there are get their time.

use std::sync::OnceLock;
use std::time::Duration;

use diolkos_ops::Shutdown;
use tokio::time::Instant;

/// After the drain time, connections are closed over this long, so that not all clients come back
/// at the same moment. With the close itself it stays under [`EXIT_MAX`].
const SPREAD_MAX: Duration = Duration::from_secs(3);

/// How long after the drain time the process may still be there.
pub(crate) const EXIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) shutdown: Shutdown,
    pub(crate) time: Duration,
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
}

/// When one connection should be closed: never before the drain time is over.
pub(crate) fn draw_close(end: std::time::Instant, time: Duration) -> std::time::Instant {
    end + spread(time, rand::random())
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
        assert!(SPREAD_MAX + seconds(1) < EXIT_MAX);
    }
}
