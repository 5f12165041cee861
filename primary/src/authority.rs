//! Whose cluster a client is from: the one whose CA certificate signed its leaf (or, where that is the
//! primary's own CA, the one that the CA wrote into the subject), or whose issuer its token.

mod issuers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use diolkos_facts::{MeshFile, Origin};
use diolkos_tls::{ClusterIssuers, IssuerKey, Issuers};
use diolkos_topology::ClusterId;
use diolkos_xds::callers::{Callers, Named};

pub(crate) use issuers::TokenIssuers;

/// The signing certificate of each cluster, by its key, and the issuer of its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Authorities {
    pub(crate) callers: ClusterIssuers<ClusterId>,
    pub(crate) tokens: Arc<TokenIssuers>,
    /// One line each: who cannot be told apart, and what to do.
    pub(crate) complaints: Vec<String>,
}

impl Authorities {
    /// Never fails: a cluster whose certificate or keys cannot be read keeps those it had in
    /// `before`, and without any has no clients; the rest works.
    pub(crate) fn read(mesh_path: &Path, mesh: &MeshFile, own: &Issuers, before: &Self) -> Self {
        let folder = mesh_path.parent().unwrap_or(Path::new("."));
        let mut complaints = Vec::new();
        let mut claims: BTreeMap<IssuerKey, Vec<ClusterId>> = BTreeMap::new();
        for entry in &mesh.clusters {
            let cluster = &entry.settings.cluster;
            let Some(certificate) = &entry.ca_certificate else {
                // With a CA of its own, the primary signs for it, and writes into the certificate
                // whose client it is.
                let signs = !own.is_empty() || entry.origin == Origin::Kubernetes;
                if entry.tokens.is_none() && !signs {
                    complaints.push(format!(
                        "cluster {cluster}: no caCertificate and no tokens in the mesh file, so \
                         its clients cannot be told from strangers and are refused; name the \
                         certificate that signs them"
                    ));
                }
                continue;
            };
            let keys = issuer_keys(&folder.join(certificate)).unwrap_or_else(|cause| {
                let kept = before.keys_of(cluster);
                let outcome = match kept.is_empty() {
                    true => "its clients are refused until it can be read",
                    false => "the last good one counts on",
                };
                complaints.push(format!("cluster {cluster}: caCertificate: {cause}; {outcome}"));
                kept
            });
            for key in keys {
                claims.entry(key).or_default().push(cluster.clone());
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
        let tokens = TokenIssuers::read(folder, mesh, &before.tokens, &mut complaints);
        complaints.sort();
        let declared = mesh.clusters.iter().map(|entry| entry.settings.cluster.clone()).collect();
        let callers = ClusterIssuers { clusters, own: own.clone(), declared };
        Self { callers, tokens: Arc::new(tokens), complaints }
    }

    /// For gateways, which tell callers apart as we do.
    pub(crate) fn told(&self) -> Callers {
        let text = |keys: Vec<IssuerKey>| keys.iter().map(IssuerKey::to_string).collect();
        let of = |cluster: &ClusterId| Named {
            cluster: cluster.to_string(),
            texts: text(self.keys_of(cluster)),
        };
        Callers {
            own: text(self.callers.own.keys()),
            clusters: self.callers.declared.iter().map(of).collect(),
        }
    }

    fn keys_of(&self, cluster: &ClusterId) -> Vec<IssuerKey> {
        let of_cluster = self.callers.clusters.iter().filter(|(_, owner)| *owner == cluster);
        of_cluster.map(|(key, _)| *key).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    use diolkos_tls::{Peer, Stranger};
    use diolkos_trust::SpiffeId;
    use diolkos_trust_service::{Authority, Validity};

    struct Ground {
        dir: tempfile::TempDir,
        west: IssuerKey,
        east: IssuerKey,
        own: Issuers,
    }

    impl Ground {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let validity = validity();
            let root = Authority::new_root("root", validity).unwrap();
            let key = |name: &str| {
                let authority = root.intermediate(name, validity).unwrap();
                authority.write(&dir.path().join(name)).unwrap();
                IssuerKey::of_certificate(authority.certificate_der()).unwrap()
            };
            let (west, east) = (key("west"), key("east"));
            Self { dir, west, east, own: Issuers::default() }
        }

        fn read(&self, clusters: &[(&str, Option<&str>)], before: &Authorities) -> Authorities {
            let mut text = "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\n\
                            spec:\n  trustDomain: m\n  clusters:\n"
                .to_owned();
            for (name, ca) in clusters {
                text += &format!("  - name: {name}\n");
                text += &ca.map(|ca| format!("    caCertificate: {ca}\n")).unwrap_or_default();
            }
            let mesh = diolkos_facts::parse_mesh(&text).0.unwrap();
            Authorities::read(&self.dir.path().join("mesh.yaml"), &mesh, &self.own, before)
        }
    }

    fn peer(issuer: &IssuerKey, organization: Option<&str>) -> Peer {
        Peer {
            id: SpiffeId::parse("spiffe://m/ns/shop/sa/cart").unwrap(),
            issuer: *issuer,
            issuer_locality: None,
            organization: organization.map(str::to_owned),
            not_after: SystemTime::now(),
        }
    }

    const WEST: (&str, Option<&str>) = ("west", Some("west/ca-cert.pem"));

    fn owner<'a>(authorities: &'a Authorities, key: &IssuerKey) -> Option<&'a str> {
        authorities.callers.cluster_of(&peer(key, None)).ok().map(ClusterId::as_str)
    }

