//! Workload leaves.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use diolkos_tls::{CERT_CHAIN_FILE, KEY_FILE, ROOT_CERT_FILE};
use diolkos_trust::SpiffeId;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use rustls_pki_types::DnsName;

use crate::authority::{Authority, Validity, new_key, params, signing};
use crate::error::AuthorityError;
use crate::folder::{pem_of, replace};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRequest {
    /// The one URI name of the leaf.
    pub id: SpiffeId,
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
    /// Ends with the CA's own certificate, whatever is asked for.
    pub validity: Validity,
}

/// A leaf with its key, as PEM.
#[derive(Clone)]
pub struct Issued {
    /// Leaf first, then intermediates, without the root.
    pub chain_pem: String,
    pub key_pem: String,
    pub root_pem: String,
}

impl Authority {
    pub fn issue(&self, leaf: &LeafRequest) -> Result<Issued, AuthorityError> {
        let key = new_key()?;
        let mut params = leaf_params(params(self.within(leaf.validity)?)?);
        params.subject_alt_names = names(leaf)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(signing)?.der().clone();
        let mut chain = vec![certificate];
        chain.extend(self.intermediates.iter().cloned());
        Ok(Issued {
            chain_pem: pem_of(&chain),
            key_pem: key.serialize_pem(),
            root_pem: self.root_pem(),
        })
    }
}

impl Issued {
    /// The folder of a [`diolkos_tls::Identity`]; the key is readable by its owner only.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        replace(&dir.join(ROOT_CERT_FILE), self.root_pem.as_bytes(), 0o644)?;
        replace(&dir.join(KEY_FILE), self.key_pem.as_bytes(), 0o600)?;
        replace(&dir.join(CERT_CHAIN_FILE), self.chain_pem.as_bytes(), 0o644)
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}

/// What every leaf may be used for.
pub(crate) fn leaf_params(mut params: CertificateParams) -> CertificateParams {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn names(leaf: &LeafRequest) -> Result<Vec<SanType>, AuthorityError> {
    let refused = |what, text: &str, cause: &dyn std::fmt::Display| AuthorityError::Name {
        what,
        text: text.into(),
        cause: cause.to_string(),
    };
    let id = leaf.id.as_str();
    let uri = id.try_into().map_err(|error: rcgen::Error| refused("SPIFFE id", id, &error))?;
    let mut names = vec![SanType::URI(uri)];
    for dns in &leaf.dns {
        DnsName::try_from(dns.as_str()).map_err(|error| refused("DNS name", dns, &error))?;
        let name = dns
            .as_str()
            .try_into()
            .map_err(|error: rcgen::Error| refused("DNS name", dns, &error))?;
        names.push(SanType::DnsName(name));
    }
    names.extend(leaf.ips.iter().copied().map(SanType::IpAddress));
    Ok(names)
}
