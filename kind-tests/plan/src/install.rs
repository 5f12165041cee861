//! What is put into running clusters, in order. Phases follow each other; within a phase clusters do
//! not wait for one another.

use std::fmt;

use serde_json::Value;

use crate::document;
use crate::model::{Cluster, Role, Sidecar, Topology};
use crate::name::Label;
use crate::places::Places;

#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub name: &'static str,
    pub steps: Vec<(Label, Vec<Step>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Server-side apply of these objects.
    Apply(Vec<Value>),
    /// The same where the cluster knows their kind: whoever reads them brings it.
    ApplyIfServed(Vec<Value>),
    /// Of every YAML file of a folder.
    ApplyFolder(String),
    /// The files of a folder, as a Secret.
    Secret {
        namespace: String,
        name: String,
        folder: String,
    },
    /// What another part of this project prints.
    Part(Part),
    Wait(Condition),
}

/// Manifests that the plan does not know itself; see [`Phase`] for when and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A control plane of `mesh`.
    Primary { mesh: Label },
    /// `replicas` east-west gateways into the cluster's network, and out of it where `egress`.
    Gateway { mesh: Label, replicas: u32, egress: bool },
    /// What lets the control plane in this cluster read the API server of `of`.
    RemoteSecret { mesh: Label, of: Label },
    /// What a cluster without control plane needs to use that of `primary`.
    Remote { mesh: Label, primary: Label },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Every custom resource definition is served.
    Established,
    /// The Deployments of a namespace have all their replicas.
    Available { namespace: String },
    /// Services take connections from their cluster's node: its proxy knows of the pods, which is a
    /// moment after they are ready.
    Reachable(Vec<ServicePort>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub namespace: String,
    pub service: String,
    pub port: u16,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary { mesh } => write!(f, "control plane of {mesh}"),
            Self::Gateway { mesh, replicas, egress } => {
                let out = if *egress { ", the way out as well" } else { "" };
                write!(f, "east-west gateway of {mesh}, {replicas} replicas{out}")
            }
            Self::RemoteSecret { mesh, of } => write!(f, "remote secret of {of} for {mesh}"),
            Self::Remote { mesh, primary } => {
                write!(f, "what makes it a remote of {primary} in {mesh}")
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Established => f.write_str("every kind is served"),
            Self::Available { namespace } => {
                write!(f, "the deployments of {namespace} are available")
            }
            Self::Reachable(services) => {
                f.write_str("services take connections:")?;
                services
                    .iter()
                    .try_for_each(|of| write!(f, " {}/{}:{}", of.namespace, of.service, of.port))
            }
        }
    }
}

pub(crate) fn phases(topology: &Topology, places: &Places) -> Vec<Phase> {
    let phase = |name, steps: &dyn Fn(&Cluster) -> Vec<Step>| Phase {
        name,
        steps: topology
            .clusters
            .iter()
            .map(|cluster| (cluster.name.clone(), steps(cluster)))
            .filter(|(_, steps)| !steps.is_empty())
            .collect(),
    };
    let mut phases = vec![
        phase("ground", &|cluster| ground(topology, cluster, places)),
        phase("control planes", &|cluster| control_plane(topology, cluster)),
        phase("remotes", &|cluster| remotes(topology, cluster)),
        phase("remote gateways", &|cluster| remote_gateways(topology, cluster)),
        phase("workloads", &|cluster| workloads(topology, cluster)),
    ];
    phases.retain(|phase| !phase.steps.is_empty());
    phases
}

fn ground(topology: &Topology, cluster: &Cluster, places: &Places) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(folder) = &places.crds {
        let of = |part: &str| Step::ApplyFolder(format!("{folder}/{part}"));
        steps.extend(["mcs-api", "gateway-api/standard"].map(of));
    }
    steps.push(Step::Apply(document::namespaces(topology, cluster)));
    if cluster.holds_control_plane() {
        for mesh in &cluster.meshes {
            let Some(found) = topology.mesh(mesh.as_str()) else { continue };
            steps.push(Step::Secret {
                namespace: found.system_namespace.to_string(),
                name: "cacerts".to_owned(),
                folder: places.cacerts(mesh.as_str(), cluster.name.as_str()),
            });
        }
    }
    if places.crds.is_some() {
        steps.push(Step::Wait(Condition::Established));
    }
    steps
}

