//! The federation: events in, effects out. The only file that orchestrates.

use std::collections::{BTreeMap, BTreeSet};

use crate::audience::{Audience, AudienceId, ClientKind};
use crate::change::Changes;
use crate::event::{ClusterSettings, Effects, Event, MeshSettings};
use crate::fact::FactKind;
use crate::facts::Desk;
use crate::index::{Cluster, Index};
use crate::intern::{Id, Interner};
use crate::ledger::{Keeper, Ledger, Shelf};
use crate::limit;
use crate::name::{ClusterId, Generation, Locality, NetworkId, NodeName, ServiceKey, Source, Tick};
use crate::notice::Notice;
use crate::status::{ClusterState, ClusterStatus, NetworkStatus, Refused};
use crate::told::{ClusterSet, Live};
use crate::work::Work;

#[derive(Debug, Default)]
pub struct Federation {
    pub(crate) index: Index,
    pub(crate) audiences: BTreeMap<AudienceId, Live>,
    /// Sets of clusters that audiences were told of.
    pub(crate) sets: Interner<ClusterSet>,
    pub(crate) changes: Changes,
    now: Tick,
    /// Reported once each.
    unknown: BTreeSet<ClusterId>,
    /// Where endpoints are that no gateway leads to; reported once each.
    unreachable: BTreeSet<(ClusterId, NetworkId)>,
    /// Where endpoints are that may not be there; reported once each.
    refused: BTreeSet<(ClusterId, NetworkId)>,
}

impl Federation {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends to `out` what came of the event.
    pub fn apply(&mut self, now: Tick, event: Event, out: &mut Effects) {
        self.now = self.now.max(now);
        self.changes.work.events += 1;
        let mut removed = None;
        match event {
            Event::Activate { source } => self.activate(&source),
            Event::AudienceDown { id } => self.audience_down(id),
            Event::AudienceUp { id, audience } => self.audience_up(id, audience, out),
            Event::Cluster(settings) => self.declare(settings),
            Event::ClusterGone { cluster } => removed = self.empty_cluster(&cluster),
            Event::ClusterFresh { cluster } => self.fresh(&cluster),
            Event::ClusterStale { cluster } => self.stale(&cluster),
            Event::Mesh(settings) => self.set_mesh(settings, out),
            Event::Remove { source, stamp, key } => {
                self.on_source(&source, |ledger, keeper| ledger.write(keeper, stamp, key, None));
            }
            Event::ResetBegin { source, kind, stamp } => {
                self.on_source(&source, |ledger, _| ledger.begin(kind, stamp));
            }
            Event::ResetEnd { source, kind, begin } => {
                self.on_source(&source, |ledger, keeper| ledger.end(keeper, kind, begin));
            }
            Event::Tick => self.demote_where_due(out),
            Event::Upsert { source, stamp, fact } => {
                let key = fact.key();
                self.on_source(&source, |ledger, keeper| {
                    ledger.write(keeper, stamp, key, Some(fact));
                });
            }
        }
        self.finish(removed, out);
    }

    /// When to say `Event::Tick`.
    pub fn next_deadline(&self) -> Option<Tick> {
        let clusters = self.index.clusters.iter().filter(|(_, cluster)| !cluster.demoted);
        clusters.filter_map(|(_, cluster)| self.demotion_due(cluster)).min()
    }

    pub fn clusters(&self) -> Vec<ClusterStatus> {
        let clusters = self.index.cluster_ids.values().map(|id| &self.index.clusters[*id]);
        clusters
            .map(|cluster| ClusterStatus {
                cluster: cluster.settings.cluster.clone(),
                network: cluster.network().clone(),
                state: match (cluster.stale_since, cluster.live) {
                    (Some(since), generation) => {
                        ClusterState::Stale { generation, since, demoted: cluster.demoted }
                    }
                    (None, Some(generation)) => ClusterState::Live { generation },
                    (None, None) => ClusterState::Declared,
                },
                services: cluster.services,
                endpoints: cluster.endpoints,
                gateways: cluster.gateways.len(),
                exports: cluster.exports,
                nodes: cluster.nodes.len(),
                refused: Refused {
                    services: cluster.services_refused,
                    endpoints: cluster.endpoints_refused,
                    gateways: cluster.gateways_refused(),
                },
            })
            .collect()
    }

