//! Watches an identity folder: by content, once a second.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ring::digest::{Context, SHA256};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::error::TlsError;
use crate::identity::{CERT_CHAIN_FILE, Identity, KEY_FILE};
use crate::pem;
use crate::roots::{ROOT_CERT_FILE, Roots, bundle_of};

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Follows the folder until the task is aborted. A broken rewrite keeps what was there and is
/// logged once. `root-cert.pem` replaces the bundle of the identity's own trust domain; bundles of
/// others stay.
pub fn spawn_reload(identity: Identity, roots: Roots, dir: PathBuf) -> JoinHandle<()> {
    let mut watch = Watch::new(identity, roots, dir);
    tokio::spawn(async move {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let polled = spawn_blocking(move || {
                watch.poll(SystemTime::now()).log(&watch.dir);
                watch
            });
            match polled.await {
                Ok(back) => watch = back,
                // The runtime is going away.
                Err(_) => return,
            }
        }
    })
}

/// One folder and what it feeds; [`spawn_reload`] polls it each second.
#[derive(Debug)]
pub struct Watch {
    identity: Identity,
    roots: Roots,
    dir: PathBuf,
    seen: Seen,
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    Nothing,
    Good([u8; 32]),
    Broken { content: [u8; 32], told: bool },
}

/// What one look at the folder came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Polled {
    /// Nothing new to say.
    Same,
    Reloaded {
        identity: bool,
        roots: bool,
    },
    /// Broken, and not for the first look: a rewrite of three files is seen half done at times.
    Kept(TlsError),
}

impl Watch {
    pub fn new(identity: Identity, roots: Roots, dir: PathBuf) -> Self {
        Self { identity, roots, dir, seen: Seen::Nothing }
    }

    /// Good content is loaded once. Broken content is tried again, for time may cure it, and told
    /// of once.
    pub fn poll(&mut self, now: SystemTime) -> Polled {
        let content = fingerprint(&self.dir);
        if matches!(self.seen, Seen::Good(before) if before == content) {
            return Polled::Same;
        }
        let error = match self.reload(now) {
            Ok((identity, roots)) => {
                self.seen = Seen::Good(content);
                return match identity || roots {
                    true => Polled::Reloaded { identity, roots },
                    false => Polled::Same,
                };
            }
            Err(error) => error,
        };
        let before = self.seen;
        let again = matches!(before, Seen::Broken { content: same, .. } if same == content);
        self.seen = Seen::Broken { content, told: again };
        match before {
            Seen::Broken { told: false, .. } if again => Polled::Kept(error),
            _ => Polled::Same,
        }
    }

    fn reload(&self, now: SystemTime) -> Result<(bool, bool), TlsError> {
        let file = self.dir.join(ROOT_CERT_FILE);
        let trust_domain = self.identity.spiffe_id().trust_domain();
        let bundle = bundle_of(&file, &pem::read(&file)?, &trust_domain)?;
        let identity = self.identity.reload_at(now)?;
        Ok((identity, self.roots.set_one(bundle)))
    }
}

impl Polled {
    fn log(&self, dir: &Path) {
        match self {
            Self::Same => {}
            Self::Reloaded { identity, roots } => {
                info!(dir = %dir.display(), identity, roots, "identity folder reloaded");
            }
            Self::Kept(error) => {
                warn!(%error, "identity folder not reloaded, the last good one stays in use");
            }
        }
    }
}

fn fingerprint(dir: &Path) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for name in [CERT_CHAIN_FILE, KEY_FILE, ROOT_CERT_FILE] {
        match pem::read(&dir.join(name)) {
            Ok(bytes) => {
                hash.update(&(bytes.len() as u64).to_be_bytes());
                hash.update(&bytes);
            }
            Err(error) => hash.update(error.to_string().as_bytes()),
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}
