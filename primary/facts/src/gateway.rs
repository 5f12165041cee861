//! Gateways: the addresses by which a network is entered.

use std::net::IpAddr;

use diolkos_topology::{GatewayFact, GatewayKey, GatewayName, NetworkId, Port, ServiceKey};

use crate::finding::Findings;
use crate::names;
use crate::node::NodeParts;
use crate::service::{HBONE_PORT, Reach, ServiceParts};
use crate::text::at;

/// Every way into `network` through this Service. `port` is the one that takes mTLS by SNI.
pub fn gateway_facts<'a>(
    service: &ServiceParts,
    network: &NetworkId,
    port: Port,
    nodes: impl Iterator<Item = &'a NodeParts>,
    findings: &mut Findings,
) -> Vec<GatewayFact> {
    let key = &service.fact.key;
    let reach = &service.reach;
    for hostname in &reach.hostnames {
        let cause = format!(
            "gateway {key} has the hostname {hostname}, and hostname gateways are not resolved yet"
        );
        findings.refuse(at![], cause, "give an IP address");
    }
    let listed = |port: Port| reach.ports.iter().find(|(number, _)| *number == port);
    let hbone = Port::new(HBONE_PORT).ok().and_then(|port| listed(port).copied());
    let sni = listed(port).copied();
    if sni.is_none() && hbone.is_none() {
        let cause = format!("gateway {key} lists neither port {port} nor {HBONE_PORT}");
        let way_out = format!(
            "add the port to spec.ports, or label the one it has with {}",
            names::GATEWAY_PORT_LABEL
        );
        findings.refuse(at![], cause, way_out);
        return Vec::new();
    }
    let Some(name) = gateway_name(key, findings) else {
        return Vec::new();
    };
    let fact = |address: IpAddr, on_node: bool| {
        let pick = |(number, node): (Port, Option<Port>)| if on_node { node } else { Some(number) };
        GatewayFact {
            key: GatewayKey { namespace: key.namespace.clone(), name: name.clone(), address },
            network: network.clone(),
            sni_port: sni.and_then(pick),
            hbone_port: hbone.and_then(pick),
        }
    };
    let mut facts: Vec<_> = reach.addresses.iter().map(|&address| fact(address, false)).collect();
    if facts.is_empty() && reach.on_nodes {
        facts = node_addresses(reach, nodes).into_iter().map(|a| fact(a, true)).collect();
        facts.retain(|fact| fact.sni_port.is_some() || fact.hbone_port.is_some());
    }
    if facts.is_empty() && reach.hostnames.is_empty() {
        refuse_unreachable(key, reach, findings);
    }
    facts
}

fn refuse_unreachable(key: &ServiceKey, reach: &Reach, findings: &mut Findings) {
    let cause = format!("gateway {key} has no address");
    let way_out = if reach.on_nodes {
        "give its ports a nodePort and the folder Nodes with addresses, or set spec.externalIPs"
    } else {
        "set spec.externalIPs or wait for the load balancer"
    };
    findings.refuse(at![], cause, way_out);
}

fn gateway_name(key: &ServiceKey, findings: &mut Findings) -> Option<GatewayName> {
    GatewayName::new(key.name.as_str())
        .map_err(|error| {
            names::refuse_error(&error, at!["metadata", "name"], "rename it", findings);
        })
        .ok()
}

/// A node's external addresses; where it has none, its internal ones.
fn node_addresses<'a>(reach: &Reach, nodes: impl Iterator<Item = &'a NodeParts>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for node in nodes {
        let wanted = |(name, value): (&String, &String)| node.labels.get(name) == Some(value);
        if !reach.node_selector.iter().all(wanted) {
            continue;
        }
        let of_node = if node.external.is_empty() { &node.internal } else { &node.external };
        addresses.extend(of_node);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
