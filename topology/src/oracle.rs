//! The dumb version: the same views, derived from scratch with plain maps. For tests.
//!
//! It shares the leaves with the clever one (grants, cluster-local hosts, nearness), each of which
//! has its own tests, and nothing that joins, folds, spreads or classifies.

mod said;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use diolkos_trust::SpiffeId;

use crate::audience::{Audience, ClientKind, IpFamilies};
use crate::event::{ClusterSettings, Event, ExportMode, MeshSettings};
use crate::fact::{
    EndpointFact, ExportFact, Fact, FactKey, FactKind, Health, Mtls, ServiceFact, SliceFact,
};
use crate::grant::{refuse_address, refuse_identity, refuse_network, refuse_service};
use crate::home::is_cluster_local;
use crate::mirror::{PortEntry, ServiceEntry, View};
use crate::name::{
    ClusterId, Epoch, Generation, Locality, NetworkId, Port, ServiceKey, Source, Stamp, Tick,
};
use crate::priority::priority;
use crate::view::{
    PRIORITY_STALE, PortView, ServiceView, ViewEndpoint, ViewGateway, WEIGHT_MAX, WEIGHT_UNIT,
};

/// What was said, as it stands.
#[derive(Clone, Debug, Default)]
pub struct World {
    mesh: MeshSettings,
    clusters: BTreeMap<ClusterId, Cluster>,
    now: Tick,
}

#[derive(Clone, Debug)]
struct Cluster {
    settings: ClusterSettings,
    live: Option<Generation>,
    sources: BTreeMap<Generation, Said>,
    stale_since: Option<Tick>,
    demoted: bool,
}

#[derive(Clone, Debug, Default)]
struct Said {
    epoch: Epoch,
    writes: BTreeMap<FactKey, (Stamp, Option<Fact>)>,
    held: BTreeMap<FactKey, (Stamp, Option<Fact>)>,
    open: BTreeMap<FactKind, Stamp>,
    ended: BTreeMap<FactKind, Stamp>,
}

impl World {
    pub fn apply(&mut self, now: Tick, event: &Event) {
        self.now = self.now.max(now);
        match event {
            Event::AudienceDown { .. } | Event::AudienceUp { .. } => {}
            Event::Cluster(settings) => {
                let known = self.clusters.entry(settings.cluster.clone());
                known.or_insert_with(|| Cluster::new(settings)).settings = settings.clone();
            }
            Event::ClusterGone { cluster } => {
                self.clusters.remove(cluster);
            }
            Event::ClusterFresh { cluster } => {
                if let Some(cluster) = self.clusters.get_mut(cluster) {
                    (cluster.stale_since, cluster.demoted) = (None, false);
                }
            }
            Event::ClusterStale { cluster } => {
                if let Some(cluster) = self.clusters.get_mut(cluster) {
                    cluster.stale_since.get_or_insert(self.now);
                }
            }
            Event::Mesh(settings) => {
                if self.mesh != *settings {
                    self.mesh = settings.clone();
                    self.demote();
                }
            }
            Event::Tick => self.demote(),
            Event::Activate { source } => self.activate(source),
            Event::Upsert { source, stamp, fact } => {
                self.write(source, *stamp, fact.key(), Some(fact.clone()));
            }
            Event::Remove { source, stamp, key } => self.write(source, *stamp, key.clone(), None),
            Event::ResetBegin { source, kind, stamp } => {
                if let Some(said) = self.said(source, *stamp)
                    && said.ended.get(kind) < Some(stamp)
                {
                    let open = said.open.entry(*kind).or_insert(*stamp);
                    *open = (*open).max(*stamp);
                }
            }
            Event::ResetEnd { source, kind, begin } => {
                if let Some(said) = self.said(source, *begin) {
                    said.end(*kind, *begin);
                }
            }
        }
    }

    fn demote(&mut self) {
        for cluster in self.clusters.values_mut() {
            let due = cluster.stale_since.zip(self.mesh.stale_ms_max);
            cluster.demoted = due.is_some_and(|(since, max)| since.0 + max <= self.now.0);
        }
    }

