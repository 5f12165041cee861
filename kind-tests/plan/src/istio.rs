//! Istio's topology files: a JSON array of clusters, which knows neither meshes nor workloads.
//!
//! Addresses in it are checked and then not used: ours are chosen so that topologies can run side by
//! side. What the test framework reads in `meta` is not ours either.

use diolkos_trust::TrustDomain;
use ipnet::IpNet;
use serde::Deserialize;

use crate::file_error::FileError;
use crate::limit;
use crate::model::{Cluster, Export, Mesh, Node, Role, Topology};
use crate::name::Label;
use crate::sense;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterText {
    kind: Option<String>,
    #[serde(rename = "clusterName", alias = "cluster_name")]
    name: String,
    network: Option<String>,
    #[serde(rename = "primaryClusterName", alias = "primary_cluster_name")]
    primary: Option<String>,
    #[serde(rename = "configClusterName", alias = "config_cluster_name")]
    config: Option<String>,
    /// In some of Istio's own files; Istio does not read it.
    #[serde(rename = "controlPlaneClusterName", alias = "control_plane_cluster_name")]
    control_plane: Option<String>,
    #[serde(rename = "podSubnet", alias = "pod_subnet")]
    pods: Option<String>,
    #[serde(rename = "svcSubnet", alias = "svc_subnet")]
    services: Option<String>,
    #[serde(rename = "meta")]
    _meta: Option<MetaText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetaText {
    #[serde(rename = "kubeconfig")]
    _kubeconfig: Option<String>,
    #[serde(rename = "fakeVM", alias = "fake_vm")]
    _fake_vm: Option<bool>,
}

/// One mesh of all clusters, as Istio's tests have it.
///
/// # Errors
/// When the text is not in Istio's format, or says what cannot be.
pub fn parse_istio(name: &str, text: &str) -> Result<Topology, FileError> {
    if text.len() > limit::FILE_BYTES_MAX {
        let max = limit::FILE_BYTES_MAX;
        return Err(FileError::whole(format!("{} bytes, at most {max} are read", text.len())));
    }
    let clusters: Vec<ClusterText> = serde_json::from_str(text).map_err(|error| {
        let says = error.to_string();
        let says = says.split(" at line ").next().unwrap_or_default();
        FileError::at(u64::try_from(error.line()).unwrap_or(0), says)
    })?;
    if clusters.len() > limit::CLUSTERS_MAX {
        let max = limit::CLUSTERS_MAX;
        return Err(FileError::whole(format!("{} clusters, at most {max}", clusters.len())));
    }
    let mesh = label("mesh1")?;
    let mut topology = Topology {
        name: label(name)?,
        summary: "converted from Istio's topology format".to_owned(),
        meshes: vec![Mesh {
            id: mesh.clone(),
            trust_domain: TrustDomain::new("cluster.local")
                .map_err(|error| FileError::whole(error.to_string()))?,
            root: label("common")?,
            export: Export::All,
            system_namespace: label("diolkos-system")?,
        }],
        networks: Vec::new(),
        clusters: Vec::new(),
        workloads: Vec::new(),
        not_yet: Vec::new(),
    };
    for text in &clusters {
        let cluster = cluster(text, &clusters, &mesh)?;
        if !topology.networks.contains(&cluster.network) {
            topology.networks.push(cluster.network.clone());
        }
        topology.clusters.push(cluster);
    }
    give_gateways(&mut topology);
    sense::check(&topology)?;
    Ok(topology)
}

fn label(text: &str) -> Result<Label, FileError> {
    Label::new(text).map_err(|error| FileError::whole(error.to_string()))
}

fn cluster(text: &ClusterText, all: &[ClusterText], mesh: &Label) -> Result<Cluster, FileError> {
    let name = label(&text.name)?;
    if let Some(kind) = text.kind.as_deref().filter(|kind| *kind != "Kubernetes") {
        let kind: String = kind.chars().take(limit::NAME_BYTES_MAX).collect();
        let cause = format!("cluster {name}: kind {kind:?}; only Kubernetes comes up here");
        return Err(FileError::whole(cause));
    }
    for range in text.pods.iter().chain(&text.services) {
        if let Err(error) = range.parse::<IpNet>() {
            return Err(FileError::whole(format!("cluster {name}: a subnet: {error}")));
        }
    }
    Ok(Cluster {
        network: label(text.network.as_deref().unwrap_or("network-1"))?,
        meshes: vec![mesh.clone()],
        role: role(text, all)?,
        gateways: 0,
        egress: false,
        nodes: vec![Node {
            name: label(&format!("{name}-1"))?,
            region: label("isthmus")?,
            zone: label("isthmus-a")?,
        }],
        name,
    })
}

fn role(text: &ClusterText, all: &[ClusterText]) -> Result<Role, FileError> {
    let is_there = |name: &String| all.iter().any(|other| other.name == *name);
    let unread = text.control_plane.as_ref().filter(|name| is_there(name));
    let primary = text.primary.as_ref().or(unread).unwrap_or(&text.name);
    if *primary != text.name {
        return Ok(Role::RemoteOf(label(primary)?));
    }
    match &text.config {
        Some(config) if *config != text.name => Ok(Role::ExternalControlPlaneOf(label(config)?)),
        _ => Ok(Role::Primary),
    }
}

/// The format does not say where gateways are. Istio's tests have one wherever one can be needed.
fn give_gateways(topology: &mut Topology) {
    let networks = topology.networks.len();
    let serves_remotes: Vec<bool> = topology
        .clusters
        .iter()
        .map(|cluster| {
            let role = Role::RemoteOf(cluster.name.clone());
            topology.clusters.iter().any(|other| other.role == role)
        })
        .collect();
    for (cluster, serves_remotes) in topology.clusters.iter_mut().zip(serves_remotes) {
        let crosses = networks > 1 && cluster.holds_workloads();
        cluster.gateways = u32::from(crosses || serves_remotes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(text: &str) -> Vec<String> {
        let topology = parse_istio("t", text).unwrap();
        let show = |c: &Cluster| format!("{} {} {} {}", c.name, c.network, c.role, c.gateways);
        topology.clusters.iter().map(show).collect()
    }

    #[test]
    fn both_spellings_are_read() {
        let camel = r#"[{"kind": "Kubernetes", "clusterName": "one", "podSubnet": "10.10.0.0/16",
              "svcSubnet": "10.255.10.0/24", "network": "net-1", "meta": {"fakeVM": false}},
            {"clusterName": "two", "network": "net-2", "primaryClusterName": "one"}]"#;
        let snake = r#"[{"cluster_name": "one", "pod_subnet": "10.10.0.0/16", "network": "net-1"},
            {"cluster_name": "two", "network": "net-2", "primary_cluster_name": "one"}]"#;
        let expected = ["one net-1 primary 1", "two net-2 remote of one 1"];
        assert_eq!(roles(camel), expected);
        assert_eq!(roles(snake), expected);
    }

    #[test]
    fn an_external_control_plane_is_its_own_primary_with_another_ones_settings() {
        let key = r#""primaryClusterName": "external", "configClusterName": "lead""#;
        let text = format!(
            r#"[{{"clusterName": "lead", "network": "n1", {key}}},
                {{"clusterName": "remote", "network": "n2", {key}}},
                {{"clusterName": "external", "network": "n1", {key}}}]"#
        );
        assert_eq!(
            roles(&text),
            [
                "lead n1 remote of external 1",
                "remote n2 remote of external 1",
                "external n1 external control plane of lead 1",
            ]
        );
    }

    #[test]
    fn the_key_that_istio_does_not_read_counts_where_it_names_a_cluster() {
        let text = |primary: &str| {
            format!(
                r#"[{{"clusterName": "primary-1", "network": "n1"}},
                    {{"clusterName": "r", "network": "n1", "controlPlaneClusterName": "{primary}"}}]"#
            )
        };
        assert_eq!(roles(&text("primary"))[1], "r n1 primary 0");
        assert_eq!(roles(&text("primary-1"))[1], "r n1 remote of primary-1 0");
    }

    #[test]
    fn what_is_not_the_format_is_refused_with_its_line() {
        for (text, says) in [
            (
                "[{\n\"clusterName\": \"a\",\n\"podsubnet\": 1}]",
                "line 3: unknown field `podsubnet`",
            ),
            ("[{\"clusterName\": \"A\"}]", "\"A\" is no name"),
            ("[{\"clusterName\": \"a\", \"kind\": \"StaticVM\"}]", "only Kubernetes comes up here"),
            (
                "[{\"clusterName\": \"a\", \"podSubnet\": \"10.0.0.0\"}]",
                "cluster a: a subnet: invalid IP",
            ),
            ("[{\"clusterName\": \"a\", \"primaryClusterName\": \"b\"}]", "which is not listed"),
            ("[]", "no network"),
        ] {
            let error = parse_istio("t", text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let long = " ".repeat(limit::FILE_BYTES_MAX + 1);
        assert!(parse_istio("t", &long).unwrap_err().to_string().contains("bytes, at most"));
    }
}
