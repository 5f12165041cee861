//! From what changed to what each audience is told.

mod gateways;

use std::collections::BTreeMap;
use std::sync::Arc;

use diolkos_trust::SpiffeId;

use crate::audience::{AudienceId, ClientKind};
use crate::change::{Dirt, Held};
use crate::federation::Federation;
use crate::index::{Cluster, Index, Member, Ports, Service};
use crate::intern::{Id, Interner};
use crate::local::{LocalEntries, LocalEntry, LocalKey};
use crate::name::{NetworkId, Port, ServicePort};
use crate::scope::{Scope, Who};
use crate::told::{ClusterSet, Live, Told, ToldGateways, ToldPort};
use crate::units::Share;
use crate::view::{Change, PortView, ServiceView, ViewDelta, What};
use crate::work::Work;

impl Federation {
    /// Remembers what one cluster's endpoints of a service are to every audience. To be called
    /// before anything about them changes.
    pub(crate) fn hold(&mut self, service: Id<Service>, cluster: Id<Cluster>) {
        let dirt = self.changes.dirt(service);
        if dirt.held.is_some() {
            return;
        }
        dirt.cluster = Some(cluster);
        debug_assert!(dirt.pieces.is_empty(), "slices change after all that moves them");
        let mut entries = BTreeMap::new();
        let (mut networks, mut identities) = (Vec::new(), Vec::new());
        let key = &self.index.services[service].key;
        if let Some(member) = self.index.member(cluster, key) {
            let member = &self.index.members[member];
            (networks, identities) = self.index.touches(member);
            for (id, live) in &self.audiences {
                let Some(told) = live.told(service).filter(|told| told.listed) else { continue };
                if self.sets.get(told.clusters).binary_search(&cluster).is_ok() {
                    let who = self.index.who(&live.audience);
                    let held = self.index.member_entries(&who, told.ports, member);
                    entries.insert(*id, held);
                }
            }
        }
        self.changes.dirt(service).held = Some(Held { entries, networks, identities });
    }

    /// Works off all changes, in the order of service names, then audiences.
    pub(crate) fn derive(&mut self, out: &mut ViewDelta) {
        let dirty = std::mem::take(&mut self.changes.services);
        let mut dirty: Vec<(Id<Service>, Dirt)> = dirty.into_iter().collect();
        let index = &self.index;
        dirty.sort_by(|(a, _), (b, _)| index.services[*a].key.cmp(&index.services[*b].key));
        for (service, mut dirt) in dirty {
            dirt.net_pieces();
            let turned = self.index.turned(service, &dirt);
            let contested =
                !turned.is_empty() || contested(&self.index, &self.audiences, service, &dirt);
            let mut job = Job {
                index: &self.index,
                sets: &mut self.sets,
                work: &mut self.changes.work,
                out,
                contested,
                turned,
                shares: BTreeMap::new(),
                service,
                dirt: &dirt,
            };
            for (id, live) in &mut self.audiences {
                job.derive(*id, live);
            }
            if self.index.services[service].members.is_empty() {
                let gone = self.index.services.remove(service);
                self.index.service_ids.remove(&gone.key);
                if let Some(ports) = gone.united {
                    self.index.ports.release(ports);
                }
            }
        }
    }

    /// A new audience is told everything.
    pub(crate) fn derive_all(&mut self, id: AudienceId, live: &mut Live, out: &mut ViewDelta) {
        let dirt = Dirt { scope: true, everything: true, ..Dirt::default() };
        for &service in self.index.service_ids.values() {
            let mut job = Job {
                index: &self.index,
                sets: &mut self.sets,
                work: &mut self.changes.work,
                out,
                contested: true,
                turned: Vec::new(),
                shares: BTreeMap::new(),
                service,
                dirt: &dirt,
            };
            job.derive(id, live);
        }
    }
}

/// Looked up once per service, and only if somebody would see it.
fn contested(
    index: &Index,
    audiences: &BTreeMap<AudienceId, Live>,
    service: Id<Service>,
    dirt: &Dirt,
) -> bool {
    if dirt.everything || dirt.held.is_some() {
        return true;
    }
    let Some(cluster) = dirt.cluster else { return false };
    let seen = audiences.values().any(|live| {
        let here =
            |piece: &crate::change::Piece| index.at(piece.endpoint.place).network == live.network;
        dirt.pieces.iter().any(here)
    });
    seen && index.contested(service, cluster, &dirt.pieces)
}

