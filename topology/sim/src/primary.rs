//! The one primary: the federation, its audiences, and the catalogs that clients are served from.
//! What the shell does around the pure crates, without the sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use diolkos_topology::oracle::World as Oracle;
use diolkos_topology::{
    Audience, AudienceId, Change, ClientKind, ClusterId, ClusterSettings, Effects, Epoch, Event,
    FactKind, Federation, Generation, MeshSettings, Namespace, NetworkId, Port, ServiceKey, Source,
    Tick, View, What,
};
use diolkos_trust::TrustDomain;
use diolkos_xds::{Catalog, CatalogKey, Catalogs, Hub, HubSettings, ResourceType, Scope, ScopeId};

use crate::advertised::Advertised;
use crate::invariant::{Checked, Invariant, Violation, holds};
use crate::shape::Sabotage;
use crate::source::said_by;
use crate::truth::{DOMAIN, NAMES_ARE_VALID};

pub(crate) struct Primary {
    pub(crate) federation: Federation,
    /// Told the same events.
    oracle: Oracle,
    hub: Hub,
    audiences: BTreeMap<AudienceId, Live>,
    catalogs: BTreeMap<CatalogKey, Catalog>,
    ids: u32,
    heard: BTreeMap<ClusterId, Heard>,
    sabotage: Sabotage,
    /// Catalog deltas so far, for the sabotage of one.
    deltas: usize,
    effects: Effects,
}

struct Live {
    audience: Audience,
    view: View,
    streams: usize,
}

/// What came of one cluster's sources.
#[derive(Default)]
struct Heard {
    live: Option<Generation>,
    epochs: BTreeMap<Generation, (Epoch, BTreeSet<FactKind>)>,
}

/// What a stream was granted.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) audience: AudienceId,
    pub(crate) scope: ScopeId,
    pub(crate) whose: Audience,
}

impl Primary {
    pub(crate) fn new(
        mesh: &MeshSettings,
        clusters: &[ClusterSettings],
        sabotage: Sabotage,
    ) -> Self {
        let mut primary = Self {
            federation: Federation::new(),
            oracle: Oracle::default(),
            hub: Hub::new(HubSettings::new(
                DOMAIN,
                &TrustDomain::new(DOMAIN).expect(NAMES_ARE_VALID),
            )),
            audiences: BTreeMap::new(),
            catalogs: BTreeMap::new(),
            ids: 0,
            heard: BTreeMap::new(),
            sabotage,
            deltas: 0,
            effects: Effects::default(),
        };
        primary.tell(Tick(0), Event::Mesh(mesh.clone()));
        for settings in clusters {
            primary.heard.insert(settings.cluster.clone(), Heard::default());
            primary.tell(Tick(0), Event::Cluster(settings.clone()));
        }
        primary
    }

    fn tell(&mut self, now: Tick, event: Event) {
        self.effects.clear();
        self.oracle.apply(now, &event);
        self.federation.apply(now, event, &mut self.effects);
    }

    /// Everybody is served once every source was heard, and nobody before.
    pub(crate) fn is_ready(&self) -> bool {
        self.sabotage == Sabotage::ServeEarly
            || self.heard.values().all(|heard| heard.live.is_some())
    }

    /// A source's word; the generation to be put to use, if this completes one.
    pub(crate) fn hear(
        &mut self,
        now: Tick,
        event: Event,
        ever: &Advertised,
    ) -> Checked<Option<Source>> {
        let Some((source, epoch)) = said_by(&event) else { return Ok(None) };
        let source = source.clone();
        let heard = self.heard.entry(source.cluster.clone()).or_default();
        let known = heard.epochs.entry(source.generation).or_default();
        let late = epoch < known.0 || Some(source.generation) < heard.live;
        if epoch > known.0 {
            *known = (epoch, BTreeSet::new());
        }
        if let (false, Event::ResetEnd { kind, .. }) = (late, &event) {
            known.1.insert(*kind);
        }
        let whole = known.1.len() == FactKind::ALL.len();
        let shelved = heard.live < Some(source.generation);
        let said = late.then(|| crate::source::in_words(&event));
        self.apply(now, event, Some(&source.cluster), ever)?;
        if let Some(said) = said {
            let nothing = self.effects.view.changes.is_empty();
            holds(nothing, Invariant::NothingOlderLands, || {
                format!("{said} led to {:?}", self.effects.view.changes)
            })?;
        }
        Ok((whole && shelved && !late).then_some(source))
    }

