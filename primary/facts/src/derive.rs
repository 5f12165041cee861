//! All files of a cluster taken together: endpoints meet their pods, gateways their nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use diolkos_topology::{Fact, NamespaceFact, NetworkId, ServiceKey};
use diolkos_trust::TrustDomain;

use crate::finding::Findings;
use crate::folder::{Derived, Document, Folder};
use crate::gateway::Gateways;
use crate::mesh::{MeshGateway, MeshGatewayTarget};
use crate::node::{NodeParts, SYSTEM_NAMESPACES};
use crate::object::{Object, ObjectKey};
use crate::peer::PeerPolicies;
use crate::pod::{PodEntry, PodKey};
use crate::rejection::{Rejection, Severity};
use crate::slice::{SliceParts, Surroundings, UnknownPods};

pub(crate) fn derive(folder: &Folder) -> Derived {
    let mut derived = Derived::default();
    for file in folder.files.values() {
        derived.rejections.extend(file.rejections.iter().cloned());
    }
    let objects = unique(folder, &mut derived.rejections);
    let mut policies = PeerPolicies::default();
    for placed in &objects {
        if let Object::Peer(policy) = &placed.document.object {
            policies.insert(policy.clone());
        }
    }
    for placed in &objects {
        if let Object::Pod(pod) = &placed.document.object {
            let modes = policies.modes(&pod.namespace, &pod.labels);
            derived.pods.insert(pod.key(), PodEntry { modes, ..pod.entry.clone() });
        }
    }
    let namespace = system_namespace(&objects);
    let mut all = Joined {
        folder,
        named: namespace.is_some() || folder.settings.network != NetworkId::unnamed(),
        derived: &mut derived,
    };
    all.derived.say(namespace.map(Fact::Namespace));
    for placed in &objects {
        all.object(placed);
    }
    gateways(folder, &objects, &mut derived);
    derived.rejections.sort();
    derived.rejections.dedup();
    derived
}

/// A document and its file.
#[derive(Clone, Copy)]
struct Placed<'a> {
    file: &'a str,
    document: &'a Document,
}

impl Placed<'_> {
    fn reject(&self, findings: Findings, rejections: &mut Vec<Rejection>) {
        rejections.extend(findings.0.into_iter().map(|finding| Rejection {
            file: self.file.into(),
            line: self.document.line,
            object: Some(self.document.key.to_string()),
            cause: finding.cause,
            way_out: finding.way_out,
            severity: finding.severity,
        }));
    }
}

/// Of two documents about one object, the first by file and line counts.
fn unique<'a>(folder: &'a Folder, rejections: &mut Vec<Rejection>) -> Vec<Placed<'a>> {
    let mut seen: BTreeMap<&ObjectKey, Placed<'_>> = BTreeMap::new();
    let mut objects = Vec::new();
    for (file, content) in &folder.files {
        for document in &content.documents {
            let placed = Placed { file, document };
            let Some(first) = seen.get(&document.key) else {
                seen.insert(&document.key, placed);
                objects.push(placed);
                continue;
            };
            let mut findings = Findings::default();
            let differs = port_conflict(&first.document.object, &document.object);
            let cause = format!("also in {}:{}{differs}", first.file, first.document.line);
            findings.refuse(Vec::new(), cause, "keep one of them; the first counts");
            placed.reject(findings, rejections);
        }
    }
    objects
}

/// Why two services of one name cannot both be right.
fn port_conflict(first: &Object, second: &Object) -> String {
    let (Object::Service(first), Object::Service(second)) = (first, second) else {
        return String::new();
    };
    let conflict = second.fact.ports.iter().find_map(|port| {
        let other = first.fact.ports.iter().find(|other| other.port == port.port)?;
        (other != port).then_some((other, port))
    });
    conflict.map_or_else(String::new, |(a, b)| {
        format!(
            ", where port {} is {:?} {:?} instead of {:?} {:?}",
            a.port, a.name, a.protocol, b.name, b.protocol
        )
    })
}

fn system_namespace(objects: &[Placed<'_>]) -> Option<NamespaceFact> {
    SYSTEM_NAMESPACES.into_iter().find_map(|name| {
        objects.iter().find_map(|placed| match &placed.document.object {
            Object::Namespace(fact) if fact.name.as_str() == name => Some(fact.clone()),
            _ => None,
        })
    })
}

impl Derived {
    fn say(&mut self, facts: impl IntoIterator<Item = Fact>) {
        self.facts.extend(facts.into_iter().map(|fact| (fact.key(), fact)));
    }
}

struct Joined<'a> {
    folder: &'a Folder,
    /// The cluster as a whole is on a network that someone named.
    named: bool,
    derived: &'a mut Derived,
}

