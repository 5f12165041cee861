//! Counters, gauges and histograms, in OpenMetrics text.
//!
//! A role owns its [`Registry`]: it registers at start, keeps the (cheaply cloned) metrics, and
//! gives the registry to its admin routes. There is no global one. Label sets are constant, and
//! their values come from closed enums, never from the wire: [`Labels`] takes only static text.
//!
//! ```
//! use diolkos_ops::metrics::{Counter, Family, Labels, Registry};
//!
//! let refused: Family<Labels<1>, Counter> = Family::default();
//! let mut registry = Registry::new();
//! registry.register("hello_refused", "Connections closed without dialing", refused.clone());
//! refused.get_or_create(&[("reason", "unknown_name")]).inc();
//! assert!(registry.text().contains("diolkos_hello_refused_total{reason=\"unknown_name\"} 1"));
//! ```

use std::fmt;
use std::sync::Arc;

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Metric;

/// The labels of a [`Family`]: `[("reason", "unknown_name")]`.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What a scraper is told the text is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counts in a gauge while it lives.
#[derive(Debug)]
pub struct Gauged(Gauge);

impl Gauged {
    #[must_use]
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Gauged {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The metrics of one process. Every name begins with `diolkos_`.
pub struct Registry {
    metrics: prometheus_client::registry::Registry,
}

impl Registry {
    #[must_use]
    pub fn new() -> Self {
        Self { metrics: prometheus_client::registry::Registry::with_prefix("diolkos") }
    }

    /// Adds `metric` as `diolkos_<name>`; a counter is shown as `diolkos_<name>_total`. Help ends
    /// without a full stop: the text format adds one.
    pub fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.metrics.register(name, help, metric);
    }

    #[must_use]
    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics)
            .expect("writing to a String never fails");
        text
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
