//! Who we are: a leaf, its intermediates and its key, from a folder or from memory, replaceable in
//! place.

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
    /// `None` where it lives in memory only.
    dir: Option<PathBuf>,
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
        Ok(Self(Arc::new(Shared { dir: Some(dir.to_path_buf()), current })))
    }

    /// Of PEM texts that never were files, as whoever issues to itself has them.
    pub fn of_pem(chain: &[u8], key: &[u8], now: SystemTime) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(Loaded::of_pem(&Files::in_memory(), chain, key, now)?);
        Ok(Self(Arc::new(Shared { dir: None, current })))
    }

    /// Puts another leaf and key in the place of what was there, under configurations handed out
    /// before. What fails leaves everything as it was.
    pub fn replace_pem(&self, chain: &[u8], key: &[u8], now: SystemTime) -> Result<(), TlsError> {
        self.0.current.store(Arc::new(Loaded::of_pem(&Files::in_memory(), chain, key, now)?));
        Ok(())
    }

    /// Reads the folder again; true if the leaf changed. What fails leaves everything as it was.
    /// One that lives in memory never changes by this.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.reload_at(SystemTime::now())
    }

    pub fn reload_at(&self, now: SystemTime) -> Result<bool, TlsError> {
        let Some(dir) = &self.0.dir else { return Ok(false) };
        let loaded = Loaded::read(dir, now)?;
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

    /// The leaf that is in force now, to see later whether it still is.
    pub fn in_force(&self) -> LeafInForce {
        LeafInForce(self.certified())
    }

    pub fn has(&self, leaf: &LeafInForce) -> bool {
        Arc::ptr_eq(&self.0.current.load().certified, &leaf.0)
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.current.load().certified)
    }
}

/// A leaf that was in force at some moment.
#[derive(Clone, Debug)]
pub struct LeafInForce(Arc<CertifiedKey>);

/// What to name in an error.
struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(dir: &Path) -> Self {
        Self { chain: dir.join(CERT_CHAIN_FILE), key: dir.join(KEY_FILE) }
    }

    fn in_memory() -> Self {
        Self { chain: "certificate chain in memory".into(), key: "key in memory".into() }
    }
}

impl Loaded {
    fn read(dir: &Path, now: SystemTime) -> Result<Self, TlsError> {
        let files = Files::of(dir);
        let (chain, key) = (pem::read(&files.chain)?, pem::read(&files.key)?);
        Self::of_pem(&files, &chain, &key, now)
    }

    fn of_pem(files: &Files, chain: &[u8], key: &[u8], now: SystemTime) -> Result<Self, TlsError> {
        let Files { chain: chain_file, key: key_file } = files;
        let chain = pem::certificates(chain_file, chain)?;
        if chain.len() > CHAIN_CERTIFICATES_MAX {
            let too_long =
                FileFault::ChainTooLong { found: chain.len(), max: CHAIN_CERTIFICATES_MAX };
            return Err(pem::fault(chain_file, too_long));
        }
        let in_chain = |fault| pem::fault(chain_file, FileFault::Leaf(fault));
        let leaf = Leaf::parse(&chain[0]).map_err(in_chain)?;
        let id = leaf.id().map_err(in_chain)?;
        leaf.check(now).map_err(in_chain)?;

        let key = pem::key(key_file, key)?;
        let unusable =
            |error: rustls::Error| pem::fault(key_file, FileFault::KeyUnusable(error.to_string()));
        let certified = CertifiedKey::new(chain, any_supported_type(&key).map_err(unusable)?);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                let mismatch = FileFault::KeyMismatch { chain: chain_file.clone() };
                return Err(pem::fault(key_file, mismatch));
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