    pub fn networks(&self) -> Vec<NetworkStatus> {
        self.index.network_statuses()
    }

    /// Whether any cluster said anything of it.
    pub fn knows(&self, service: &ServiceKey) -> bool {
        self.index.service_ids.contains_key(service)
    }

    /// Some that it might have been meant for: first those of its name, then those of its namespace.
    pub fn services_like(&self, service: &ServiceKey, max: usize) -> Vec<ServiceKey> {
        let all = || self.index.service_ids.keys();
        let named = all().filter(|other| other.name == service.name);
        let beside = all()
            .filter(|other| other.namespace == service.namespace && other.name != service.name);
        named.chain(beside).take(max).cloned().collect()
    }

    /// `None`: not declared.
    pub fn network_of(&self, cluster: &ClusterId) -> Option<NetworkId> {
        let id = self.index.cluster(cluster)?;
        Some(self.index.clusters[id].network().clone())
    }

    /// `None`: not declared, or the node is not known.
    pub fn locality_of(&self, cluster: &ClusterId, node: &NodeName) -> Option<Locality> {
        let id = self.index.cluster(cluster)?;
        self.index.clusters[id].nodes.get(node).map(|(_, locality)| locality.clone())
    }

    pub fn work(&self) -> Work {
        self.changes.work
    }

    /// Derives, reports and forgets, in this order.
    fn finish(&mut self, removed: Option<Id<Cluster>>, out: &mut Effects) {
        let gateways_changed = std::mem::take(&mut self.changes.gateways);
        if gateways_changed {
            self.rebuild_gateways();
        }
        if !self.changes.merges.is_empty() {
            for service in &self.changes.merges {
                self.index.unite_ports(*service);
            }
            self.report_conflicts(&mut out.status_wishes);
        }
        if !self.changes.services.is_empty() {
            self.derive(&mut out.view);
        }
        if let Some(id) = removed {
            let cluster = self.index.clusters.remove(id);
            self.index.cluster_ids.remove(&cluster.settings.cluster);
            self.index.leaving = None;
        }
        if std::mem::take(&mut self.changes.networks) || gateways_changed {
            self.report_networks();
        }
        out.notices.append(&mut self.changes.notices);
        self.index.settle();
        self.sets.settle();
    }

    /// Runs an event of a source on its ledger, wherever its facts are kept.
    fn on_source(&mut self, source: &Source, act: impl FnOnce(&mut Ledger, &mut dyn Keeper)) {
        let Some(id) = self.index.cluster(&source.cluster) else {
            self.report_unknown(&source.cluster);
            return;
        };
        let cluster = &mut self.index.clusters[id];
        if cluster.live == Some(source.generation) {
            let mut ledger = std::mem::take(&mut cluster.ledger);
            act(&mut ledger, &mut Desk { federation: self, cluster: id });
            self.index.clusters[id].ledger = ledger;
        } else if cluster.live < Some(source.generation) {
            let (ledger, shelf) = cluster.shelves.entry(source.generation).or_default();
            act(ledger, shelf);
            if cluster.shelves.len() > limit::SHELVES_PER_CLUSTER_MAX {
                cluster.shelves.pop_first();
            }
        }
    }

    fn report_unknown(&mut self, cluster: &ClusterId) {
        if self.unknown.len() < limit::UNKNOWN_CLUSTERS_MAX && self.unknown.insert(cluster.clone())
        {
            self.changes.notices.push(Notice::UnknownCluster { cluster: cluster.clone() });
        }
    }

