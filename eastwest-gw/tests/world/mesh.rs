//! Certificates of one mesh.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use diolkos_tls::{Identity, IssuerKey, Roots};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};
use tempfile::TempDir;

/// Of one cluster: its CA is signed by the mesh's root.
pub(crate) struct Mesh {
    root: Arc<Authority>,
    authority: Authority,
    validity: Validity,
    folder: TempDir,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
        let validity = Validity { not_before: now - day, not_after: now + day };
        Self::of(&Arc::new(Authority::new_root("test", validity).unwrap()), "east", validity)
    }

    /// Of another cluster, with a CA of its own.
    pub(crate) fn cluster(&self, name: &str) -> Self {
        Self::of(&self.root, name, self.validity)
    }

    fn of(root: &Arc<Authority>, cluster: &str, validity: Validity) -> Self {
        let authority = root.intermediate(cluster, validity).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { root: Arc::clone(root), authority, validity, folder }
    }

    pub(crate) fn issuer(&self) -> IssuerKey {
        IssuerKey::of_certificate(self.authority.certificate_der()).unwrap()
    }

    pub(crate) fn domain() -> TrustDomain {
        TrustDomain::new("cluster.local").unwrap()
    }

    pub(crate) fn id(service_account: &str) -> SpiffeId {
        let text = format!("spiffe://cluster.local/ns/shop/sa/{service_account}");
        SpiffeId::parse(&text).unwrap()
    }

    pub(crate) fn identity(&self, service_account: &str, dns: &[&str]) -> (Identity, Roots) {
        let leaf = LeafRequest {
            id: Self::id(service_account),
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            ips: vec![],
            validity: self.validity,
        };
        let folder: &Path = &self.folder.path().join(service_account);
        self.authority.issue(&leaf).unwrap().write(folder).unwrap();
        let roots = Roots::load(folder, &Self::domain()).unwrap();
        (Identity::load(folder).unwrap(), roots)
    }
}
