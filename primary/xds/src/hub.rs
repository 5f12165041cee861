//! Mirrors of views, and the resources that follow from them.

use std::net::{IpAddr, SocketAddr};

use diolkos_topology::{Audience, AudienceId, Namespace, ViewDelta};

use crate::catalog::CatalogDelta;

#[derive(Clone, Debug)]
pub struct HubSettings {
    pub cluster_domain: String,
    pub secrets: SecretSource,
}

impl HubSettings {
    pub fn new(cluster_domain: &str) -> Self {
        Self { cluster_domain: cluster_domain.into(), secrets: SecretSource::default() }
    }
}

/// Where an Envoy reads its own key and its roots. The primary never sees a workload's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Files that hold an SDS DiscoveryResponse each; relative to Envoy's working directory, so
    /// that every client's clusters are the same bytes.
    Paths { default: String, root: String },
    /// A static cluster of the bootstrap that serves SDS, as Istio's `sds-grpc`.
    Cluster(String),
}

impl Default for SecretSource {
    fn default() -> Self {
        Self::Paths { default: "./sds/default.json".into(), root: "./sds/root.json".into() }
    }
}

/// The caller's handle for a live scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub u32);

/// Whoever agrees in all of these has the same listeners and routes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    pub audience: AudienceId,
    pub namespace: Namespace,
    /// Where a sidecar offers an HTTP proxy, if it does.
    pub http_proxy: Option<SocketAddr>,
    /// Where a gateway listens.
    pub bind: IpAddr,
    pub sni_port: u16,
}

/// What was done, for tests and benches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Resources encoded, by type in the order of `ResourceType::ORDER`.
    pub encoded: [u64; 4],
    /// Encoded to the bytes they had.
    pub unchanged: u64,
}

/// One per primary.
#[derive(Debug)]
pub struct Hub {
    _settings: HubSettings,
    work: Work,
}

impl Hub {
    pub fn new(settings: HubSettings) -> Self {
        Self { _settings: settings, work: Work::default() }
    }

    /// Before the first delta for it.
    pub fn audience_up(&mut self, _id: AudienceId, _audience: &Audience) {}

    /// Nothing is removed: the caller drops the catalog.
    pub fn audience_down(&mut self, _id: AudienceId) {}

    /// The audience must be up.
    pub fn scope_up(&mut self, _id: ScopeId, _scope: Scope) {}

    pub fn scope_down(&mut self, _id: ScopeId) {}

    pub fn apply(&mut self, _delta: &ViewDelta) {}

    /// What changed since the last call. Encodes only what a delta touched.
    pub fn drain(&mut self) -> Vec<CatalogDelta> {
        Vec::new()
    }

    pub fn work(&self) -> Work {
        self.work
    }
}
