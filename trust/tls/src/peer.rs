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
    /// `L` of the subject of the CA that signed the leaf, if a root signed that CA, for leaves alone
    /// (a path length of 0), and there is exactly one. So it is the word of whoever keeps the root:
    /// Istio's tools and ours write the cluster there that the CA is for.
    pub issuer_locality: Option<String>,
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

    /// As it is displayed: 64 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
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
    let signer = issuer_on_path(&leaf, presented, anchors, usage, now)?;
    Ok(Peer {
        id,
        issuer: signer.key,
        issuer_locality: signer.locality,
        organization: leaf.organization,
        not_after: leaf.not_after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuers_key_is_read_as_it_is_written_and_in_no_other_way() {
        let key = IssuerKey::of_spki(b"a key");
        let text = key.to_string();
        assert_eq!(IssuerKey::parse(&text), Some(key));
        for wrong in [&text[1..], &text.to_uppercase(), &format!("{text}0"), &"g".repeat(64), ""] {
            assert_eq!(IssuerKey::parse(wrong), None, "{wrong}");
        }
    }
}