    pub(crate) fn activate(&mut self, now: Tick, source: Source, ever: &Advertised) -> Checked {
        let heard = self.heard.entry(source.cluster.clone()).or_default();
        heard.live = Some(source.generation);
        let cluster = source.cluster.clone();
        self.apply(now, Event::Activate { source }, Some(&cluster), ever)
    }

    /// What the operator, the clock, or whoever watches the watches says.
    pub(crate) fn note(&mut self, now: Tick, event: Event, ever: &Advertised) -> Checked {
        let about_sight = matches!(event, Event::ClusterStale { .. } | Event::ClusterFresh { .. });
        let keeps = about_sight || event == Event::Tick;
        let said = format!("{event:?}");
        self.apply(now, event, None, ever)?;
        let removes = self.effects.view.changes.iter().find(|change| {
            matches!(
                change.what,
                What::Endpoint { entry: None, .. }
                    | What::Gateway { entry: None, .. }
                    | What::Service { entry: None, .. }
            )
        });
        holds(!keeps || removes.is_none(), Invariant::StaleKeepsEndpoints, || {
            format!("{said} led to {removes:?}")
        })
    }

    /// How many changes of views the last event led to.
    pub(crate) fn changes(&self) -> usize {
        self.effects.view.changes.len()
    }

    fn apply(
        &mut self,
        now: Tick,
        event: Event,
        from: Option<&ClusterId>,
        ever: &Advertised,
    ) -> Checked {
        self.tell(now, event);
        self.follow(from, ever)?;
        self.check_views()
    }

    /// Into the mirrors and the catalogs.
    fn follow(&mut self, from: Option<&ClusterId>, ever: &Advertised) -> Checked {
        for change in &self.effects.view.changes {
            let Some(live) = self.audiences.get_mut(&change.audience) else {
                let why = format!("{change:?} is for an audience that is not there");
                return Err(Violation::new(Invariant::DeltasAddUp, why));
            };
            ever.check(&live.audience, change)?;
            own_ports_stay(live, from, change)?;
            live.view.apply(change);
        }
        self.hub.apply(&self.effects.view);
        for delta in self.hub.drain() {
            let Some(catalog) = self.catalogs.get_mut(&delta.key) else { continue };
            let endpoints = delta.upserts.iter().any(|one| one.kind == ResourceType::Endpoint);
            self.deltas += usize::from(endpoints);
            if self.sabotage == Sabotage::LoseCatalogDelta && endpoints && self.deltas == 20 {
                continue;
            }
            catalog.apply(&delta);
        }
        Ok(())
    }

    pub(crate) fn open(
        &mut self,
        now: Tick,
        whose: &Audience,
        namespace: &Namespace,
        ever: &Advertised,
    ) -> Checked<Grant> {
        let known = self.audiences.iter().find(|(_, live)| live.audience == *whose);
        let audience = match known.map(|(id, _)| *id) {
            Some(id) => id,
            None => {
                self.ids += 1;
                let id = AudienceId(self.ids);
                let live = Live { audience: whose.clone(), view: View::default(), streams: 0 };
                self.audiences.insert(id, live);
                self.hub.audience_up(id, whose);
                self.catalogs.insert(CatalogKey::Audience(id), Catalog::new());
                id
            }
        };
        let live = self.audiences.get_mut(&audience).expect("it was found or made above");
        live.streams += 1;
        let fresh = live.streams == 1;
        self.ids += 1;
        let scope = ScopeId(self.ids);
        self.catalogs.insert(CatalogKey::Scope(scope), Catalog::new());
        let http_proxy = (whose.kind == ClientKind::Sidecar)
            .then(|| "127.0.0.1:15080".parse().expect(NAMES_ARE_VALID));
        let bind = "0.0.0.0".parse().expect(NAMES_ARE_VALID);
        let namespace = namespace.clone();
        let inbound = None;
        let sni_port = 15443;
        let of = Scope { audience, namespace, http_proxy, inbound, bind, sni_port, hbone: false };
        self.hub.scope_up(scope, of);
        self.effects.clear();
        if fresh {
            self.tell(now, Event::AudienceUp { id: audience, audience: whose.clone() });
        }
        self.follow(None, ever)?;
        Ok(Grant { audience, scope, whose: whose.clone() })
    }

