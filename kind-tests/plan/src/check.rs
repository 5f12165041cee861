//! From what a file says to what can be built: every name a name, every reference to something.

use diolkos_trust::TrustDomain;
use serde_saphyr::Spanned;

use crate::file::{
    API_VERSION, ClusterText, Document, ExportText, KIND, MeshText, NotYetText, SidecarText,
    WorkloadText,
};
use crate::file_error::FileError;
use crate::limit;
use crate::model::{
    Cluster, Export, Mesh, Node, NotYet, Port, Protocol, Role, Sidecar, Topology, Workload,
};
use crate::name::Label;
use crate::sense;

const SYSTEM_NAMESPACE: &str = "diolkos-system";
const ZONE: &str = "isthmus/isthmus-a";

pub(crate) fn check(document: Document) -> Result<Topology, FileError> {
    let Document { api_version, kind, metadata, spec } = document;
    exactly(&api_version, "apiVersion", API_VERSION)?;
    exactly(&kind, "kind", KIND)?;
    let several_networks = spec.networks.len() > 1;
    let mut topology = Topology {
        name: label(&metadata.name)?,
        summary: sentence(line_of(&metadata.name), &spec.summary.value)?,
        meshes: all(&spec.meshes, limit::MESHES_MAX, "meshes", mesh)?,
        networks: all(&spec.networks, limit::CLUSTERS_MAX, "networks", label)?,
        clusters: Vec::new(),
        workloads: Vec::new(),
        not_yet: all(&spec.not_yet, limit::WORKLOADS_MAX, "notYet", not_yet)?,
    };
    let only_mesh = match topology.meshes.as_slice() {
        [only] => Some(only.id.clone()),
        _ => None,
    };
    let default_gateways = u32::from(several_networks);
    topology.clusters = all(&spec.clusters, limit::CLUSTERS_MAX, "clusters", |text| {
        cluster(text, only_mesh.as_ref(), default_gateways)
    })?;
    let order: Vec<Label> = topology.clusters.iter().map(|cluster| cluster.name.clone()).collect();
    topology.workloads = all(&spec.workloads, limit::WORKLOADS_MAX, "workloads", |text| {
        workload(text, only_mesh.as_ref(), &order)
    })?;
    sense::check(&topology)?;
    Ok(topology)
}

fn line_of<T>(text: &Spanned<T>) -> u64 {
    text.referenced.line()
}

fn exactly(text: &Spanned<String>, field: &str, expected: &str) -> Result<(), FileError> {
    if text.value == expected {
        return Ok(());
    }
    let cause = format!("{field} is {:?}; this version reads {expected}", text.value);
    Err(FileError::at(line_of(text), cause))
}

fn all<T, U>(
    items: &[T],
    max: usize,
    what: &str,
    one: impl FnMut(&T) -> Result<U, FileError>,
) -> Result<Vec<U>, FileError> {
    if items.len() > max {
        let cause = format!("{} {what}, a topology has at most {max}", items.len());
        return Err(FileError::whole(cause));
    }
    items.iter().map(one).collect()
}

fn label(text: &Spanned<String>) -> Result<Label, FileError> {
    label_at(line_of(text), &text.value)
}

fn label_at(line: u64, text: &str) -> Result<Label, FileError> {
    Label::new(text).map_err(|error| FileError::at(line, error.to_string()))
}

fn sentence(line: u64, text: &str) -> Result<String, FileError> {
    let text = text.trim();
    if text.is_empty() || text.len() > limit::SENTENCE_BYTES_MAX {
        let max = limit::SENTENCE_BYTES_MAX;
        let cause = format!("a sentence has {} bytes; write 1 to {max}", text.len());
        return Err(FileError::at(line, cause));
    }
    Ok(text.to_owned())
}

fn mesh(text: &MeshText) -> Result<Mesh, FileError> {
    let line = line_of(&text.id);
    let trust_domain = TrustDomain::new(&text.trust_domain)
        .map_err(|error| FileError::at(line, format!("mesh {}: {error}", text.id.value)))?;
    Ok(Mesh {
        id: label(&text.id)?,
        trust_domain,
        root: label_at(line, &text.root)?,
        export: match text.export {
            ExportText::All => Export::All,
            ExportText::Listed => Export::Listed,
        },
        system_namespace: label_at(
            line,
            text.system_namespace.as_deref().unwrap_or(SYSTEM_NAMESPACE),
        )?,
    })
}