    fn activate(&mut self, source: &Source) {
        if let Some(cluster) = self.clusters.get_mut(&source.cluster)
            && cluster.live < Some(source.generation)
        {
            cluster.live = Some(source.generation);
            cluster.sources = cluster.sources.split_off(&source.generation);
        }
    }

    fn said(&mut self, source: &Source, stamp: Stamp) -> Option<&mut Said> {
        let cluster = self.clusters.get_mut(&source.cluster)?;
        if cluster.live > Some(source.generation) {
            return None;
        }
        let said = cluster.sources.entry(source.generation).or_default();
        said.epoch = said.epoch.max(stamp.epoch);
        (said.epoch == stamp.epoch).then_some(said)
    }

    fn write(&mut self, source: &Source, stamp: Stamp, key: FactKey, fact: Option<Fact>) {
        let Some(said) = self.said(source, stamp) else { return };
        let held = said.open.get(&key.kind()).is_some_and(|open| stamp >= *open);
        let deleted = said.ended.get(&key.kind()).is_some_and(|ended| stamp < *ended);
        let writes = if held { &mut said.held } else { &mut said.writes };
        if !deleted && writes.get(&key).is_none_or(|(known, _)| *known < stamp) {
            writes.insert(key, (stamp, fact));
        }
    }
}

impl Said {
    fn end(&mut self, kind: FactKind, begin: Stamp) {
        if self.ended.get(&kind) >= Some(&begin) {
            return;
        }
        self.ended.insert(kind, begin);
        self.writes.retain(|key, (stamp, _)| key.kind() != kind || *stamp >= begin);
        if self.open.get(&kind).is_some_and(|open| *open <= begin) {
            self.open.remove(&kind);
            let held = std::mem::take(&mut self.held);
            for (key, (stamp, fact)) in held {
                if key.kind() != kind {
                    self.held.insert(key, (stamp, fact));
                } else if stamp >= begin
                    && self.writes.get(&key).is_none_or(|(known, _)| *known < stamp)
                {
                    self.writes.insert(key, (stamp, fact));
                }
            }
        }
    }
}

/// An endpoint, or many said as one, once it is joined to a service port.
#[derive(Clone, Debug)]
struct Joined {
    cluster: ClusterId,
    port: Port,
    address: Option<SocketAddr>,
    network: NetworkId,
    locality: Locality,
    mtls: Mtls,
    identity: Option<SpiffeId>,
    workload: Option<Arc<crate::fact::Workload>>,
    count: u64,
}

impl Joined {
    /// Whether both may be addresses of one pod.
    fn is_twin(&self, other: &Self) -> bool {
        let pod = |one: &Self| {
            (one.cluster.clone(), one.locality.clone(), one.mtls, one.identity.clone())
        };
        pod(self) == pod(other)
    }
}

impl World {
    pub fn view(&self, audience: &Audience) -> View {
        let keys = self.clusters.values().flat_map(Cluster::facts).filter_map(|fact| match fact {
            Fact::Service(service) => Some(service.key.clone()),
            _ => None,
        });
        let keys: BTreeSet<ServiceKey> = keys.collect();
        let services = keys.into_iter().filter_map(|key| {
            let entry = self.service(audience, &key)?;
            Some((key, entry))
        });
        View { services: services.collect() }
    }

