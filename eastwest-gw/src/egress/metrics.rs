//! What is counted of the way out, beside what counts for every connection. Every label is there
//! from the start.

use diolkos_ops::metrics::{Counter, Family, Gauge, Labels, Registry};

use super::Fault;

#[derive(Clone, Debug)]
pub struct EgressMetrics {
    pub tunnels: Gauge,
    /// To gateways of other networks.
    pub connections: Gauge,
    pub opened: Counter,
    pub routes: Gauge,
    pub xds_connected: Gauge,
    failures: Family<Labels<1>, Counter>,
}

impl EgressMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            tunnels: Gauge::default(),
            connections: Gauge::default(),
            opened: Counter::default(),
            routes: Gauge::default(),
            xds_connected: Gauge::default(),
            failures: Family::default(),
        };
        Fault::ALL.into_iter().for_each(|fault| drop(metrics.of(fault)));
        let mut add = |name: &str, help, metric: &Gauge| {
            registry.register(&format!("gateway_egress_{name}"), help, metric.clone());
        };
        add("tunnels", "Tunnels out now", &metrics.tunnels);
        add("connections", "Connections to gateways of other networks", &metrics.connections);
        add("routes", "Routes out in the table", &metrics.routes);
        add("xds_connected", "1 while told of routes out", &metrics.xds_connected);
        let (opened, failures) = (metrics.opened.clone(), metrics.failures.clone());
        registry.register("gateway_egress_opened", "Tunnels out opened", opened);
        registry.register("gateway_egress_failures", "Attempts without a tunnel", failures);
        metrics
    }

    /// How often, since the start.
    pub fn failures(&self, fault: Fault) -> u64 {
        self.of(fault).get()
    }

    pub(super) fn failed(&self, fault: Fault) {
        self.of(fault).inc();
    }

    fn of(&self, fault: Fault) -> Counter {
        self.failures.get_or_create(&[("reason", fault.label())]).clone()
    }
}