    /// The difference between what is live and what is on the shelf takes effect.
    fn activate(&mut self, source: &Source) {
        let Some(id) = self.index.cluster(&source.cluster) else {
            self.report_unknown(&source.cluster);
            return;
        };
        let cluster = &mut self.index.clusters[id];
        if cluster.live >= Some(source.generation) {
            return;
        }
        let (ledger, shelf) = cluster.shelves.remove(&source.generation).unwrap_or_default();
        cluster.shelves = cluster.shelves.split_off(&Generation(source.generation.0 + 1));
        cluster.live = Some(source.generation);
        *cluster.ledger = ledger;
        self.replace_facts(id, shelf);
    }

    fn replace_facts(&mut self, cluster: Id<Cluster>, mut shelf: Shelf) {
        // Slices come last: by then all that moves them has moved.
        for kind in ORDER {
            let live = self.index.live_keys(cluster, kind);
            let mut desk = Desk { federation: self, cluster };
            for (key, _) in live {
                if shelf.stamp_of(&key).is_none() {
                    desk.drop_key(&key);
                }
            }
            let facts = shelf.facts.extract_if(.., |key, _| key.kind() == kind);
            for (_, (stamp, fact)) in facts {
                desk.put(stamp, fact);
            }
        }
    }

    fn declare(&mut self, settings: ClusterSettings) {
        self.unknown.remove(&settings.cluster);
        let Some(id) = self.index.cluster(&settings.cluster) else {
            let name = settings.cluster.clone();
            let id = self.index.clusters.insert(Cluster::new(settings));
            self.index.cluster_ids.insert(name, id);
            self.egresses_turn(id);
            return;
        };
        if self.index.clusters[id].settings == settings {
            return;
        }
        let members: Vec<_> = self.index.clusters[id].members.values().copied().collect();
        let places = self.index.places_of(id);
        self.rekey(id, &members, |federation| {
            federation.index.clusters[id].settings = settings;
            federation.regrant(id);
            federation.index.relocate(&places);
            federation.index.relocate_said(id);
        });
        self.changes.gateways = true;
        self.egresses_turn(id);
    }

    /// Takes all its facts away; `finish` takes the cluster.
    fn empty_cluster(&mut self, name: &ClusterId) -> Option<Id<Cluster>> {
        let id = self.index.cluster(name)?;
        for member in self.index.clusters[id].members.values().copied().collect::<Vec<_>>() {
            self.hold(self.index.members[member].service, id);
        }
        self.replace_facts(id, Shelf::default());
        self.index.leaving = Some(id);
        self.egresses_turn(id);
        Some(id)
    }

    /// Whose certificates the way out of a cluster shows hangs on the cluster's settings alone.
    fn egresses_turn(&mut self, cluster: Id<Cluster>) {
        let name = self.index.cluster_name(cluster);
        let is_one = |live: &Live| {
            live.audience.kind == ClientKind::Egress && live.audience.cluster == *name
        };
        if self.audiences.values().any(is_one) {
            for service in self.index.service_ids.values() {
                self.changes.services.entry(*service).or_default().everything = true;
            }
        }
    }

    fn stale(&mut self, name: &ClusterId) {
        let Some(id) = self.index.cluster(name) else { return };
        let cluster = &mut self.index.clusters[id];
        if cluster.stale_since.is_none() {
            cluster.stale_since = Some(self.now);
            self.changes.notices.push(Notice::ClusterStale { cluster: name.clone() });
        }
    }

    fn fresh(&mut self, name: &ClusterId) {
        let Some(id) = self.index.cluster(name) else { return };
        if self.index.clusters[id].stale_since.take().is_some() {
            self.changes.notices.push(Notice::ClusterFresh { cluster: name.clone() });
            self.set_demoted(id, false);
        }
    }

    fn demotion_due(&self, cluster: &Cluster) -> Option<Tick> {
        let (since, max) = (cluster.stale_since?, self.index.mesh.stale_ms_max?);
        Some(Tick(since.0.saturating_add(max)))
    }

    /// Cluster by cluster, as a change is only ever compared for one.
    fn demote_where_due(&mut self, out: &mut Effects) {
        for id in self.index.cluster_ids.values().copied().collect::<Vec<_>>() {
            let due = self.demotion_due(&self.index.clusters[id]);
            self.set_demoted(id, due.is_some_and(|due| due <= self.now));
            self.derive(&mut out.view);
        }
    }

