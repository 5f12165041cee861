//! An EndpointSlice, joined with the pods behind its endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use diolkos_topology::{
    EndpointFact, Health, Mtls, Namespace, NetworkId, NodeName, PodName, Port, PortName,
    ServiceKey, ServiceName, SliceFact, SliceName, Workload,
};
use diolkos_trust::TrustDomain;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};

use crate::finding::Findings;
use crate::limit;
use crate::names::{self, SERVICE_NAME_LABEL};
use crate::pod::{PodEntry, PodKey};
use crate::text::at;

/// What one slice says, before its pods are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceParts {
    pub service: ServiceKey,
    pub name: SliceName,
    pub ports: Vec<(PortName, Port)>,
    pub endpoints: Vec<EndpointParts>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointParts {
    pub address: IpAddr,
    pub health: Health,
    pub pod: Option<PodKey>,
    pub node: Option<NodeName>,
    pub zone: Option<Arc<str>>,
}

/// What becomes of an endpoint whose pod is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPods {
    /// Nobody else will tell: it counts without identity, and speaks no mTLS.
    Plaintext,
    /// The pod is told of by another stream, which may be behind: it waits.
    Wait,
}

/// What an endpoint needs to become a fact.
pub trait Surroundings {
    fn trust_domain(&self) -> &TrustDomain;
    fn pod(&self, key: &PodKey) -> Option<&PodEntry>;
    fn unknown_pods(&self) -> UnknownPods;
    /// Where neither the pod nor its cluster names a network: `fromCidr`.
    fn network_by_address(&self, address: IpAddr) -> Option<NetworkId>;
}

/// A slice in one step, for sources that know its pods already.
pub fn slice_fact(
    object: &EndpointSlice,
    around: &dyn Surroundings,
    findings: &mut Findings,
) -> Option<SliceFact> {
    slice_parts(object, findings).map(|parts| parts.join(around, findings))
}

/// A bad endpoint is left out, its neighbours stay.
pub fn slice_parts(object: &EndpointSlice, findings: &mut Findings) -> Option<SliceParts> {
    let meta = &object.metadata;
    let name = names::name_text(meta, findings)?;
    let name = names::checked(name, true, SliceName::new, at!["metadata", "name"], findings);
    let namespace = names::checked(
        names::namespace_text(meta),
        false,
        Namespace::new,
        at!["metadata", "namespace"],
        findings,
    );
    let (name, namespace) = (name?, namespace?);
    let Some(service) = names::label(meta, SERVICE_NAME_LABEL) else {
        let cause = format!("no label {SERVICE_NAME_LABEL}, so it belongs to no service");
        findings.warn(at!["metadata", "labels"], cause, "label it with the service's name");
        return None;
    };
    let field = at!["metadata", "labels", SERVICE_NAME_LABEL];
    let service = names::checked(service, false, ServiceName::new, field, findings)?;
    let list = object.endpoints.as_deref().unwrap_or_default();
    let count = list.len();
    if count > limit::SLICE_ENDPOINTS_MAX {
        let cause =
            format!("{count} endpoints, a slice has at most {}", limit::SLICE_ENDPOINTS_MAX);
        findings.refuse(at!["endpoints"], cause, "split it into several slices");
        return None;
    }
    let family = family(&object.address_type, findings)?;
    let ports = ports(object.ports.as_deref().unwrap_or_default(), findings)?;
    let mut endpoints = Vec::with_capacity(count);
    let mut seen = BTreeSet::new();
    for (index, endpoint) in list.iter().enumerate() {
        let parts = endpoint_parts(endpoint, index, family, &namespace, findings);
        endpoints.extend(parts.filter(|parts| unseen(parts, index, &mut seen, findings)));
    }
    let service = ServiceKey { namespace, name: service };
    Some(SliceParts { service, name, ports, endpoints })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

fn family(text: &str, findings: &mut Findings) -> Option<Family> {
    match text {
        "IPv4" => return Some(Family::V4),
        "IPv6" => return Some(Family::V6),
        "FQDN" => {
            let cause = "endpoints by DNS name (FQDN) are not served";
            findings.refuse(at!["addressType"], cause, "give IP addresses");
        }
        other => {
            let cause = format!("{:?} is no address type", names::short(other));
            findings.refuse(at!["addressType"], cause, "use IPv4 or IPv6");
        }
    }
    None
}

fn ports(list: &[EndpointPort], findings: &mut Findings) -> Option<Vec<(PortName, Port)>> {
    let mut ports: Vec<(PortName, Port)> = Vec::new();
    if list.len() > limit::SLICE_PORTS_MAX {
        let cause = format!("{} ports, at most {}", list.len(), limit::SLICE_PORTS_MAX);
        findings.refuse(at!["ports"], cause, "split the service");
        return None;
    }
    let mut names = BTreeSet::new();
    for (index, port) in list.iter().enumerate() {
        let name = port.name.as_deref().unwrap_or_default();
        if !names.insert(name) {
            let cause = format!("two ports are named {:?}", names::short(name));
            findings.refuse(at!["ports", index], cause, "name each port once");
            return None;
        }
        // The service's own warning tells of ports that are not TCP.
        if port.protocol.as_deref().unwrap_or("TCP") != "TCP" {
            continue;
        }
        let Some(number) = port.port else {
            let cause = "a port without a number means all ports, which is not served";
            findings.warn(at!["ports", index], cause, "give it a number");
            continue;
        };
        let number = names::port(number, at!["ports", index, "port"], findings)?;
        match PortName::new(name) {
            Ok(name) => ports.push((name, number)),
            Err(error) => {
                let field = at!["ports", index, "name"];
                names::refuse_error(&error, field, "rename the port", findings);
                return None;
            }
        }
    }
    Some(ports)
}

fn endpoint_parts(
    endpoint: &Endpoint,
    index: usize,
    family: Family,
    namespace: &Namespace,
    findings: &mut Findings,
) -> Option<EndpointParts> {
    let field = || at!["endpoints", index, "addresses"];
    let Some(text) = endpoint.addresses.first() else {
        findings.refuse(at!["endpoints", index], "the endpoint has no address", "give it one");
        return None;
    };
    if endpoint.addresses.len() > 1 {
        let cause = format!("{} addresses, only the first is used", endpoint.addresses.len());
        findings.warn(field(), cause, "write an endpoint for each");
    }
    let address = names::address(text, field(), findings)?;
    if (family == Family::V4) != address.is_ipv4() {
        let cause = format!("{address} is not of the slice's addressType");
        findings.refuse(field(), cause, "put it into a slice of its own family");
        return None;
    }
    let target = endpoint.target_ref.as_ref();
    let target = target.filter(|target| target.kind.as_deref() == Some("Pod"));
    let pod = target.and_then(|target| {
        let namespace = match target.namespace.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => Namespace::new(text).ok()?,
            None => namespace.clone(),
        };
        Some((namespace, PodName::new(target.name.as_deref()?).ok()?))
    });
    let node = endpoint.node_name.as_deref().and_then(|text| NodeName::new(text).ok());
    Some(EndpointParts {
        address,
        health: health(endpoint.conditions.as_ref()),
        pod,
        node,
        zone: endpoint.zone.as_deref().filter(|text| !text.is_empty()).map(Into::into),
    })
}

