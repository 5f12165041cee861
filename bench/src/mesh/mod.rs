//! A mesh from a seed: the same shape and seed give the same events.
//!
//! Addresses, pod names and nodes are unique; each service has workloads of its own, named after a
//! hash, and draws its service accounts from a dozen of its namespace. Services have the same names
//! in every cluster, and all are exported. A cluster has a network of its own with two gateways,
//! but every tenth shares that of the one before; it spans three zones of one of four regions.
//!
//! Nothing of a fact is shared with another or with the generator, as when it was just parsed:
//! whatever the federation keeps is counted as its own.

mod cluster;
pub(crate) mod copy;
pub(crate) mod manifest;
#[cfg(test)]
mod tests;

use anyhow::ensure;
use diolkos_topology::{
    Audience, ClientKind, ClusterId, ClusterSettings, Event, ExportMode, Generation, Grants,
    IpFamilies, Locality, MeshSettings, NetworkId, ServiceKey, Source,
};
use diolkos_trust::TrustDomain;
use serde::Serialize;

pub(crate) use cluster::Cluster;

pub(crate) const TRUST_DOMAIN: &str = "bench.example";
pub(crate) const ZONES: [&str; 3] = ["a", "b", "c"];
pub(crate) const ENDPOINTS_PER_SLICE: usize = 100;
const REGIONS: usize = 4;
const SERVICES_PER_NAMESPACE: usize = 50;
const SHARING_EVERY: usize = 10;
/// One /16 each.
const CLUSTERS_MAX: usize = 250;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shape {
    pub(crate) clusters: usize,
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Mesh {
    pub(crate) shape: Shape,
}

impl Mesh {
    pub(crate) fn new(shape: Shape) -> anyhow::Result<Self> {
        ensure!((1..=CLUSTERS_MAX).contains(&shape.clusters), "1 to {CLUSTERS_MAX} clusters");
        ensure!((1..=5_000).contains(&shape.services), "1 to 5000 services a cluster");
        ensure!(shape.endpoints <= 10_000, "at most 10000 endpoints a service and cluster");
        let endpoints = shape.services * shape.endpoints;
        ensure!(endpoints <= 50_000, "{endpoints} endpoints in a cluster, at most 50000");
        Ok(Self { shape })
    }

    pub(crate) fn endpoints(&self) -> usize {
        self.shape.clusters * self.shape.services * self.shape.endpoints
    }

    /// The operator's words: the mesh, and each cluster by name.
    pub(crate) fn declare(&self) -> Vec<Event> {
        let settings = MeshSettings { export: ExportMode::Listed, ..MeshSettings::default() };
        let mut events = vec![Event::Mesh(settings)];
        for index in 0..self.shape.clusters {
            events.push(Event::Cluster(ClusterSettings {
                cluster: self.cluster_id(index),
                trust_domain: TrustDomain::new(TRUST_DOMAIN).expect("a constant"),
                network: self.network(index),
                addresses: Vec::new(),
                grants: Grants::everything(),
            }));
            events.push(Event::Activate { source: self.source(index) });
        }
        events
    }

    pub(crate) fn cluster(&self, index: usize) -> Cluster {
        Cluster::new(*self, index)
    }

    pub(crate) fn source(&self, index: usize) -> Source {
        Source { cluster: self.cluster_id(index), generation: Generation(1) }
    }

    pub(crate) fn cluster_id(&self, index: usize) -> ClusterId {
        ClusterId::new(&cluster_name(index)).expect("letters and digits")
    }

    pub(crate) fn network(&self, index: usize) -> NetworkId {
        NetworkId::new(&network_name(index)).expect("letters and digits")
    }

    pub(crate) fn service(&self, index: usize) -> ServiceKey {
        ServiceKey::new(&namespace(index), &format!("svc-{index:04}")).expect("letters and digits")
    }

    /// The `index`th of many different audiences in one cluster.
    pub(crate) fn audience(&self, kind: ClientKind, cluster: usize, index: usize) -> Audience {
        let locality = match index.checked_sub(ZONES.len()) {
            None => Locality::new(&region(cluster), &zone(cluster, index)),
            Some(beyond) => Locality::new(&region(cluster), &format!("edge-{beyond}")),
        };
        Audience {
            kind,
            cluster: self.cluster_id(cluster),
            network: self.network(cluster),
            locality,
            families: IpFamilies::V4,
        }
    }
}

pub(crate) fn cluster_name(index: usize) -> String {
    format!("cluster-{index:03}")
}

pub(crate) fn network_name(cluster: usize) -> String {
    let shares = cluster % SHARING_EVERY == SHARING_EVERY - 1;
    format!("network-{:03}", if shares { cluster - 1 } else { cluster })
}

pub(crate) fn region(cluster: usize) -> String {
    format!("region-{}", cluster % REGIONS)
}

pub(crate) fn zone(cluster: usize, index: usize) -> String {
    format!("region-{}{}", cluster % REGIONS, ZONES[index % ZONES.len()])
}

fn namespace(service: usize) -> String {
    format!("team-{:02}", service / SERVICES_PER_NAMESPACE)
}
