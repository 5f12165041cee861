//! Who the gateway is to its primary.

use std::path::PathBuf;
use std::time::SystemTime;

use diolkos_ops::metrics::Registry;
use diolkos_tls::{Identity, Roots};
use diolkos_trust::TrustDomain;
use diolkos_trust_client::{CertificateSettings, Fault, Keeper, Kept, Live, LiveRoots};
use diolkos_xds_client::Credential;
use serde::Serialize;
use tokio::task::AbortHandle;

#[derive(Clone, Debug)]
pub enum OwnIdentity {
    /// Somebody else keeps it fresh, as whoever follows a folder does.
    Live { identity: Identity, roots: Roots },
    /// Asked for over the certificate API, and renewed.
    Issued(CertificateSettings),
    /// Known by a service-account token alone, and by no certificate.
    Token { token_file: PathBuf, root_file: PathBuf, trust_domain: TrustDomain },
}

/// The same at work. What it keeps, it keeps until it is dropped.
#[derive(Debug)]
pub(crate) enum Own {
    Live { identity: Identity, roots: Roots },
    Issued { settings: CertificateSettings, kept: Kept, fault: Fault, keeping: AbortHandle },
    Token { token_file: PathBuf, root_file: PathBuf, trust_domain: TrustDomain },
}

/// A certificate that is asked for, for whoever asks about it.
#[derive(Debug, Serialize)]
pub(crate) struct CertificateShown {
    not_after_seconds: Option<u64>,
    /// Why the last attempt failed.
    fault: Option<String>,
}

/// In force for as long as it is held.
pub(crate) struct InForce {
    pub(crate) credential: Credential,
    pub(crate) roots: Roots,
    _followed: Option<Followed>,
}

/// Whatever keeps it so.
#[expect(dead_code, reason = "they are held, and end when they are not")]
enum Followed {
    Certificate(Live),
    Roots(LiveRoots),
}

impl Own {
    pub(crate) fn begin(own: OwnIdentity, registry: &mut Registry) -> Self {
        match own {
            OwnIdentity::Live { identity, roots } => Self::Live { identity, roots },
            OwnIdentity::Issued(settings) => {
                let keeper = Keeper::new(settings.clone(), registry, "gateway");
                let (kept, fault) = (keeper.kept(), keeper.fault());
                let keeping = tokio::spawn(keeper.run()).abort_handle();
                Self::Issued { settings, kept, fault, keeping }
            }
            OwnIdentity::Token { token_file, root_file, trust_domain } => {
                Self::Token { token_file, root_file, trust_domain }
            }
        }
    }

    /// Returns when there is one; `None` when there will be none.
    pub(crate) async fn in_force(&self) -> Option<InForce> {
        match self {
            Self::Live { identity, roots } => {
                let credential = Credential::Certificate(identity.clone());
                Some(InForce { credential, roots: roots.clone(), _followed: None })
            }
            Self::Issued { settings, kept, .. } => {
                let live = Live::of(settings, kept.clone()).await?;
                let credential = Credential::Certificate(live.identity.clone());
                let (roots, followed) = (live.roots.clone(), Followed::Certificate(live));
                Some(InForce { credential, roots, _followed: Some(followed) })
            }
            Self::Token { token_file, root_file, trust_domain } => {
                let live = LiveRoots::of(root_file.clone(), trust_domain.clone()).await;
                let credential = Credential::Token(token_file.clone());
                let (roots, followed) = (live.roots.clone(), Followed::Roots(live));
                Some(InForce { credential, roots, _followed: Some(followed) })
            }
        }
    }

    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self, Self::Issued { kept, .. } if kept.borrow().is_none())
    }

    pub(crate) fn shown(&self) -> Option<CertificateShown> {
        let Self::Issued { kept, fault, .. } = self else { return None };
        let since_1970 = |end: SystemTime| end.duration_since(SystemTime::UNIX_EPOCH).ok();
        let not_after = kept.borrow().as_ref().and_then(|kept| since_1970(kept.not_after));
        Some(CertificateShown {
            not_after_seconds: not_after.map(|since| since.as_secs()),
            fault: fault.borrow().clone(),
        })
    }
}

impl CertificateShown {
    pub(crate) fn fault(self) -> Option<String> {
        self.fault
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Self::Issued { keeping, .. } = self {
            keeping.abort();
        }
    }
}
