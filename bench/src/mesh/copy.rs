//! Deep copies: a fact as a source would parse it anew, sharing memory with nothing.

use std::sync::Arc;

use diolkos_topology::{
    EndpointFact, NodeName, PodName, PortName, ServiceKey, SliceFact, SliceName, Workload,
};
use diolkos_trust::SpiffeId;

const ALREADY: &str = "it is a name already";

pub(crate) fn key(key: &ServiceKey) -> ServiceKey {
    ServiceKey::new(key.namespace.as_str(), key.name.as_str()).expect(ALREADY)
}

pub(crate) fn slice(slice: &SliceFact) -> SliceFact {
    let port = |name: &PortName| PortName::new(name.as_str()).expect(ALREADY);
    SliceFact {
        service: key(&slice.service),
        name: SliceName::new(slice.name.as_str()).expect(ALREADY),
        ports: slice.ports.iter().map(|(name, number)| (port(name), *number)).collect(),
        endpoints: slice.endpoints.iter().map(endpoint).collect(),
    }
}

pub(crate) fn endpoint(endpoint: &EndpointFact) -> EndpointFact {
    let node = |name: &NodeName| NodeName::new(name.as_str()).expect(ALREADY);
    let pod = |name: &PodName| PodName::new(name.as_str()).expect(ALREADY);
    EndpointFact {
        pod: endpoint.pod.as_ref().map(pod),
        node: endpoint.node.as_ref().map(node),
        zone: endpoint.zone.as_deref().map(Into::into),
        identity: endpoint.identity.as_ref().and_then(|id| SpiffeId::parse(id.as_str()).ok()),
        workload: Arc::new(Workload {
            name: (*endpoint.workload.name).into(),
            canonical_name: (*endpoint.workload.canonical_name).into(),
            canonical_revision: (*endpoint.workload.canonical_revision).into(),
        }),
        network: endpoint.network.clone(),
        ..*endpoint
    }
}
