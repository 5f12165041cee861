//! What is counted of a role's certificate.

use std::time::SystemTime;

use diolkos_ops::metrics::{Counter, Gauge, Registry};

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    issued: Counter,
    failures: Counter,
    not_after: Gauge,
}

impl Metrics {
    /// `role` comes first in their names.
    pub(crate) fn new(registry: &mut Registry, role: &str) -> Self {
        let metrics = Self::default();
        let mut register = |name: &str, help: &str, metric: Counter| {
            registry.register(&format!("{role}_{name}"), help, metric);
        };
        register("certificates", "Certificates that the primary issued", metrics.issued.clone());
        let help = "Attempts to get a certificate that failed";
        register("certificate_failures", help, metrics.failures.clone());
        let help = "When the certificate ends, in seconds since 1970";
        registry.register(&format!("{role}_not_after_seconds"), help, metrics.not_after.clone());
        metrics
    }

    pub(crate) fn renewed(&self, not_after: SystemTime) {
        self.issued.inc();
        let seconds = not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.not_after.set(i64::try_from(seconds.as_secs()).unwrap_or(i64::MAX));
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }
}
