//! Who we are: a leaf, its intermediates and its key, from a folder, replaceable in place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use diolkos_trust::SpiffeId;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};

use crate::error::{FileFault, TlsError};
use crate::leaf::Leaf;
use crate::limit::CHAIN_CERTIFICATES_MAX;
use crate::pem;

/// Leaf first, then its intermediates.
pub const CERT_CHAIN_FILE: &str = "cert-chain.pem";
pub const KEY_FILE: &str = "key.pem";

/// Clones share one value: a reload through one, all see.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    id: SpiffeId,
    not_after: SystemTime,
    certified: Arc<CertifiedKey>,
}

impl Identity {
    pub fn load(dir: &Path) -> Result<Self, TlsError> {
        Self::load_at(dir, SystemTime::now())
    }

    /// As if the time were `now`: what is expired then is refused.
    pub fn load_at(dir: &Path, now: SystemTime) -> Result<Self, TlsError> {
        let loaded = Loaded::read(dir, now)?;
        let current = ArcSwap::from_pointee(loaded);
        Ok(Self(Arc::new(Shared { dir: dir.to_path_buf(), current })))
    }

    /// Reads the folder again; true if the leaf changed. What fails leaves everything as it was.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.reload_at(SystemTime::now())
    }

    pub fn reload_at(&self, now: SystemTime) -> Result<bool, TlsError> {
        let loaded = Loaded::read(&self.0.dir, now)?;
        let changed = loaded.certified.cert != self.0.current.load().certified.cert;
        if changed {
            self.0.current.store(Arc::new(loaded));
        }
        Ok(changed)
    }

    pub fn spiffe_id(&self) -> SpiffeId {
        self.0.current.load().id.clone()
    }

    pub fn not_after(&self) -> SystemTime {
        self.0.current.load().not_after
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.current.load().certified)
    }
}

impl Loaded {
    fn read(dir: &Path, now: SystemTime) -> Result<Self, TlsError> {
        let (chain_file, key_file) = (dir.join(CERT_CHAIN_FILE), dir.join(KEY_FILE));
        let chain = pem::certificates(&chain_file, &pem::read(&chain_file)?)?;
        if chain.len() > CHAIN_CERTIFICATES_MAX {
            let too_long =
                FileFault::ChainTooLong { found: chain.len(), max: CHAIN_CERTIFICATES_MAX };
            return Err(pem::fault(&chain_file, too_long));
        }
        let in_chain = |fault| pem::fault(&chain_file, FileFault::Leaf(fault));
        let leaf = Leaf::parse(&chain[0]).map_err(in_chain)?;
        let id = leaf.id().map_err(in_chain)?;
        leaf.check(now).map_err(in_chain)?;

        let key = pem::key(&key_file, &pem::read(&key_file)?)?;
        let unusable =
            |error: rustls::Error| pem::fault(&key_file, FileFault::KeyUnusable(error.to_string()));
        let certified = CertifiedKey::new(chain, any_supported_type(&key).map_err(unusable)?);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                let mismatch = FileFault::KeyMismatch { chain: chain_file };
                return Err(pem::fault(&key_file, mismatch));
            }
            Err(error) => return Err(unusable(error)),
        }
        Ok(Self { id, not_after: leaf.not_after, certified: Arc::new(certified) })
    }
}

/// Asked at each handshake, so a reload reaches configurations handed out before.
impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(
        &self,
        _root_hints: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
