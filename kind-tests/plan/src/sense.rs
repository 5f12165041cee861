//! What must hold between the parts of a topology, wherever it came from.

use std::collections::{BTreeMap, BTreeSet};

use crate::file_error::FileError;
use crate::model::{Cluster, Role, Topology, Workload};
use crate::name::Label;

pub(crate) fn check(topology: &Topology) -> Result<(), FileError> {
    names_are_unique(topology)?;
    meshes_are_told_apart(topology)?;
    for cluster in &topology.clusters {
        cluster_makes_sense(topology, cluster)?;
    }
    networks_have_gateways(topology)?;
    let mut namespaces = BTreeMap::new();
    for workload in &topology.workloads {
        workload_makes_sense(topology, workload)?;
        let mesh = namespaces.entry(&workload.namespace).or_insert(&workload.mesh);
        if *mesh != &workload.mesh {
            let namespace = &workload.namespace;
            let meshes = format!("{mesh} and {}", workload.mesh);
            return refuse(format!(
                "namespace {namespace} is in meshes {meshes}; give each its own"
            ));
        }
    }
    for pair in &topology.not_yet {
        for mesh in [&pair.from, &pair.to] {
            if topology.mesh(mesh.as_str()).is_none() {
                return refuse(format!("notYet names mesh {mesh}, which is not listed"));
            }
        }
    }
    Ok(())
}

fn refuse<T>(cause: impl Into<String>) -> Result<T, FileError> {
    Err(FileError::whole(cause))
}

fn names_are_unique(topology: &Topology) -> Result<(), FileError> {
    let workloads: Vec<String> = topology
        .workloads
        .iter()
        .map(|workload| format!("{}/{}", workload.namespace, workload.name))
        .collect();
    let kinds: [(&str, Vec<&str>); 4] = [
        ("mesh", topology.meshes.iter().map(|mesh| mesh.id.as_str()).collect()),
        ("network", topology.networks.iter().map(Label::as_str).collect()),
        ("cluster", topology.clusters.iter().map(|cluster| cluster.name.as_str()).collect()),
        ("workload", workloads.iter().map(String::as_str).collect()),
    ];
    for (kind, names) in kinds {
        if names.is_empty() && kind != "workload" {
            return refuse(format!("no {kind}; a topology has at least one"));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = names.into_iter().find(|name| !seen.insert(*name)) {
            return refuse(format!("{kind} {twice} is there twice"));
        }
    }
    Ok(())
}

fn meshes_are_told_apart(topology: &Topology) -> Result<(), FileError> {
    for (index, mesh) in topology.meshes.iter().enumerate() {
        let id = &mesh.id;
        if topology.clusters_of(id).next().is_none() {
            return refuse(format!("mesh {id} has no cluster"));
        }
        for other in &topology.meshes[..index] {
            if mesh.root != other.root && mesh.trust_domain == other.trust_domain {
                return refuse(format!(
                    "meshes {} and {id} have different roots and one trust domain; a root vouches \
                     for a domain of its own",
                    other.id
                ));
            }
            let shared = topology.clusters_of(id).any(|cluster| cluster.meshes.contains(&other.id));
            if shared && mesh.system_namespace == other.system_namespace {
                return refuse(format!(
                    "meshes {} and {id} share a cluster and the system namespace {}; give one its \
                     own systemNamespace",
                    other.id, mesh.system_namespace
                ));
            }
        }
    }
    Ok(())
}

fn cluster_makes_sense(topology: &Topology, cluster: &Cluster) -> Result<(), FileError> {
    let name = &cluster.name;
    if name == "config" {
        return refuse(
            "cluster config: in remote secrets this name is an external control plane's own \
             kubeconfig; call it otherwise",
        );
    }
    if !topology.networks.contains(&cluster.network) {
        return refuse(format!("cluster {name}: network {} is not listed", cluster.network));
    }
    for mesh in &cluster.meshes {
        if topology.mesh(mesh.as_str()).is_none() {
            return refuse(format!("cluster {name}: mesh {mesh} is not listed"));
        }
    }
    let Some((other, expected)) = (match &cluster.role {
        Role::Primary => None,
        Role::RemoteOf(other) => Some((other, "a primary or an external control plane")),
        Role::ExternalControlPlaneOf(other) => Some((other, "a remote of it")),
    }) else {
        return Ok(());
    };
    let role = &cluster.role;
    let Some(other) = topology.cluster(other.as_str()) else {
        return refuse(format!("cluster {name} is {role}, which is not listed"));
    };
    let fits = match &cluster.role {
        Role::RemoteOf(_) => other.holds_control_plane() && other.name != *name,
        _ => other.role == Role::RemoteOf(name.clone()),
    };
    if !fits {
        let is = &other.role;
        return refuse(format!(
            "cluster {name} is {role}, but {} is {is}, not {expected}",
            other.name
        ));
    }
    if other.meshes != cluster.meshes {
        return refuse(format!("cluster {name} is {role}, but their meshes differ"));
    }
    if matches!(cluster.role, Role::RemoteOf(_)) && other.gateways == 0 {
        return refuse(format!(
            "cluster {name} is {role}, and reaches it through its gateway; give {} one: gateways: 1",
            other.name
        ));
    }
    Ok(())
}

/// A network whose endpoints nobody can reach from outside is a slip of the pen.
fn networks_have_gateways(topology: &Topology) -> Result<(), FileError> {
    for mesh in &topology.meshes {
        let with_workloads: Vec<&Cluster> =
            topology.clusters_of(&mesh.id).filter(|cluster| cluster.holds_workloads()).collect();
        let networks: BTreeSet<&Label> =
            with_workloads.iter().map(|cluster| &cluster.network).collect();
        if networks.len() < 2 {
            continue;
        }
        for network in networks {
            let mut there = with_workloads.iter().filter(|cluster| &cluster.network == network);
            if there.all(|cluster| cluster.gateways == 0) {
                let mesh = &mesh.id;
                return refuse(format!("network {network} has no gateway of mesh {mesh}"));
            }
        }
    }
    for network in &topology.networks {
        if !topology.clusters.iter().any(|cluster| &cluster.network == network) {
            return refuse(format!("network {network} has no cluster"));
        }
    }
    Ok(())
}

fn workload_makes_sense(topology: &Topology, workload: &Workload) -> Result<(), FileError> {
    let name = format!("{}/{}", workload.namespace, workload.name);
    let mesh = &workload.mesh;
    if topology.mesh(mesh.as_str()).is_none() {
        return refuse(format!("workload {name}: mesh {mesh} is not listed"));
    }
    if topology.meshes.iter().any(|mesh| mesh.system_namespace == workload.namespace) {
        return refuse(format!("workload {name} is in a system namespace; give it another"));
    }
    if workload.replicas.is_empty() {
        return refuse(format!("workload {name} has no replicas"));
    }
    for (cluster, _) in &workload.replicas {
        let Some(cluster) = topology.cluster(cluster.as_str()) else { continue };
        if !cluster.meshes.contains(mesh) {
            return refuse(format!(
                "workload {name}: cluster {} is not of mesh {mesh}",
                cluster.name
            ));
        }
        if !cluster.holds_workloads() {
            let role = &cluster.role;
            return refuse(format!("workload {name}: cluster {} is {role} only", cluster.name));
        }
    }
    let mut numbers = BTreeSet::new();
    match workload.ports.iter().find(|port| !numbers.insert(port.number)) {
        Some(port) => refuse(format!("workload {name}: port {} is there twice", port.number)),
        None => Ok(()),
    }
}
