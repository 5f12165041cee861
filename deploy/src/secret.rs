//! A remote secret, in Istio's shape: what lets a primary read another cluster.
//!
//! What is made here is what `diolkos_facts::remote` takes: a test holds the two together.

use std::collections::BTreeMap;

use diolkos_facts::remote::{self, AllowedRanges, MULTI_CLUSTER_LABEL, Remark, Setup};
use diolkos_topology::{ClusterId, Namespace};
use serde_json::{Value, json};

use crate::yaml;

/// How to read a cluster, and what it may claim.
#[derive(Clone)]
pub struct RemoteSecret {
    pub cluster: ClusterId,
    /// Where the primary looks for it.
    pub namespace: Namespace,
    pub name: String,
    /// `https://host:port`
    pub server: String,
    /// Certificates in PEM.
    pub roots: String,
    pub tls_server_name: Option<String>,
    pub token: String,
    pub grants: Grants,
}

/// What the cluster may claim, as docs/remote-secrets.md writes it. Nothing said narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    pub services: Option<String>,
    pub identities: Option<String>,
    pub addresses: Option<String>,
    pub networks: Option<String>,
    pub trust_domain: Option<String>,
}

impl RemoteSecret {
    /// The name that Istio's tools give it.
    pub fn usual_name(cluster: &ClusterId) -> String {
        format!("istio-remote-secret-{cluster}")
    }

    pub fn object(&self) -> Value {
        let name = self.cluster.as_str();
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace.as_str(),
                "labels": {MULTI_CLUSTER_LABEL: "true"},
                "annotations": self.annotations(),
            },
            "stringData": {name: self.kubeconfig()},
        })
    }

    /// # Errors
    /// What a primary would say of it that may connect to ordinary addresses, and to these.
    pub fn check(&self, allowed: &AllowedRanges) -> Result<(), Remark> {
        let own = ["own", "other"].into_iter().find(|name| *name != self.cluster.as_str());
        let setup = Setup {
            own: ClusterId::new(own.unwrap_or_default()).expect("both are names"),
            namespace: self.namespace.to_string(),
            allowed: allowed.clone(),
        };
        let kubeconfig = self.kubeconfig().into_bytes();
        let secret = remote::RemoteSecret {
            namespace: self.namespace.to_string(),
            name: self.name.clone(),
            created: 0,
            labels: [(MULTI_CLUSTER_LABEL.to_owned(), "true".to_owned())].into(),
            annotations: self.annotations(),
            data: [(self.cluster.to_string(), kubeconfig.into())].into(),
        };
        remote::read_secret(&secret, &setup).into_iter().try_for_each(|(_, read)| read.map(drop))
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let Grants { services, identities, addresses, networks, trust_domain } = &self.grants;
        let said = [
            ("networking.istio.io/cluster", Some(self.cluster.as_str())),
            ("diolkos.dev/services", services.as_deref()),
            ("diolkos.dev/identities", identities.as_deref()),
            ("diolkos.dev/addresses", addresses.as_deref()),
            ("diolkos.dev/networks", networks.as_deref()),
            ("diolkos.dev/trust-domain", trust_domain.as_deref()),
        ];
        said.into_iter().filter_map(|(key, said)| Some((key.into(), said?.into()))).collect()
    }

    /// One cluster, one user, one context, all by the cluster's name.
    fn kubeconfig(&self) -> String {
        let name = self.cluster.as_str();
        let mut cluster = json!({
            "certificate-authority-data": base64(self.roots.as_bytes()),
            "server": self.server,
        });
        if let Some(server_name) = &self.tls_server_name {
            cluster["tls-server-name"] = json!(server_name);
        }
        yaml::document(&json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
            "users": [{"name": name, "user": {"token": self.token}}],
        }))
    }
}

impl std::fmt::Debug for RemoteSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteSecret({} at {})", self.cluster, self.server)
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
