//! All state of a primary, and everything that happens to it, as synchronous methods.
//!
//! Time is an argument. What clients read is published in cells; nothing else is shared.

mod explain;
mod inbound;
mod lease;
mod ledger;
mod live;
mod pods;
mod ready;
mod rejected;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use diolkos_facts::{MeshFile, PodKey};
use diolkos_topology::{
    Audience, AudienceId, ClusterId, Effects, Event, FactKind, Federation, Tick,
};
use diolkos_trust::TrustDomain;
use diolkos_xds::{CatalogDelta, CatalogKey, Hub, HubSettings, ScopeId, SecretSource};
use tokio::sync::watch;

pub(crate) use explain::{Explained, Question};
pub(crate) use ledger::{Entry as LedgerEntry, Ledger, seconds};
pub(crate) use live::{Asked, Opened, Refused};
pub(crate) use ready::Readiness;
pub(crate) use show::{Clusterz, Shown};

use crate::authority::{Authorities, TokenIssuers};
use crate::cell::{CatalogCell, publish};
use crate::metrics::Metrics;
use crate::registered::Registered;
use crate::source::kube::Board;
use crate::source::{Listed, SourceEvent};
use crate::store::Keeper;
use inbound::Touched;
use lease::Leases;
use live::{Live, ScopeKey};
use pods::Pods;
use ready::Waiting;
use rejected::Rejected;

/// A moment, by the clocks that matter: the federation's, the one that is measured with, and the
/// one that people read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) tick: Tick,
    pub(crate) instant: Instant,
    pub(crate) system: SystemTime,
}

#[derive(Clone, Debug)]
pub(crate) struct CoreSettings {
    /// What API servers are like, and after how long one is shown as `timeout`.
    pub(crate) sources: Option<(Board, Duration)>,
    pub(crate) keeper: Keeper,
    pub(crate) cluster: ClusterId,
    /// Of the primary's own certificate.
    pub(crate) trust_domain: TrustDomain,
    pub(crate) secrets: SecretSource,
    pub(crate) registered: Registered,
    pub(crate) linger_ms: u64,
    pub(crate) ready_by: Tick,
}

pub(crate) struct Core {
    settings: CoreSettings,
    metrics: Arc<Metrics>,
    federation: Federation,
    /// Made by the first mesh file: names of services depend on its cluster domain.
    hub: Option<Hub>,
    mesh: Option<MeshFile>,
    authorities: Authorities,
    /// For whoever verifies tokens. `None` before there is a mesh file.
    tokens: watch::Sender<Option<Arc<TokenIssuers>>>,
    pods: Pods,
    audiences: Leases<Audience>,
    scopes: Leases<ScopeKey>,
    streams: BTreeMap<u64, Live>,
    /// Streams by the pods their clients say they are.
    streams_of: BTreeMap<(ClusterId, PodKey), BTreeSet<u64>>,
    last_stream: u64,
    notices: Ledger,
    rejected: Rejected,
    waiting: Waiting,
    effects: Effects,
}

impl Core {
    pub(crate) fn new(settings: CoreSettings, metrics: Arc<Metrics>, ready: Readiness) -> Self {
        let waiting = Waiting::new(settings.ready_by, ready);
        Self {
            settings,
            metrics,
            federation: Federation::new(),
            hub: None,
            mesh: None,
            authorities: Authorities::default(),
            tokens: watch::channel(None).0,
            pods: Pods::default(),
            audiences: Leases::new(),
            scopes: Leases::new(),
            streams: BTreeMap::new(),
            streams_of: BTreeMap::new(),
            last_stream: 0,
            notices: Ledger::default(),
            rejected: Rejected::default(),
            waiting,
            effects: Effects::default(),
        }
    }

    /// One turn: all of it is published together. `said_at` is when the first of it was said.
    pub(crate) fn apply(
        &mut self,
        now: Now,
        said_at: Instant,
        events: impl IntoIterator<Item = SourceEvent>,
    ) {
        let mut moved = Moved::default();
        let mut touched = Touched::default();
        for event in events {
            match event {
                SourceEvent::Mesh { file, clusters } => {
                    self.mesh(*file, clusters);
                    touched.note_default();
                    moved = Moved::Anybody;
                }
                SourceEvent::Pods { cluster, change } => {
                    let changed = self.pods.change(&cluster, change);
                    let changed = changed.into_iter().map(|pod| (cluster.clone(), pod));
                    let changed: Vec<_> = changed.collect();
                    let streams = changed.iter().filter_map(|pod| self.streams_of.get(pod));
                    touched.note_streams(streams.flatten().copied());
                    moved.add(changed);
                }
                SourceEvent::Rejections { cluster, change } => {
                    self.rejected.change(cluster.as_ref(), change, &self.metrics);
                }
                SourceEvent::Events(events) => {
                    for event in events {
                        if may_move_clients(&event) {
                            moved = Moved::Anybody;
                        }
                        self.waiting.note(&event);
                        touched.note(&event, &self.federation);
                        self.federation.apply(now.tick, event, &mut self.effects);
                    }
                }
            }
        }
        self.settle(now, said_at);
        self.end_moved(&moved);
        self.reclass(now, &touched);
        self.waiting.check(now.tick);
    }

