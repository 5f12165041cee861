//! One Secret, or one file of a folder, to the remote clusters in it.

use std::collections::BTreeMap;
use std::fmt;

use diolkos_topology::ClusterId;
use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroizing;

use super::code::{Code, Flaw};
use super::kubeconfig::{self, Kubeconfig};
use super::{Claims, MULTI_CLUSTER_LABEL, RemoteCluster, Setup, claims};
use crate::limit;
use crate::names::short;
use crate::rejection::{Rejection, Severity};

/// A Secret as the API server has it, without what is not read. Its content is overwritten when
/// dropped and never printed.
#[derive(Clone, Default)]
pub struct RemoteSecret {
    pub namespace: String,
    pub name: String,
    /// Milliseconds since 1970, by the API server's clock.
    pub created: u64,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

/// Why something is no remote cluster, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub code: Code,
    pub rejection: Rejection,
}

impl From<Secret> for RemoteSecret {
    fn from(secret: Secret) -> Self {
        let meta = secret.metadata;
        let created = crate::names::created(&meta).unwrap_or_default();
        let data = secret.data.unwrap_or_default().into_iter();
        Self {
            namespace: meta.namespace.unwrap_or_default(),
            name: meta.name.unwrap_or_default(),
            created,
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            data: data.map(|(key, bytes)| (key, Zeroizing::new(bytes.0))).collect(),
        }
    }
}

impl fmt::Debug for RemoteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.data.keys().collect();
        write!(f, "RemoteSecret({}/{}, keys {keys:?})", self.namespace, self.name)
    }
}

/// What one key of a Secret, or one file, says.
pub type Outcome = Result<RemoteCluster, Remark>;

/// Each key of the Secret with what it says, in order. Empty where the Secret is not one of remote
/// clusters.
pub fn read_secret(secret: &RemoteSecret, setup: &Setup) -> Vec<(String, Outcome)> {
    if secret.labels.get(MULTI_CLUSTER_LABEL).map(String::as_str) != Some("true") {
        return Vec::new();
    }
    let place = format!("secret {}/{}", secret.namespace, secret.name);
    let whole = |flaw| vec![(String::new(), Err(remark(&place, None, flaw, Severity::Refused)))];
    if secret.namespace != setup.namespace {
        let cause = format!("remote secrets count in namespace {} alone", setup.namespace);
        let way_out = "move it there, or drop its label";
        return whole(Flaw::new(0, Code::Namespace, cause, way_out));
    }
    if secret.data.len() > limit::REMOTE_ENTRIES_MAX {
        let entries_max = limit::REMOTE_ENTRIES_MAX;
        let cause = format!("{} keys, at most {entries_max} are read", secret.data.len());
        return whole(Flaw::new(0, Code::TooMany, cause, "split it"));
    }
    let claims = match claims::read(&secret.annotations) {
        Ok(claims) => claims.reserving(setup),
        Err(flaw) => return whole(flaw),
    };
    let entries = secret
        .data
        .iter()
        .map(|(key, bytes)| (key.clone(), read_key(&place, key, bytes, &claims, setup)));
    entries.collect()
}

fn read_key(place: &str, key: &str, bytes: &[u8], claims: &Claims, setup: &Setup) -> Outcome {
    let told = |flaw, severity| remark(place, Some(key), flaw, severity);
    if key == "config" {
        let cause = "the key config is an external control plane's own kubeconfig, and no cluster";
        let way_out = "nothing to do; a cluster of this name would need another one";
        let flaw = Flaw::new(0, Code::ConfigKey, cause, way_out);
        return Err(told(flaw, Severity::Warning));
    }
    let cluster = cluster_id(key).map_err(|flaw| told(flaw, Severity::Refused))?;
    not_own(&cluster, setup).map_err(|flaw| told(flaw, Severity::Warning))?;
    let Kubeconfig { connection, .. } =
        kubeconfig::read(bytes, &setup.allowed).map_err(|flaw| told(flaw, Severity::Refused))?;
    Ok(RemoteCluster { cluster, connection, claims: claims.clone() })
}

/// A file of a folder of kubeconfigs. The cluster has the name by which the kubeconfig calls it.
pub fn read_file(name: &str, bytes: &[u8], setup: &Setup) -> Outcome {
    let place = format!("file {name}");
    let told = |flaw, severity| remark(&place, None, flaw, severity);
    let Kubeconfig { name, connection } =
        kubeconfig::read(bytes, &setup.allowed).map_err(|flaw| told(flaw, Severity::Refused))?;
    let cluster = ClusterId::new(&name).map_err(|_| {
        // Without the name: nothing of the document is repeated.
        let cause = "the kubeconfig calls its cluster by a name that no cluster can have";
        let way_out = "use letters, digits, '-', '_' and '.'";
        told(Flaw::new(0, Code::ClusterName, cause, way_out), Severity::Refused)
    })?;
    not_own(&cluster, setup).map_err(|flaw| told(flaw, Severity::Warning))?;
    Ok(RemoteCluster { cluster, connection, claims: Claims::plain().reserving(setup) })
}

fn cluster_id(text: &str) -> Result<ClusterId, Flaw> {
    ClusterId::new(text).map_err(|error| {
        let text = error.to_string();
        let (cause, way_out) = text.split_once("; ").unwrap_or((&text, "name the cluster anew"));
        Flaw::new(0, Code::ClusterName, cause, way_out)
    })
}

fn not_own(cluster: &ClusterId, setup: &Setup) -> Result<(), Flaw> {
    if *cluster != setup.own {
        return Ok(());
    }
    let cause = format!("cluster {cluster} is the primary's own, and known without a secret");
    let way_out = "drop the entry, or name the other cluster otherwise";
    Err(Flaw::new(0, Code::OwnCluster, cause, way_out))
}

pub(super) fn remark(place: &str, key: Option<&str>, flaw: Flaw, severity: Severity) -> Remark {
    Remark {
        code: flaw.code,
        rejection: Rejection {
            file: place.into(),
            line: flaw.line,
            object: key.map(|key| format!("key {}", short(key))),
            cause: flaw.cause,
            way_out: flaw.way_out,
            severity,
        },
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.rejection, self.code)
    }
}

impl std::error::Error for Remark {}
