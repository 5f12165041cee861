//! Gateways: the addresses by which a network is entered, and who may say so first.
//!
//! Three kinds of objects name gateways: a Service by its label, meshNetworks, and a Gateway of
//! the Gateway API. All of them count; only where two kinds speak of one address of one network,
//! the first of the three says which port it is.
//!
//! A Service that has the port for it is its cluster's way out as well, by its cluster IPs; only
//! while somebody is ready behind it, for whoever is sent there has no other way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use diolkos_topology::{
    FactKey, GatewayFact, GatewayKey, GatewayName, Health, Namespace, NetworkId, Port, ServiceKey,
};

use crate::finding::Findings;
use crate::gateway_api::GatewayParts;
use crate::host::HostName;
use crate::mesh::{MeshGateway, MeshGatewayTarget};
use crate::names;
use crate::node::{NodeParts, SYSTEM_NAMESPACES};
use crate::service::{EGRESS_PORT, HBONE_PORT, Reach, ServiceParts};
use crate::slice::SliceParts;
use crate::text::at;

/// What is known of the names that gateways are called by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostNames {
    /// Nobody resolves them, so a gateway by name is refused.
    #[default]
    Refused,
    /// Last good addresses, and what went wrong since.
    Resolved(BTreeMap<HostName, Resolved>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    pub addresses: Vec<IpAddr>,
    pub trouble: Option<String>,
}

/// Who names a gateway, the one that goes first at the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Label,
    MeshNetworks,
    GatewayApi,
}

/// All ways into networks that one object names.
struct Entrance {
    rank: Rank,
    namespace: Namespace,
    name: GatewayName,
    network: NetworkId,
    doors: Vec<Door>,
}

struct Door {
    address: IpAddr,
    sni: Option<Port>,
    hbone: Option<Port>,
    egress: Option<Port>,
}

/// The gateways of one cluster, as they are added, the first kind first.
pub(crate) struct Gateways<'a> {
    names: &'a HostNames,
    nodes: &'a dyn Fn() -> Vec<&'a NodeParts>,
    slices: &'a dyn Fn(&ServiceKey) -> Vec<&'a SliceParts>,
    entrances: Vec<Entrance>,
    wanted: BTreeSet<HostName>,
}

impl<'a> Gateways<'a> {
    pub(crate) fn new(
        names: &'a HostNames,
        nodes: &'a dyn Fn() -> Vec<&'a NodeParts>,
        slices: &'a dyn Fn(&ServiceKey) -> Vec<&'a SliceParts>,
    ) -> Self {
        Self { names, nodes, slices, entrances: Vec::new(), wanted: BTreeSet::new() }
    }

    /// A Service with the label.
    pub(crate) fn labelled(&mut self, service: &ServiceParts, findings: &mut Findings) {
        if let Some(label) = &service.gateway {
            self.service(Rank::Label, service, &label.network, label.port, findings);
        }
    }

    /// A Service that meshNetworks names. With the label, the label was heard already.
    pub(crate) fn registered(
        &mut self,
        gateway: &MeshGateway,
        service: &ServiceParts,
        findings: &mut Findings,
    ) {
        if service.gateway.is_none() {
            self.service(Rank::MeshNetworks, service, &gateway.network, gateway.port, findings);
        }
    }

    /// An address or a name in meshNetworks.
    pub(crate) fn addressed(&mut self, gateway: &MeshGateway, findings: &mut Findings) {
        let addresses = match &gateway.target {
            MeshGatewayTarget::Address(address) => vec![*address],
            MeshGatewayTarget::Host(host) => {
                let of = format!("network {}", gateway.network);
                self.resolved(&of, std::slice::from_ref(host), findings)
            }
            MeshGatewayTarget::Service(_) => return,
        };
        // Named after its network, in the namespace that speaks for the cluster.
        let namespace = Namespace::new(SYSTEM_NAMESPACES[0]).ok();
        let name = GatewayName::new(gateway.network.as_str()).ok();
        let (Some(namespace), Some(name)) = (namespace, name) else { return };
        let hbone = gateway.port.get() == HBONE_PORT;
        let door = |address| Door {
            address,
            sni: (!hbone).then_some(gateway.port),
            hbone: hbone.then_some(gateway.port),
            egress: None,
        };
        self.entrances.push(Entrance {
            rank: Rank::MeshNetworks,
            namespace,
            name,
            network: gateway.network.clone(),
            doors: addresses.into_iter().map(door).collect(),
        });
    }

