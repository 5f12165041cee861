//! Pods: who runs where, under which service account.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use diolkos_topology::{Mtls, NameError, Namespace, NetworkId, NodeName, PodName, Workload};
use diolkos_trust::{SpiffeId, TrustDomain};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::finding::Findings;
use crate::names::{self, NETWORK_LABEL, TLS_MODE_LABEL};
use crate::text::at;

/// What is known of a pod, for its endpoints and for telling whether a client is who it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEntry {
    pub service_account: String,
    /// Its own label's word; `None` means its cluster's network.
    pub network: Option<NetworkId>,
    pub node: Option<NodeName>,
    pub mtls: Mtls,
    /// Only the labels that diolkos reads.
    pub labels: BTreeMap<String, String>,
    pub ips: Vec<IpAddr>,
    pub workload: Arc<Workload>,
}

/// A pod within its cluster.
pub type PodKey = (Namespace, PodName);

/// A pod and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodParts {
    pub namespace: Namespace,
    pub name: PodName,
    pub entry: PodEntry,
}

impl PodParts {
    pub fn key(&self) -> PodKey {
        (self.namespace.clone(), self.name.clone())
    }
}

impl PodEntry {
    /// Istio's shape. `None` is not to be had: the service account was checked on arrival.
    pub fn identity(&self, trust_domain: &TrustDomain, namespace: &str) -> Option<SpiffeId> {
        SpiffeId::workload(trust_domain, namespace, &self.service_account).ok()
    }
}

const CANONICAL_NAME_LABELS: [&str; 3] =
    ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
const CANONICAL_REVISION_LABELS: [&str; 3] =
    ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];

pub fn pod_parts(object: &Pod, findings: &mut Findings) -> Option<PodParts> {
    let meta = &object.metadata;
    let name = names::name_text(meta, findings)?;
    let name = names::checked(name, true, PodName::new, at!["metadata", "name"], findings);
    let namespace = names::checked(
        names::namespace_text(meta),
        false,
        Namespace::new,
        at!["metadata", "namespace"],
        findings,
    );
    let account = service_account(object, findings);
    let network = names::network_label(meta, findings);
    let node = node(object, findings);
    let (name, namespace, service_account) = (name?, namespace?, account?);
    let entry = PodEntry {
        service_account,
        network: network.ok()?,
        node: node.ok()?,
        mtls: match names::label(meta, TLS_MODE_LABEL) {
            Some("istio") => Mtls::Istio,
            _ => Mtls::Plaintext,
        },
        labels: labels(meta),
        ips: ips(object.status.as_ref(), findings),
        workload: Arc::new(workload(meta, name.as_str())),
    };
    Some(PodParts { namespace, name, entry })
}

/// It becomes a part of an identity, so what a SPIFFE id may not contain is refused here.
fn service_account(object: &Pod, findings: &mut Findings) -> Option<String> {
    let spec = object.spec.as_ref();
    let named = spec.and_then(|spec| {
        let current = spec.service_account_name.as_deref().filter(|text| !text.is_empty());
        current.or(spec.service_account.as_deref()).filter(|text| !text.is_empty())
    });
    let Some(text) = named else {
        return Some("default".into());
    };
    let field = at!["spec", "serviceAccountName"];
    names::checked(text, true, account_name, field, findings)?;
    Some(text.to_owned())
}

/// Kubernetes names service accounts by the rule for pods.
fn account_name(text: &str) -> Result<PodName, NameError> {
    const WHAT: &str = "service account";
    PodName::new(text).map_err(|error| match error {
        NameError::Character { text, found, .. } => {
            NameError::Character { what: WHAT, text, found }
        }
        NameError::Edge { text, .. } => NameError::Edge { what: WHAT, text },
        NameError::TooLong { bytes, bytes_max, .. } => {
            NameError::TooLong { what: WHAT, bytes, bytes_max }
        }
        NameError::Empty(_) => NameError::Empty(WHAT),
        NameError::ZeroPort => error,
    })
}

fn node(object: &Pod, findings: &mut Findings) -> Result<Option<NodeName>, ()> {
    let named = object.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    match named.filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => names::checked(text, true, NodeName::new, at!["spec", "nodeName"], findings)
            .map(Some)
            .ok_or(()),
    }
}

fn ips(status: Option<&PodStatus>, findings: &mut Findings) -> Vec<IpAddr> {
    let Some(status) = status else {
        return Vec::new();
    };
    let mut ips = Vec::new();
    let one = status.pod_ip.iter().map(|ip| (at!["status", "podIP"], ip.as_str()));
    let many = status.pod_ips.iter().flatten().enumerate();
    let many = many.map(|(index, ip)| (at!["status", "podIPs", index, "ip"], ip.ip.as_str()));
    for (field, text) in one.chain(many).filter(|(_, text)| !text.is_empty()) {
        ips.extend(names::address(text, field, findings));
    }
    ips.sort_unstable();
    ips.dedup();
    ips
}