fn control_plane(topology: &Topology, cluster: &Cluster) -> Vec<Step> {
    let mut steps = Vec::new();
    if !cluster.holds_control_plane() {
        return steps;
    }
    for mesh in &cluster.meshes {
        let Some(found) = topology.mesh(mesh.as_str()) else { continue };
        steps.push(Step::Part(Part::Primary { mesh: mesh.clone() }));
        steps.extend(gateway(cluster, mesh));
        let namespace = found.system_namespace.to_string();
        steps.push(Step::Wait(Condition::Available { namespace }));
    }
    steps
}

fn gateway(cluster: &Cluster, mesh: &Label) -> Option<Step> {
    let (replicas, egress) = (cluster.gateways, cluster.egress);
    let part = Part::Gateway { mesh: mesh.clone(), replicas, egress };
    (cluster.gateways > 0).then_some(Step::Part(part))
}

/// Whom a control plane reads, beside its own cluster: all others of its mesh.
fn remotes(topology: &Topology, cluster: &Cluster) -> Vec<Step> {
    let mut steps = Vec::new();
    for mesh in &cluster.meshes {
        if let Role::RemoteOf(primary) = &cluster.role {
            let part = Part::Remote { mesh: mesh.clone(), primary: primary.clone() };
            steps.push(Step::Part(part));
            continue;
        }
        let others = topology.clusters_of(mesh).filter(|other| {
            let external = matches!(other.role, Role::ExternalControlPlaneOf(_));
            other.name != cluster.name && !external
        });
        steps.extend(others.map(|other| {
            Step::Part(Part::RemoteSecret { mesh: mesh.clone(), of: other.name.clone() })
        }));
    }
    steps
}

/// After the remote can be served: a gateway gets its certificate and routes from the primary.
fn remote_gateways(topology: &Topology, cluster: &Cluster) -> Vec<Step> {
    let mut steps = Vec::new();
    if cluster.holds_control_plane() {
        return steps;
    }
    for mesh in &cluster.meshes {
        let Some(found) = topology.mesh(mesh.as_str()) else { continue };
        steps.extend(gateway(cluster, mesh).into_iter().flat_map(|gateway| {
            let namespace = found.system_namespace.to_string();
            [gateway, Step::Wait(Condition::Available { namespace })]
        }));
    }
    steps
}

fn workloads(topology: &Topology, cluster: &Cluster) -> Vec<Step> {
    let mut steps = Vec::new();
    let documents = document::workloads(topology, cluster);
    if documents.is_empty() {
        return steps;
    }
    let policies = document::policies(topology, cluster);
    if !policies.is_empty() {
        steps.push(Step::ApplyIfServed(policies));
    }
    steps.push(Step::Apply(documents));
    let mut namespaces: Vec<&Label> = Vec::new();
    for workload in &topology.workloads {
        let is_here = workload.replicas_in(cluster.name.as_str()) > 0;
        if is_here && !namespaces.contains(&&workload.namespace) {
            namespaces.push(&workload.namespace);
        }
    }
    steps.extend(
        namespaces
            .into_iter()
            .map(|namespace| Step::Wait(Condition::Available { namespace: namespace.to_string() })),
    );
    steps.push(Step::Wait(Condition::Reachable(services(topology, cluster))));
    steps
}

/// Those with pods in `cluster`.
fn services(topology: &Topology, cluster: &Cluster) -> Vec<ServicePort> {
    let name = cluster.name.as_str();
    let here = topology.workloads.iter().filter(|workload| workload.replicas_in(name) > 0);
    here.flat_map(|workload| {
        workload.ports.iter().map(|port| ServicePort {
            namespace: workload.namespace.to_string(),
            service: workload.name.to_string(),
            port: port.number,
        })
    })
    .collect()
}

/// Whether any workload of the topology has a sidecar.
#[must_use]
pub fn needs_envoy(topology: &Topology) -> bool {
    topology.workloads.iter().any(|workload| workload.sidecar != Sidecar::None)
}
