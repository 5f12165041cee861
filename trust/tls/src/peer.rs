//! The other end of a connection, as verified.

use std::fmt;
use std::time::SystemTime;

use diolkos_trust::SpiffeId;
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::error::{LeafFault, Names, PeerFault, TlsError};
use crate::leaf::Leaf;
use crate::path::issuer_on_path;
use crate::roots::{Anchors, Roots};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: SpiffeId,
    /// From the verified path: nothing a peer presents beside it can change this.
    pub issuer: IssuerKey,
    /// `O` of the leaf's subject, if there is exactly one. Whoever signed the leaf wrote it: it is
    /// worth no more than its issuer, so look at that first.
    pub organization: Option<String>,
    pub not_after: SystemTime,
}

/// What the peer's certificate is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Client,
    Server,
}

impl Usage {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// SHA-256 of a CA's public key (SubjectPublicKeyInfo): a CA certificate renewed with the same key
/// stays the same issuer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerKey([u8; 32]);

impl IssuerKey {
    pub fn of_certificate(der: &[u8]) -> Result<Self, TlsError> {
        let certificate = CertificateDer::from(der);
        let parsed = EndEntityCert::try_from(&certificate)
            .map_err(|error| PeerFault::from(LeafFault::Encoding(error.to_string())))?;
        Ok(Self::of_spki(&parsed.subject_public_key_info()))
    }

    pub(crate) fn of_spki(spki: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, spki).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuerKey({self})")
    }
}

/// Verifies what a connection's peer presented, leaf first, and says who it is and which CA's
/// signature made it so.
pub fn peer_of(
    presented: &[CertificateDer<'_>],
    roots: &Roots,
    now: SystemTime,
    usage: Usage,
) -> Result<Peer, TlsError> {
    Ok(verified(presented, &roots.anchors(), usage, now)?)
}

pub(crate) fn verified(
    presented: &[CertificateDer<'_>],
    roots: &Anchors,
    usage: Usage,
    now: SystemTime,
) -> Result<Peer, PeerFault> {
    let leaf = Leaf::parse(presented.first().ok_or(PeerFault::NoCertificate)?)?;
    let id = leaf.id()?;
    let Some(anchors) = roots.of_domain(&id.trust_domain()) else {
        return Err(PeerFault::UnknownTrustDomain {
            id,
            known: Names::of_domains(roots.domains()),
        });
    };
    let issuer = issuer_on_path(&leaf, presented, anchors, usage, now)?;
    Ok(Peer { id, issuer, organization: leaf.organization, not_after: leaf.not_after })
}
