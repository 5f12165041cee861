//! Whether traffic may come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use diolkos_trust_client::Kept;

use crate::admin::Admin;

/// What readiness hangs on. Asked by the kubelet every few seconds.
#[derive(Debug)]
pub(crate) struct Health {
    kept: Kept,
    admin: Admin,
    draining: AtomicBool,
    /// Starts of Envoy, and the start whose listeners were seen: they stay while it lives.
    started: AtomicU64,
    configured: AtomicU64,
}

impl Health {
    pub(crate) fn new(kept: Kept, admin: Admin) -> Self {
        Self {
            kept,
            admin,
            draining: AtomicBool::new(false),
            started: AtomicU64::new(0),
            configured: AtomicU64::new(0),
        }
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn envoy_started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// # Errors
    /// What is waited for.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining".into());
        }
        match &*self.kept.borrow() {
            None => return Err("waiting for the workload's certificate".into()),
            Some(kept) if kept.not_after <= SystemTime::now() => {
                return Err("the workload's certificate ended and could not be renewed".into());
            }
            Some(_) => {}
        }
        let started = self.started.load(Ordering::Relaxed);
        if started == 0 {
            return Err("waiting for Envoy to be started".into());
        }
        let state = self.admin.get("/ready").await.map_err(|why| format!("Envoy: {why}"))?;
        if state.trim() != "LIVE" {
            return Err(format!("Envoy is {}", state.trim()));
        }
        if self.configured.load(Ordering::Relaxed) == started {
            return Ok(());
        }
        for (what, stat) in [
            ("clusters", "cluster_manager.cds.update_success"),
            ("listeners", "listener_manager.lds.update_success"),
        ] {
            let filter = format!("^{}$", stat.replace('.', "\\."));
            let seen = self.admin.sum(&filter, |name| name == stat).await;
            if seen.map_err(|why| format!("Envoy: {why}"))? == 0 {
                return Err(format!("waiting for Envoy to be given its {what}"));
            }
        }
        self.configured.store(started, Ordering::Relaxed);
        Ok(())
    }
}
