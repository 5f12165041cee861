//! Endpoints of a service port, as a ClusterLoadAssignment that Envoy and gRPC both accept: always
//! a locality and a weight, one entry per locality and priority, no gap in the priorities, no
//! address twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use diolkos_topology::{ClientKind, Locality, Mtls, ServicePort, ViewEndpoint, ViewGateway};
use diolkos_trust::SpiffeId;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::{Struct, UInt32Value};

use super::wire::{address, one_field, uint};

/// What a view says of the endpoints of one service port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) local: BTreeMap<SocketAddr, Arc<ViewEndpoint>>,
    pub(crate) gateways: BTreeMap<SocketAddr, Arc<ViewGateway>>,
    /// What an mTLS endpoint may show. None known means no such endpoint, never "any".
    pub(crate) identities: Arc<[SpiffeId]>,
}

impl Endpoints {
    pub(crate) fn any_mtls(&self) -> bool {
        self.local.values().any(|endpoint| endpoint.mtls == Mtls::Istio)
    }
}

/// Envoy's message with an ordered map in the metadata: the generated one is a hash map, whose
/// bytes, and so the resource's version, would differ from one run to the next.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Assignment {
    #[prost(string, tag = "1")]
    cluster_name: String,
    #[prost(message, repeated, tag = "2")]
    endpoints: Vec<LocalityEndpoints>,
}

impl prost::Name for Assignment {
    const NAME: &'static str = "ClusterLoadAssignment";
    const PACKAGE: &'static str = "envoy.config.endpoint.v3";
}

#[derive(Clone, PartialEq, prost::Message)]
struct LocalityEndpoints {
    #[prost(message, optional, tag = "1")]
    locality: Option<core::Locality>,
    #[prost(message, repeated, tag = "2")]
    lb_endpoints: Vec<LbEndpoint>,
    #[prost(message, optional, tag = "3")]
    load_balancing_weight: Option<UInt32Value>,
    #[prost(uint32, tag = "5")]
    priority: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LbEndpoint {
    #[prost(message, optional, tag = "1")]
    endpoint: Option<Endpoint>,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Metadata>,
    #[prost(message, optional, tag = "4")]
    load_balancing_weight: Option<UInt32Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Endpoint {
    #[prost(message, optional, tag = "1")]
    address: Option<core::Address>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    filter_metadata: BTreeMap<String, Struct>,
}

pub(crate) fn assignment(
    kind: ClientKind,
    cluster_name: &str,
    port: &ServicePort,
    endpoints: &Endpoints,
) -> Assignment {
    let entries = eligible(kind, port, endpoints);
    let weights = weights(&entries);
    let mut groups: BTreeMap<(u8, &Locality), Vec<LbEndpoint>> = BTreeMap::new();
    for ((at, entry), weight) in entries.iter().zip(weights) {
        let group = groups.entry((entry.priority, entry.locality)).or_default();
        group.push(lb_endpoint(*at, entry, weight));
    }
    let mut priorities: Vec<u8> = groups.keys().map(|(priority, _)| *priority).collect();
    priorities.dedup();
    let endpoints = groups
        .into_iter()
        .map(|((priority, locality), lb_endpoints)| LocalityEndpoints {
            locality: Some(core::Locality {
                region: locality.region.to_string(),
                zone: locality.zone.to_string(),
                ..Default::default()
            }),
            load_balancing_weight: uint(
                lb_endpoints
                    .iter()
                    .filter_map(|one| one.load_balancing_weight)
                    .map(|w| w.value)
                    .sum(),
            ),
            lb_endpoints,
            priority: priorities.partition_point(|&p| p < priority) as u32,
        })
        .collect();
    Assignment { cluster_name: cluster_name.into(), endpoints }
}

#[derive(Debug)]
struct Entry<'a> {
    priority: u8,
    locality: &'a Locality,
    mtls: Mtls,
    /// Istio's `istio.workload` metadata.
    workload: String,
    weight: u64,
}

/// Who may be dialed by this kind of client. A local endpoint wins over a gateway of its address,
/// even where it is not eligible itself.
fn eligible<'a>(
    kind: ClientKind,
    port: &ServicePort,
    endpoints: &'a Endpoints,
) -> BTreeMap<SocketAddr, Entry<'a>> {
    let mut entries = BTreeMap::new();
    let by_gateway = match kind {
        // Whom it carries to verifies them, end to end.
        ClientKind::Egress => true,
        ClientKind::Sidecar => !endpoints.identities.is_empty(),
        ClientKind::Gateway | ClientKind::Grpc => false,
    };
    if by_gateway {
        for (at, gateway) in &endpoints.gateways {
            let entry = Entry {
                priority: gateway.priority,
                locality: &gateway.locality,
                mtls: Mtls::Istio,
                workload: format!(";;;;{}", gateway.cluster),
                weight: gateway.weight,
            };
            entries.insert(*at, entry);
        }
    }
    let any_mtls = endpoints.any_mtls();
    for (at, endpoint) in &endpoints.local {
        entries.remove(at);
        let served = match (kind, endpoint.mtls) {
            (ClientKind::Egress, _) => false,
            // It verifies nobody: the client and the server do, end to end.
            (ClientKind::Gateway, mtls) => mtls == Mtls::Istio,
            (_, Mtls::Istio) => !endpoints.identities.is_empty(),
            (ClientKind::Grpc, Mtls::Plaintext) => !any_mtls,
            (ClientKind::Sidecar, Mtls::Plaintext) => true,
        };
        if !served {
            continue;
        }
        let workload = &endpoint.workload;
        let entry = Entry {
            priority: endpoint.priority,
            locality: &endpoint.locality,
            mtls: endpoint.mtls,
            workload: format!(
                "{};{};{};{};{}",
                workload.name,
                port.service.namespace,
                workload.canonical_name,
                workload.canonical_revision,
                endpoint.cluster
            ),
            weight: endpoint.weight,
        };
        entries.insert(*at, entry);
    }
    entries
}