    fn service(&self, audience: &Audience, key: &ServiceKey) -> Option<ServiceEntry> {
        let mut from: Vec<(u64, &ClusterId, &ServiceFact)> = Vec::new();
        for (name, cluster) in &self.clusters {
            if let Some(service) = cluster.service(key)
                && self.visible(audience, name, cluster, key)
            {
                let export = cluster.export(key).map(|export| export.created);
                from.push((export.or(service.created).unwrap_or(u64::MAX), name, service));
            }
        }
        let clusters: Vec<_> = from.iter().map(|(_, name, _)| (*name).clone()).collect();
        let own = from.iter().find(|(_, name, _)| **name == audience.cluster).map(|own| own.2);
        from.sort_by_key(|(age, name, _)| (*age, *name));
        let oldest = from.first()?.2;
        let from: Vec<&ServiceFact> = match audience.kind {
            ClientKind::Gateway => from.iter().map(|(_, _, service)| *service).collect(),
            ClientKind::Egress | ClientKind::Grpc | ClientKind::Sidecar => {
                vec![own.unwrap_or(oldest)]
            }
        };
        let home = self.clusters.get(&audience.cluster).and_then(|home| home.service(key));
        let vips = home.map_or_else(Vec::new, |service| service.vips.clone());
        let mut views: BTreeMap<Port, PortView> = BTreeMap::new();
        for service in from {
            let mut sorted = service.ports.clone();
            sorted.sort();
            for port in sorted {
                let key = (port.port, port.name, port.protocol);
                let view = PortView { name: key.1, port: key.0, protocol: key.2 };
                views.entry(key.0).or_insert(view);
            }
        }
        let mut joined = Vec::new();
        for name in &clusters {
            joined.extend(self.clusters[name].joined(name, key));
        }
        let entries = views.keys().map(|port| {
            let mine = joined.iter().filter(|one| one.port == *port).cloned().collect();
            (*port, self.port(audience, key, mine))
        });
        let ports: BTreeMap<Port, PortEntry> = entries.collect();
        let routed = ports.values().any(|port| !port.endpoints.is_empty());
        if audience.kind == ClientKind::Gateway && !routed {
            return None;
        }
        let ports_view = views.into_values().collect();
        let restricted = match audience.kind {
            ClientKind::Gateway => self.restricted(&clusters, key),
            ClientKind::Egress | ClientKind::Grpc | ClientKind::Sidecar => Vec::new(),
        };
        let service =
            ServiceView { key: key.clone(), vips, ports: ports_view, clusters, restricted };
        Some(ServiceEntry { service: Arc::new(service), ports })
    }

    fn visible(
        &self,
        audience: &Audience,
        name: &ClusterId,
        cluster: &Cluster,
        key: &ServiceKey,
    ) -> bool {
        if audience.kind == ClientKind::Gateway {
            return self.routed(name, cluster, key);
        }
        let exported = match (self.mesh.export, cluster.export(key)) {
            (ExportMode::All, _) => true,
            (ExportMode::Listed, None) => false,
            (ExportMode::Listed, Some(export)) => export.consumers.contain(&audience.cluster),
        };
        *name == audience.cluster || exported && !is_cluster_local(&self.mesh, key)
    }

    /// Whether gateways know what the cluster has.
    fn routed(&self, name: &ClusterId, cluster: &Cluster, key: &ServiceKey) -> bool {
        let exported = match (self.mesh.export, cluster.export(key)) {
            (ExportMode::All, _) => true,
            (ExportMode::Listed, None) => false,
            (ExportMode::Listed, Some(export)) => export.consumers.anyone_but(name),
        };
        exported && !is_cluster_local(&self.mesh, key)
    }

