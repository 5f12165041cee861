//! Nodes and namespaces: where things run, and on which network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use diolkos_topology::{Locality, Namespace, NamespaceFact, NodeFact, NodeName};
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Node, NodeStatus};

use crate::finding::Findings;
use crate::names;
use crate::text::at;

/// What one Node says. Its labels select the nodes of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeParts {
    pub fact: NodeFact,
    pub external: Vec<IpAddr>,
    pub internal: Vec<IpAddr>,
    pub labels: BTreeMap<String, String>,
}

/// The namespaces whose network label speaks for a cluster. The first that has one wins.
pub const SYSTEM_NAMESPACES: [&str; 2] = ["diolkos-system", "istio-system"];

pub fn node_parts(object: &Node, findings: &mut Findings) -> Option<NodeParts> {
    let meta = &object.metadata;
    let name = names::name_text(meta, findings)?;
    let name = names::checked(name, true, NodeName::new, at!["metadata", "name"], findings)?;
    let label = |names: [&str; 2]| {
        names.into_iter().find_map(|name| names::label(meta, name)).unwrap_or_default()
    };
    let region =
        label(["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"]);
    let zone = label(["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"]);
    let fact = NodeFact { name, locality: Locality::new(region, zone) };
    let [external, internal] = node_addresses(object.status.as_ref(), findings);
    let labels = meta.labels.clone().unwrap_or_default();
    Some(NodeParts { fact, external, internal, labels })
}

fn node_addresses(status: Option<&NodeStatus>, findings: &mut Findings) -> [Vec<IpAddr>; 2] {
    let [mut external, mut internal] = [Vec::new(), Vec::new()];
    let list = status.and_then(|status| status.addresses.as_ref());
    for (index, address) in list.into_iter().flatten().enumerate() {
        let kind = match address.type_.as_str() {
            "ExternalIP" => &mut external,
            "InternalIP" => &mut internal,
            _ => continue,
        };
        let field = at!["status", "addresses", index, "address"];
        kind.extend(names::address(&address.address, field, findings));
    }
    [external, internal]
}

/// `None` for a namespace that says nothing of networks, or is no system namespace.
pub fn namespace_fact(object: &NamespaceObject, findings: &mut Findings) -> Option<NamespaceFact> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    if !name.is_empty() && !SYSTEM_NAMESPACES.contains(&name) {
        return None;
    }
    namespace_network(object, findings)
}

/// The same of any namespace: whoever asks knows which is the system's.
pub fn namespace_network(
    object: &NamespaceObject,
    findings: &mut Findings,
) -> Option<NamespaceFact> {
    let meta = &object.metadata;
    let name = names::name_text(meta, findings)?;
    let name = names::checked(name, false, Namespace::new, at!["metadata", "name"], findings)?;
    let network = names::network_label(meta, findings).ok()??;
    Some(NamespaceFact { name, network: Some(network) })
}
