//! Mirrors of views, and the resources that follow from them.

mod mirror;
mod redirect;
mod scope;

use std::collections::BTreeMap;
use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;

use diolkos_topology::{Audience, AudienceId, ClientKind, OutboundTraffic, ViewDelta};
use diolkos_trust::TrustDomain;

use self::mirror::{Mirror, Published};
pub use self::scope::{Inbound, InboundPort, Scope, ScopeId};
use crate::build::{inbound, listener};
use crate::callers::Callers;
use crate::catalog::{CatalogDelta, CatalogKey};
use crate::resource::{Resource, ResourceType};

#[derive(Clone, Debug)]
pub struct HubSettings {
    pub cluster_domain: String,
    /// Of whom redirected workloads take mutual TLS.
    pub trust_domain: TrustDomain,
    pub secrets: SecretSource,
}

impl HubSettings {
    pub fn new(cluster_domain: &str, trust_domain: &TrustDomain) -> Self {
        Self {
            cluster_domain: cluster_domain.into(),
            trust_domain: trust_domain.clone(),
            secrets: SecretSource::default(),
        }
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
    outbound: OutboundTraffic,
    callers: Callers,
    /// Since gateways were told last.
    callers_changed: bool,
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
            outbound: OutboundTraffic::default(),
            callers: Callers::default(),
            callers_changed: false,
            audiences: BTreeMap::new(),
            scopes: BTreeMap::new(),
            work: Work::default(),
        }
    }

    /// What becomes of redirected connections that no service is for.
    pub fn set_outbound(&mut self, outbound: OutboundTraffic) {
        if self.outbound == outbound {
            return;
        }
        self.outbound = outbound;
        for mirror in self.audiences.values_mut() {
            mirror.set_outbound(outbound);
        }
    }

    /// How the clusters of callers are told apart.
    pub fn set_callers(&mut self, callers: Callers) {
        self.callers_changed |= self.callers != callers;
        self.callers = callers;
    }

    /// Before the first delta for it.
    pub fn audience_up(&mut self, id: AudienceId, audience: &Audience) {
        self.audiences.insert(id, Mirror::new(audience));
    }

    /// Nothing is removed: the caller drops the catalog. Its scopes go with it.
    pub fn audience_down(&mut self, id: AudienceId) {
        self.audiences.remove(&id);
        self.scopes.retain(|_, state| state.scope.audience != id);
    }

    /// The audience must be up; a scope of none is given nothing.
    pub fn scope_up(&mut self, id: ScopeId, scope: Scope) {
        if let Some(mirror) = self.audiences.get_mut(&scope.audience)
            && scope.is_redirected()
        {
            mirror.redirect_up(&scope.namespace, self.outbound);
        }
        self.scopes.insert(id, ScopeState { scope, phase: Phase::New });
    }

    pub fn scope_down(&mut self, id: ScopeId) {
        let Some(ScopeState { scope: gone, .. }) = self.scopes.remove(&id) else { return };
        let alike =
            |scope: &&Scope| scope.audience == gone.audience && scope.namespace == gone.namespace;
        let mut left = self.scopes.values().map(|state| &state.scope).filter(alike);
        let (proxies, redirected) =
            left.by_ref().fold((false, false), |(proxy, redirect), scope| {
                (proxy || scope.http_proxy.is_some(), redirect || scope.is_redirected())
            });
        let Some(mirror) = self.audiences.get_mut(&gone.audience) else { return };
        if !proxies {
            mirror.forget_proxy_routes(&gone.namespace);
        }
        if !redirected {
            mirror.forget_port_routes(&gone.namespace);
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
        let callers_changed = take(&mut self.callers_changed);
        for (id, state) in &mut self.scopes {
            let audience = state.scope.audience;
            let (Some(mirror), Some(out)) =
                (self.audiences.get_mut(&audience), published.get(&audience))
            else {
                continue;
            };
            let (upserts, removes) = match std::mem::replace(&mut state.phase, Phase::Served) {
                Phase::New => {
                    let (scope, callers) = (&state.scope, &self.callers);
                    (first(scope, mirror, callers, &self.settings, &mut self.work), Vec::new())
                }
                Phase::Served if callers_changed && state.scope.hbone => {
                    let told = gateway_listener(&state.scope, &self.callers, &mut self.work);
                    let (mut upserts, removes) = next(&state.scope, out);
                    upserts.push(told);
                    (upserts, removes)
                }
                Phase::Served => next(&state.scope, out),
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
    callers: &Callers,
    settings: &HubSettings,
    work: &mut Work,
) -> Vec<Arc<Resource>> {
    match mirror.kind {
        ClientKind::Grpc => return mirror.scope_resources(),
        ClientKind::Egress | ClientKind::Gateway => {
            return vec![gateway_listener(scope, callers, work)];
        }
        ClientKind::Sidecar => {}
    }
    let mut all = Vec::new();
    if let Some(at) = scope.http_proxy {
        let routes = mirror.proxy_routes_of(&scope.namespace, settings, work);
        let message = listener::http_proxy(at);
        work.encoded[ResourceType::Listener.index()] += 1;
        let kind = ResourceType::Listener;
        let made = Resource::leader(kind, &message.name, &routes.name, &message);
        all.extend([Arc::new(made), routes]);
    }
    if let Some(inbound) = &scope.inbound {
        let message = inbound::virtual_inbound(inbound, mirror.families, settings);
        work.encoded[ResourceType::Listener.index()] += 1;
        let made = Resource::new(ResourceType::Listener, &message.name, &message);
        all.push(Arc::new(made));
        all.extend(mirror.redirect_resources(&scope.namespace));
    }
    all
}

fn gateway_listener(scope: &Scope, callers: &Callers, work: &mut Work) -> Arc<Resource> {
    let callers = scope.hbone.then_some(callers);
    let message = listener::gateway(SocketAddr::new(scope.bind, scope.sni_port), callers);
    work.encoded[ResourceType::Listener.index()] += 1;
    Arc::new(Resource::new(ResourceType::Listener, &message.name, &message))
}

type Changes = (Vec<Arc<Resource>>, Vec<(ResourceType, Arc<str>)>);

/// What of the audience's changes concerns a scope: upserts and removals.
fn next(scope: &Scope, out: &Published) -> Changes {
    let mut upserts = out.scope_upserts.clone();
    let mut removes = out.scope_removes.clone();
    if scope.http_proxy.is_some() {
        upserts.extend(out.proxy_routes.get(&scope.namespace).cloned());
    }
    if scope.is_redirected() {
        let routes = out.redirect.routes.get(&scope.namespace).into_iter().flatten();
        upserts.extend(out.redirect.listeners.iter().chain(routes).cloned());
        removes.extend(out.redirect.removes.iter().cloned());
    }
    (upserts, removes)
}
