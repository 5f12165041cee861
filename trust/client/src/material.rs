//! A certificate with its key and its roots, checked before anybody is shown it.

use std::fmt;
use std::time::SystemTime;

use diolkos_tls::{Identity, Roots, TlsError, Usage, parse_certificates, peer_of};
use diolkos_trust::SpiffeId;
use diolkos_trust_wire::{Answer, AnswerFault};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};

/// A key, and the request for its certificate. A fresh one each time.
pub(crate) struct FreshKey {
    pair: KeyPair,
    pub(crate) csr_pem: String,
}

impl FreshKey {
    /// The request asks for nothing: who we are, the token says.
    pub(crate) fn make() -> Result<Self, MaterialFault> {
        let made = |error: rcgen::Error| MaterialFault::Key(error.to_string());
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(made)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr_pem = params.serialize_request(&pair).map_err(made)?.pem().map_err(made)?;
        Ok(Self { pair, csr_pem })
    }
}

/// What was issued.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    pub chain_pem: String,
    pub key_pem: String,
    /// Those that the CA gave with it.
    pub roots_pem: String,
    /// By this clock, when it came.
    pub since: SystemTime,
    pub not_after: SystemTime,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MaterialFault {
    #[error("no key can be made: {0}")]
    Key(String),
    #[error("{0}")]
    Answer(#[from] AnswerFault),
    #[error("the certificate that the CA gave is not good: {0}")]
    Certificate(#[from] TlsError),
    #[error("the CA gave a certificate of {got}, not of {wanted}: is the token another pod's?")]
    Another { got: SpiffeId, wanted: SpiffeId },
}

impl Material {
    /// Also verified as a peer would: what others would refuse is not used.
    pub(crate) fn of(
        key: &FreshKey,
        answer: Answer,
        wanted: &SpiffeId,
        now: SystemTime,
    ) -> Result<Self, MaterialFault> {
        let key_pem = key.pair.serialize_pem();
        let identity = Identity::of_pem(answer.chain_pem.as_bytes(), key_pem.as_bytes(), now)?;
        let got = identity.spiffe_id();
        if got != *wanted {
            return Err(MaterialFault::Another { got, wanted: wanted.clone() });
        }
        let roots = Roots::of_pem(answer.roots_pem.as_bytes(), &wanted.trust_domain())?;
        let chain = "the chain that the CA gave".as_ref();
        let chain = parse_certificates(chain, answer.chain_pem.as_bytes())?;
        let peer = peer_of(&chain, &roots, now, Usage::Client)?;
        Ok(Self {
            chain_pem: answer.chain_pem,
            key_pem,
            roots_pem: answer.roots_pem,
            since: now,
            not_after: peer.not_after,
        })
    }

    pub(crate) fn identity(&self) -> Result<Identity, TlsError> {
        let (chain, key) = (self.chain_pem.as_bytes(), self.key_pem.as_bytes());
        Identity::of_pem(chain, key, SystemTime::now())
    }
}

/// The key is nobody's to print.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}
