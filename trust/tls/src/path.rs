//! From a presented chain to the roots of one trust domain.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::error::{LeafFault, PeerFault, Span};
use crate::leaf::{Leaf, only_text};
use crate::peer::{IssuerKey, Usage};
use crate::roots::DomainAnchors;

/// Who signed a leaf, on the path to one of the anchors.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) key: IssuerKey,
    /// See [`crate::Peer::issuer_locality`].
    pub(crate) locality: Option<String>,
}

/// The chain's path to one of the anchors, as who issued the leaf on that path.
pub(crate) fn issuer_on_path(
    leaf: &Leaf,
    presented: &[CertificateDer<'_>],
    roots: &DomainAnchors,
    usage: Usage,
    now: SystemTime,
) -> Result<Signer, PeerFault> {
    let (first, intermediates) = presented.split_first().ok_or(PeerFault::NoCertificate)?;
    leaf.check(now)?;
    let refused = |error: webpki::Error| fault_of(&error, leaf, usage);
    let end_entity = EndEntityCert::try_from(first).map_err(refused)?;
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let time = UnixTime::since_unix_epoch(since_epoch);
    // webpki does not look at the dates of a trust anchor.
    let root_in_time = |path: &VerifiedPath<'_>| root_in_time(path, roots, now, time);
    let path = end_entity
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &roots.anchors,
            intermediates,
            time,
            match usage {
                Usage::Client => KeyUsage::client_auth(),
                Usage::Server => KeyUsage::server_auth(),
            },
            None,
            Some(&root_in_time),
        )
        .map_err(refused)?;
    let mut between = path.intermediate_certificates();
    let locality = match (between.next(), between.next()) {
        (Some(signer), None) => named_by_root(&signer.der()),
        _ => None,
    };
    Ok(Signer { key: IssuerKey::of_spki(&path.issuer_spki()), locality })
}

/// The locality of a CA that its root let sign leaves and no other CA.
fn named_by_root(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let constraints = certificate.basic_constraints().ok()??;
    let found = certificate.subject().iter_locality();
    only_text(found).filter(|_| constraints.value.path_len_constraint == Some(0))
}

fn root_in_time(
    path: &VerifiedPath<'_>,
    roots: &DomainAnchors,
    now: SystemTime,
    time: UnixTime,
) -> Result<(), webpki::Error> {
    let unix = |time: SystemTime| {
        UnixTime::since_unix_epoch(
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO),
        )
    };
    let position = roots.anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
    match position.and_then(|index| roots.validity.get(index)) {
        Some(root) if now > root.not_after => {
            Err(webpki::Error::CertExpired { time, not_after: unix(root.not_after) })
        }
        Some(root) if now < root.not_before => {
            Err(webpki::Error::CertNotValidYet { time, not_before: unix(root.not_before) })
        }
        Some(_) => Ok(()),
        None => Err(webpki::Error::UnknownIssuer),
    }
}

/// The leaf's own dates were checked before, so dates here are of a certificate above it.
fn fault_of(error: &webpki::Error, leaf: &Leaf, usage: Usage) -> PeerFault {
    use webpki::Error as Chain;
    let subject = leaf.subject();
    let span = |from: &UnixTime, to: &UnixTime| {
        Span(Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())))
    };
    match error {
        Chain::UnknownIssuer | Chain::InvalidSignatureForPublicKey => {
            PeerFault::UntrustedRoot { subject }
        }
        Chain::CaUsedAsEndEntity => LeafFault::Authority { subject }.into(),
        Chain::RequiredEkuNotFoundContext(_) => {
            PeerFault::Purpose { subject, usage: usage.as_str() }
        }
        Chain::CertExpired { time, not_after } => PeerFault::Chain {
            subject,
            cause: format!("a CA above it expired {} ago; renew it", span(not_after, time)),
        },
        Chain::CertNotValidYet { time, not_before } => PeerFault::Chain {
            subject,
            cause: format!("a CA above it is not valid for another {}", span(time, not_before)),
        },
        other => PeerFault::Chain { subject, cause: other.to_string() },
    }
}
