//! What the CA counts. Labels come from closed sets, never from the wire.

use std::time::{Duration, SystemTime};

use diolkos_ops::metrics::{
    Counter, Family, Gauge, Histogram, Labels, Registry, exponential_buckets,
};

use crate::caller::Proof;
use crate::live::LiveAuthority;
use crate::refusal::Refusal;

#[derive(Debug)]
pub(crate) struct Metrics {
    issued: Family<Labels<1>, Counter>,
    refused: Family<Labels<1>, Counter>,
    reviews: Histogram,
    not_after: Gauge,
    authority: LiveAuthority,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry, authority: &LiveAuthority) -> Self {
        let metrics = Self {
            issued: Family::default(),
            refused: Family::default(),
            reviews: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            not_after: Gauge::default(),
            authority: authority.clone(),
        };
        registry.register("ca_issued", "Certificates issued", metrics.issued.clone());
        registry.register("ca_refused", "Certificates refused", metrics.refused.clone());
        let help = "How long API servers took to review a token";
        registry.register("ca_review_seconds", help, metrics.reviews.clone());
        let help = "When the CA's own certificate ends, in seconds since 1970";
        registry.register("ca_not_after_seconds", help, metrics.not_after.clone());
        metrics.note_authority();
        metrics
    }

    pub(crate) fn issued(&self, proof: &Proof) {
        let by = match proof {
            Proof::Token { .. } => "token",
            Proof::Certificate => "certificate",
        };
        self.issued.get_or_create(&[("by", by)]).inc();
        self.note_authority();
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.refused.get_or_create(&[("reason", refusal.reason())]).inc();
    }

    pub(crate) fn reviewed(&self, took: Duration) {
        self.reviews.observe(took.as_secs_f64());
    }

    fn note_authority(&self) {
        let ends = self.authority.get().not_after();
        let seconds = ends.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.not_after.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
}