    #[test]
    fn each_cluster_is_known_by_its_own_certificate() {
        let ground = Ground::new();
        let read = ground.read(
            &[WEST, ("east", Some("east/ca-cert.pem")), ("north", None)],
            &Authorities::default(),
        );
        assert_eq!(owner(&read, &ground.west), Some("west"));
        assert_eq!(owner(&read, &ground.east), Some("east"));
        assert_eq!(read.complaints.len(), 1);
        assert!(read.complaints[0].starts_with("cluster north: no caCertificate"));
    }

    #[test]
    fn two_clusters_with_one_certificate_are_both_refused() {
        let ground = Ground::new();
        let read =
            ground.read(&[WEST, ("east", Some("west/ca-cert.pem"))], &Authorities::default());
        assert_eq!(owner(&read, &ground.west), None);
        assert!(read.complaints[0].starts_with("clusters west, east: the same caCertificate"));
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_the_last_good_one_and_harms_no_other() {
        let ground = Ground::new();
        let east = ("east", Some("east/ca-cert.pem"));
        let good = ground.read(&[WEST, east], &Authorities::default());
        std::fs::write(ground.dir.path().join("west/ca-cert.pem"), "half a").unwrap();
        let kept = ground.read(&[WEST, east], &good);
        assert_eq!(owner(&kept, &ground.west), Some("west"));
        assert!(kept.complaints[0].ends_with("the last good one counts on"), "{kept:?}");

        let never = ground.read(&[WEST, east], &Authorities::default());
        assert_eq!(owner(&never, &ground.west), None);
        assert_eq!(owner(&never, &ground.east), Some("east"));
        assert!(never.complaints[0].ends_with("its clients are refused until it can be read"));

        let renamed = ground.read(&[("west", None), east], &good);
        assert_eq!(owner(&renamed, &ground.west), None, "the operator took it back");
    }

    #[test]
    fn a3_a_subject_is_believed_of_our_own_ca_and_of_no_other() {
        let ground = Ground::new();
        ground.own.add(ground.west);
        let read = ground.read(
            &[WEST, ("east", Some("east/ca-cert.pem")), ("north", None)],
            &Authorities::default(),
        );
        assert_eq!(read.complaints, [""; 0], "our own CA signs for north");
        let of = |issuer, organization| match read.callers.cluster_of(&peer(issuer, organization)) {
            Ok(cluster) => cluster.to_string(),
            Err(Stranger::Issuer) => "nobody".into(),
            Err(Stranger::Cluster(name)) => format!("undeclared {name}"),
        };
        let stranger = IssuerKey::of_certificate(
            Authority::new_root("s", validity()).unwrap().certificate_der(),
        )
        .unwrap();
        for (issuer, organization, cluster) in [
            (&ground.west, Some("north"), "north"),
            (&ground.west, Some("west"), "west"),
            (&ground.west, None, "west"),
            (&ground.west, Some("south"), "undeclared south"),
            (&ground.west, Some(""), "undeclared "),
            (&ground.east, Some("west"), "east"),
            (&ground.east, Some("north"), "east"),
            (&ground.east, None, "east"),
            (&stranger, Some("west"), "nobody"),
        ] {
            assert_eq!(of(issuer, organization), cluster, "{organization:?}");
        }
    }

    fn validity() -> Validity {
        let now = SystemTime::now();
        Validity { not_before: now, not_after: now + Duration::from_secs(3600) }
    }
}
