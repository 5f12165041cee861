//! Joins two roles on one port: the certificate API, and the primary that listens.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use diolkos_primary::{Beside, OwnIdentity, PrimarySettings};
use diolkos_trust::TrustDomain;
use diolkos_trust_service::{
    ApiSettings, Authority, CertificateApi, LiveAuthority, OwnCertificate, OwnNames,
    spawn_folder_watch,
};
use diolkos_trust_wire::SERVICE_PREFIX;
use diolkos_xds::SecretSource;
use diolkos_xds::bootstrap::SDS_CLUSTER;
use tokio::task::JoinHandle;

mod vouching;

/// The primary's own names.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    /// Beside the names that every primary in a cluster has.
    pub(crate) names: Vec<String>,
}

/// A CA in force. What it feeds ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Ca {
    live: LiveAuthority,
    own: OwnCertificate,
    watch: Option<JoinHandle<()>>,
}

impl Drop for Ca {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

impl Ca {
    /// Of a folder, which is followed from then on.
    pub(crate) fn of_folder(dir: &Path, own: Own) -> anyhow::Result<Self> {
        let authority = Authority::load(dir).context("the CA cannot be used")?;
        let mut ca = Self::of(authority, own)?;
        ca.watch = Some(spawn_folder_watch(ca.live.clone(), PathBuf::from(dir)));
        Ok(ca)
    }

    /// Of one that was found or made elsewhere.
    pub(crate) fn of(authority: Authority, own: Own) -> anyhow::Result<Self> {
        let Own { trust_domain, namespace, service_account, names } = own;
        let live = LiveAuthority::new(authority)?;
        let mut own = OwnNames::in_cluster(&trust_domain, &namespace, &service_account)?;
        own.dns.extend(names);
        let own = OwnCertificate::keep(&live, own)?;
        Ok(Self { live, own, watch: None })
    }

    /// Lets a primary present this CA's certificate, believe its subjects, and answer its API.
    pub(crate) fn mount(&self, settings: &mut PrimarySettings) {
        let mut registry = settings.registry.take().unwrap_or_default();
        let trust_domain = self.own.identity.spiffe_id().trust_domain();
        let api = CertificateApi::new(
            ApiSettings {
                authority: self.live.clone(),
                trust_domain: trust_domain.clone(),
                reviewer: vouching::reviewer(settings),
                grants: vouching::grants(settings, trust_domain),
            },
            &mut registry,
        );
        settings.registry = Some(registry);
        settings.beside = Some(Beside::new(SERVICE_PREFIX, api));
        settings.own_issuers = self.live.issuers();
        // Envoys have their secrets from `diolkos sidecar`.
        settings.secrets = SecretSource::Cluster(SDS_CLUSTER.into());
        settings.identity = OwnIdentity::Live {
            identity: self.own.identity.clone(),
            roots: self.own.roots.clone(),
        };
    }
}