    /// What a deadline asked for.
    pub(crate) fn tick(&mut self, now: Now) {
        for id in self.scopes.expire(now.tick) {
            if let Some(hub) = &mut self.hub {
                hub.scope_down(ScopeId(id));
            }
        }
        for id in self.audiences.expire(now.tick) {
            let id = AudienceId(id);
            self.federation.apply(now.tick, Event::AudienceDown { id }, &mut self.effects);
            if let Some(hub) = &mut self.hub {
                hub.audience_down(id);
            }
        }
        self.federation.apply(now.tick, Event::Tick, &mut self.effects);
        self.settle(now, now.instant);
        self.waiting.check(now.tick);
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        [
            self.federation.next_deadline(),
            self.audiences.next_deadline(),
            self.scopes.next_deadline(),
            self.waiting.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What a scrape shows of clusters and their store.
    pub(crate) fn measure(&self, now: SystemTime) {
        if let Some((board, sync)) = &self.settings.sources {
            self.metrics.clusters.measure(&board.measured(*sync));
        }
        if let Some(written) =
            self.settings.keeper.shown(now).and_then(|shown| shown.written_seconds)
        {
            self.metrics.clusters.stored.set(i64::try_from(written).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn mesh_file(&self) -> Option<&MeshFile> {
        self.mesh.as_ref()
    }

    pub(crate) fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    pub(crate) fn token_issuers(&self) -> watch::Receiver<Option<Arc<TokenIssuers>>> {
        self.tokens.subscribe()
    }

    /// Clients that the new certificates and keys would not vouch for are ended.
    pub(crate) fn set_authorities(&mut self, now: Now, authorities: Authorities) {
        if let Some(hub) = &mut self.hub {
            // Also where nothing else is new: the keys of our own CAs come by themselves.
            hub.set_callers(authorities.told());
        }
        self.settle(now, now.instant);
        self.tokens.send_if_modified(|published| {
            let news = published.as_ref() != Some(&authorities.tokens);
            *published = Some(authorities.tokens.clone());
            news
        });
        if authorities == self.authorities {
            return;
        }
        for complaint in &authorities.complaints {
            if !self.authorities.complaints.contains(complaint) {
                tracing::warn!("{complaint}");
            }
        }
        self.authorities = authorities;
        self.end_moved(&Moved::Anybody);
    }

    /// Hands what the federation said to whom it concerns, and publishes.
    fn settle(&mut self, now: Now, said_at: Instant) {
        for notice in std::mem::take(&mut self.effects.notices) {
            self.metrics.notices.inc();
            let text = notice.to_string();
            if self.notices.note(text.clone(), now.system) {
                tracing::warn!("{text}");
            }
        }
        if let Some(hub) = &mut self.hub {
            hub.apply(&self.effects.view);
            let deltas = hub.drain();
            self.publish(deltas, said_at);
        }
        self.effects.clear();
    }

    fn publish(&self, deltas: Vec<CatalogDelta>, said_at: Instant) {
        // Audiences come before scopes: the order in which sessions lock.
        let mut changes: BTreeMap<CatalogKey, (Arc<CatalogCell>, Vec<CatalogDelta>)> =
            BTreeMap::new();
        for delta in deltas {
            let cell = match delta.key {
                CatalogKey::Audience(AudienceId(id)) => self.audiences.cell(id),
                CatalogKey::Scope(ScopeId(id)) => self.scopes.cell(id),
            };
            let Some(cell) = cell else { continue };
            changes.entry(delta.key).or_insert_with(|| (cell.clone(), Vec::new())).1.push(delta);
        }
        let changes: Vec<_> = changes.into_values().collect();
        publish(&changes, said_at);
    }

    fn mesh(&mut self, file: MeshFile, listed: Listed) {
        if file.trust_domain != self.settings.trust_domain {
            tracing::error!(
                mesh = %file.trust_domain,
                own = %self.settings.trust_domain,
                "the mesh file's trustDomain is not that of the primary's certificate; clients with \
                 certificates of the former are refused until the primary has one of it"
            );
        }
        let domain = &file.settings.cluster_domain;
        match &self.mesh {
            None => {
                let mut settings = HubSettings::new(domain, &file.trust_domain);
                settings.secrets = self.settings.secrets.clone();
                self.hub = Some(Hub::new(settings));
            }
            Some(before) if before.settings.cluster_domain != *domain => tracing::error!(
                before = before.settings.cluster_domain,
                now = domain,
                "clusterDomain changed; names keep the former until the primary is restarted"
            ),
            Some(_) => {}
        }
        if let Some(hub) = &mut self.hub {
            hub.set_outbound(file.outbound);
        }
        self.pods
            .retain(|cluster| file.clusters.iter().any(|entry| entry.settings.cluster == *cluster));
        self.waiting.declare(file.clusters.iter().map(|entry| &entry.settings.cluster), listed);
        self.settings.registered.set(&file);
        self.mesh = Some(file);
    }
}

/// Whose place may be another than when its stream was granted.
enum Moved {
    Anybody,
    PodsOnly(BTreeSet<(ClusterId, PodKey)>),
}

impl Default for Moved {
    fn default() -> Self {
        Self::PodsOnly(BTreeSet::new())
    }
}

impl Moved {
    fn add(&mut self, pods: Vec<(ClusterId, PodKey)>) {
        if let Self::PodsOnly(known) = self {
            known.extend(pods);
        }
    }
}

/// Where a client is hangs on its cluster's network and its node's locality.
fn may_move_clients(event: &Event) -> bool {
    match event {
        Event::Upsert { fact, .. } => {
            matches!(fact.key().kind(), FactKind::Node | FactKind::Namespace)
        }
        Event::Remove { key, .. } => {
            matches!(key.kind(), FactKind::Node | FactKind::Namespace)
        }
        Event::ResetEnd { kind, .. } => matches!(kind, FactKind::Node | FactKind::Namespace),
        Event::Activate { .. } | Event::Cluster(_) | Event::ClusterGone { .. } => true,
        _ => false,
    }
}
