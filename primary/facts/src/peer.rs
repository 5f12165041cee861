//! PeerAuthentication: who has to prove who they are before a workload takes them in.
//!
//! | policy | counts for | goes before |
//! |---|---|---|
//! | in the system namespace, without selector | the cluster | nothing |
//! | in another namespace, without selector | the namespace | the above |
//! | in another namespace, with selector | the workloads it selects | both |
//!
//! `UNSET` leaves it to the next above. Of several on one level the oldest counts, then the first
//! by name. `portLevelMtls` needs a selector, and goes before all of these on its ports. It is the
//! port that the workload listens on, not the service's.

use std::collections::BTreeMap;

use diolkos_topology::{Mtls, MtlsMode, Namespace, Port};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::anything::Anything;
use crate::finding::Findings;
use crate::limit;
use crate::names;
use crate::node::SYSTEM_NAMESPACES;
use crate::pod::Labels;
use crate::text::{Field, at};

/// security.istio.io, v1 or v1beta1: they agree.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthentication {
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: PeerAuthenticationSpec,
    #[serde(default, rename = "apiVersion")]
    _api_version: Anything,
    #[serde(default, rename = "kind")]
    _kind: Anything,
    #[serde(default, rename = "status")]
    _status: Anything,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthenticationSpec {
    pub selector: Option<Selector>,
    pub mtls: Option<MutualTls>,
    #[serde(default)]
    pub port_level_mtls: BTreeMap<String, MutualTls>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct MutualTls {
    pub mode: Option<String>,
}

/// One policy, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPolicy {
    pub namespace: Namespace,
    pub name: String,
    /// Milliseconds since 1970.
    pub created: Option<u64>,
    /// Labels that a workload must have; empty: for the whole namespace, or cluster.
    pub selector: BTreeMap<String, String>,
    /// `None`: unset.
    pub mode: Option<MtlsMode>,
    pub ports: BTreeMap<Port, MtlsMode>,
}

/// All policies of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerPolicies {
    policies: BTreeMap<(Namespace, String), PeerPolicy>,
}

/// What all policies together say of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerModes {
    /// `None`: nobody says, so the mesh's own default holds.
    pub rest: Option<MtlsMode>,
    /// Ports of which something else is said.
    pub ports: BTreeMap<Port, MtlsMode>,
}

/// `None` without a refusal: right, and without effect.
pub fn peer_policy(object: &PeerAuthentication, findings: &mut Findings) -> Option<PeerPolicy> {
    let PeerAuthentication { metadata, spec, .. } = object;
    let name = names::name_text(metadata, findings)?.to_owned();
    let namespace = names::checked(
        names::namespace_text(metadata),
        false,
        Namespace::new,
        at!["metadata", "namespace"],
        findings,
    )?;
    let before = findings.0.len();
    let mode = spec.mtls.as_ref().and_then(|mtls| mode(mtls, &at!["spec", "mtls"], findings));
    let ports = ports(&spec.port_level_mtls, findings);
    let selector = spec.selector.as_ref().map(|selector| &selector.match_labels);
    let selector = names::labels(selector, at!["spec", "selector", "matchLabels"], findings);
    let selector = selector.unwrap_or_default();
    if selector.is_empty() && !spec.port_level_mtls.is_empty() && !findings.refused_since(before) {
        let cause = "portLevelMtls is for the workloads of a selector, and there is none";
        findings.refuse(at!["spec", "portLevelMtls"], cause, "add spec.selector.matchLabels");
    }
    if findings.refused_since(before) {
        return None;
    }
    if !selector.is_empty() && is_root(&namespace) {
        let cause = "a policy with a selector has no effect in the system namespace, as in Istio";
        findings.warn(at!["spec", "selector"], cause, "put it into the workload's own namespace");
        return None;
    }
    let created = names::created(metadata);
    Some(PeerPolicy { namespace, name, created, selector, mode, ports })
}