    fn port(&self, audience: &Audience, key: &ServiceKey, joined: Vec<Joined>) -> PortEntry {
        let mut entry = PortEntry::default();
        let mut identities = BTreeSet::new();
        let (here, away): (Vec<_>, Vec<_>) =
            joined.into_iter().partition(|one| one.network == audience.network);
        for (address, one) in usable(audience, here) {
            identities.extend(one.identity.clone().filter(|_| one.mtls == Mtls::Istio));
            let endpoint = ViewEndpoint {
                priority: self.nearness(audience, &one),
                cluster: one.cluster,
                locality: one.locality,
                mtls: one.mtls,
                workload: one.workload.unwrap_or_default(),
                weight: WEIGHT_UNIT,
            };
            entry.endpoints.entry(address).or_insert_with(|| Arc::new(endpoint));
        }
        // Per pod, not per address: the greater count of both families.
        type Group = (ClusterId, NetworkId, Locality, Option<SpiffeId>);
        let mut groups: BTreeMap<Group, [u64; 3]> = BTreeMap::new();
        let routed = |one: &&Joined| self.routed(&one.cluster, &self.clusters[&one.cluster], key);
        for one in away.iter().filter(|one| one.mtls == Mtls::Istio).filter(routed) {
            let family = one.address.map_or(2, |address| usize::from(address.is_ipv6()));
            let key = (
                one.cluster.clone(),
                one.network.clone(),
                one.locality.clone(),
                one.identity.clone(),
            );
            groups.entry(key).or_default()[family] += one.count;
        }
        for ((cluster, network, locality, identity), [v4, v6, said]) in groups {
            let gateways = self.gateways(audience, &network, &cluster);
            let count = v4.max(v6) + said;
            let by_gateway = matches!(audience.kind, ClientKind::Egress | ClientKind::Sidecar);
            if count == 0 || gateways.is_empty() || !by_gateway {
                continue;
            }
            identities.extend(identity);
            let rank = if self.clusters[&cluster].demoted {
                PRIORITY_STALE
            } else {
                priority(&audience.locality, &locality)
            };
            let weight = count * WEIGHT_UNIT / gateways.len() as u64;
            for (address, owner) in gateways {
                let known = entry.gateways.entry(address).or_insert_with(|| {
                    Arc::new(ViewGateway {
                        cluster: owner,
                        locality: locality.clone(),
                        priority: rank,
                        weight: 0,
                    })
                });
                let known = Arc::make_mut(known);
                known.weight += weight;
                if (rank, &locality) < (known.priority, &known.locality) {
                    (known.priority, known.locality) = (rank, locality.clone());
                }
            }
        }
        for gateway in entry.gateways.values_mut() {
            let gateway = Arc::make_mut(gateway);
            gateway.weight = gateway.weight.min(WEIGHT_MAX);
        }
        entry.identities = identities.into_iter().collect();
        entry
    }

    fn nearness(&self, audience: &Audience, one: &Joined) -> u8 {
        if self.clusters[&one.cluster].demoted {
            return PRIORITY_STALE;
        }
        priority(&audience.locality, &one.locality)
    }
}

/// What the audience may dial itself; of equal addresses its own cluster's first.
fn usable(audience: &Audience, mut here: Vec<Joined>) -> Vec<(SocketAddr, Joined)> {
    if audience.kind == ClientKind::Egress {
        return Vec::new();
    }
    let gateway = audience.kind == ClientKind::Gateway;
    here.retain(|one| one.address.is_some() && !(gateway && one.mtls == Mtls::Plaintext));
    here.sort_by_key(|one| (one.cluster != audience.cluster, one.cluster.clone()));
    let v4 = here.iter().filter(|one| one.address.is_some_and(|address| address.is_ipv4()));
    let v4: Vec<Joined> = v4.cloned().collect();
    let addressed = here.into_iter().filter_map(|one| Some((one.address?, one)));
    let fits = |(address, one): &(SocketAddr, Joined)| match audience.families {
        IpFamilies::V4 => address.is_ipv4(),
        IpFamilies::V6 => address.is_ipv6(),
        IpFamilies::Both => address.is_ipv4() || !v4.iter().any(|other| other.is_twin(one)),
    };
    addressed.filter(fits).collect()
}

impl Cluster {
    fn new(settings: &ClusterSettings) -> Self {
        Self {
            settings: settings.clone(),
            live: None,
            sources: BTreeMap::new(),
            stale_since: None,
            demoted: false,
        }
    }

    /// Of the active generation, by key.
    fn facts(&self) -> impl Iterator<Item = &Fact> {
        let live = self.live.and_then(|live| self.sources.get(&live));
        live.into_iter().flat_map(|said| said.writes.values()).filter_map(|(_, f)| f.as_ref())
    }

    /// Only what it may claim.
    fn service(&self, key: &ServiceKey) -> Option<&ServiceFact> {
        if refuse_service(&self.settings, key).is_some() {
            return None;
        }
        self.facts().find_map(|fact| match fact {
            Fact::Service(service) if service.key == *key => Some(service),
            _ => None,
        })
    }

    fn export(&self, key: &ServiceKey) -> Option<&ExportFact> {
        self.facts().find_map(|fact| match fact {
            Fact::Export(export) if export.service == *key => Some(export),
            _ => None,
        })
    }

