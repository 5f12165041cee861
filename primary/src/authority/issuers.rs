//! Whose cluster a token is from: the one whose issuer, and whose key, signed it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

use diolkos_facts::MeshFile;
use diolkos_topology::ClusterId;
use diolkos_trust::{
    JWKS_BYTES_MAX, Jwks, ServiceAccountToken, TokenIssuer, TokenKey, TrustDomain, UnverifiedToken,
};

use crate::caller::Denied;

/// What a token for this primary is made out to: its own audience, or Istio's for its clients.
const AUDIENCES: &[&str] = &["diolkos-xds", "istio-ca"];

/// The token issuer of each cluster that has one, by the name that stands in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenIssuers(BTreeMap<String, Issuer>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Issuer {
    cluster: ClusterId,
    trust_domain: TrustDomain,
    issuer: TokenIssuer,
}

impl TokenIssuers {
    /// As `Authorities::read`: a file that cannot be read keeps what was last good of it.
    pub(super) fn read(
        folder: &Path,
        mesh: &MeshFile,
        before: &Self,
        complaints: &mut Vec<String>,
    ) -> Self {
        let mut found = Vec::new();
        for entry in &mesh.clusters {
            let Some(tokens) = &entry.tokens else { continue };
            let cluster = &entry.settings.cluster;
            let keys = match jwks(&folder.join(&tokens.jwks)) {
                Ok(keys) => keys,
                Err(cause) => {
                    let kept = before.keys_of(cluster, &tokens.issuer);
                    let outcome = match kept {
                        None => "its clients are refused by their tokens until it can be read",
                        Some(_) => "the last good one counts on",
                    };
                    complaints.push(format!("cluster {cluster}: tokens.jwks: {cause}; {outcome}"));
                    let Some(kept) = kept else { continue };
                    kept.clone()
                }
            };
            found.push(Issuer {
                cluster: cluster.clone(),
                trust_domain: entry.settings.trust_domain.clone(),
                issuer: TokenIssuer { name: tokens.issuer.clone(), keys },
            });
        }
        let same_name = shared(&found, |issuer| vec![issuer.issuer.name.clone()]);
        for (name, clusters) in &same_name {
            complaints.push(format!(
                "clusters {}: the same token issuer {name}, so their clients cannot be told apart \
                 and are refused by their tokens; give each API server a --service-account-issuer \
                 of its own",
                clusters.join(", ")
            ));
        }
        let same_key = shared(&found, |issuer| issuer.issuer.keys.keys().collect());
        let mut several: Vec<_> = same_key.values().map(|clusters| clusters.join(", ")).collect();
        several.dedup();
        for clusters in several {
            complaints.push(format!(
                "clusters {clusters}: the same key in tokens.jwks, so either could speak for the \
                 other and the clients of both are refused by their tokens; give each API server \
                 a key of its own"
            ));
        }
        found.retain(|issuer| {
            !same_name.contains_key(&issuer.issuer.name)
                && !issuer.issuer.keys.keys().any(|key| same_key.contains_key(&key))
        });
        Self(found.into_iter().map(|issuer| (issuer.issuer.name.clone(), issuer)).collect())
    }

    /// Offline, by the keys at hand. Asking the cluster's API server instead (TokenReview) would be
    /// another way from a token's text to the same.
    pub(crate) fn verify(
        &self,
        text: &str,
        now: SystemTime,
    ) -> Result<ServiceAccountToken, Denied> {
        let token = UnverifiedToken::parse(text).map_err(Denied::Token)?;
        let unknown = || Denied::TokenIssuer { issuer: token.issuer().to_owned() };
        let issuer = self.0.get(token.issuer()).ok_or_else(unknown)?;
        token.verify(&issuer.issuer, AUDIENCES, now).map_err(Denied::Token)
    }

    /// Whose token it is, while its issuer is that cluster's and has the key that signed it.
    pub(crate) fn cluster_of(
        &self,
        token: &ServiceAccountToken,
    ) -> Option<(&ClusterId, &TrustDomain)> {
        let issuer = self.0.get(&token.issuer)?;
        let signs = issuer.issuer.keys.keys().any(|key: TokenKey| key == token.key);
        signs.then_some((&issuer.cluster, &issuer.trust_domain))
    }

    fn keys_of(&self, cluster: &ClusterId, name: &str) -> Option<&Jwks> {
        let issuer = self.0.get(name).filter(|issuer| issuer.cluster == *cluster)?;
        Some(&issuer.issuer.keys)
    }
}

/// What more than one of them has, and who they are.
fn shared<K: Ord>(found: &[Issuer], of: impl Fn(&Issuer) -> Vec<K>) -> BTreeMap<K, Vec<String>> {
    let mut owners: BTreeMap<K, Vec<String>> = BTreeMap::new();
    for issuer in found {
        for key in of(issuer) {
            let owners = owners.entry(key).or_default();
            // One cluster may have a key under two names.
            if owners.last().is_none_or(|last| last != issuer.cluster.as_str()) {
                owners.push(issuer.cluster.to_string());
            }
        }
    }
    owners.retain(|_, owners| owners.len() > 1);
    owners
}