impl Joined<'_> {
    fn object(&mut self, placed: &Placed<'_>) {
        match &placed.document.object {
            Object::Export(fact) => self.derived.say([Fact::Export(fact.clone())]),
            Object::Gateway(_) | Object::Namespace(_) | Object::Peer(_) | Object::Pod(_) => {}
            Object::Node(node) => self.derived.say([Fact::Node(node.fact.clone())]),
            Object::Service(service) => self.derived.say([Fact::Service(service.fact.clone())]),
            Object::Slice(slice) => {
                let mut findings = Findings::default();
                let facts = slice.join_by_port(&*self, &mut findings);
                placed.reject(findings, &mut self.derived.rejections);
                self.derived.say(facts.into_iter().map(Fact::Slice));
            }
        }
    }
}

fn gateways(folder: &Folder, objects: &[Placed<'_>], derived: &mut Derived) {
    let nodes = || nodes(objects);
    let slices = |key: &ServiceKey| slices(objects, key);
    let mut gateways = Gateways::new(&folder.names, &nodes, &slices);
    let rejections = &mut derived.rejections;
    for placed in objects {
        let mut findings = Findings::default();
        match &placed.document.object {
            Object::Service(service) => gateways.labelled(service, &mut findings),
            Object::Gateway(gateway) => gateways.by_api(gateway, &mut findings),
            _ => {}
        }
        placed.reject(findings, rejections);
    }
    let own = |gateway: &&MeshGateway| gateway.cluster == folder.settings.cluster;
    for gateway in folder.networks.gateways.iter().filter(own) {
        let mut findings = Findings::default();
        gateways.addressed(gateway, &mut findings);
        rejections.extend(of_network(gateway, findings));
        let MeshGatewayTarget::Service(key) = &gateway.target else { continue };
        let found = objects.iter().find_map(|placed| match &placed.document.object {
            Object::Service(service) if service.fact.key == *key => Some((placed, service)),
            _ => None,
        });
        match found {
            Some((placed, service)) => {
                let mut findings = Findings::default();
                gateways.registered(gateway, service, &mut findings);
                placed.reject(findings, rejections);
            }
            None => rejections.push(no_service(gateway, key)),
        }
    }
    derived.say(gateways.facts().0.into_values().map(Fact::Gateway));
}

fn nodes<'a>(objects: &[Placed<'a>]) -> Vec<&'a NodeParts> {
    let nodes = objects.iter().filter_map(|placed| match &placed.document.object {
        Object::Node(node) => Some(node),
        _ => None,
    });
    nodes.collect()
}

fn slices<'a>(objects: &[Placed<'a>], service: &ServiceKey) -> Vec<&'a SliceParts> {
    let slices = objects.iter().filter_map(|placed| match &placed.document.object {
        Object::Slice(slice) if slice.service == *service => Some(slice),
        _ => None,
    });
    slices.collect()
}

/// What is wrong with a gateway that only meshNetworks knows.
pub(crate) fn of_network(
    gateway: &MeshGateway,
    findings: Findings,
) -> impl Iterator<Item = Rejection> {
    let object = format!("network {}", gateway.network);
    findings.0.into_iter().map(move |finding| Rejection {
        file: MESH_NETWORKS.into(),
        line: 0,
        object: Some(object.clone()),
        cause: finding.cause,
        way_out: finding.way_out,
        severity: finding.severity,
    })
}

pub(crate) const MESH_NETWORKS: &str = "meshNetworks";

pub(crate) fn no_service(gateway: &MeshGateway, key: &ServiceKey) -> Rejection {
    Rejection {
        file: MESH_NETWORKS.into(),
        line: 0,
        object: Some(format!("network {}", gateway.network)),
        cause: format!("cluster {} has no Service {key} to be its gateway", gateway.cluster),
        way_out: "add the Service to the cluster, or give the gateway's address".into(),
        severity: Severity::Refused,
    }
}

impl Surroundings for Joined<'_> {
    fn trust_domain(&self) -> &TrustDomain {
        &self.folder.settings.trust_domain
    }

    fn pod(&self, key: &PodKey) -> Option<&PodEntry> {
        self.derived.pods.get(key)
    }

    fn unknown_pods(&self) -> UnknownPods {
        UnknownPods::Plaintext
    }

    fn network_by_address(&self, address: IpAddr) -> Option<NetworkId> {
        if self.named { None } else { self.folder.networks.network_of(address) }
    }
}
