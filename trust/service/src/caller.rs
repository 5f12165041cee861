//! Who asks for a certificate: from a review, or from the certificate before.

use diolkos_tls::{Issuers, Peer};
use diolkos_trust::{SpiffeId, TrustDomain};

use crate::limit::CLUSTER_BYTES_MAX;
use crate::refusal::Refusal;
use crate::review::{AUDIENCES, Grants, Review, Reviewed};

/// A workload, and how it proved to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub cluster: String,
    pub namespace: String,
    pub service_account: String,
    pub id: SpiffeId,
    pub proof: Proof,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A token that is bound to this pod.
    Token { pod: String, pod_uid: String },
    /// The certificate before.
    Certificate,
}

const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
const ACCOUNTS: &str = "system:serviceaccounts";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

impl Caller {
    /// Whoever wrote the review may lie: it is believed only as far as its cluster was granted.
    ///
    /// # Errors
    /// When any part of it is not as an honest API server writes it for a pod's token, or the
    /// cluster may not hold such an identity.
    pub fn of_review(
        reviewed: &Reviewed,
        trust_domain: &TrustDomain,
        grants: &dyn Grants,
    ) -> Result<Self, Refusal> {
        let Reviewed { cluster, review } = reviewed;
        check_answer(review)?;
        let (namespace, service_account) = account(review)?;
        let pod = bound(review, POD_NAME)?;
        let pod_uid = bound(review, POD_UID)?;
        let proof = Proof::Token { pod, pod_uid };
        Self::granted(cluster, namespace, service_account, trust_domain, grants, proof)
    }

    /// # Errors
    /// When it is not a certificate of our own CA for a workload, or the cluster that it is of may
    /// hold such an identity no longer.
    pub fn of_peer(
        peer: &Peer,
        issuers: &Issuers,
        trust_domain: &TrustDomain,
        grants: &dyn Grants,
    ) -> Result<Self, Refusal> {
        if !issuers.contains(&peer.issuer) {
            return Err(Refusal::certificate(
                "it was signed by another CA; come with a token",
                &peer.id,
            ));
        }
        let cluster = peer.organization.as_deref().ok_or_else(|| {
            Refusal::certificate("its subject names no cluster; come with a token", &peer.id)
        })?;
        if peer.id.trust_domain() != *trust_domain {
            return Err(Refusal::certificate("it is of another trust domain", &peer.id));
        }
        let workload = peer.id.workload_name().ok_or_else(|| {
            Refusal::certificate("its id is no workload's: /ns/NAMESPACE/sa/ACCOUNT", &peer.id)
        })?;
        let (namespace, account) = (workload.namespace, workload.service_account);
        Self::granted(cluster, namespace, account, trust_domain, grants, Proof::Certificate)
    }

    fn granted(
        cluster: &str,
        namespace: &str,
        service_account: &str,
        trust_domain: &TrustDomain,
        grants: &dyn Grants,
        proof: Proof,
    ) -> Result<Self, Refusal> {
        if cluster.is_empty() || cluster.len() > CLUSTER_BYTES_MAX {
            return Err(Refusal::Review("the cluster that reviewed the token has no name".into()));
        }
        let id = SpiffeId::workload(trust_domain, namespace, service_account)
            .map_err(|error| Refusal::Review(format!("its account makes no SPIFFE id: {error}")))?;
        grants.may_hold(cluster, namespace, service_account).map_err(|cause| {
            Refusal::NotGranted { cluster: cluster.into(), id: id.clone(), cause }
        })?;
        Ok(Self {
            cluster: cluster.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
            id,
            proof,
        })
    }
}

fn check_answer(review: &Review) -> Result<(), Refusal> {
    if !review.error.is_empty() {
        let error: String = review.error.chars().take(ERROR_CHARS_MAX).collect();
        return Err(Refusal::Token(format!("its API server says: {error}")));
    }
    if !review.authenticated {
        return Err(Refusal::Token("its API server does not know it".into()));
    }
    // An API server that does not look at audiences answers with none.
    let accepted = |audience: &String| AUDIENCES.contains(&audience.as_str());
    if !review.audiences.iter().any(accepted) {
        return Err(Refusal::Token(format!(
            "its audience is none of {}; mount a projected token with one of them",
            AUDIENCES.join(", ")
        )));
    }
    Ok(())
}

/// What an API server says is repeated, but not without an end.
const ERROR_CHARS_MAX: usize = 200;

fn account(review: &Review) -> Result<(&str, &str), Refusal> {
    let other = || Refusal::Review("the user it names is no service account".into());
    let rest = review.username.strip_prefix(ACCOUNT_PREFIX).ok_or_else(other)?;
    let (namespace, account) = rest.split_once(':').ok_or_else(other)?;
    if !is_name(namespace, NAMESPACE_BYTES_MAX, "-") || !is_name(account, 253, "-.") {
        return Err(other());
    }
    let of_namespace = format!("{ACCOUNTS}:{namespace}");
    for group in [ACCOUNTS, &of_namespace] {
        if !review.groups.iter().any(|found| found == group) {
            return Err(Refusal::Review(format!("the user it names is not in group {group}")));
        }
    }
    Ok((namespace, account))
}

const NAMESPACE_BYTES_MAX: usize = 63;

/// Of Kubernetes: lower-case letters, digits, and some marks between them.
fn is_name(text: &str, bytes_max: usize, marks: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty()
        && text.len() <= bytes_max
        && text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || marks.contains(c))
}

/// A token that is bound to no pod outlives whoever it was made for.
fn bound(review: &Review, key: &str) -> Result<String, Refusal> {
    match review.extra.get(key).map(Vec::as_slice) {
        Some([one]) if !one.is_empty() && one.len() <= 253 => Ok(one.clone()),
        _ => Err(Refusal::Token(
            "it is bound to no pod; mount a projected token, not one of a Secret".into(),
        )),
    }
}
