//! The one verifier: the same rule for servers, as clients see them, and for clients, as servers
//! do.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use crate::config::Expect;
use crate::error::{LeafFault, Names, PeerFault, Refusal, TlsError};
use crate::leaf::Leaf;
use crate::path::issuer_on_path;
use crate::peer::{Usage, verified};
use crate::roots::{Anchors, DomainAnchors, Roots};

#[derive(Debug)]
pub(crate) struct Verifier {
    roots: Roots,
    expect: Expect,
    algorithms: WebPkiSupportedAlgorithms,
    clients: Clients,
}

/// Whether a client must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    Known,
    KnownOrAnonymous,
}

impl Verifier {
    pub(crate) fn new(roots: &Roots, expect: Expect) -> Self {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        Self { roots: roots.clone(), expect, algorithms, clients: Clients::Known }
    }

    pub(crate) fn optional(self) -> Self {
        Self { clients: Clients::KnownOrAnonymous, ..self }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let presented: Vec<CertificateDer<'_>> =
            std::iter::once(leaf).chain(intermediates).cloned().collect();
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
        let roots = self.roots.anchors();
        accepted(&self.expect, &presented, &roots, usage, now).map_err(|fault| {
            let text = OtherError(Arc::new(Refusal(TlsError::Peer(fault))));
            rustls::Error::InvalidCertificate(CertificateError::Other(text))
        })
    }
}

fn accepted(
    expect: &Expect,
    presented: &[CertificateDer<'_>],
    roots: &Anchors,
    usage: Usage,
    now: SystemTime,
) -> Result<(), PeerFault> {
    match expect {
        Expect::Ids(ids) => {
            let id = verified(presented, roots, usage, now)?.id;
            match ids.contains(&id) {
                true => Ok(()),
                false => Err(PeerFault::UnexpectedId { id, expected: Names::of_ids(ids) }),
            }
        }
        Expect::AnyOf(domains) => {
            let id = verified(presented, roots, usage, now)?.id;
            match domains.contains(&id.trust_domain()) {
                true => Ok(()),
                false => Err(PeerFault::UnexpectedTrustDomain {
                    id,
                    expected: Names::of_domains(domains),
                }),
            }
        }
        Expect::Dns(name) => named(name, presented, roots, usage, now),
    }
}

/// The name's certificate may be one without a SPIFFE id (istiod's is), but an id it has is
/// believed only from the roots of its own trust domain.
fn named(
    name: &str,
    presented: &[CertificateDer<'_>],
    roots: &Anchors,
    usage: Usage,
    now: SystemTime,
) -> Result<(), PeerFault> {
    let first = presented.first().ok_or(PeerFault::NoCertificate)?;
    let leaf = Leaf::parse(first)?;
    match leaf.id_if_any()? {
        Some(_) => {
            verified(presented, roots, usage, now)?;
        }
        None => {
            let attempt = |one: &DomainAnchors| issuer_on_path(&leaf, presented, one, usage, now);
            let mut last = Err(PeerFault::UntrustedRoot { subject: leaf.subject() });
            for one in roots.each_domain() {
                last = attempt(one);
                if last.is_ok() {
                    break;
                }
            }
            last?;
        }
    }
    // A certificate never carries the trailing dot of an absolute name.
    let bare = name.strip_suffix('.').unwrap_or(name);
    let expected = ServerName::try_from(bare)
        .map_err(|_| PeerFault::ExpectedNameMalformed { expected: name.into() })?;
    let unreadable = |error: webpki::Error| LeafFault::Encoding(error.to_string());
    EndEntityCert::try_from(first)
        .map_err(unreadable)?
        .verify_is_valid_for_subject_name(&expected)
        .map_err(|_| PeerFault::UnexpectedName { expected: name.into(), presented: leaf.hosts() })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, Usage::Server, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.clients == Clients::Known
    }

    /// No hints: a client of another root then presents its leaf and is told why it is refused.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, Usage::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
