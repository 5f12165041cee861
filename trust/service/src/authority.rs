//! A CA: the root, or a cluster's intermediate.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::error::AuthorityError;
use crate::limit::OWN_ROOT_TTL;

/// Clocks differ: what is issued now is valid a little earlier.
const BACKDATE: Duration = Duration::from_secs(60);
const SERIAL_BYTES: usize = 16;

/// A CA's certificate and key, with the way up to the roots.
pub struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    /// The root's name, which its intermediates carry as organization.
    pub(crate) organization: String,
    pub(crate) certificate: CertificateDer<'static>,
    /// What a leaf presents beside itself: this certificate first, up to but without the root.
    /// Empty where this is the root.
    pub(crate) intermediates: Vec<CertificateDer<'static>>,
    /// The root that signed, first; others while roots are exchanged.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) validity: Validity,
    pub(crate) path_length: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Authority {
    /// Self-signed.
    pub fn new_root(name: &str, validity: Validity) -> Result<Self, AuthorityError> {
        check_text("root name", name)?;
        let key = new_key()?;
        let mut params = ca_params(name, "Root CA", validity.backdated()?)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).map_err(signing)?.der().clone();
        Ok(Self {
            issuer: Issuer::new(params, key),
            organization: name.into(),
            certificate: certificate.clone(),
            intermediates: Vec::new(),
            roots: vec![certificate],
            validity: validity.backdated()?,
            path_length: None,
        })
    }

    /// What a primary makes for itself where nobody gave it a CA: a root that signs leaves.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new_own_root(trust_domain: &str, now: SystemTime) -> Result<Self, AuthorityError> {
        let validity = Validity { not_before: now, not_after: now + OWN_ROOT_TTL };
        Self::new_root(&format!("diolkos {trust_domain}"), validity)
    }

    /// A CA for one cluster, which signs leaves and no further CA. It ends when this one does.
    pub fn intermediate(&self, cluster: &str, validity: Validity) -> Result<Self, AuthorityError> {
        check_text("cluster name", cluster)?;
        if self.path_length == Some(0) {
            return Err(AuthorityError::PathLength(self.organization.clone()));
        }
        let validity = self.within(validity)?;
        let key = new_key()?;
        let name = format!("Intermediate CA {cluster}");
        let mut params = ca_params(&self.organization, &name, validity)?;
        // By which gateways elsewhere know whose CA it is; Istio's tools write it as well.
        params.distinguished_name.push(DnType::LocalityName, cluster);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(signing)?.der().clone();
        let mut intermediates = vec![certificate.clone()];
        intermediates.extend(self.intermediates.iter().cloned());
        Ok(Self {
            issuer: Issuer::new(params, key),
            organization: self.organization.clone(),
            certificate,
            intermediates,
            roots: self.roots.clone(),
            validity,
            path_length: Some(0),
        })
    }

    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The roots that leaves of this CA verify against.
    pub fn root_pem(&self) -> String {
        crate::folder::pem_of(&self.roots)
    }

    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// Backdated, and clamped to this CA's own period.
    pub(crate) fn within(&self, asked: Validity) -> Result<Validity, AuthorityError> {
        let asked = asked.backdated()?;
        let granted = Validity {
            not_before: asked.not_before.max(self.validity.not_before),
            not_after: asked.not_after.min(self.validity.not_after),
        };
        match granted.not_before < granted.not_after {
            true => Ok(granted),
            false => Err(AuthorityError::Validity(
                "the CA's own certificate is not valid in the time asked for; renew it".into(),
            )),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("organization", &self.organization)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl Validity {
    fn backdated(self) -> Result<Self, AuthorityError> {
        if self.not_before >= self.not_after {
            return Err(AuthorityError::Validity(
                "the time asked for ends before it starts".into(),
            ));
        }
        let not_before = self.not_before.checked_sub(BACKDATE).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Self { not_before, ..self })
    }
}

/// What every certificate has: dates and a random serial number.
pub(crate) fn params(validity: Validity) -> Result<CertificateParams, AuthorityError> {
    let mut serial = [0; SERIAL_BYTES];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| AuthorityError::Signing("the system gives no randomness".into()))?;
    // Positive and of constant length, as RFC 5280 wants it.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.not_before = date(validity.not_before)?;
    params.not_after = date(validity.not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// X.509 counts years in four digits.
fn date(time: SystemTime) -> Result<OffsetDateTime, AuthorityError> {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or_else(|| {
            AuthorityError::Validity("the time asked for is not within 1970 to 9999".into())
        })
}

pub(crate) fn new_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(signing)
}

#[allow(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
pub(crate) fn signing(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Signing(error.to_string())
}

fn ca_params(
    organization: &str,
    name: &str,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(validity)?;
    // A root made elsewhere may have none.
    if !organization.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

pub(crate) fn check_text(what: &'static str, text: &str) -> Result<(), AuthorityError> {
    let cause = match text {
        "" => "it is empty",
        _ if text.chars().any(char::is_control) => "it contains control characters",
        _ => return Ok(()),
    };
    Err(AuthorityError::Name { what, text: text.into(), cause: cause.into() })
}