fn unseen(
    parts: &EndpointParts,
    index: usize,
    seen: &mut BTreeSet<IpAddr>,
    findings: &mut Findings,
) -> bool {
    let unseen = seen.insert(parts.address);
    if !unseen {
        let cause = format!("{} is listed twice, the first counts", parts.address);
        findings.warn(at!["endpoints", index, "addresses"], cause, "list it once");
    }
    unseen
}

/// An unknown readiness counts as ready, as Kubernetes says.
fn health(conditions: Option<&EndpointConditions>) -> Health {
    let conditions = conditions.cloned().unwrap_or_default();
    if conditions.terminating == Some(true) {
        Health::Terminating
    } else if conditions.ready == Some(false) {
        Health::NotReady
    } else {
        Health::Ready
    }
}

impl SliceParts {
    pub fn join(&self, around: &dyn Surroundings, findings: &mut Findings) -> SliceFact {
        let endpoints = self.endpoints.iter();
        let endpoints = endpoints.filter_map(|parts| parts.join(around, findings));
        SliceFact {
            service: self.service.clone(),
            name: self.name.clone(),
            ports: self.ports.clone(),
            endpoints: endpoints.collect(),
        }
    }
}

impl EndpointParts {
    /// Without a pod there is no identity, and no word of mTLS. `None`: it waits for its pod.
    pub fn join(&self, around: &dyn Surroundings, findings: &mut Findings) -> Option<EndpointFact> {
        let entry = self.pod.as_ref().and_then(|key| around.pod(key));
        if let (Some((namespace, name)), None) = (&self.pod, entry) {
            let waits = around.unknown_pods() == UnknownPods::Wait;
            let outcome = match waits {
                true => "it waits for its pod",
                false => "it counts as plaintext, without identity",
            };
            let cause = format!(
                "endpoint {} is of pod {namespace}/{name}, which is not known: {outcome}",
                self.address
            );
            findings.warn(at![], cause, "add the Pod");
            if waits {
                return None;
            }
        }
        let by_address = || around.network_by_address(self.address);
        let namespace = self.pod.as_ref().map(|(namespace, _)| namespace.as_str());
        let identity = entry
            .zip(namespace)
            .and_then(|(entry, namespace)| entry.identity(around.trust_domain(), namespace));
        Some(EndpointFact {
            address: self.address,
            health: self.health,
            pod: self.pod.as_ref().map(|(_, name)| name.clone()),
            node: self.node.clone().or_else(|| entry.and_then(|entry| entry.node.clone())),
            zone: self.zone.clone(),
            network: entry.and_then(|entry| entry.network.clone()).or_else(by_address),
            mtls: entry.map_or(Mtls::Plaintext, |entry| entry.mtls),
            identity,
            workload: entry
                .map_or_else(|| Arc::new(Workload::default()), |entry| entry.workload.clone()),
        })
    }
}