/// One service that changed, while its audiences are gone through.
struct Job<'f> {
    index: &'f Index,
    sets: &'f mut Interner<ClusterSet>,
    work: &'f mut Work,
    out: &'f mut ViewDelta,
    /// Another cluster may have one of the addresses that changed.
    contested: bool,
    /// See `families`; sorted.
    turned: Vec<[u8; 16]>,
    /// The fold of a unit is the same for all audiences.
    shares: BTreeMap<(Port, Id<NetworkId>), Vec<Share>>,
    service: Id<Service>,
    dirt: &'f Dirt,
}

/// What a scope was and is.
struct Turn<'t> {
    audience: AudienceId,
    who: Who<'t>,
    /// `None`: the service was not sent.
    old: Option<&'t Scope>,
    scope: &'t Scope,
    /// `None`: everything has to be looked at.
    touched: Option<Touched>,
}

/// Of what an audience was told, what may be otherwise now.
#[derive(Default)]
struct Touched {
    networks: Vec<Id<NetworkId>>,
    identities: Vec<Id<SpiffeId>>,
}

impl Job<'_> {
    fn derive(&mut self, audience: AudienceId, live: &mut Live) {
        let keys = Arc::clone(&live.audience);
        let who = Who { network: Some(live.network), ..self.index.who_of(&keys) };
        let told = live.take(self.service);
        if told.is_none() && !self.dirt.scope {
            return;
        }
        let listed = told.as_ref().is_some_and(|told| told.listed);
        let old = told.as_ref().map(|told| told.scope(self.sets));
        let scope = if self.dirt.scope {
            self.work.services_derived += 1;
            self.index.scope(&who, self.service)
        } else {
            old.clone()
        };
        let listed_now = scope.as_ref().is_some_and(|scope| self.is_listed(&who, scope, listed));
        if listed && !listed_now {
            self.emit_service(audience, None);
        }
        let Some(scope) = scope else {
            if let Some(told) = told {
                self.sets.release(told.clusters);
            }
            return;
        };
        let unchanged = old.as_ref() == Some(&scope);
        let old = old.filter(|_| listed);
        if listed_now && old.as_ref() != Some(&scope) {
            self.emit_service(audience, Some(&scope));
        }
        let mut told = match told {
            Some(told) if unchanged => told,
            other => self.told_anew(&scope, other),
        };
        told.listed = listed_now;
        let of_ports = std::mem::take(&mut told.of_ports);
        if listed_now {
            let turn = self.turn(audience, who, old.as_ref(), &scope);
            told.of_ports = self.tell_ports(&turn, of_ports, live.network);
        }
        live.set(self.service, told);
    }

    fn turn<'t>(
        &self,
        audience: AudienceId,
        who: Who<'t>,
        old: Option<&'t Scope>,
        scope: &'t Scope,
    ) -> Turn<'t> {
        let dirt = self.dirt;
        let narrow = !dirt.everything && old.is_some_and(|old| alike(old, scope, dirt.cluster));
        let touched = narrow.then(|| {
            let mut touched =
                Touched { networks: dirt.networks.clone(), identities: dirt.identities.clone() };
            if let (Some(held), Some(cluster)) = (&dirt.held, dirt.cluster) {
                touched.networks.extend(&held.networks);
                touched.identities.extend(&held.identities);
                let key = &self.index.services[self.service].key;
                if let Some(member) = self.index.member(cluster, key) {
                    let now = self.index.touches(&self.index.members[member]);
                    touched.networks.extend(now.0);
                    touched.identities.extend(now.1);
                }
                touched.networks.sort_unstable();
                touched.networks.dedup();
                touched.identities.sort_unstable();
                touched.identities.dedup();
            }
            touched
        });
        Turn { audience, who, old, scope, touched }
    }

    fn told_anew(&mut self, scope: &Scope, old: Option<Box<Told>>) -> Box<Told> {
        let clusters = self.sets.acquire(&scope.clusters).0;
        let mut told = Box::new(Told::new(scope, clusters));
        if let Some(old) = old {
            self.sets.release(old.clusters);
            told.of_ports = old.of_ports;
        }
        told
    }

    /// A gateway's audience is spared services without a route.
    fn is_listed(&self, who: &Who<'_>, scope: &Scope, listed: bool) -> bool {
        let dirt = self.dirt;
        match who.kind {
            ClientKind::Gateway
                if dirt.scope || dirt.everything || dirt.flips || dirt.held.is_some() =>
            {
                self.index.has_route(who, self.service, scope)
            }
            ClientKind::Gateway => listed,
            ClientKind::Egress | ClientKind::Grpc | ClientKind::Sidecar => true,
        }
    }

    /// Identities, endpoints and gateways, in that order.
    fn tell_ports(
        &mut self,
        turn: &Turn<'_>,
        told: Box<[ToldPort]>,
        own: Id<NetworkId>,
    ) -> Box<[ToldPort]> {
        let mut ports = told.into_vec();
        if turn.old.map(|old| old.ports) != Some(turn.scope.ports) {
            let numbers = self.index.ports.get(turn.scope.ports).iter().map(|port| port.port);
            let mut before = std::mem::take(&mut ports);
            for port in numbers {
                let known = before.iter().position(|told| told.port == port);
                ports.push(match known {
                    Some(place) => before.swap_remove(place),
                    None => ToldPort {
                        port,
                        identities: Box::default(),
                        gateways: ToldGateways::default(),
                    },
                });
            }
        }
        for port in &mut ports {
            self.tell_identities(turn, port);
        }
        self.tell_endpoints(turn);
        if matches!(turn.who.kind, ClientKind::Egress | ClientKind::Sidecar) {
            for port in &mut ports {
                self.tell_gateways(turn, port, own);
            }
        }
        ports.into()
    }

    fn tell_identities(&mut self, turn: &Turn<'_>, told: &mut ToldPort) {
        let (who, scope, port) = (&turn.who, turn.scope, told.port);
        let now = if let Some(touched) = &turn.touched {
            if touched.identities.is_empty() {
                return;
            }
            let mut now = told.identities.to_vec();
            for &identity in &touched.identities {
                let known = now.binary_search(&identity);
                match (known, self.index.shows(who, self.service, scope, port, identity)) {
                    (Ok(place), false) => {
                        now.remove(place);
                    }
                    (Err(place), true) => now.insert(place, identity),
                    _ => {}
                }
            }
            now
        } else {
            self.work.identities_united += 1;
            self.index.identities(who, self.service, scope, port)
        };
        if *now == *told.identities {
            return;
        }
        let ids = now.iter().map(|id| self.index.identities.get(*id).clone());
        let mut identities: Vec<SpiffeId> = ids.collect();
        identities.sort();
        told.identities = now.into();
        let port = self.service_port(port);
        self.emit(turn.audience, What::Identities { port, identities: identities.into() });
    }

    fn tell_endpoints(&mut self, turn: &Turn<'_>) {
        let (who, scope) = (&turn.who, turn.scope);
        let Some(old) = turn.old else {
            let now = self.index.entries(who, self.service, scope, None);
            self.emit_differences(turn, &LocalEntries::new(), &now, None);
            return;
        };
        let cluster = self.dirt.cluster;
        let held = self.dirt.held.as_ref().and_then(|held| held.entries.get(&turn.audience));
        if !alike(old, scope, cluster) {
            let mut was = self.index.entries(who, self.service, old, cluster);
            was.extend(held.into_iter().flatten().copied());
            self.index.first_of_each(who, &mut was);
            let now = self.index.entries(who, self.service, scope, None);
            self.emit_differences(turn, &was, &now, None);
            return;
        }
        let Some(cluster) = cluster else { return };
        let key = &self.index.services[self.service].key;
        let member = self.index.member(cluster, key).map(|member| &self.index.members[member]);
        let visible = member.filter(|_| scope.clusters.binary_search(&cluster).is_ok());
        if self.dirt.held.is_some() {
            let was = held.cloned().unwrap_or_default();
            let now = visible.map_or_else(Vec::new, |member| {
                self.index.member_entries(who, scope.ports, member)
            });
            self.emit_differences(turn, &was, &now, Some(cluster));
        } else if let Some(member) = visible {
            let visited = self.dirt.pieces.len() + 2 * self.turned.len();
            self.work.endpoints_classified += visited as u64;
            let [was, now] = self.index.sides(who, scope.ports, member, self.dirt, &self.turned);
            self.emit_differences(turn, &was, &now, Some(cluster));
        }
    }

    /// With a cluster: both are what this cluster has, and others may have the same addresses.
    fn emit_differences(
        &mut self,
        turn: &Turn<'_>,
        was: &LocalEntries,
        now: &LocalEntries,
        of: Option<Id<Cluster>>,
    ) {
        let mut was = was.iter().peekable();
        let mut now = now.iter().peekable();
        loop {
            let (old, new) = match (was.peek(), now.peek()) {
                (None, None) => return,
                (Some(a), Some(b)) if a.0 == b.0 => (was.next(), now.next()),
                (Some(a), Some(b)) if a.0 < b.0 => (was.next(), None),
                (Some(_), None) => (was.next(), None),
                (_, Some(_)) => (None, now.next()),
            };
            let Some(key) = old.or(new).map(|(key, _)| *key) else { return };
            let (old, new) = (old.map(|(_, entry)| *entry), new.map(|(_, entry)| *entry));
            if old == new {
                continue;
            }
            match of.filter(|_| self.contested) {
                None => self.emit_endpoint(turn, key, old, new),
                Some(cluster) => {
                    let [old, new] = [old, new].map(|own| {
                        let own = (cluster, own);
                        self.index.settle_key(&turn.who, self.service, turn.scope, &key, own)
                    });
                    self.emit_endpoint(turn, key, old, new);
                }
            }
        }
    }

    fn emit_endpoint(
        &mut self,
        turn: &Turn<'_>,
        key: LocalKey,
        old: Option<LocalEntry>,
        new: Option<LocalEntry>,
    ) {
        // What lay under a port that is gone went with the service's new entry.
        if old == new || self.index.port_named(turn.scope.ports, key.port).is_none() {
            return;
        }
        let entry = new.map(|entry| self.index.view_endpoint(&entry));
        let port = self.service_port(key.port);
        self.emit(turn.audience, What::Endpoint { port, address: key.address, entry });
    }

    fn emit_service(&mut self, audience: AudienceId, entry: Option<&Scope>) {
        let key = self.index.services[self.service].key.clone();
        let entry = entry.map(|scope| {
            let members = self.index.services[self.service].members.iter();
            let seen = members.filter(|(id, _)| scope.clusters.binary_search(id).is_ok());
            let clusters = seen.map(|(id, _)| self.index.cluster_name(*id).clone()).collect();
            let ports = port_views(self.index, scope.ports);
            let restricted = scope.restricted.as_ref().map_or_else(Vec::new, |all| all.to_vec());
            let vips = scope.vips.to_vec();
            Arc::new(ServiceView { key: key.clone(), vips, ports, clusters, restricted })
        });
        self.emit(audience, What::Service { key, entry });
    }

    fn service_port(&self, port: Port) -> ServicePort {
        ServicePort { service: self.index.services[self.service].key.clone(), port }
    }

    fn emit(&mut self, audience: AudienceId, what: What) {
        self.work.entries_emitted += 1;
        self.out.changes.push(Change { audience, what });
    }
}

