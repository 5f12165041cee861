//! Whose cluster a certificate is from: the one whose CA certificate signed it.

use std::collections::BTreeMap;
use std::path::Path;

use diolkos_facts::MeshFile;
use diolkos_tls::IssuerKey;
use diolkos_topology::ClusterId;

/// The signing certificate of each cluster, by its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Authorities {
    clusters: BTreeMap<IssuerKey, ClusterId>,
    /// One line each: who cannot be told apart, and what to do.
    pub(crate) complaints: Vec<String>,
}

impl Authorities {
    /// Never fails: a cluster whose certificate cannot be read has no clients, the rest works.
    pub(crate) fn read(mesh_path: &Path, mesh: &MeshFile) -> Self {
        let folder = mesh_path.parent().unwrap_or(Path::new("."));
        let mut complaints = Vec::new();
        let mut claims: BTreeMap<IssuerKey, Vec<ClusterId>> = BTreeMap::new();
        for entry in &mesh.clusters {
            let cluster = &entry.settings.cluster;
            let Some(certificate) = &entry.ca_certificate else {
                complaints.push(format!(
                    "cluster {cluster}: no caCertificate in the mesh file, so its clients cannot \
                     be told from strangers and are refused; name the certificate that signs them"
                ));
                continue;
            };
            match issuer_keys(&folder.join(certificate)) {
                Ok(keys) => {
                    for key in keys {
                        claims.entry(key).or_default().push(cluster.clone());
                    }
                }
                Err(cause) => complaints.push(format!(
                    "cluster {cluster}: caCertificate {certificate}: {cause}; its clients are \
                     refused until it can be read"
                )),
            }
        }
        let mut clusters = BTreeMap::new();
        for (key, mut claimants) in claims {
            claimants.dedup();
            match claimants.as_slice() {
                [cluster] => drop(clusters.insert(key, cluster.clone())),
                several => complaints.push(format!(
                    "clusters {}: the same caCertificate, so their clients cannot be told apart \
                     and are refused; give each cluster an intermediate of its own",
                    several.iter().map(ClusterId::to_string).collect::<Vec<_>>().join(", ")
                )),
            }
        }
        complaints.sort();
        Self { clusters, complaints }
    }

    pub(crate) fn cluster_of(&self, issuer: &IssuerKey) -> Option<&ClusterId> {
        self.clusters.get(issuer)
    }
}

/// Of every certificate in the file: while a CA is renewed, both count.
fn issuer_keys(path: &Path) -> Result<Vec<IssuerKey>, String> {
    let certificates = diolkos_tls::read_certificates(path).map_err(|error| error.to_string())?;
    certificates
        .iter()
        .map(|der| IssuerKey::of_certificate(der).map_err(|error| error.to_string()))
        .collect()
}