    fn set_demoted(&mut self, id: Id<Cluster>, demoted: bool) {
        if self.index.clusters[id].demoted == demoted {
            return;
        }
        for member in self.index.clusters[id].members.values().copied().collect::<Vec<_>>() {
            self.hold(self.index.members[member].service, id);
        }
        let cluster = &mut self.index.clusters[id];
        cluster.demoted = demoted;
        if demoted {
            let cluster = cluster.settings.cluster.clone();
            self.changes.notices.push(Notice::ClusterDemoted { cluster });
        }
    }

    fn set_mesh(&mut self, settings: MeshSettings, out: &mut Effects) {
        if self.index.mesh == settings {
            return;
        }
        self.index.mesh.stale_ms_max = settings.stale_ms_max;
        self.demote_where_due(out);
        self.index.mesh = settings;
        for service in self.index.service_ids.values().copied() {
            let key = &self.index.services[service].key;
            let local = crate::home::is_cluster_local(&self.index.mesh, key);
            self.index.services[service].cluster_local = local;
            self.changes.scope(service);
            self.changes.dirt(service).everything = true;
        }
    }

    fn audience_up(&mut self, id: AudienceId, audience: Audience, out: &mut Effects) {
        if self.audiences.contains_key(&id) {
            return;
        }
        let network = self.index.networks.acquire(&audience.network).0;
        let mut live = Live::new(audience, network);
        self.derive_all(id, &mut live, &mut out.view);
        self.audiences.insert(id, live);
    }

    fn audience_down(&mut self, id: AudienceId) {
        let Some(mut live) = self.audiences.remove(&id) else { return };
        self.index.networks.release(live.network);
        for told in live.forget_all() {
            self.sets.release(told.clusters);
        }
    }

    fn rebuild_gateways(&mut self) {
        let changed = self.index.rebuild_gateways(&mut self.changes.notices);
        if changed.is_empty() {
            return;
        }
        let index = &self.index;
        for (_, cluster) in index.clusters.iter() {
            if !changed.iter().any(|network| cluster.networks.contains_key(network)) {
                continue;
            }
            for member in cluster.members.values() {
                let member = &index.members[*member];
                let rows = member.rows.iter().map(|row| row.at.network);
                let said = member.summary.iter().flat_map(|summary| &summary.groups);
                let mut all = rows.chain(said.map(|group| index.said_at(group.place).network));
                if all.any(|network| changed.contains(&network)) {
                    self.changes.services.entry(member.service).or_default().everything = true;
                }
            }
        }
    }

    /// Only where there is more than one network is one out of reach.
    fn report_networks(&mut self) {
        let index = &self.index;
        let mut networks = BTreeSet::new();
        let mut unreachable = BTreeSet::new();
        let mut refused = BTreeSet::new();
        for (name, id) in &index.cluster_ids {
            for network in index.clusters[*id].networks.keys() {
                if index.refuse_network(*id, *network).is_some() {
                    refused.insert((name.clone(), index.networks.get(*network).clone()));
                    continue;
                }
                networks.insert(*network);
                if !index.gateways.leads_to(*network) {
                    unreachable.insert((name.clone(), index.networks.get(*network).clone()));
                }
            }
        }
        if networks.len() < 2 {
            unreachable.clear();
        }
        for (cluster, network) in unreachable.difference(&self.unreachable) {
            let (cluster, network) = (cluster.clone(), network.clone());
            self.changes.notices.push(Notice::NetworkWithoutGateway { cluster, network });
        }
        for (cluster, network) in refused.difference(&self.refused) {
            let (cluster, network) = (cluster.clone(), network.clone());
            self.changes.notices.push(Notice::NetworkRefused { cluster, network });
        }
        self.unreachable = unreachable;
        self.refused = refused;
    }
}