fn jwks(path: &Path) -> Result<Jwks, String> {
    let told = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| told(&error))?;
    file.take(JWKS_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(|error| told(&error))?;
    Jwks::parse(&text).map_err(|error| told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use diolkos_trust::TokenFault;
    use std::fs;

    const KEYS: [&str; 2] = [
        "1eWrT8mZgTV7vXp6pPfXeHrVRTWJLpmJr3Q2pnjFuHM",
        "GbM0yJxVvQ7sLlq2q8GjvRTzAcIRDyVtxbp9xo1WtcU",
    ];

    struct Ground {
        dir: tempfile::TempDir,
        complaints: Vec<String>,
    }

    impl Ground {
        fn new() -> Self {
            let ground = Self { dir: tempfile::tempdir().unwrap(), complaints: Vec::new() };
            ground.write("west.json", &jwks_of(&[("a", KEYS[0])]));
            ground.write("east.json", &jwks_of(&[("a", KEYS[1])]));
            ground
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.dir.path().join(file), text).unwrap();
        }

        /// Clusters with their issuers and files.
        fn read(&mut self, clusters: &[(&str, &str, &str)], before: &TokenIssuers) -> TokenIssuers {
            let mut text = "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\n\
                            spec:\n  trustDomain: m\n  clusters:\n"
                .to_owned();
            for (name, issuer, jwks) in clusters {
                text += &format!(
                    "  - name: {name}\n    tokens: {{issuer: 'https://{issuer}', jwks: {jwks}}}\n"
                );
            }
            let mesh = diolkos_facts::parse_mesh(&text).0.unwrap();
            self.complaints.clear();
            TokenIssuers::read(self.dir.path(), &mesh, before, &mut self.complaints)
        }
    }

    fn jwks_of(keys: &[(&str, &str)]) -> String {
        let key = |(kid, x): &(&str, &str)| {
            format!(r#"{{"kty": "OKP", "crv": "Ed25519", "kid": "{kid}", "x": "{x}"}}"#)
        };
        let keys: Vec<String> = keys.iter().map(key).collect();
        format!(r#"{{"keys": [{}]}}"#, keys.join(", "))
    }

    const WEST: (&str, &str, &str) = ("west", "west.example", "west.json");
    const EAST: (&str, &str, &str) = ("east", "east.example", "east.json");

    fn issuers(read: &TokenIssuers) -> Vec<(&str, &str)> {
        read.0.iter().map(|(name, issuer)| (name.as_str(), issuer.cluster.as_str())).collect()
    }

    #[test]
    fn each_cluster_is_known_by_its_own_issuer() {
        let mut ground = Ground::new();
        let read = ground.read(&[WEST, EAST], &TokenIssuers::default());
        assert_eq!(
            issuers(&read),
            [("https://east.example", "east"), ("https://west.example", "west")]
        );
        assert!(ground.complaints.is_empty(), "{:?}", ground.complaints);
        let stranger = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL3gifQ.";
        let denied = read.verify(stranger, SystemTime::now()).unwrap_err();
        assert_eq!(denied, Denied::TokenIssuer { issuer: "https://x".into() });
        let denied = read.verify("no token", SystemTime::now()).unwrap_err();
        assert!(matches!(denied, Denied::Token(TokenFault::Shape { .. })), "{denied}");
    }

    #[test]
    fn two_clusters_with_one_issuer_are_both_refused() {
        let mut ground = Ground::new();
        let read =
            ground.read(&[WEST, ("east", "west.example", "east.json")], &TokenIssuers::default());
        assert_eq!(issuers(&read), []);
        assert!(
            ground.complaints[0].starts_with(
                "clusters west, east: the same token issuer https://west.example, so their clients \
                 cannot be told apart"
            ),
            "{:?}",
            ground.complaints
        );
    }

    #[test]
    fn two_clusters_with_one_key_are_both_refused_whatever_it_is_called() {
        let mut ground = Ground::new();
        ground.write("both.json", &jwks_of(&[("a", KEYS[1]), ("other", KEYS[0])]));
        let read =
            ground.read(&[WEST, ("east", "east.example", "both.json")], &TokenIssuers::default());
        assert_eq!(issuers(&read), []);
        assert_eq!(ground.complaints.len(), 1, "{:?}", ground.complaints);
        assert!(ground.complaints[0].starts_with("clusters west, east: the same key in"));
        ground.write("twice.json", &jwks_of(&[("a", KEYS[1]), ("b", KEYS[1])]));
        let read =
            ground.read(&[WEST, ("east", "east.example", "twice.json")], &TokenIssuers::default());
        assert_eq!(issuers(&read).len(), 2, "one cluster may call its key twice");
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_the_last_good_one_and_harms_no_other() {
        let mut ground = Ground::new();
        let good = ground.read(&[WEST, EAST], &TokenIssuers::default());
        ground.write("west.json", "{\"keys\": [");
        let kept = ground.read(&[WEST, EAST], &good);
        assert_eq!(kept, good);
        assert!(ground.complaints[0].contains("west.json: it is no set of keys: EOF"));
        assert!(ground.complaints[0].ends_with("the last good one counts on"));

        let never = ground.read(&[WEST, EAST], &TokenIssuers::default());
        assert_eq!(issuers(&never), [("https://east.example", "east")]);
        assert!(ground.complaints[0].ends_with("by their tokens until it can be read"));

        let renamed = ground.read(&[("west", "other.example", "west.json"), EAST], &good);
        assert_eq!(issuers(&renamed).len(), 1, "the keys were another issuer's");
        let taken_back = ground.read(&[EAST], &good);
        assert_eq!(issuers(&taken_back), [("https://east.example", "east")]);
        assert!(ground.complaints.is_empty());
    }
}
