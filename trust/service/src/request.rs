//! Leaves for keys that live elsewhere.

use std::time::{Duration, SystemTime};

use diolkos_trust::SpiffeId;
use rcgen::{DnType, SanType};

use crate::authority::{Authority, Validity, check_text, params, signing};
use crate::csr::RequestKey;
use crate::error::AuthorityError;
use crate::folder::pem_of;
use crate::leaf::leaf_params;
use crate::limit::{CLUSTER_BYTES_MAX, TTL_DEFAULT, TTL_MAX, TTL_MIN};

/// What the CA knows of the workload, by other means than its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    pub id: &'a SpiffeId,
    /// Becomes the leaf's `O`.
    pub cluster: &'a str,
}

/// A leaf without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Leaf first, then its intermediates, one PEM text each.
    pub chain: Vec<String>,
    /// All in one text.
    pub roots: String,
    pub not_after: SystemTime,
    /// In hex, for logs.
    pub serial: String,
}

impl Authority {
    /// # Errors
    /// When the CA itself is not in its time, or a name cannot be written.
    pub fn sign(
        &self,
        key: &RequestKey,
        subject: &Subject<'_>,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Signed, AuthorityError> {
        check_text("cluster name", subject.cluster)?;
        if subject.cluster.len() > CLUSTER_BYTES_MAX {
            let cause = format!("it has more than {CLUSTER_BYTES_MAX} bytes");
            let text = subject.cluster.chars().take(64).collect();
            return Err(AuthorityError::Name { what: "cluster name", text, cause });
        }
        let validity = self.within(Validity { not_before: now, not_after: now + ttl })?;
        let mut params = leaf_params(params(validity)?);
        params.subject_alt_names = vec![uri(subject.id)?];
        params.distinguished_name.push(DnType::OrganizationName, subject.cluster);
        let serial = params.serial_number.as_ref().map(ToString::to_string).unwrap_or_default();
        let leaf = params.signed_by(&key.0, &self.issuer).map_err(signing)?.der().clone();
        let chain = std::iter::once(&leaf).chain(&self.intermediates);
        Ok(Signed {
            chain: chain.map(|one| pem_of([one])).collect(),
            roots: self.root_pem(),
            not_after: validity.not_after,
            serial,
        })
    }
}

fn uri(id: &SpiffeId) -> Result<SanType, AuthorityError> {
    let uri = id.as_str().try_into().map_err(|error: rcgen::Error| AuthorityError::Name {
        what: "SPIFFE id",
        text: id.to_string(),
        cause: error.to_string(),
    })?;
    Ok(SanType::URI(uri))
}

/// How long a leaf lives that was asked for with so many seconds; 0 and less leave it to us.
pub fn ttl_of(seconds: i64) -> Duration {
    match u64::try_from(seconds) {
        Ok(0) | Err(_) => TTL_DEFAULT,
        Ok(seconds) => Duration::from_secs(seconds).clamp(TTL_MIN, TTL_MAX),
    }
}