const ORDER: [FactKind; 7] = [
    FactKind::Node,
    FactKind::Namespace,
    FactKind::Gateway,
    FactKind::Service,
    FactKind::Export,
    FactKind::Summary,
    FactKind::Slice,
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use diolkos_trust::{SpiffeId, TrustDomain};

    use super::*;
    use crate::fact::{
        EndpointFact, Fact, FactKey, Health, Mtls, ServiceFact, ServicePortFact, SliceFact,
        Workload,
    };
    use crate::name::{Namespace, PodName, Port, PortName, ServiceKey, SliceName, Stamp};

    fn slice(turn: u64) -> Fact {
        let endpoint = EndpointFact {
            address: std::net::Ipv4Addr::from(0x0a00_0000 + turn as u32).into(),
            health: Health::Ready,
            pod: Some(PodName::new(&format!("pod-{turn}")).unwrap()),
            node: Some(NodeName::new(&format!("node-{turn}")).unwrap()),
            zone: Some(format!("zone-{turn}").into()),
            network: Some(NetworkId::new(&format!("net-{turn}")).unwrap()),
            mtls: Mtls::Istio,
            identity: Some(SpiffeId::parse(&format!("spiffe://td/ns/a/sa/s{turn}")).unwrap()),
            workload: Arc::new(Workload { name: format!("w{turn}").into(), ..Workload::default() }),
        };
        Fact::Slice(SliceFact {
            service: ServiceKey::new("shop", &format!("web-{}", turn / 10)).unwrap(),
            name: SliceName::new("s").unwrap(),
            ports: vec![(PortName::new(&format!("p{turn}")).unwrap(), Port::new(80).unwrap())],
            endpoints: vec![endpoint],
        })
    }

    /// Pods, nodes, accounts, ports and services come and go; no table grows with them.
    #[test]
    fn churn_does_not_leak() {
        let mut federation = Federation::new();
        let mut out = Effects::default();
        let cluster = ClusterId::new("a").unwrap();
        let source = Source { cluster: cluster.clone(), generation: Generation(1) };
        let settings = ClusterSettings {
            cluster,
            trust_domain: TrustDomain::new("td").unwrap(),
            network: NetworkId::unnamed(),
            addresses: Vec::new(),
            grants: crate::grant::Grants::everything(),
        };
        let mut say = |event| federation.apply(Tick(0), event, &mut out);
        say(Event::Cluster(settings));
        say(Event::Activate { source: source.clone() });
        let mut seq = 0;
        for turn in 0..200 {
            for fact in [service(turn), slice(turn)] {
                seq += 1;
                let stamp = Stamp::new(1, seq);
                say(Event::Upsert { source: source.clone(), stamp, fact });
            }
            let key = service(turn.saturating_sub(10)).key();
            seq += 1;
            say(Event::Remove { source: source.clone(), stamp: Stamp::new(1, seq), key });
        }
        let key = FactKey::Slice(Namespace::new("shop").unwrap(), SliceName::new("s").unwrap());
        say(Event::Remove { source: source.clone(), stamp: Stamp::new(1, seq + 1), key });
        say(Event::Remove { source, stamp: Stamp::new(1, seq + 2), key: service(199).key() });
        let index = &federation.index;
        let left = [
            index.networks.len(),
            index.localities.len(),
            index.identities.len(),
            index.classes.len(),
            index.workloads.len(),
            index.places.len(),
            index.targets.len(),
            index.ports.len(),
            index.services.iter().count(),
            index.members.iter().count(),
            index.slices.iter().count(),
            index.service_ids.len(),
        ];
        assert_eq!(left, [0; 12]);
    }

    fn service(turn: u64) -> Fact {
        Fact::Service(ServiceFact {
            key: ServiceKey::new("shop", &format!("web-{}", turn / 10)).unwrap(),
            vips: Vec::new(),
            ports: vec![ServicePortFact {
                name: PortName::new(&format!("p{turn}")).unwrap(),
                port: Port::new(80).unwrap(),
                protocol: crate::fact::AppProtocol::Tcp,
            }],
            created: None,
        })
    }
}
