//! Facts: what a cluster says. Parsed before they arrive; nothing here is optional by accident.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use diolkos_trust::SpiffeId;
use serde::{Deserialize, Serialize};

use crate::name::{
    ClusterId, GatewayName, Locality, Namespace, NetworkId, NodeName, PodName, Port, PortName,
    ServiceKey, SliceName,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    Export(ExportFact),
    Gateway(GatewayFact),
    Namespace(NamespaceFact),
    Node(NodeFact),
    Service(ServiceFact),
    Slice(SliceFact),
    Summary(SummaryFact),
}

/// What a fact is about, within its cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FactKey {
    Export(ServiceKey),
    Gateway(GatewayKey),
    Namespace(Namespace),
    Node(NodeName),
    Service(ServiceKey),
    Slice(Namespace, SliceName),
    Summary(ServiceKey),
}

/// A reset covers one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FactKind {
    Export,
    Gateway,
    Namespace,
    Node,
    Service,
    Slice,
    Summary,
}

impl FactKind {
    pub const ALL: [Self; 7] = [
        Self::Export,
        Self::Gateway,
        Self::Namespace,
        Self::Node,
        Self::Service,
        Self::Slice,
        Self::Summary,
    ];
}

/// A namespace that says on which network its cluster is (only the system namespace's word counts;
/// the source passes no other).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceFact {
    pub name: Namespace,
    pub network: Option<NetworkId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFact {
    pub name: NodeName,
    pub locality: Locality,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFact {
    pub key: ServiceKey,
    /// Cluster IPs; empty for a headless service.
    pub vips: Vec<IpAddr>,
    pub ports: Vec<ServicePortFact>,
    /// Milliseconds since 1970 by the cluster's own clock.
    pub created: Option<u64>,
}

/// UDP and SCTP ports are left out by the source, with a reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServicePortFact {
    pub name: PortName,
    pub port: Port,
    pub protocol: AppProtocol,
}

/// From appProtocol, or Istio's port name prefix; `Tcp` when neither says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AppProtocol {
    Grpc,
    Http,
    Http2,
    Tcp,
    /// TLS that the application itself ends.
    Tls,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceFact {
    pub service: ServiceKey,
    pub name: SliceName,
    /// Port name of the service -> port the endpoints listen on.
    pub ports: Vec<(PortName, Port)>,
    pub endpoints: Vec<EndpointFact>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFact {
    pub address: IpAddr,
    pub health: Health,
    pub pod: Option<PodName>,
    pub node: Option<NodeName>,
    /// The slice's own word on the zone, used while the node is unknown.
    pub zone: Option<Arc<str>>,
    /// A network other than the cluster's.
    pub network: Option<NetworkId>,
    pub mtls: Mtls,
    /// Nobody's identity is never "any identity": an mTLS endpoint without one is not served.
    pub identity: Option<SpiffeId>,
    pub workload: Arc<Workload>,
}

/// What telemetry calls an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// The owner (a Deployment, say), or the pod.
    pub name: Arc<str>,
    pub canonical_name: Arc<str>,
    pub canonical_revision: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Health {
    NotReady,
    Ready,
    Terminating,
}

/// Whether an endpoint speaks Istio's mutual TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mtls {
    Istio,
    Plaintext,
}

/// Endpoints as counts, said by a cluster that keeps the endpoints to itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryFact {
    pub service: ServiceKey,
    pub groups: Vec<SummaryGroup>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SummaryGroup {
    pub port: Port,
    pub network: Option<NetworkId>,
    pub locality: Locality,
    pub mtls: Mtls,
    pub identity: Option<SpiffeId>,
    pub count: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayKey {
    pub namespace: Namespace,
    pub name: GatewayName,
    pub address: IpAddr,
}

/// One address by which a network can be entered, or left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayFact {
    pub key: GatewayKey,
    pub network: NetworkId,
    /// SNI passthrough, usually 15443.
    pub sni_port: Option<Port>,
    /// HBONE, usually 15008.
    pub hbone_port: Option<Port>,
    /// The way out, usually 15444: where clients of its own cluster on this network reach others.
    pub egress_port: Option<Port>,
}

/// The word that lets a service be known outside its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportFact {
    pub service: ServiceKey,
    /// Milliseconds since 1970 by the exporting cluster's clock.
    pub created: u64,
    pub consumers: Consumers,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consumers {
    Everyone,
    Listed(BTreeSet<ClusterId>),
}

impl Fact {
    pub fn key(&self) -> FactKey {
        match self {
            Self::Export(fact) => FactKey::Export(fact.service.clone()),
            Self::Gateway(fact) => FactKey::Gateway(fact.key.clone()),
            Self::Namespace(fact) => FactKey::Namespace(fact.name.clone()),
            Self::Node(fact) => FactKey::Node(fact.name.clone()),
            Self::Service(fact) => FactKey::Service(fact.key.clone()),
            Self::Slice(fact) => FactKey::Slice(fact.service.namespace.clone(), fact.name.clone()),
            Self::Summary(fact) => FactKey::Summary(fact.service.clone()),
        }
    }
}

impl FactKey {
    pub fn kind(&self) -> FactKind {
        match self {
            Self::Export(_) => FactKind::Export,
            Self::Gateway(_) => FactKind::Gateway,
            Self::Namespace(_) => FactKind::Namespace,
            Self::Node(_) => FactKind::Node,
            Self::Service(_) => FactKind::Service,
            Self::Slice(..) => FactKind::Slice,
            Self::Summary(_) => FactKind::Summary,
        }
    }
}
