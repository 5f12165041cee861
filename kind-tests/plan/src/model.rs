//! A topology whose every reference holds.

use std::fmt;

use diolkos_trust::TrustDomain;

use crate::name::Label;

/// What a topology file says, checked: see [`crate::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub name: Label,
    /// What it is for, in a sentence.
    pub summary: String,
    pub meshes: Vec<Mesh>,
    pub networks: Vec<Label>,
    pub clusters: Vec<Cluster>,
    pub workloads: Vec<Workload>,
    pub not_yet: Vec<NotYet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    pub id: Label,
    pub trust_domain: TrustDomain,
    /// The root that its clusters' intermediates are signed by; meshes may share one.
    pub root: Label,
    pub export: Export,
    /// Where its control plane runs. Meshes in one cluster have one each.
    pub system_namespace: Label,
}

/// How a service becomes known outside its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// By a ServiceExport.
    Listed,
    /// By being there, as in Istio.
    All,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub name: Label,
    pub network: Label,
    /// Never empty; the cluster's role is the same in each.
    pub meshes: Vec<Label>,
    pub role: Role,
    /// Replicas of the east-west gateway, of each mesh; 0 is no gateway.
    pub gateways: u32,
    /// They are the cluster's way out as well.
    pub egress: bool,
    /// Never empty.
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has a control plane of its own.
    Primary,
    /// Uses that of another cluster.
    RemoteOf(Label),
    /// Holds the control plane of other clusters, and no workloads; the named one has its settings.
    ExternalControlPlaneOf(Label),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: Label,
    pub region: Label,
    pub zone: Label,
}

/// A Deployment and a Service of one name, in each cluster that has replicas. The Service alone is
/// in the other clusters of the mesh too: until names come from elsewhere, a caller needs it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub name: Label,
    pub namespace: Label,
    pub mesh: Label,
    pub service_account: Label,
    /// In the order of the topology's clusters.
    pub replicas: Vec<(Label, u32)>,
    pub ports: Vec<Port>,
    pub sidecar: Sidecar,
    pub exported: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: Label,
    pub number: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Tcp,
}

/// Whether the mesh's proxy stands before a workload, and what it takes from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sidecar {
    None,
    /// Mutual TLS and plaintext.
    Permissive,
    /// Mutual TLS alone.
    Strict,
}

/// Traffic between two meshes that this version cannot carry, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotYet {
    pub from: Label,
    pub to: Label,
    pub because: String,
}

impl Topology {
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| &cluster.name == name)
    }

    #[must_use]
    pub fn mesh(&self, id: &str) -> Option<&Mesh> {
        self.meshes.iter().find(|mesh| &mesh.id == id)
    }

    /// The cluster that runs `cluster`'s control plane: itself, more often than not.
    #[must_use]
    pub fn primary_of<'t>(&'t self, cluster: &'t Cluster) -> &'t Cluster {
        match &cluster.role {
            Role::Primary | Role::ExternalControlPlaneOf(_) => cluster,
            Role::RemoteOf(primary) => self.cluster(primary.as_str()).unwrap_or(cluster),
        }
    }

    pub fn clusters_of<'t>(&'t self, mesh: &'t Label) -> impl Iterator<Item = &'t Cluster> {
        self.clusters.iter().filter(move |cluster| cluster.meshes.contains(mesh))
    }

    pub fn workloads_of<'t>(&'t self, mesh: &'t Label) -> impl Iterator<Item = &'t Workload> {
        self.workloads.iter().filter(move |workload| workload.mesh == *mesh)
    }
}

impl Cluster {
    #[must_use]
    pub fn holds_workloads(&self) -> bool {
        !matches!(self.role, Role::ExternalControlPlaneOf(_))
    }

    #[must_use]
    pub fn holds_control_plane(&self) -> bool {
        !matches!(self.role, Role::RemoteOf(_))
    }
}

impl Workload {
    #[must_use]
    pub fn replicas_in(&self, cluster: &str) -> u32 {
        self.replicas.iter().find(|(name, _)| name == cluster).map_or(0, |(_, count)| *count)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("primary"),
            Self::RemoteOf(primary) => write!(f, "remote of {primary}"),
            Self::ExternalControlPlaneOf(config) => write!(f, "external control plane of {config}"),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        })
    }
}
