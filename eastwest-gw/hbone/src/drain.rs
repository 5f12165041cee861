//! The end of tunnels: they get their time, and the connections under them a little more.

use diolkos_ops::{Drain, EXIT_MAX, spread};
use tokio::time::sleep_until;

use crate::limit::LINGER;

/// Returns when this tunnel should be closed: never before the drain time is over.
pub(crate) async fn deadline(drain: &Drain) {
    let draw = rand::random();
    sleep_until(drain.begun().await + spread(drain.time(), draw)).await;
}

/// Returns when a connection is dropped, whatever it still has.
pub(crate) async fn over(drain: &Drain) {
    sleep_until(drain.begun().await + EXIT_MAX - LINGER / 2).await;
}

#[cfg(test)]
mod tests {
    use diolkos_ops::SPREAD_MAX;

    use super::*;

    #[test]
    fn r16_the_last_tunnel_is_closed_before_its_connection_is_dropped() {
        assert!(SPREAD_MAX + LINGER < EXIT_MAX - LINGER / 2);
    }
}