    pub(crate) fn close(&mut self, now: Tick, grant: &Grant) {
        self.hub.scope_down(grant.scope);
        self.catalogs.remove(&CatalogKey::Scope(grant.scope));
        let Some(live) = self.audiences.get_mut(&grant.audience) else { return };
        live.streams -= 1;
        if live.streams == 0 {
            self.audiences.remove(&grant.audience);
            self.catalogs.remove(&CatalogKey::Audience(grant.audience));
            self.tell(now, Event::AudienceDown { id: grant.audience });
            self.hub.audience_down(grant.audience);
        }
    }

    pub(crate) fn catalogs(&self, grant: &Grant) -> Option<Catalogs<'_>> {
        Some(Catalogs {
            audience: self.catalogs.get(&CatalogKey::Audience(grant.audience))?,
            scope: self.catalogs.get(&CatalogKey::Scope(grant.scope))?,
        })
    }

    /// Which network each gateway's address leads to, as far as clusters were heard.
    pub(crate) fn leads_to(&self) -> BTreeMap<SocketAddr, NetworkId> {
        self.oracle.leads_to()
    }

    fn check_views(&self) -> Checked {
        self.check_told_together()?;
        for live in self.audiences.values() {
            let derived = self.oracle.view(&live.audience);
            holds(derived == live.view, Invariant::DeltasAddUp, || {
                let audience = &live.audience;
                format!("{audience}: deltas {:#?}\noracle {derived:#?}", live.view)
            })?;
        }
        Ok(())
    }
}

/// Where ways out listen.
pub(crate) const EGRESS_PORT: u16 = 15444;

impl Primary {
    fn check_told_together(&self) -> Checked {
        let leads_to = self.leads_to();
        let of = |kind| self.audiences.values().filter(move |live| live.audience.kind == kind);
        for sidecar in of(ClientKind::Sidecar) {
            for (key, port, address) in gateways(&sidecar.view) {
                for out in of(ClientKind::Egress).filter(|_| address.port() == EGRESS_PORT) {
                    let apart = (&out.audience.cluster, &out.audience.network)
                        != (&sidecar.audience.cluster, &sidecar.audience.network);
                    let there = out.view.services.get(key);
                    let there = there.and_then(|entry| entry.ports.get(port));
                    let led = apart || there.is_some_and(|port| !port.gateways.is_empty());
                    holds(led, Invariant::ToldTogether, || {
                        let (sidecar, out) = (&sidecar.audience, &out.audience);
                        format!("{sidecar} is sent to {address} for {key}:{port}, not {out}")
                    })?;
                }
                let Some(network) = leads_to.get(address) else { continue };
                for gateway in of(ClientKind::Gateway) {
                    let led = gateway.audience.network != *network || {
                        let there = gateway.view.services.get(key);
                        let there = there.and_then(|entry| entry.ports.get(port));
                        there.is_some_and(|port| !port.endpoints.is_empty())
                    };
                    holds(led, Invariant::ToldTogether, || {
                        let (sidecar, gateway) = (&sidecar.audience, &gateway.audience);
                        format!("{sidecar} is sent to {address} for {key}:{port}, not {gateway}")
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Service, port and address of every gateway entry.
fn gateways(view: &View) -> impl Iterator<Item = (&ServiceKey, &Port, &SocketAddr)> {
    let ports = view
        .services
        .iter()
        .flat_map(|(key, entry)| entry.ports.iter().map(move |(port, entry)| (key, port, entry)));
    ports.flat_map(|(key, port, entry)| entry.gateways.keys().map(move |at| (key, port, at)))
}

fn own_ports_stay(live: &Live, from: Option<&ClusterId>, change: &Change) -> Checked {
    let What::Service { key, entry } = &change.what else { return Ok(()) };
    let home = &live.audience.cluster;
    if from.is_none_or(|from| from == home) || live.audience.kind == ClientKind::Gateway {
        return Ok(());
    }
    let Some(before) = live.view.services.get(key) else { return Ok(()) };
    let same = entry.as_ref().is_some_and(|now| now.ports == before.service.ports);
    holds(same || !before.service.clusters.contains(home), Invariant::OwnPortsStay, || {
        format!("{}: {from:?} changed {key} from {before:?} to {entry:?}", live.audience)
    })
}