    pub(crate) fn by_api(&mut self, gateway: &GatewayParts, findings: &mut Findings) {
        let of = format!("gateway {}/{}", gateway.namespace, gateway.name);
        let mut addresses = gateway.addresses.clone();
        addresses.extend(self.resolved(&of, &gateway.hosts, findings));
        let (sni, hbone) = (gateway.sni, gateway.hbone);
        let door = |address| Door { address, sni, hbone, egress: None };
        self.entrances.push(Entrance {
            rank: Rank::GatewayApi,
            namespace: gateway.namespace.clone(),
            name: gateway.name.clone(),
            network: gateway.network.clone(),
            doors: addresses.into_iter().map(door).collect(),
        });
    }

    /// The facts, and the names that have to be resolved for them.
    pub(crate) fn facts(self) -> (BTreeMap<FactKey, GatewayFact>, BTreeSet<HostName>) {
        let mut first: BTreeMap<(NetworkId, IpAddr, bool), Rank> = BTreeMap::new();
        for entrance in &self.entrances {
            for door in &entrance.doors {
                for (hbone, port) in [(false, door.sni), (true, door.hbone)] {
                    if port.is_some() {
                        let place = (entrance.network.clone(), door.address, hbone);
                        let rank = first.entry(place).or_insert(entrance.rank);
                        *rank = entrance.rank.min(*rank);
                    }
                }
            }
        }
        let mut facts = BTreeMap::new();
        for entrance in self.entrances {
            for door in entrance.doors {
                let counts = |hbone: bool, port: Option<Port>| {
                    let place = (entrance.network.clone(), door.address, hbone);
                    port.filter(|_| first.get(&place) == Some(&entrance.rank))
                };
                let (namespace, name) = (entrance.namespace.clone(), entrance.name.clone());
                let fact = GatewayFact {
                    key: GatewayKey { namespace, name, address: door.address },
                    network: entrance.network.clone(),
                    sni_port: counts(false, door.sni),
                    hbone_port: counts(true, door.hbone),
                    egress_port: door.egress,
                };
                let ports = [fact.sni_port, fact.hbone_port, fact.egress_port];
                if ports.iter().any(Option::is_some) {
                    facts.entry(FactKey::Gateway(fact.key.clone())).or_insert(fact);
                }
            }
        }
        (facts, self.wanted)
    }

    /// Every way into `network` through this Service, and out of it. `port` is the one that takes mTLS by SNI.
    fn service(
        &mut self,
        rank: Rank,
        service: &ServiceParts,
        network: &NetworkId,
        port: Port,
        findings: &mut Findings,
    ) {
        let key = &service.fact.key;
        let reach = &service.reach;
        let mut addresses = reach.addresses.clone();
        addresses.extend(self.resolved(&format!("gateway {key}"), &reach.hosts, findings));
        let listed = |port: Port| reach.ports.iter().find(|(number, _)| *number == port);
        let hbone = Port::new(HBONE_PORT).ok().and_then(|port| listed(port).copied());
        let sni = listed(port).copied();
        let egress = Port::new(EGRESS_PORT).ok().filter(|port| listed(*port).is_some());
        let entered = sni.is_some() || hbone.is_some();
        if !entered && egress.is_none() {
            refuse_ports(key, port, findings);
            return;
        }
        let Some(name) = gateway_name(key, findings) else { return };
        let door = |address: IpAddr, on_node: bool| {
            let pick =
                |(number, node): (Port, Option<Port>)| if on_node { node } else { Some(number) };
            let (sni, hbone) = (sni.and_then(pick), hbone.and_then(pick));
            Door { address, sni, hbone, egress: None }
        };
        let addresses = addresses.into_iter().filter(|_| entered);
        let mut doors: Vec<_> = addresses.map(|at| door(at, false)).collect();
        if doors.is_empty() && entered && reach.on_nodes {
            let nodes = node_addresses(reach, (self.nodes)());
            doors = nodes.into_iter().map(|at| door(at, true)).collect();
            doors.retain(|door| door.sni.is_some() || door.hbone.is_some());
        }
        if doors.is_empty() && entered && reach.hosts.is_empty() {
            refuse_unreachable(key, reach, findings);
        }
        if let Some(port) = egress {
            self.ways_out(service, port, &mut doors, findings);
        }
        let (namespace, network) = (key.namespace.clone(), network.clone());
        self.entrances.push(Entrance { rank, namespace, name, network, doors });
    }

