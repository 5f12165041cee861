//! The mesh file: what the operator says of the mesh and its clusters.

use std::net::IpAddr;

use diolkos_topology::{ClusterId, ClusterSettings, MeshSettings, NetworkId, Port, ServiceKey};
use diolkos_trust::TrustDomain;
use ipnet::IpNet;

use crate::rejection::{Rejection, Severity};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshFile {
    pub name: String,
    pub trust_domain: TrustDomain,
    pub settings: MeshSettings,
    /// In the order of the file; names are unique.
    pub clusters: Vec<ClusterEntry>,
    pub networks: MeshNetworks,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterEntry {
    pub settings: ClusterSettings,
    /// Where its manifests are, relative to the mesh file.
    pub folder: String,
    /// The certificate that signs its workloads, relative to the mesh file.
    pub ca_certificate: Option<String>,
}

/// Istio's meshNetworks, resolved: whose word it is, and about which cluster.
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
    Service(ServiceKey),
}

/// The file, or why there is none; and what else someone should know of it. The caller names the
/// file in the rejections.
pub fn parse_mesh(text: &str) -> (Result<MeshFile, Rejection>, Vec<Rejection>) {
    let _ = text;
    let refused = Rejection {
        file: String::new(),
        line: 0,
        object: None,
        cause: "the mesh file is empty".into(),
        way_out: "write a Mesh".into(),
        severity: Severity::Refused,
    };
    (Err(refused), Vec::new())
}
