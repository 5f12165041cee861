//! The mesh file of a primary whose clusters are registered elsewhere: everything but the clusters.

use diolkos_topology::{ClusterId, MeshSettings, NetworkId};
use diolkos_trust::TrustDomain;

use crate::finding::Findings;
use crate::mesh::{self, ClusterEntry, MeshFile};
use crate::mesh_networks::{self, Registries};
use crate::mesh_text::Document;
use crate::rejection::Rejection;
use crate::text::at;

/// A mesh without its clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshTemplate {
    document: Document,
    trust_domain: TrustDomain,
    settings: MeshSettings,
    registries: Registries,
}

/// As `parse_mesh`, where the file must not name clusters.
pub fn parse_mesh_template(text: &str) -> (Result<MeshTemplate, Rejection>, Vec<Rejection>) {
    mesh::read(text, template)
}

fn template(document: Document, fatal: &mut Findings, _: &mut Findings) -> Option<MeshTemplate> {
    let spec = &document.spec;
    if spec.clusters.is_some() {
        let cause = "clusters are listed, but here they come from remote secrets";
        fatal.refuse(at!["spec", "clusters"], cause, "drop the list");
    }
    let trust_domain = mesh::trust_domain(spec, fatal);
    let settings = mesh::settings(spec, fatal);
    let registries = mesh_networks::registries(&spec.mesh_networks, fatal);
    // Ports, ranges and names are checked now; whose gateways they are is seen later.
    mesh_networks::resolved(&spec.mesh_networks, &[], fatal, &mut Findings::default());
    let (trust_domain, settings) = (trust_domain?, settings?);
    Some(MeshTemplate { document, trust_domain, settings, registries })
}

impl MeshTemplate {
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub fn settings(&self) -> &MeshSettings {
        &self.settings
    }

    /// By `fromRegistry`; the unnamed network where nothing says.
    pub fn network_of(&self, cluster: &ClusterId) -> NetworkId {
        self.registries.get(cluster.as_str()).cloned().unwrap_or_else(NetworkId::unnamed)
    }

    /// The mesh with these clusters, and what someone should know of how they fit.
    pub fn compose(&self, clusters: Vec<ClusterEntry>) -> (MeshFile, Vec<Rejection>) {
        let mut notes = Findings::default();
        let networks = &self.document.spec.mesh_networks;
        let networks =
            mesh_networks::resolved(networks, &clusters, &mut Findings::default(), &mut notes);
        let name = self.document.metadata.name.clone();
        let object = format!("Mesh {name}");
        let notes = notes.0.into_iter().map(|finding| Rejection {
            file: String::new(),
            line: 0,
            object: Some(object.clone()),
            cause: finding.cause,
            way_out: finding.way_out,
            severity: finding.severity,
        });
        let (trust_domain, settings) = (self.trust_domain.clone(), self.settings.clone());
        (MeshFile { name, trust_domain, settings, clusters, networks }, notes.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Origin;
    use diolkos_topology::{ClusterSettings, Grants};

    const HEAD: &str = "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  \
                        trustDomain: mesh.test\n";

    fn entry(template: &MeshTemplate, name: &str) -> ClusterEntry {
        let cluster = ClusterId::new(name).unwrap();
        let settings = ClusterSettings {
            network: template.network_of(&cluster),
            trust_domain: template.trust_domain().clone(),
            addresses: Vec::new(),
            grants: Grants::everything(),
            cluster,
        };
        ClusterEntry { settings, origin: Origin::Kubernetes, ca_certificate: None, tokens: None }
    }

    #[test]
    fn clusters_join_later_and_find_their_networks_gateways() {
        let text = format!(
            "{HEAD}  meshNetworks:\n    south:\n      endpoints: [{{fromRegistry: b}}]\n      \
             gateways: [{{address: gw.example.com, port: 15443}}]\n"
        );
        let template = parse_mesh_template(&text).0.expect("a template");
        let (mesh, notes) = template.compose(vec![entry(&template, "a")]);
        assert!(mesh.networks.gateways.is_empty());
        assert_eq!(notes.len(), 2, "nobody is b, and so the gateway is nobody's: {notes:?}");
        let both = vec![entry(&template, "a"), entry(&template, "b")];
        let (mesh, notes) = template.compose(both);
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(mesh.networks.gateways.len(), 1);
        assert_eq!(mesh.clusters[1].settings.network.as_str(), "south");
    }

    #[test]
    fn a_list_of_clusters_is_refused_with_its_line() {
        let refused = parse_mesh_template(&format!("{HEAD}  clusters: [{{name: a}}]\n")).0;
        let refused = refused.expect_err("clusters");
        assert_eq!(refused.line, 6);
        assert!(refused.cause.contains("remote secrets"), "{refused}");
    }
}