/// As exact as 32 bits allow: divided by what all have in common, and scaled down only where a
/// priority's sum would not fit (both Envoy and gRPC refuse such a sum).
fn weights(entries: &BTreeMap<SocketAddr, Entry<'_>>) -> Vec<u32> {
    let common = entries.values().fold(0, |common, entry| gcd(common, entry.weight)).max(1);
    let mut sums: BTreeMap<u8, (u128, u128)> = BTreeMap::new();
    for entry in entries.values() {
        let (sum, count) = sums.entry(entry.priority).or_default();
        *sum += u128::from((entry.weight / common).max(1));
        *count += 1;
    }
    let sum_max = sums.values().map(|(sum, _)| *sum).max().unwrap_or(0);
    // Room for every weight that is raised to 1.
    let count_max = sums.values().map(|(_, count)| *count).max().unwrap_or(0);
    let fits = u128::from(u32::MAX);
    let scaled = |weight: u64| {
        let weight = u128::from((weight / common).max(1));
        if sum_max <= fits { weight } else { (weight * (fits - count_max) / sum_max).max(1) }
    };
    entries.values().map(|entry| u32::try_from(scaled(entry.weight)).unwrap_or(u32::MAX)).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn lb_endpoint(at: SocketAddr, entry: &Entry<'_>, weight: u32) -> LbEndpoint {
    let mut filter_metadata = BTreeMap::new();
    filter_metadata.insert("istio".to_owned(), one_field("workload", &entry.workload));
    if entry.mtls == Mtls::Istio {
        filter_metadata
            .insert("envoy.transport_socket_match".to_owned(), one_field("tlsMode", "istio"));
    }
    LbEndpoint {
        endpoint: Some(Endpoint { address: Some(address(at)) }),
        metadata: Some(Metadata { filter_metadata }),
        load_balancing_weight: uint(weight),
    }
}

#[cfg(test)]
#[path = "assignment_tests.rs"]
mod tests;