    fn network(&self) -> &NetworkId {
        let labelled = self.facts().find_map(|fact| match fact {
            Fact::Namespace(namespace) => namespace.network.as_ref(),
            _ => None,
        });
        labelled.unwrap_or(&self.settings.network)
    }

    fn locality(&self, endpoint: &EndpointFact) -> Locality {
        let node = self.facts().find_map(|fact| match fact {
            Fact::Node(node) if Some(&node.name) == endpoint.node.as_ref() => Some(&node.locality),
            _ => None,
        });
        match (node, &endpoint.zone) {
            (Some(locality), _) => locality.clone(),
            (None, Some(zone)) => Locality::new("", zone),
            (None, None) => Locality::unknown(),
        }
    }

    fn granted(&self, endpoint: &EndpointFact) -> bool {
        let identity = endpoint.identity.as_ref();
        refuse_address(&self.settings, endpoint.address).is_none()
            && identity.is_none_or(|id| refuse_identity(&self.settings, id).is_none())
    }

    /// Everything ready that this cluster has of a service, by its own port numbers.
    fn joined(&self, name: &ClusterId, key: &ServiceKey) -> Vec<Joined> {
        let Some(service) = self.service(key) else { return Vec::new() };
        let slices: BTreeMap<_, &SliceFact> = self
            .facts()
            .filter_map(|fact| match fact {
                Fact::Slice(slice) if slice.service == *key => Some((&slice.name, slice)),
                _ => None,
            })
            .collect();
        let mut joined = Vec::new();
        let mut numbers = BTreeSet::new();
        let mut ports = service.ports.clone();
        ports.sort();
        for port in ports.iter().filter(|port| numbers.insert(port.port)) {
            let mut seen = BTreeSet::new();
            for slice in slices.values() {
                let mut targets = slice.ports.clone();
                targets.sort();
                let Some((_, target)) = targets.iter().find(|(named, _)| *named == port.name)
                else {
                    continue;
                };
                let mut said = BTreeSet::new();
                for endpoint in &slice.endpoints {
                    // The slice's first word on an address, then the first slice's.
                    if !said.insert(endpoint.address)
                        || !self.granted(endpoint)
                        || !seen.insert(endpoint.address)
                    {
                        continue;
                    }
                    let known = endpoint.mtls == Mtls::Plaintext || endpoint.identity.is_some();
                    if endpoint.health != Health::Ready || !known {
                        continue;
                    }
                    let network = endpoint.network.as_ref().unwrap_or(self.network()).clone();
                    if refuse_network(&self.settings, &network).is_some() {
                        continue;
                    }
                    joined.push(Joined {
                        cluster: name.clone(),
                        port: port.port,
                        address: Some(SocketAddr::new(endpoint.address, target.get())),
                        network,
                        locality: self.locality(endpoint),
                        mtls: endpoint.mtls,
                        identity: endpoint.identity.clone(),
                        workload: Some(Arc::clone(&endpoint.workload)),
                        count: 1,
                    });
                }
            }
        }
        joined.extend(self.said(name, key, &numbers));
        joined
    }

    fn said(&self, name: &ClusterId, key: &ServiceKey, ports: &BTreeSet<Port>) -> Vec<Joined> {
        let summaries = self.facts().filter_map(|fact| match fact {
            Fact::Summary(summary) if summary.service == *key => Some(&summary.groups),
            _ => None,
        });
        let groups = summaries.flatten().filter(|group| {
            let identity = group.identity.as_ref();
            ports.contains(&group.port)
                && identity.is_some_and(|id| refuse_identity(&self.settings, id).is_none())
                && group.mtls == Mtls::Istio
                && refuse_network(&self.settings, group.network.as_ref().unwrap_or(self.network()))
                    .is_none()
        });
        groups
            .map(|group| Joined {
                cluster: name.clone(),
                port: group.port,
                address: None,
                network: group.network.as_ref().unwrap_or(self.network()).clone(),
                locality: group.locality.clone(),
                mtls: group.mtls,
                identity: group.identity.clone(),
                workload: None,
                count: u64::from(group.count),
            })
            .collect()
    }
}