fn port_views(index: &Index, ports: Id<Ports>) -> Vec<PortView> {
    let said = index.ports.get(ports).iter();
    said.map(|port| PortView { name: port.name.clone(), port: port.port, protocol: port.protocol })
        .collect()
}

/// Whether what other clusters have looks the same through both scopes.
fn alike(old: &Scope, new: &Scope, cluster: Option<Id<Cluster>>) -> bool {
    if old.ports != new.ports {
        return false;
    }
    let others = |scope: &Scope| {
        let clusters = Arc::clone(&scope.clusters);
        (0..clusters.len())
            .map(move |place| clusters[place])
            .filter(move |one| Some(*one) != cluster)
    };
    old.clusters == new.clusters || others(old).eq(others(new))
}

impl Index {
    /// Where a member has endpoints, and which identities they may show.
    fn touches(&self, member: &Member) -> (Vec<Id<NetworkId>>, Vec<Id<SpiffeId>>) {
        let said = member.summary.iter().flat_map(|summary| &summary.groups);
        let counted = member.rows.iter().map(|row| (row.at.network, row.class));
        let all = counted.chain(said.map(|one| (self.said_at(one.place).network, one.class)));
        let (mut networks, mut identities) = (Vec::new(), Vec::new());
        for (network, class) in all {
            if !networks.contains(&network) {
                networks.push(network);
            }
            if let Some(identity) = self.classes.get(class).identity
                && !identities.contains(&identity)
            {
                identities.push(identity);
            }
        }
        (networks, identities)
    }
}
