//! Istio's meshNetworks: which endpoints are on which network, and how it is entered.
//!
//! Precedence for an endpoint, as Istio implements it: the pod's label, the label of the cluster's
//! system namespace, the cluster's own entry in the mesh file or `fromRegistry`, `fromCidr`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use diolkos_topology::{ClusterId, NetworkId, Port, ServiceKey};
use ipnet::IpNet;

use crate::finding::Findings;
use crate::host::HostName;
use crate::mesh::ClusterEntry;
use crate::mesh_text::{GatewayText, NetworkText};
use crate::names;
use crate::text::{Field, at};

/// meshNetworks, resolved: whose word it is, and about which cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshNetworks {
    /// `fromCidr`, the narrowest first.
    pub ranges: Vec<(IpNet, NetworkId)>,
    /// Each gateway once per cluster it belongs to.
    pub gateways: Vec<MeshGateway>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshGateway {
    pub cluster: ClusterId,
    pub network: NetworkId,
    pub target: MeshGatewayTarget,
    pub port: Port,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeshGatewayTarget {
    Address(IpAddr),
    Host(HostName),
    Service(ServiceKey),
}

/// Cluster name -> network, by `fromRegistry`.
pub(crate) type Registries = BTreeMap<String, NetworkId>;

impl MeshNetworks {
    pub fn network_of(&self, address: IpAddr) -> Option<NetworkId> {
        let found = self.ranges.iter().find(|(range, _)| range.contains(&address));
        found.map(|(_, network)| network.clone())
    }
}

pub(crate) fn registries(
    networks: &BTreeMap<String, NetworkText>,
    fatal: &mut Findings,
) -> Registries {
    let mut registries = Registries::new();
    for (name, text) in networks {
        let Some(network) = network(name, fatal) else { continue };
        for (index, endpoints) in text.endpoints.iter().enumerate() {
            let Some(cluster) = &endpoints.from_registry else { continue };
            let before = registries.insert(cluster.clone(), network.clone());
            if let Some(before) = before.filter(|before| *before != network) {
                let cause = format!("cluster {cluster} is on {before} and on {network}");
                let field = at!["spec", "meshNetworks", name.as_str(), "endpoints", index];
                fatal.refuse(field, cause, "name it as fromRegistry of one network");
            }
        }
    }
    registries
}

fn network(name: &str, fatal: &mut Findings) -> Option<NetworkId> {
    let field = at!["spec", "meshNetworks", name];
    match NetworkId::new(name) {
        Ok(network) if network != NetworkId::unnamed() => return Some(network),
        Ok(_) => fatal.refuse(field, "a network without a name", "name it"),
        Err(error) => names::refuse_error(&error, field, "use letters, digits and '-'", fatal),
    }
    None
}

pub(crate) fn resolved(
    networks: &BTreeMap<String, NetworkText>,
    clusters: &[ClusterEntry],
    fatal: &mut Findings,
    notes: &mut Findings,
) -> MeshNetworks {
    let mut resolved = MeshNetworks::default();
    for (name, text) in networks {
        let Ok(network) = NetworkId::new(name) else { continue };
        let mut of_network: Vec<&ClusterId> = clusters
            .iter()
            .filter(|entry| entry.settings.network == network)
            .map(|entry| &entry.settings.cluster)
            .collect();
        for (index, endpoints) in text.endpoints.iter().enumerate() {
            let field = at!["spec", "meshNetworks", name.as_str(), "endpoints", index];
            match (&endpoints.from_cidr, &endpoints.from_registry) {
                (Some(text), None) => {
                    let field = [field, at!["fromCidr"]].concat();
                    resolved.ranges.extend(range(text, field, fatal).map(|r| (r, network.clone())));
                }
                (None, Some(cluster)) => {
                    let entry = clusters.iter().find(|e| e.settings.cluster.as_str() == cluster);
                    match entry {
                        Some(entry) if !of_network.contains(&&entry.settings.cluster) => {
                            of_network.push(&entry.settings.cluster);
                        }
                        Some(_) => {}
                        None => {
                            let cause = format!("no cluster is named {cluster}");
                            notes.warn(field, cause, "list it in spec.clusters or drop the line");
                        }
                    }
                }
                _ => {
                    fatal.refuse(field, "neither or both of fromCidr and fromRegistry", "give one");
                }
            }
        }
        for (index, gateway) in text.gateways.iter().enumerate() {
            let field = at!["spec", "meshNetworks", name.as_str(), "gateways", index];
            let Some((target, port)) = target(gateway, &field, fatal, notes) else { continue };
            if of_network.is_empty() {
                let cause = format!("no cluster is on network {name}, so the gateway is nobody's");
                notes.refuse(field, cause, "name its cluster by fromRegistry");
                continue;
            }
            resolved.gateways.extend(of_network.iter().map(|&cluster| MeshGateway {
                cluster: cluster.clone(),
                network: network.clone(),
                target: target.clone(),
                port,
            }));
        }
    }
    let narrowest = |(range, network): &(IpNet, NetworkId)| {
        (std::cmp::Reverse(range.prefix_len()), *range, network.clone())
    };
    resolved.ranges.sort_by_key(narrowest);
    resolved
}

fn target(
    text: &GatewayText,
    field: &Field,
    fatal: &mut Findings,
    notes: &mut Findings,
) -> Option<(MeshGatewayTarget, Port)> {
    let under = |key: &str| [field.as_slice(), &at![key]].concat();
    let port = names::port(text.port, under("port"), fatal)?;
    let target = match (&text.address, &text.registry_service_name) {
        (Some(address), None) => match address.parse::<IpAddr>() {
            Ok(address) => MeshGatewayTarget::Address(address.to_canonical()),
            Err(_) => match HostName::new(address) {
                Ok(host) => MeshGatewayTarget::Host(host),
                Err(cause) => {
                    let way_out = "give an IP address or a DNS name";
                    notes.refuse(under("address"), cause, way_out);
                    return None;
                }
            },
        },
        (None, Some(host)) => {
            let mut labels = host.split('.');
            let (name, namespace) = (labels.next(), labels.next());
            match ServiceKey::new(namespace.unwrap_or_default(), name.unwrap_or_default()) {
                Ok(key) => MeshGatewayTarget::Service(key),
                Err(error) => {
                    let way_out = "write it like eastwest.istio-system.svc.cluster.local";
                    names::refuse_error(&error, under("registryServiceName"), way_out, fatal);
                    return None;
                }
            }
        }
        _ => {
            let cause = "neither or both of address and registryServiceName";
            fatal.refuse(field.clone(), cause, "give one");
            return None;
        }
    };
    Some((target, port))
}

pub(crate) fn range(text: &str, field: Field, fatal: &mut Findings) -> Option<IpNet> {
    let parsed: Option<IpNet> = text.parse().ok();
    match parsed {
        Some(range) if range.trunc() == range => return Some(range),
        Some(range) => {
            let cause = format!("{text:?} has bits behind its prefix");
            fatal.refuse(field, cause, format!("write {}", range.trunc()));
        }
        None => {
            let cause = format!("{:?} is not a range of addresses", names::short(text));
            fatal.refuse(field, cause, "write it like 10.0.0.0/8");
        }
    }
    None
}
