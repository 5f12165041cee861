//! What a sidecar counts, beside what is counted of its certificate.

use std::sync::Arc;

use diolkos_ops::metrics::{Counter, Registry};

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    starts: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self::default();
        registry.register("sidecar_envoy_starts", "Starts of Envoy", metrics.starts.clone());
        Arc::new(metrics)
    }

    pub(crate) fn started(&self) {
        self.starts.inc();
    }
}
