//! What is counted. Every label is from a closed set and there from the start: what comes over the
//! wire never adds a series.

use std::sync::Arc;

use diolkos_ops::metrics::{Counter, Family, Gauge, Registry};

use crate::End;

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToTarget,
    ToClient,
}

impl Direction {
    fn label(self) -> [(&'static str, &'static str); 1] {
        match self {
            Self::ToTarget => [("direction", "to_target")],
            Self::ToClient => [("direction", "to_client")],
        }
    }
}

#[derive(Debug)]
pub struct Metrics {
    pub accepted: Counter,
    pub active: Gauge,
    pub pending: Gauge,
    pub dial_failures: Counter,
    pub accept_failures: Counter,
    /// Bytes that were passed on without being copied.
    pub spliced: Counter,
    pub routes: Gauge,
    pub xds_connected: Gauge,
    pub xds_refused: Counter,
    refused: Labelled,
    ended: Labelled,
    bytes: [Counter; 2],
    registry: Arc<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::beside(Registry::new())
    }
}

impl Metrics {
    /// On the page of what is registered already.
    pub fn beside(registry: Registry) -> Self {
        let (refused, ended, bytes) =
            (Labelled::default(), Labelled::default(), Labelled::default());
        End::refusals().for_each(|end| drop(refused.get_or_create(&reason(end))));
        End::ENDINGS.into_iter().for_each(|end| drop(ended.get_or_create(&reason(end))));
        let directions = [Direction::ToTarget, Direction::ToClient]
            .map(|direction| bytes.get_or_create(&direction.label()).clone());
        let mut metrics = Self {
            accepted: Counter::default(),
            active: Gauge::default(),
            pending: Gauge::default(),
            dial_failures: Counter::default(),
            accept_failures: Counter::default(),
            spliced: Counter::default(),
            routes: Gauge::default(),
            xds_connected: Gauge::default(),
            xds_refused: Counter::default(),
            refused,
            ended,
            bytes: directions,
            registry: Arc::default(),
        };
        metrics.registry = metrics.registered(bytes, registry).shared();
        metrics
    }

    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    pub fn count_end(&self, end: End) {
        let family = if end.is_refusal() { &self.refused } else { &self.ended };
        family.get_or_create(&reason(end)).inc();
    }

    /// By direction, and how many of them all were not copied.
    pub(crate) fn count_bytes(&self, passed: [u64; 2], spliced: u64) {
        let counters = self.bytes.iter().chain([&self.spliced]);
        for (counter, bytes) in counters.zip(passed.into_iter().chain([spliced])) {
            if bytes > 0 {
                counter.inc_by(bytes);
            }
        }
    }

    /// Passed on so far; of a connection that lives on, as of some moment within the last second.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.bytes[direction as usize].get()
    }

    /// How often a connection ended so, since the start.
    pub fn ends(&self, end: End) -> u64 {
        let family = if end.is_refusal() { &self.refused } else { &self.ended };
        family.get_or_create(&reason(end)).get()
    }

    fn registered(&self, bytes: Labelled, mut to: Registry) -> Registry {
        to.register("gateway_accepted", "Connections accepted", self.accepted.clone());
        to.register("gateway_connections", "Spliced connections now", self.active.clone());
        to.register("gateway_pending", "Connections whose hello is awaited", self.pending.clone());
        to.register("gateway_refused", "Closed without a dial", self.refused.clone());
        to.register("gateway_ended", "Ended after the decision", self.ended.clone());
        to.register("gateway_bytes", "Bytes passed on", bytes);
        to.register("gateway_spliced_bytes", "Bytes not copied on the way", self.spliced.clone());
        to.register("gateway_dial_failures", "Failed dials", self.dial_failures.clone());
        to.register("gateway_accept_failures", "Failed accepts", self.accept_failures.clone());
        to.register("gateway_routes", "Routes in the table", self.routes.clone());
        to.register("gateway_xds_connected", "1 while on a primary", self.xds_connected.clone());
        to.register("gateway_xds_refused", "Updates refused", self.xds_refused.clone());
        to
    }
}

fn reason(end: End) -> [(&'static str, &'static str); 1] {
    [("reason", end.label())]
}