fn ports(said: &BTreeMap<String, MutualTls>, findings: &mut Findings) -> BTreeMap<Port, MtlsMode> {
    let field = at!["spec", "portLevelMtls"];
    if said.len() > limit::POLICY_PORTS_MAX {
        let cause = format!("{} ports, at most {}", said.len(), limit::POLICY_PORTS_MAX);
        findings.refuse(field, cause, "set a mode for the workload instead");
        return BTreeMap::new();
    }
    let mut ports = BTreeMap::new();
    for (text, mtls) in said {
        let at = [field.as_slice(), &at![text.as_str()]].concat();
        match text.parse().ok().and_then(|number| Port::new(number).ok()) {
            Some(port) => {
                ports.extend(mode(mtls, &at, findings).map(|mode| (port, mode)));
            }
            None => {
                let cause = format!("{:?} is not a port", names::short(text));
                findings.refuse(at, cause, "use 1 to 65535");
            }
        }
    }
    ports
}

fn mode(mtls: &MutualTls, field: &Field, findings: &mut Findings) -> Option<MtlsMode> {
    match mtls.mode.as_deref() {
        None | Some("UNSET") => None,
        Some("DISABLE") => Some(MtlsMode::Disable),
        Some("PERMISSIVE") => Some(MtlsMode::Permissive),
        Some("STRICT") => Some(MtlsMode::Strict),
        Some(other) => {
            let cause = format!("{:?} is no mode", names::short(other));
            let way_out = "use UNSET, DISABLE, PERMISSIVE or STRICT";
            findings.refuse([field.as_slice(), &at!["mode"]].concat(), cause, way_out);
            None
        }
    }
}

fn is_root(namespace: &Namespace) -> bool {
    SYSTEM_NAMESPACES.contains(&namespace.as_str())
}

impl PeerPolicies {
    pub fn insert(&mut self, policy: PeerPolicy) {
        self.policies.insert((policy.namespace.clone(), policy.name.clone()), policy);
    }

    pub fn remove(&mut self, namespace: &Namespace, name: &str) -> Option<PeerPolicy> {
        self.policies.remove(&(namespace.clone(), name.to_owned()))
    }

    pub fn get(&self, namespace: &Namespace, name: &str) -> Option<&PeerPolicy> {
        self.policies.get(&(namespace.clone(), name.to_owned()))
    }

    pub fn keys(&self) -> impl Iterator<Item = &(Namespace, String)> {
        self.policies.keys()
    }

    pub fn len(&self) -> usize {
        self.policies.len()
    }

    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Of a workload with these labels.
    pub fn modes(&self, namespace: &Namespace, labels: &Labels) -> PeerModes {
        let selects = |policy: &&PeerPolicy| {
            !policy.selector.is_empty()
                && policy.selector.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        let all = |policy: &&PeerPolicy| policy.selector.is_empty();
        let workload = oldest(self.within(namespace).filter(selects));
        let own = oldest(self.within(namespace).filter(all));
        // The mesh's: of two system namespaces the first that has one.
        let mesh = SYSTEM_NAMESPACES
            .into_iter()
            .find_map(|root| oldest(self.within(&Namespace::new(root).ok()?).filter(all)));
        let levels = [workload, own, mesh];
        PeerModes {
            rest: levels.into_iter().flatten().find_map(|policy| policy.mode),
            ports: workload.map(|policy| policy.ports.clone()).unwrap_or_default(),
        }
    }

    fn within(&self, namespace: &Namespace) -> impl Iterator<Item = &PeerPolicy> {
        let first = (namespace.clone(), String::new());
        let policies = self.policies.range(first..).map(|(_, policy)| policy);
        policies.take_while(move |policy| policy.namespace == *namespace)
    }
}

/// One that does not say when it was made is the youngest.
fn oldest<'a>(policies: impl Iterator<Item = &'a PeerPolicy>) -> Option<&'a PeerPolicy> {
    policies.min_by_key(|policy| (policy.created.unwrap_or(u64::MAX), policy.name.as_str()))
}

impl PeerModes {
    pub fn of(&self, port: Port) -> Option<MtlsMode> {
        self.ports.get(&port).copied().or(self.rest)
    }

    /// What a client may speak to a port of a pod that could speak `mtls`.
    pub fn speaks(&self, mtls: Mtls, port: Port) -> Mtls {
        match self.of(port) {
            Some(MtlsMode::Disable) => Mtls::Plaintext,
            Some(MtlsMode::Permissive | MtlsMode::Strict) | None => mtls,
        }
    }
}