fn cluster(
    text: &ClusterText,
    only_mesh: Option<&Label>,
    default_gateways: u32,
) -> Result<Cluster, FileError> {
    let line = line_of(&text.name);
    let name = label(&text.name)?;
    let refuse = |cause: String| Err(FileError::at(line, format!("cluster {name}: {cause}")));
    let mut meshes = Vec::new();
    for mesh in &text.meshes {
        meshes.push(label_at(line, mesh)?);
    }
    if meshes.is_empty() {
        let Some(only) = only_mesh else {
            return refuse("no mesh; there is more than one, so say which: meshes: [...]".into());
        };
        meshes.push(only.clone());
    }
    let role = role(line, text.role.as_deref().unwrap_or("primary"))?;
    let gateways = text.gateways.unwrap_or(default_gateways);
    if gateways > limit::GATEWAYS_PER_CLUSTER_MAX {
        return refuse(format!("{gateways} gateways, at most {}", limit::GATEWAYS_PER_CLUSTER_MAX));
    }
    if text.egress && gateways == 0 {
        return refuse("egress, but no gateway to be the way out; give it one: gateways: 1".into());
    }
    let mut zones = text.zones.clone();
    if zones.is_empty() {
        zones.push(ZONE.to_owned());
    }
    if zones.len() > limit::NODES_PER_CLUSTER_MAX {
        return refuse(format!("{} zones, at most {}", zones.len(), limit::NODES_PER_CLUSTER_MAX));
    }
    let mut nodes = Vec::new();
    for (index, zone) in zones.iter().enumerate() {
        let Some((region, zone)) = zone.split_once('/') else {
            return refuse(format!("zone {zone:?} has no region; write region/zone"));
        };
        nodes.push(Node {
            name: label_at(line, &format!("{name}-{}", index + 1))?,
            region: label_at(line, region)?,
            zone: label_at(line, zone)?,
        });
    }
    let network = label_at(line, &text.network)?;
    Ok(Cluster { name, network, meshes, role, gateways, egress: text.egress, nodes })
}

fn role(line: u64, text: &str) -> Result<Role, FileError> {
    let of = |rest: &str| label_at(line, rest.trim());
    if text == "primary" {
        return Ok(Role::Primary);
    }
    if let Some(primary) = text.strip_prefix("remote of ") {
        return of(primary).map(Role::RemoteOf);
    }
    if let Some(config) = text.strip_prefix("external control plane of ") {
        return of(config).map(Role::ExternalControlPlaneOf);
    }
    let known = "primary, remote of CLUSTER, external control plane of CLUSTER";
    let text: String = text.chars().take(limit::NAME_BYTES_MAX).collect();
    Err(FileError::at(line, format!("{text:?} is no role; roles are: {known}")))
}

fn workload(
    text: &WorkloadText,
    only_mesh: Option<&Label>,
    order: &[Label],
) -> Result<Workload, FileError> {
    let line = line_of(&text.name);
    let name = label(&text.name)?;
    let refuse = |cause: String| Err(FileError::at(line, format!("workload {name}: {cause}")));
    let mesh = match (&text.mesh, only_mesh) {
        (Some(mesh), _) => label_at(line, mesh)?,
        (None, Some(only)) => only.clone(),
        (None, None) => return refuse("no mesh; there is more than one, so say which".into()),
    };
    let mut replicas = Vec::new();
    for (cluster, count) in &text.replicas {
        if !order.iter().any(|known| known == cluster.as_str()) {
            return refuse(format!("replicas in {cluster}, which is no cluster of this file"));
        }
        if !(1..=limit::REPLICAS_MAX).contains(count) {
            let max = limit::REPLICAS_MAX;
            return refuse(format!("{count} replicas in {cluster}; use 1 to {max}"));
        }
    }
    for cluster in order {
        let count = text.replicas.get(cluster.as_str());
        replicas.extend(count.map(|count| (cluster.clone(), *count)));
    }
    if text.ports.is_empty() || text.ports.len() > limit::PORTS_PER_WORKLOAD_MAX {
        let max = limit::PORTS_PER_WORKLOAD_MAX;
        return refuse(format!("{} ports; use 1 to {max}", text.ports.len()));
    }
    let mut ports = Vec::new();
    for (port, number) in &text.ports {
        let protocol = match port.split('-').next() {
            Some("http") => Protocol::Http,
            Some("tcp") => Protocol::Tcp,
            _ => return refuse(format!("port {port:?}: names begin with http or tcp")),
        };
        if *number == 0 {
            return refuse(format!("port {port:?}: 0 is no port; use 1 to 65535"));
        }
        ports.push(Port { name: label_at(line, port)?, number: *number, protocol });
    }
    let service_account = text.service_account.as_deref().unwrap_or(name.as_str());
    Ok(Workload {
        namespace: label_at(line, &text.namespace)?,
        mesh,
        service_account: label_at(line, service_account)?,
        replicas,
        ports,
        sidecar: match text.sidecar {
            SidecarText::None => Sidecar::None,
            SidecarText::Permissive => Sidecar::Permissive,
            SidecarText::Strict => Sidecar::Strict,
        },
        exported: text.exported,
        name,
    })
}

fn not_yet(text: &NotYetText) -> Result<NotYet, FileError> {
    let line = line_of(&text.from);
    Ok(NotYet {
        from: label(&text.from)?,
        to: label_at(line, &text.to)?,
        because: sentence(line, &text.because)?,
    })
}
