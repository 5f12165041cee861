//! The roots of each trust domain, ready to verify with, replaceable under running configurations.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use diolkos_trust::{Bundle, Bundles, TrustDomain};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use tracing::warn;
use webpki::anchor_from_trusted_cert;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::error::{FileFault, TlsError};
use crate::leaf::system_time;
use crate::pem;

pub const ROOT_CERT_FILE: &str = "root-cert.pem";

/// Bundles by trust domain. Clones share one value: what is set through one, all see.
#[derive(Clone, Debug)]
pub struct Roots(Arc<ArcSwap<Anchors>>);

impl Roots {
    /// A root that cannot be read vouches for nobody: it is left out, and the log says so.
    pub fn new(bundles: Bundles) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Anchors::of(bundles))))
    }

    /// `root-cert.pem` of an identity folder, as the bundle of one trust domain.
    pub fn load(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, TlsError> {
        Self::read(&dir.join(ROOT_CERT_FILE), trust_domain)
    }

    /// A file of roots, as the bundle of one trust domain.
    pub fn read(file: &Path, trust_domain: &TrustDomain) -> Result<Self, TlsError> {
        let bundle = bundle_of(file, &pem::read(file)?, trust_domain)?;
        Ok(Self::new(Bundles::from_iter([bundle])))
    }

    /// PEM text that never was a file, as the bundle of one trust domain.
    pub fn of_pem(text: &[u8], trust_domain: &TrustDomain) -> Result<Self, TlsError> {
        let bundle = bundle_of(Path::new("roots in memory"), text, trust_domain)?;
        Ok(Self::new(Bundles::from_iter([bundle])))
    }

    /// Replaces one domain's roots by those of a PEM text and keeps the others; true if that
    /// changed anything. What fails leaves everything as it was.
    pub fn replace_pem(&self, text: &[u8], trust_domain: &TrustDomain) -> Result<bool, TlsError> {
        Ok(self.set_one(bundle_of(Path::new("roots in memory"), text, trust_domain)?))
    }

    /// New handshakes use these, also under configurations handed out before.
    pub fn set(&self, bundles: Bundles) {
        self.0.store(Arc::new(Anchors::of(bundles)));
    }

    pub fn get(&self) -> Arc<Bundles> {
        Arc::clone(&self.0.load().bundles)
    }

    /// Replaces one domain's bundle and keeps the others; true if that changed anything.
    pub(crate) fn set_one(&self, bundle: Bundle) -> bool {
        let before = self.get();
        if before.get(&bundle.trust_domain) == Some(&bundle) {
            return false;
        }
        let mut bundles = Bundles::clone(&before);
        bundles.insert(bundle);
        self.set(bundles);
        true
    }

    pub(crate) fn anchors(&self) -> Arc<Anchors> {
        self.0.load_full()
    }
}

pub(crate) fn bundle_of(
    file: &Path,
    text: &[u8],
    trust_domain: &TrustDomain,
) -> Result<Bundle, TlsError> {
    let certificates = pem::certificates(file, text)?;
    for (index, certificate) in certificates.iter().enumerate() {
        Anchor::of(certificate)
            .map_err(|cause| pem::fault(file, FileFault::Root { position: index + 1, cause }))?;
    }
    let roots = certificates.into_iter().map(|certificate| certificate.to_vec());
    Bundle::new(trust_domain.clone(), roots).map_err(|_| pem::fault(file, FileFault::NoCertificate))
}

/// Parsed once per change, so that a handshake parses only what the peer sent.
#[derive(Debug)]
pub(crate) struct Anchors {
    bundles: Arc<Bundles>,
    by_domain: BTreeMap<TrustDomain, DomainAnchors>,
}

/// In equal order: webpki takes a slice of its own anchors.
#[derive(Debug, Default)]
pub(crate) struct DomainAnchors {
    pub(crate) anchors: Vec<TrustAnchor<'static>>,
    pub(crate) validity: Vec<RootValidity>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RootValidity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

impl Anchors {
    fn of(bundles: Bundles) -> Self {
        let mut by_domain = BTreeMap::new();
        for bundle in bundles.iter() {
            let found: &mut DomainAnchors =
                by_domain.entry(bundle.trust_domain.clone()).or_default();
            for root in bundle.roots() {
                match Anchor::of(&CertificateDer::from(root)) {
                    Ok(Anchor { anchor, validity }) => {
                        found.anchors.push(anchor);
                        found.validity.push(validity);
                    }
                    Err(cause) => {
                        warn!(trust_domain = %bundle.trust_domain, cause, "root left out");
                    }
                }
            }
        }
        Self { bundles: Arc::new(bundles), by_domain }
    }

    pub(crate) fn of_domain(&self, trust_domain: &TrustDomain) -> Option<&DomainAnchors> {
        self.by_domain.get(trust_domain)
    }

    pub(crate) fn each_domain(&self) -> impl Iterator<Item = &DomainAnchors> {
        self.by_domain.values()
    }

    pub(crate) fn domains(&self) -> impl Iterator<Item = &TrustDomain> {
        self.by_domain.keys()
    }
}

struct Anchor {
    anchor: TrustAnchor<'static>,
    validity: RootValidity,
}

impl Anchor {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let anchor = anchor_from_trusted_cert(certificate).map_err(|error| error.to_string())?;
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        if !parsed.is_ca() {
            return Err("it is not a CA certificate".into());
        }
        let validity = RootValidity {
            not_before: system_time(parsed.validity().not_before),
            not_after: system_time(parsed.validity().not_after),
        };
        Ok(Self { anchor: anchor.to_owned(), validity })
    }
}
