//! What a sidecar counts.

use std::sync::Arc;
use std::time::SystemTime;

use diolkos_ops::metrics::{Counter, Gauge, Registry};

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    renewals: Counter,
    failures: Counter,
    not_after: Gauge,
    starts: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self::default();
        let help = "Certificates that the primary issued to this workload";
        registry.register("sidecar_certificates", help, metrics.renewals.clone());
        let help = "Attempts to get a certificate that failed";
        registry.register("sidecar_certificate_failures", help, metrics.failures.clone());
        let help = "When the workload's certificate ends, in seconds since 1970";
        registry.register("sidecar_not_after_seconds", help, metrics.not_after.clone());
        registry.register("sidecar_envoy_starts", "Starts of Envoy", metrics.starts.clone());
        Arc::new(metrics)
    }

    pub(crate) fn renewed(&self, not_after: SystemTime) {
        self.renewals.inc();
        let seconds = not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.not_after.set(i64::try_from(seconds.as_secs()).unwrap_or(i64::MAX));
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }

    pub(crate) fn started(&self) {
        self.starts.inc();
    }
}
