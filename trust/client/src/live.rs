//! A kept certificate and a file of roots, in force where they are used.

use std::path::PathBuf;
use std::time::SystemTime;

use diolkos_tls::{Identity, Roots, TlsError};
use diolkos_trust::TrustDomain;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::fetch::roots_print;
use crate::keeper::Kept;
use crate::limit::LOOK_INTERVAL;
use crate::material::Material;
use crate::settings::CertificateSettings;

/// Clones of both hold what is in force, also in configurations handed out before. They are
/// followed until this is dropped.
#[derive(Debug)]
pub struct Live {
    pub identity: Identity,
    pub roots: Roots,
    following: AbortHandle,
    _roots: LiveRoots,
}

/// The same of a file of roots alone, for whoever shows no certificate.
#[derive(Debug)]
pub struct LiveRoots {
    pub roots: Roots,
    following: AbortHandle,
}

impl Live {
    /// Waits for the first certificate; `None` when its keeper ended before.
    pub async fn of(settings: &CertificateSettings, mut kept: Kept) -> Option<Self> {
        let identity = first(&mut kept).await?;
        let file = settings.root_file.clone();
        let roots = LiveRoots::of(file, settings.id.trust_domain()).await;
        let followed = identity.clone();
        let follow = async move {
            while kept.changed().await.is_ok() {
                renew(&followed, &kept);
            }
        };
        let following = tokio::spawn(follow).abort_handle();
        Some(Self { identity, roots: roots.roots.clone(), following, _roots: roots })
    }
}

impl LiveRoots {
    /// Waits until the file is there and good.
    pub async fn of(file: PathBuf, domain: TrustDomain) -> Self {
        let mut file = RootFile::new(file, domain);
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false;
        let roots = loop {
            looks.tick().await;
            match file.look(Roots::of_pem) {
                Looked::Roots(roots) => break roots,
                Looked::Same if !told => {
                    let file = file.path.display();
                    tracing::warn!(%file, "no roots yet; nobody is believed before");
                    told = true;
                }
                Looked::Same | Looked::Broken => told = true,
            }
        };
        let followed = roots.clone();
        let follow = async move {
            loop {
                looks.tick().await;
                file.look(|text, domain| followed.replace_pem(text, domain));
            }
        };
        let following = tokio::spawn(follow).abort_handle();
        Self { roots, following }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Drop for LiveRoots {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// The first that is still good; the keeper has another on its way where one is not.
async fn first(kept: &mut Kept) -> Option<Identity> {
    loop {
        let material = kept.borrow_and_update().clone();
        match material.as_deref().map(Material::identity) {
            Some(Ok(identity)) => return Some(identity),
            Some(Err(error)) => tracing::warn!(%error, "the certificate is of no use"),
            None => {}
        }
        kept.changed().await.ok()?;
    }
}

fn renew(identity: &Identity, kept: &Kept) {
    let Some(material) = kept.borrow().clone() else { return };
    let (chain, key) = (material.chain_pem.as_bytes(), material.key_pem.as_bytes());
    if let Err(error) = identity.replace_pem(chain, key, SystemTime::now()) {
        tracing::warn!(%error, "a new certificate is of no use, the one before stays");
    }
}

/// A file of roots, read when its bytes are others than before.
#[derive(Debug)]
struct RootFile {
    path: PathBuf,
    domain: TrustDomain,
    before: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Looked<T> {
    /// Also when it cannot be read: a file that is being replaced is gone for a moment.
    Same,
    Broken,
    Roots(T),
}

impl RootFile {
    fn new(path: PathBuf, domain: TrustDomain) -> Self {
        Self { path, domain, before: None }
    }

    /// `take` gets what is new. What it does not take is said once.
    fn look<T>(
        &mut self,
        take: impl FnOnce(&[u8], &TrustDomain) -> Result<T, TlsError>,
    ) -> Looked<T> {
        let now = roots_print(&self.path);
        if now.is_none() || now == self.before {
            return Looked::Same;
        }
        let text = now.as_deref().unwrap_or_default();
        let looked = match take(text, &self.domain) {
            Ok(taken) => Looked::Roots(taken),
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, %error, "roots not read, those before stay in use");
                Looked::Broken
            }
        };
        self.before = now;
        looked
    }
}
