//! An orderly end: no new connections, those there are may finish, and not for ever.

use std::time::{Duration, Instant};

use crate::admin::Admin;
use crate::limit::DRAIN_LOOK;

/// Connections from elsewhere that are open now; Envoy's admin port is none of them.
const ACTIVE: &str = "downstream_cx_active$";

/// Returns when nothing is open any more, or the time is up; Envoy runs on.
///
/// Inbound listeners alone: as a native sidecar we are told to end when the application has ended,
/// but as an ordinary container at the same moment as it, and then its last requests still go out.
pub(crate) async fn drain(admin: Admin, most: Duration) {
    let began = Instant::now();
    if let Err(why) = admin.post("/drain_listeners?inboundonly&graceful&skip_exit").await {
        tracing::warn!(why, "Envoy cannot be drained");
        return;
    }
    let mut quiet = 0;
    while began.elapsed() < most {
        match admin.sum(ACTIVE, is_connection).await {
            Ok(0) => quiet += 1,
            Ok(_) => quiet = 0,
            Err(why) => {
                tracing::warn!(why, "Envoy does not say what is open");
                return;
            }
        }
        // Twice: a connection may be between two listeners' figures.
        if quiet == 2 {
            break;
        }
        tokio::time::sleep(DRAIN_LOOK.min(most)).await;
    }
    let left = admin.sum(ACTIVE, is_connection).await.unwrap_or_default();
    tracing::info!(after_ms = began.elapsed().as_millis(), left, "drained");
}

fn is_connection(name: &str) -> bool {
    name.starts_with("listener.")
        && !name.contains(".worker_")
        && !name.starts_with("listener.admin.")
}