fn labels(meta: &ObjectMeta) -> BTreeMap<String, String> {
    let read = [NETWORK_LABEL, TLS_MODE_LABEL].into_iter();
    let read = read.chain(CANONICAL_NAME_LABELS).chain(CANONICAL_REVISION_LABELS);
    read.filter_map(|name| Some((name.to_owned(), names::label(meta, name)?.to_owned()))).collect()
}

fn workload(meta: &ObjectMeta, pod: &str) -> Workload {
    let name = owner(meta).unwrap_or_else(|| pod.to_owned());
    let first = |names: [&str; 3]| {
        names.into_iter().find_map(|name| names::label(meta, name).filter(|text| !text.is_empty()))
    };
    let canonical_name = first(CANONICAL_NAME_LABELS).unwrap_or(&name).into();
    let revision = first(CANONICAL_REVISION_LABELS).filter(|text| *text != "latest");
    Workload {
        name: name.as_str().into(),
        canonical_name,
        canonical_revision: revision.unwrap_or_default().into(),
    }
}

/// Who made the pod, as a person would name it: a Deployment rather than its ReplicaSet.
fn owner(meta: &ObjectMeta) -> Option<String> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let controls = |owner: &&OwnerReference| owner.controller == Some(true);
    let owner = owners.iter().find(controls).or(owners.first())?;
    let name = owner.name.as_str();
    let parent = match owner.kind.as_str() {
        "ReplicaSet" => names::label(meta, "pod-template-hash")
            .and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-')),
        // A CronJob's Job ends in the minutes since 1970.
        "Job" => name.rsplit_once('-').and_then(|(parent, minutes)| {
            let digits = minutes.len() >= 8 && minutes.bytes().all(|b| b.is_ascii_digit());
            digits.then_some(parent)
        }),
        _ => None,
    };
    let name = parent.filter(|text| !text.is_empty()).unwrap_or(name);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(owner: Option<(&str, &str)>, labels: &[(&str, &str)]) -> ObjectMeta {
        let reference = |(kind, name): (&str, &str)| OwnerReference {
            kind: kind.into(),
            name: name.into(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        let label = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        ObjectMeta {
            owner_references: owner.map(|owner| vec![reference(owner)]),
            labels: Some(labels.iter().map(label).collect()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_workload_is_named_after_whoever_made_the_pod() {
        let hash = ("pod-template-hash", "7d4b9c");
        let cases = [
            (Some(("ReplicaSet", "cart-7d4b9c")), Some(hash), "cart"),
            (Some(("ReplicaSet", "cart-7d4b9c")), None, "cart-7d4b9c"),
            (Some(("ReplicaSet", "cart-other")), Some(hash), "cart-other"),
            (Some(("StatefulSet", "db")), None, "db"),
            (Some(("DaemonSet", "proxy")), None, "proxy"),
            (Some(("Job", "report-29012345")), None, "report"),
            (Some(("Job", "report-17")), None, "report-17"),
            (None, None, "pod-1"),
        ];
        for (owner, label, expected) in cases {
            let labels: Vec<_> = label.into_iter().collect();
            let workload = workload(&meta(owner, &labels), "pod-1");
            assert_eq!(&*workload.name, expected, "{owner:?}");
            assert_eq!(&*workload.canonical_name, expected, "{owner:?}");
        }
    }

    #[test]
    fn canonical_labels_go_before_names() {
        let labels = [
            ("app", "third"),
            ("app.kubernetes.io/name", "second"),
            ("service.istio.io/canonical-name", "first"),
            ("version", "v2"),
        ];
        for (skipped, expected) in [(0, "first"), (1, "first"), (2, "first")] {
            let workload = workload(&meta(None, &labels[skipped..]), "pod-1");
            assert_eq!(&*workload.canonical_name, expected);
            assert_eq!(&*workload.canonical_revision, "v2");
        }
        let workload = |labels: &[_]| workload(&meta(None, labels), "pod-1");
        assert_eq!(&*workload(&labels[..2]).canonical_name, "second");
        assert_eq!(&*workload(&labels[..1]).canonical_name, "third");
        assert_eq!(&*workload(&[("version", "latest")]).canonical_revision, "");
        assert_eq!(&*workload(&[]).canonical_revision, "");
    }
}
