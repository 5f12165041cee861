//! Mirrors of views, and the resources that follow from them.

mod mirror;

use std::collections::BTreeMap;
use std::iter;
use std::mem::take;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use diolkos_topology::{Audience, AudienceId, ClientKind, Namespace, ViewDelta};

use self::mirror::Mirror;
use crate::build::listener;
use crate::catalog::{CatalogDelta, CatalogKey};
use crate::resource::{Resource, ResourceType};

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
    settings: HubSettings,
    audiences: BTreeMap<AudienceId, Mirror>,
    scopes: BTreeMap<ScopeId, ScopeState>,
    work: Work,
}

#[derive(Debug)]
struct ScopeState {
    scope: Scope,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Has been given nothing.
    New,
    /// Has been given everything; changes follow.
    Served,
}

impl Hub {
    pub fn new(settings: HubSettings) -> Self {
        Self {
            settings,
            audiences: BTreeMap::new(),
            scopes: BTreeMap::new(),
            work: Work::default(),
        }
    }

    /// Before the first delta for it.
    pub fn audience_up(&mut self, id: AudienceId, audience: &Audience) {
        self.audiences.insert(id, Mirror::new(audience.kind));
    }

    /// Nothing is removed: the caller drops the catalog. Its scopes go with it.
    pub fn audience_down(&mut self, id: AudienceId) {
        self.audiences.remove(&id);
        self.scopes.retain(|_, state| state.scope.audience != id);
    }

    /// The audience must be up; a scope of none is given nothing.
    pub fn scope_up(&mut self, id: ScopeId, scope: Scope) {
        self.scopes.insert(id, ScopeState { scope, phase: Phase::New });
    }

    pub fn scope_down(&mut self, id: ScopeId) {
        let Some(ScopeState { scope: gone, .. }) = self.scopes.remove(&id) else { return };
        let needed = self.scopes.values().any(|ScopeState { scope, .. }| {
            scope.audience == gone.audience && scope.namespace == gone.namespace
        });
        if let Some(mirror) = self.audiences.get_mut(&gone.audience)
            && !needed
        {
            mirror.forget_proxy_routes(&gone.namespace);
        }
    }

    /// Changes for audiences that are not up are passed over.
    pub fn apply(&mut self, delta: &ViewDelta) {
        for change in &delta.changes {
            if let Some(mirror) = self.audiences.get_mut(&change.audience) {
                mirror.apply(&change.what);
            }
        }
    }

    /// What changed since the last call, in the order in which it must be applied: clusters and
    /// endpoints come before the listeners and routes that name them, and go after.
    pub fn drain(&mut self) -> Vec<CatalogDelta> {
        let mut added = Vec::new();
        let mut removed = Vec::new();
        let mut published = BTreeMap::new();
        for (id, mirror) in &mut self.audiences {
            let mut out = mirror.publish(&self.settings, &mut self.work);
            let key = CatalogKey::Audience(*id);
            added.push(CatalogDelta { key, upserts: take(&mut out.upserts), removes: vec![] });
            removed.push(CatalogDelta { key, upserts: vec![], removes: take(&mut out.removes) });
            published.insert(*id, out);
        }
        let mut deltas = added;
        for (id, state) in &mut self.scopes {
            let audience = state.scope.audience;
            let (Some(mirror), Some(out)) =
                (self.audiences.get_mut(&audience), published.get(&audience))
            else {
                continue;
            };
            let (upserts, removes) = match std::mem::replace(&mut state.phase, Phase::Served) {
                Phase::New => {
                    (first(&state.scope, mirror, &self.settings, &mut self.work), Vec::new())
                }
                Phase::Served => {
                    let routes = state
                        .scope
                        .http_proxy
                        .and_then(|_| out.proxy_routes.get(&state.scope.namespace));
                    let upserts = out.scope_upserts.iter().chain(routes).cloned().collect();
                    (upserts, out.scope_removes.clone())
                }
            };
            deltas.push(CatalogDelta { key: CatalogKey::Scope(*id), upserts, removes });
        }
        deltas.extend(removed);
        deltas.retain(|delta| !(delta.upserts.is_empty() && delta.removes.is_empty()));
        deltas
    }

    pub fn work(&self) -> Work {
        self.work
    }
}

/// Everything of a scope that just came up.
fn first(
    scope: &Scope,
    mirror: &mut Mirror,
    settings: &HubSettings,
    work: &mut Work,
) -> Vec<Arc<Resource>> {
    let listener = match mirror.kind {
        ClientKind::Grpc => return mirror.scope_resources(),
        ClientKind::Gateway => listener::gateway(SocketAddr::new(scope.bind, scope.sni_port)),
        ClientKind::Sidecar => match scope.http_proxy {
            None => return Vec::new(),
            Some(at) => listener::http_proxy(at),
        },
    };
    work.encoded[ResourceType::Listener.index()] += 1;
    let name = listener.name.clone();
    let routes = (mirror.kind == ClientKind::Sidecar)
        .then(|| mirror.proxy_routes_of(&scope.namespace, settings, work));
    let listener = match &routes {
        None => Resource::new(ResourceType::Listener, &name, &listener),
        Some(routes) => Resource::leader(ResourceType::Listener, &name, &routes.name, &listener),
    };
    iter::once(Arc::new(listener)).chain(routes).collect()
}