    fn ways_out(
        &self,
        service: &ServiceParts,
        port: Port,
        doors: &mut Vec<Door>,
        findings: &mut Findings,
    ) {
        let fact = &service.fact;
        if fact.vips.is_empty() {
            let cause = format!("{} has port {port} and no cluster IP to be left by", fact.key);
            findings.refuse(at!["spec", "clusterIP"], cause, "give it one; headless it has none");
            return;
        }
        let name = fact.ports.iter().find(|known| known.port == port).map(|known| &known.name);
        let is_open = |slice: &&SliceParts| {
            let named = slice.ports.iter().any(|(known, _)| Some(known) == name);
            named && slice.endpoints.iter().any(|one| one.health == Health::Ready)
        };
        if !(self.slices)(&fact.key).iter().any(is_open) {
            let cause = format!("{} is no way out yet: nobody is ready at port {port}", fact.key);
            let way_out =
                "start gateways with --egress behind it; clients go without it until then";
            findings.warn(at!["spec", "ports"], cause, way_out);
            return;
        }
        for &address in &fact.vips {
            match doors.iter_mut().find(|door| door.address == address) {
                Some(door) => door.egress = Some(port),
                None => {
                    doors.push(Door { address, sni: None, hbone: None, egress: Some(port) });
                }
            }
        }
    }

    fn resolved(&mut self, of: &str, hosts: &[HostName], findings: &mut Findings) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for host in hosts {
            let HostNames::Resolved(known) = self.names else {
                let cause =
                    format!("{of} has the hostname {host}, and names are not resolved here");
                findings.refuse(at![], cause, "give an IP address");
                continue;
            };
            self.wanted.insert(host.clone());
            let Some(known) = known.get(host) else { continue };
            addresses.extend_from_slice(&known.addresses);
            if let Some(trouble) = &known.trouble {
                let outcome = match known.addresses.is_empty() {
                    true => "it has no address yet",
                    false => "the addresses it had last count",
                };
                let cause = format!("{of} has the hostname {host}: {trouble}; {outcome}");
                findings.warn(at![], cause, "correct the name or the DNS; it is asked for again");
            }
        }
        addresses
    }
}

fn refuse_ports(key: &ServiceKey, port: Port, findings: &mut Findings) {
    let cause = format!("gateway {key} lists neither port {port} nor {HBONE_PORT}");
    let way_out = format!(
        "add the port to spec.ports, or label the one it has with {}",
        names::GATEWAY_PORT_LABEL
    );
    findings.refuse(at![], cause, way_out);
}

fn refuse_unreachable(key: &ServiceKey, reach: &Reach, findings: &mut Findings) {
    let cause = format!("gateway {key} has no address");
    let way_out = if reach.on_nodes {
        "give its ports a nodePort and the cluster Nodes with addresses, or set spec.externalIPs"
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
fn node_addresses(reach: &Reach, nodes: Vec<&NodeParts>) -> Vec<IpAddr> {
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
