//! The CA in force: replaced while it signs, by a folder that is watched or by whoever holds it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use diolkos_tls::{IssuerKey, Issuers};
use ring::digest::{Context, SHA256};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use crate::authority::Authority;
use crate::error::AuthorityError;
use crate::folder::CaFiles;
use crate::limit::{FOLDER_INTERVAL, ROOTS_MAX};

/// Clones share one value.
#[derive(Clone, Debug)]
pub struct LiveAuthority {
    current: Arc<watch::Sender<Arc<Authority>>>,
    issuers: Issuers,
}

impl LiveAuthority {
    /// # Errors
    /// When it has more roots than anybody would read.
    pub fn new(authority: Authority) -> Result<Self, AuthorityError> {
        check_roots(&authority)?;
        let issuers = Issuers::default();
        issuers.add(key_of(&authority)?);
        let (current, _) = watch::channel(Arc::new(authority));
        Ok(Self { current: Arc::new(current), issuers })
    }

    pub fn get(&self) -> Arc<Authority> {
        self.current.borrow().clone()
    }

    /// Told of each replacement.
    pub fn watch(&self) -> watch::Receiver<Arc<Authority>> {
        self.current.subscribe()
    }

    /// The keys of this CA and of those it took the place of: leaves that they signed live on.
    pub fn issuers(&self) -> Issuers {
        self.issuers.clone()
    }

    /// Signs with another from now on. Everyone must go on believing everyone meanwhile, so the
    /// roots of one of both must be among those of the other.
    ///
    /// # Errors
    /// When the roots have nothing to do with each other, or are too many; the old one stays.
    pub fn replace(&self, authority: Authority) -> Result<(), AuthorityError> {
        check_roots(&authority)?;
        let before = self.get();
        let among = |few: &Authority, many: &Authority| {
            few.roots.iter().all(|root| many.roots.contains(root))
        };
        if !among(&before, &authority) && !among(&authority, &before) {
            return Err(AuthorityError::Roots(
                "the roots before and after have to overlap: first add the new root beside the \
                 old one everywhere, then change the CA, then remove the old root"
                    .into(),
            ));
        }
        self.issuers.add(key_of(&authority)?);
        self.current.send_replace(Arc::new(authority));
        Ok(())
    }
}

fn key_of(authority: &Authority) -> Result<IssuerKey, AuthorityError> {
    Ok(IssuerKey::of_certificate(authority.certificate_der())?)
}

fn check_roots(authority: &Authority) -> Result<(), AuthorityError> {
    match authority.roots.len() {
        0..=ROOTS_MAX => Ok(()),
        found => Err(AuthorityError::Roots(format!(
            "there are {found} roots, at most {ROOTS_MAX} are handed to workloads"
        ))),
    }
}

/// Follows a folder in Istio's layout until the task is aborted. What cannot be used is logged
/// once, and the CA before stays.
pub fn spawn_folder_watch(live: LiveAuthority, dir: PathBuf) -> JoinHandle<()> {
    let mut look = FolderLook::new(live, dir);
    tokio::spawn(async move {
        let mut ticks = interval(FOLDER_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looked = spawn_blocking(move || {
                look.look(SystemTime::now()).log(&look.dir);
                look
            });
            match looked.await {
                Ok(back) => look = back,
                // The runtime is going away.
                Err(_) => return,
            }
        }
    })
}

/// One folder and the CA it feeds.
#[derive(Debug)]
pub struct FolderLook {
    live: LiveAuthority,
    dir: PathBuf,
    /// Of the content that was taken, or complained of.
    settled: Option<[u8; 32]>,
    /// Of the content that failed at the last look: a folder is seen half written at times.
    suspect: Option<[u8; 32]>,
}

/// What one look came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    Same,
    Replaced,
    /// Broken, and not for the first look.
    Kept(AuthorityError),
}

impl FolderLook {
    pub fn new(live: LiveAuthority, dir: PathBuf) -> Self {
        Self { live, dir, settled: None, suspect: None }
    }

    pub fn look(&mut self, now: SystemTime) -> Looked {
        let read = CaFiles::read(&self.dir);
        let print = fingerprint(&read);
        if self.settled == Some(print) {
            return Looked::Same;
        }
        let first = self.settled.is_none();
        match read.and_then(|files| self.take(&files, now)) {
            Ok(()) => {
                (self.settled, self.suspect) = (Some(print), None);
                if first { Looked::Same } else { Looked::Replaced }
            }
            Err(error) if self.suspect == Some(print) => {
                (self.settled, self.suspect) = (Some(print), None);
                Looked::Kept(error)
            }
            Err(_) => {
                self.suspect = Some(print);
                Looked::Same
            }
        }
    }

    fn take(&self, files: &CaFiles, now: SystemTime) -> Result<(), AuthorityError> {
        let authority = Authority::of_files(&self.dir, files, now)?;
        let before = self.live.get();
        if before.certificate != authority.certificate
            || before.intermediates != authority.intermediates
            || before.roots != authority.roots
        {
            self.live.replace(authority)?;
        }
        Ok(())
    }
}

impl Looked {
    fn log(&self, dir: &Path) {
        match self {
            Self::Same => {}
            Self::Replaced => tracing::info!(dir = %dir.display(), "the CA was replaced"),
            Self::Kept(error) => {
                tracing::warn!(%error, "the CA is not replaced, the last good one goes on signing");
            }
        }
    }
}

fn fingerprint(read: &Result<CaFiles, AuthorityError>) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    match read {
        Ok(files) => {
            for (_, content) in files.entries() {
                hash.update(&(content.len() as u64).to_be_bytes());
                hash.update(content);
            }
        }
        Err(error) => hash.update(error.to_string().as_bytes()),
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}
