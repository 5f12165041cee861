//! The certificate that a primary issues to itself, renewed before it ends.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use diolkos_tls::{Identity, Roots, TlsError};
use diolkos_trust::{SpiffeId, TrustDomain};
use tokio::task::JoinHandle;

use crate::authority::{Authority, Validity};
use crate::error::AuthorityError;
use crate::leaf::{Issued, LeafRequest};
use crate::limit::OWN_TTL;
use crate::live::LiveAuthority;

/// Who the primary is, and by which names its clients dial it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnNames {
    pub id: SpiffeId,
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
}

impl OwnNames {
    /// docs/adr/0004: what every client of a primary in a cluster expects.
    ///
    /// # Errors
    /// When the service account cannot be part of an id.
    pub fn in_cluster(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, diolkos_trust::SpiffeError> {
        let dns =
            [format!("diolkos-primary.{namespace}.svc"), "istiod.istio-system.svc".to_owned()];
        let id = SpiffeId::workload(trust_domain, namespace, service_account)?;
        Ok(Self { id, dns: dns.into(), ips: Vec::new() })
    }
}

/// An identity and the roots of its trust domain, both kept fresh until it is dropped.
#[derive(Debug)]
pub struct OwnCertificate {
    pub identity: Identity,
    pub roots: Roots,
    renewal: JoinHandle<()>,
}

impl Drop for OwnCertificate {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl OwnCertificate {
    /// Issues the first, and renews it at half its time, and at once when the CA is another.
    ///
    /// # Errors
    /// When the CA cannot issue it.
    pub fn keep(live: &LiveAuthority, names: OwnNames) -> Result<Self, AuthorityError> {
        let now = SystemTime::now();
        let trust_domain = names.id.trust_domain();
        let issued = issue(&live.get(), &names, now)?;
        let identity =
            Identity::of_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes(), now)?;
        let roots = Roots::of_pem(issued.root_pem.as_bytes(), &trust_domain)?;
        let renewal = tokio::spawn(renew(live.clone(), names, identity.clone(), roots.clone()));
        Ok(Self { identity, roots, renewal })
    }
}

async fn renew(live: LiveAuthority, names: OwnNames, identity: Identity, roots: Roots) {
    let mut changes = live.watch();
    loop {
        let left = identity.not_after().duration_since(SystemTime::now()).unwrap_or_default();
        tokio::select! {
            // Half of what is left, again and again: also a clock that was set back comes to it.
            () = tokio::time::sleep((left / 2).max(RETRY)) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
        let renewed = issue(&live.get(), &names, SystemTime::now())
            .and_then(|issued| Ok(put(&issued, &names, &identity, &roots)?));
        match renewed {
            Ok(()) => tracing::info!(identity = %names.id, "own certificate renewed"),
            Err(error) => tracing::error!(
                %error,
                "own certificate not renewed, the one before is used until it ends"
            ),
        }
    }
}

const RETRY: Duration = Duration::from_secs(10);

fn put(
    issued: &Issued,
    names: &OwnNames,
    identity: &Identity,
    roots: &Roots,
) -> Result<(), TlsError> {
    roots.replace_pem(issued.root_pem.as_bytes(), &names.id.trust_domain())?;
    identity.replace_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes(), SystemTime::now())
}

fn issue(
    authority: &Authority,
    names: &OwnNames,
    now: SystemTime,
) -> Result<Issued, AuthorityError> {
    authority.issue(&LeafRequest {
        id: names.id.clone(),
        dns: names.dns.clone(),
        ips: names.ips.clone(),
        validity: Validity { not_before: now, not_after: now + OWN_TTL },
    })
}
