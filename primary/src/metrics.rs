//! What a primary counts. Labels come from closed enums, or are names of clusters as the operator
//! gave them; none comes from the wire.

mod clusters;

use std::sync::Arc;

use diolkos_ops::metrics::{
    Counter, Family, Gauge, Histogram, Labels, Registry, exponential_buckets,
};
use diolkos_xds::ResourceType;

pub(crate) use clusters::ClusterMetrics;

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) streams: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) notices: Counter,
    pub(crate) rejections: Counter,
    pub(crate) denied: Counter,
    pub(crate) stalled: Counter,
    pub(crate) bytes: Counter,
    pub(crate) clusters: ClusterMetrics,
    /// Seconds from a source's word to the frame of one client.
    pub(crate) convergence: Histogram,
    /// In the order of `ResourceType::ORDER`, looked up once.
    pushes: [Counter; 4],
    nacks: [Counter; 4],
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Arc<Self> {
        let pushes = Family::<Labels<1>, Counter>::default();
        let nacks = Family::<Labels<1>, Counter>::default();
        let metrics = Self {
            streams: Gauge::default(),
            connections: Gauge::default(),
            notices: Counter::default(),
            rejections: Counter::default(),
            denied: Counter::default(),
            stalled: Counter::default(),
            bytes: Counter::default(),
            clusters: ClusterMetrics::new(registry),
            convergence: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            pushes: of_each_type(&pushes),
            nacks: of_each_type(&nacks),
        };
        registry.register("xds_streams", "Open streams", metrics.streams.clone());
        registry.register("xds_connections", "Open connections", metrics.connections.clone());
        registry.register("xds_pushes", "Responses sent", pushes);
        registry.register("xds_nacks", "Responses that clients refused", nacks);
        registry.register("xds_bytes", "Bytes of responses", metrics.bytes.clone());
        registry.register("xds_denied", "Streams refused", metrics.denied.clone());
        registry.register(
            "xds_stalled",
            "Connections cut because the client did not read or answer",
            metrics.stalled.clone(),
        );
        registry.register("notices", "Notices of the federation", metrics.notices.clone());
        registry.register(
            "rejections",
            "Parts of manifests that were refused or warned of",
            metrics.rejections.clone(),
        );
        registry.register(
            "convergence_seconds",
            "From a change of facts to a client's frame",
            metrics.convergence.clone(),
        );
        Arc::new(metrics)
    }

    pub(crate) fn pushed(&self, kind: ResourceType, bytes: usize) {
        self.pushes[index(kind)].inc();
        self.bytes.inc_by(bytes as u64);
    }

    pub(crate) fn nacked(&self, kind: ResourceType) {
        self.nacks[index(kind)].inc();
    }
}

pub(crate) fn index(kind: ResourceType) -> usize {
    match kind {
        ResourceType::Cluster => 0,
        ResourceType::Endpoint => 1,
        ResourceType::Listener => 2,
        ResourceType::Route => 3,
    }
}

fn of_each_type(family: &Family<Labels<1>, Counter>) -> [Counter; 4] {
    ["cds", "eds", "lds", "rds"].map(|r#type| family.get_or_create_owned(&[("type", r#type)]))
}
