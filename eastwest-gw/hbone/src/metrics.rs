//! What is counted. Every label is from a closed set and there from the start.

use diolkos_ops::metrics::{Counter, Family, Gauge, Labels, Registry};

use crate::{End, Refused};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToTarget,
    ToClient,
}

#[derive(Clone, Debug)]
pub struct Metrics {
    pub accepted: Counter,
    pub pending: Gauge,
    pub connections: Gauge,
    pub tunnels: Gauge,
    pub opened: Counter,
    pub dial_failures: Counter,
    pub accept_failures: Counter,
    refused: Family<Labels<1>, Counter>,
    ended: Family<Labels<1>, Counter>,
    bytes: [Counter; 2],
}

impl Metrics {
    pub fn new(registry: &mut Registry) -> Self {
        let bytes: Family<Labels<1>, Counter> = Family::default();
        let of = |way| bytes.get_or_create(&[("direction", way)]).clone();
        let metrics = Self {
            accepted: Counter::default(),
            pending: Gauge::default(),
            connections: Gauge::default(),
            tunnels: Gauge::default(),
            opened: Counter::default(),
            dial_failures: Counter::default(),
            accept_failures: Counter::default(),
            refused: Family::default(),
            ended: Family::default(),
            bytes: [of("to_target"), of("to_client")],
        };
        Refused::ALL.into_iter().for_each(|one| drop(metrics.refused_for(one)));
        End::ENDINGS.into_iter().for_each(|end| drop(metrics.ended_by(end)));
        let mut add = |name: &str, help, metric: &Counter| {
            registry.register(&format!("gateway_hbone_{name}"), help, metric.clone());
        };
        add("accepted", "Connections accepted for tunnels", &metrics.accepted);
        add("opened", "Tunnels opened", &metrics.opened);
        add("dial_failures", "Failed dials for tunnels", &metrics.dial_failures);
        add("accept_failures", "Failed accepts for tunnels", &metrics.accept_failures);
        let mut add = |name: &str, help, metric: &Gauge| {
            registry.register(&format!("gateway_hbone_{name}"), help, metric.clone());
        };
        add("pending", "Connections whose first CONNECT is awaited", &metrics.pending);
        add("connections", "Connections that tunnels may go through", &metrics.connections);
        add("tunnels", "Tunnels now", &metrics.tunnels);
        let mut add = |name: &str, help, metric: &Family<Labels<1>, Counter>| {
            registry.register(&format!("gateway_hbone_{name}"), help, metric.clone());
        };
        add("refused", "Connections and CONNECTs that got no tunnel", &metrics.refused);
        add("ended", "CONNECTs that ended otherwise", &metrics.ended);
        add("bytes", "Bytes passed on in tunnels", &bytes);
        metrics
    }

    /// How often, since the start.
    pub fn refusals(&self, refused: Refused) -> u64 {
        self.refused_for(refused).get()
    }

    /// How often, since the start.
    pub fn ends(&self, end: End) -> u64 {
        self.ended_by(end).get()
    }

    /// Passed on since the start.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.bytes[direction as usize].get()
    }

    pub(crate) fn count_refused(&self, refused: Refused) {
        self.refused_for(refused).inc();
    }

    pub(crate) fn count_end(&self, end: End) {
        self.ended_by(end).inc();
    }

    pub(crate) fn count_bytes(&self, direction: Direction, bytes: u64) {
        self.bytes[direction as usize].inc_by(bytes);
    }

    fn refused_for(&self, refused: Refused) -> Counter {
        self.refused.get_or_create(&[("reason", refused.label())]).clone()
    }

    fn ended_by(&self, end: End) -> Counter {
        match end {
            End::Refused(refused) => self.refused_for(refused),
            other => self.ended.get_or_create(&[("reason", other.label())]).clone(),
        }
    }
}
