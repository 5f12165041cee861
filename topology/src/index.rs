//! What all clusters say, compact and joined: the facts from which views are derived.
//!
//! ```text
//!  Cluster ─ nodes, namespaces, gateways          Service (namespace/name, one in the mesh)
//!     │  members, slices by key                      │ members, by cluster name
//!     └──────────────────────> Member <──────────────┘
//!                  one service in one cluster: its Service and ServiceExport,
//!                  its slices (endpoints) and its rows (endpoints as counts)
//! ```
//!
//! A row counts the endpoints of a member that agree in slice ports, network, locality and class.
//! Rows know ports by name, as slices do: a Service that renumbers its ports moves no row.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use diolkos_trust::SpiffeId;
use hashbrown::HashTable;

use crate::change::Changes;
use crate::event::{ClusterSettings, MeshSettings};
use crate::fact::{
    Consumers, FactKind, GatewayFact, GatewayKey, Health, Mtls, ServicePortFact, Workload,
};
use crate::gateway::Gateways;
use crate::grant::{self, Refusal};
use crate::intern::{Id, Interner, Slab, hash_of};
use crate::ledger::{Ledger, Shelf};
use crate::name::{
    ClusterId, Generation, Locality, Namespace, NetworkId, NodeName, PodName, Port, PortName,
    ServiceKey, SliceName, Stamp, Tick,
};
use crate::sketch::Sketch;

/// What decides an endpoint's fate, apart from where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Class {
    pub(crate) mtls: Mtls,
    pub(crate) health: Health,
    pub(crate) identity: Option<Id<SpiffeId>>,
    pub(crate) family: Family,
    pub(crate) refusal: Option<Refusal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    V4,
    V6,
    /// Counted by its cluster, without addresses.
    Said,
}

/// Where endpoints are, as their cluster says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) cluster: Id<Cluster>,
    pub(crate) node: Option<NodeName>,
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) network: Option<NetworkId>,
}

/// Where that is, as node and network facts stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) locality: Id<Locality>,
    pub(crate) network: Id<NetworkId>,
}

/// Port name of the service -> port of the endpoints; sorted by name, one each.
pub(crate) type Targets = Arc<[(PortName, Port)]>;
/// Sorted by number, one each.
pub(crate) type Ports = Arc<[ServicePortFact]>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    /// See `pack`.
    pub(crate) address: [u8; 16],
    pub(crate) class: Id<Class>,
    pub(crate) place: Id<Place>,
    pub(crate) workload: Id<Arc<Workload>>,
    /// Where its pod's name ends in the slice's `pods`; it begins where the one before ends.
    pub(crate) pod_end: u32,
}

/// In front of an IPv4 address: a multicast prefix nobody may use, so that nothing a cluster can be
/// granted looks like it (a v4-mapped address would, which is refused but must spoil nothing).
const V4_PREFIX: [u8; 12] = [0xff; 12];

pub(crate) fn pack(address: IpAddr) -> [u8; 16] {
    let mut packed = [0; 16];
    match address {
        IpAddr::V4(v4) => {
            packed[..12].copy_from_slice(&V4_PREFIX);
            packed[12..].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => packed = v6.octets(),
    }
    packed
}

pub(crate) fn unpack(address: [u8; 16]) -> IpAddr {
    match address {
        [prefix @ .., a, b, c, d] if prefix == V4_PREFIX => Ipv4Addr::new(a, b, c, d).into(),
        _ => Ipv6Addr::from(address).into(),
    }
}

#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) name: SliceName,
    pub(crate) member: Id<Member>,
    pub(crate) stamp: Stamp,
    pub(crate) targets: Id<Targets>,
    /// Sorted by address, one each.
    pub(crate) endpoints: Box<[Endpoint]>,
    pub(crate) pods: Box<str>,
}

impl Slice {
    pub(crate) fn find(&self, address: [u8; 16]) -> Option<&Endpoint> {
        self.position(address).map(|index| &self.endpoints[index])
    }

    pub(crate) fn position(&self, address: [u8; 16]) -> Option<usize> {
        let within =
            self.endpoints.first()?.address <= address && address <= self.endpoints.last()?.address;
        if !within {
            return None;
        }
        self.endpoints.binary_search_by(|endpoint| endpoint.address.cmp(&address)).ok()
    }

    pub(crate) fn pod(&self, index: usize) -> Option<PodName> {
        let begin = index.checked_sub(1).map_or(0, |before| self.endpoints[before].pod_end);
        let end = self.endpoints[index].pod_end;
        PodName::new(self.pods.get(begin as usize..end as usize)?).ok()
    }
}

#[derive(Debug)]
pub(crate) struct ServiceWord {
    pub(crate) stamp: Stamp,
    pub(crate) ports: Id<Ports>,
    pub(crate) vips: Arc<[IpAddr]>,
    pub(crate) created: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct ExportWord {
    pub(crate) stamp: Stamp,
    pub(crate) created: u64,
    pub(crate) consumers: Consumers,
    /// What was last wished for its condition; nothing yet is not the same as no conflict.
    pub(crate) wished: Option<Option<Box<str>>>,
}

#[derive(Debug)]
pub(crate) struct SummaryWord {
    pub(crate) stamp: Stamp,
    /// As said; sorted.
    pub(crate) groups: Box<[SaidGroup]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SaidGroup {
    pub(crate) port: Port,
    pub(crate) place: Id<SaidPlace>,
    pub(crate) class: Id<Class>,
    pub(crate) count: u32,
}

/// Where a summary's endpoints are: `None` is the cluster's own network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SaidPlace {
    pub(crate) cluster: Id<Cluster>,
    pub(crate) network: Option<NetworkId>,
    pub(crate) locality: Locality,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) targets: Id<Targets>,
    pub(crate) at: At,
    pub(crate) class: Id<Class>,
    pub(crate) count: u32,
}

/// One service in one cluster.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) service: Id<Service>,
    pub(crate) cluster: Id<Cluster>,
    /// The cluster may not claim the service: it is in no view, whatever it says of it.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) word: Option<ServiceWord>,
    pub(crate) export: Option<Box<ExportWord>>,
    pub(crate) summary: Option<Box<SummaryWord>>,
    /// By slice name.
    pub(crate) slices: Vec<Id<Slice>>,
    pub(crate) rows: Vec<Row>,
}

impl Member {
    pub(crate) fn is_empty(&self) -> bool {
        self.word.is_none()
            && self.export.is_none()
            && self.summary.is_none()
            && self.slices.is_empty()
    }
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) key: ServiceKey,
    pub(crate) cluster_local: bool,
    /// The ports that gateways have; `None` if nobody exports it. One use.
    pub(crate) united: Option<Id<Ports>>,
    /// By cluster name.
    pub(crate) members: Vec<(Id<Cluster>, Id<Member>)>,
    /// Beside each member, so that most need no look.
    pub(crate) sketches: Vec<Sketch>,
    pub(crate) conflicts: Vec<crate::merge::Conflict>,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) settings: ClusterSettings,
    pub(crate) live: Option<Generation>,
    pub(crate) ledger: Box<Ledger>,
    pub(crate) shelves: BTreeMap<Generation, (Ledger, Shelf)>,
    pub(crate) stale_since: Option<Tick>,
    pub(crate) demoted: bool,
    pub(crate) nodes: BTreeMap<NodeName, (Stamp, Locality)>,
    pub(crate) namespaces: BTreeMap<Namespace, (Stamp, Option<NetworkId>)>,
    pub(crate) gateways: BTreeMap<GatewayKey, (Stamp, GatewayFact)>,
    pub(crate) members: BTreeMap<Id<Service>, Id<Member>>,
    /// By the hash of namespace and name.
    slices: HashTable<Id<Slice>>,
    pub(crate) services: usize,
    pub(crate) exports: usize,
    pub(crate) summaries: usize,
    pub(crate) endpoints: usize,
    /// Of them, those it may not claim.
    pub(crate) endpoints_refused: usize,
    /// Services it may not claim, of those it has.
    pub(crate) services_refused: usize,
    /// Endpoints, counted or said, by network.
    pub(crate) networks: BTreeMap<Id<NetworkId>, u64>,
    /// Kinds of which it says more than it may.
    pub(crate) over: std::collections::BTreeSet<FactKind>,
}

impl Cluster {
    pub(crate) fn new(settings: ClusterSettings) -> Self {
        Self {
            settings,
            live: None,
            ledger: Box::default(),
            shelves: BTreeMap::new(),
            stale_since: None,
            demoted: false,
            nodes: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            gateways: BTreeMap::new(),
            members: BTreeMap::new(),
            slices: HashTable::new(),
            services: 0,
            exports: 0,
            summaries: 0,
            endpoints: 0,
            endpoints_refused: 0,
            services_refused: 0,
            networks: BTreeMap::new(),
            over: std::collections::BTreeSet::new(),
        }
    }

    /// Where no label of an endpoint says otherwise.
    pub(crate) fn network(&self) -> &NetworkId {
        let labelled = self.namespaces.values().find_map(|(_, network)| network.as_ref());
        labelled.unwrap_or(&self.settings.network)
    }

    pub(crate) fn locality(&self, node: Option<&NodeName>, zone: Option<&Arc<str>>) -> Locality {
        let by_node = node.and_then(|node| self.nodes.get(node));
        match (by_node, zone) {
            (Some((_, locality)), _) => locality.clone(),
            (None, Some(zone)) => Locality { region: "".into(), zone: Arc::clone(zone) },
            (None, None) => Locality::unknown(),
        }
    }

    pub(crate) fn facts_of(&self, kind: FactKind) -> usize {
        match kind {
            FactKind::Export => self.exports,
            FactKind::Gateway => self.gateways.len(),
            FactKind::Namespace => self.namespaces.len(),
            FactKind::Node => self.nodes.len(),
            FactKind::Service => self.services,
            FactKind::Slice => self.slices.len(),
            FactKind::Summary => self.summaries,
        }
    }
}

/// A node of a cluster, or none that was named.
type AtNode = (Id<Cluster>, Option<NodeName>);

#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) mesh: MeshSettings,
    pub(crate) clusters: Slab<Cluster>,
    pub(crate) cluster_ids: BTreeMap<ClusterId, Id<Cluster>>,
    pub(crate) services: Slab<Service>,
    pub(crate) service_ids: BTreeMap<ServiceKey, Id<Service>>,
    pub(crate) members: Slab<Member>,
    pub(crate) slices: Slab<Slice>,
    pub(crate) gateways: Gateways,
    /// About to be gone: what it says was taken away already.
    pub(crate) leaving: Option<Id<Cluster>>,
    pub(crate) networks: Interner<NetworkId>,
    pub(crate) localities: Interner<Locality>,
    pub(crate) identities: Interner<SpiffeId>,
    pub(crate) classes: Interner<Class>,
    pub(crate) workloads: Interner<Arc<Workload>>,
    pub(crate) places: Interner<Place>,
    places_by_node: BTreeMap<AtNode, Vec<Id<Place>>>,
    /// By the place's number.
    pub(crate) at: Vec<At>,
    pub(crate) said_places: Interner<SaidPlace>,
    pub(crate) said_at: Vec<At>,
    pub(crate) targets: Interner<Targets>,
    pub(crate) ports: Interner<Ports>,
}

impl Index {
    pub(crate) fn cluster(&self, name: &ClusterId) -> Option<Id<Cluster>> {
        self.cluster_ids.get(name).copied()
    }

    pub(crate) fn cluster_name(&self, cluster: Id<Cluster>) -> &ClusterId {
        &self.clusters[cluster].settings.cluster
    }

    pub(crate) fn member(&self, cluster: Id<Cluster>, service: &ServiceKey) -> Option<Id<Member>> {
        let service = self.service_ids.get(service)?;
        self.clusters[cluster].members.get(service).copied()
    }

    pub(crate) fn slice(
        &self,
        cluster: Id<Cluster>,
        namespace: &Namespace,
        name: &SliceName,
    ) -> Option<Id<Slice>> {
        let is = |id: &Id<Slice>| self.slice_key(*id) == (namespace, name);
        self.clusters[cluster].slices.find(hash_of(&(namespace, name)), is).copied()
    }

    /// In no order.
    pub(crate) fn slices_of(&self, cluster: Id<Cluster>) -> impl Iterator<Item = Id<Slice>> {
        self.clusters[cluster].slices.iter().copied()
    }

    fn slice_key(&self, id: Id<Slice>) -> (&Namespace, &SliceName) {
        let slice = &self.slices[id];
        let service = self.members[slice.member].service;
        (&self.services[service].key.namespace, &slice.name)
    }

    pub(crate) fn list_slice(&mut self, id: Id<Slice>) {
        let hash = hash_of(&self.slice_key(id));
        let cluster = self.members[self.slices[id].member].cluster;
        let mut listed = std::mem::take(&mut self.clusters[cluster].slices);
        listed.insert_unique(hash, id, |id| hash_of(&self.slice_key(*id)));
        self.clusters[cluster].slices = listed;
    }

    pub(crate) fn unlist_slice(&mut self, id: Id<Slice>) {
        let hash = hash_of(&self.slice_key(id));
        let cluster = self.members[self.slices[id].member].cluster;
        let listed = &mut self.clusters[cluster].slices;
        if let Ok(entry) = listed.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
    }

    pub(crate) fn at(&self, place: Id<Place>) -> At {
        self.at[place.index()]
    }

    pub(crate) fn said_at(&self, place: Id<SaidPlace>) -> At {
        self.said_at[place.index()]
    }

    /// The member, made if need be, and its service with it.
    pub(crate) fn member_entry(&mut self, cluster: Id<Cluster>, key: &ServiceKey) -> Id<Member> {
        if let Some(member) = self.member(cluster, key) {
            return member;
        }
        let service = match self.service_ids.get(key) {
            Some(&service) => service,
            None => {
                let cluster_local = crate::home::is_cluster_local(&self.mesh, key);
                let service = self.services.insert(Service {
                    key: key.clone(),
                    cluster_local,
                    united: None,
                    members: Vec::new(),
                    sketches: Vec::new(),
                    conflicts: Vec::new(),
                });
                self.service_ids.insert(key.clone(), service);
                service
            }
        };
        let member = self.members.insert(Member {
            service,
            cluster,
            refusal: grant::refuse_service(&self.clusters[cluster].settings, key),
            word: None,
            export: None,
            summary: None,
            slices: Vec::new(),
            rows: Vec::new(),
        });
        let name = self.cluster_name(cluster).clone();
        let members = &self.services[service].members;
        let place = members.partition_point(|(other, _)| *self.cluster_name(*other) < name);
        let members = &mut self.services[service].members;
        if members.len() == members.capacity() {
            members.reserve_exact((members.len() / 8).max(1));
        }
        members.insert(place, (cluster, member));
        self.services[service].sketches.insert(place, Sketch::default());
        self.clusters[cluster].members.insert(service, member);
        member
    }

    /// Drops a member that says nothing any more. Its service is looked at once more
    /// by `derive`, which frees it if it was the last.
    pub(crate) fn drop_if_empty(&mut self, member: Id<Member>, changes: &mut Changes) {
        if !self.members[member].is_empty() {
            return;
        }
        let gone = self.members.remove(member);
        changes.dirt(gone.service);
        let service = &mut self.services[gone.service];
        if let Some(place) = service.members.iter().position(|(_, other)| *other == member) {
            service.members.remove(place);
            service.sketches.remove(place);
        }
        self.clusters[gone.cluster].members.remove(&gone.service);
    }

    pub(crate) fn port_named(&self, ports: Id<Ports>, number: Port) -> Option<&ServicePortFact> {
        let ports = self.ports.get(ports);
        ports.binary_search_by_key(&number, |port| port.port).ok().map(|index| &ports[index])
    }

    pub(crate) fn target(&self, targets: Id<Targets>, name: &PortName) -> Option<Port> {
        self.targets.get(targets).iter().find(|(known, _)| known == name).map(|(_, port)| *port)
    }

    pub(crate) fn acquire_class(
        &mut self,
        mut class: Class,
        identity: Option<&SpiffeId>,
    ) -> Id<Class> {
        class.identity = identity.map(|identity| self.identities.acquire(identity).0);
        let (id, fresh) = self.classes.acquire(&class);
        if !fresh && let Some(identity) = class.identity {
            self.identities.release(identity);
        }
        id
    }

    pub(crate) fn acquire_place(&mut self, place: &Place) -> Id<Place> {
        let (id, fresh) = self.places.acquire(place);
        if fresh {
            let at = self.locate(place);
            set_slot(&mut self.at, id.index(), at);
            let key = (place.cluster, place.node.clone());
            self.places_by_node.entry(key).or_default().push(id);
        }
        id
    }

    pub(crate) fn acquire_said_place(&mut self, place: &SaidPlace) -> Id<SaidPlace> {
        let (id, fresh) = self.said_places.acquire(place);
        if fresh {
            let at = self.locate_said(place);
            set_slot(&mut self.said_at, id.index(), at);
        }
        id
    }

    /// Where the place is now; the caller owns one use of both numbers.
    fn locate(&mut self, place: &Place) -> At {
        let cluster = &self.clusters[place.cluster];
        let locality = cluster.locality(place.node.as_ref(), place.zone.as_ref());
        let network = place.network.as_ref().unwrap_or(cluster.network());
        At {
            network: self.networks.acquire(network).0,
            locality: self.localities.acquire(&locality).0,
        }
    }

    fn locate_said(&mut self, place: &SaidPlace) -> At {
        let cluster = &self.clusters[place.cluster];
        let network = place.network.as_ref().unwrap_or(cluster.network());
        At {
            network: self.networks.acquire(network).0,
            locality: self.localities.acquire(&place.locality).0,
        }
    }

    pub(crate) fn places_on(&self, cluster: Id<Cluster>, node: &NodeName) -> Vec<Id<Place>> {
        let places = self.places_by_node.get(&(cluster, Some(node.clone())));
        places.cloned().unwrap_or_default()
    }

    pub(crate) fn places_of(&self, cluster: Id<Cluster>) -> Vec<Id<Place>> {
        let from = self.places_by_node.range((cluster, None)..);
        let own = from.take_while(|((other, _), _)| *other == cluster);
        own.flat_map(|(_, places)| places.iter().copied()).collect()
    }

    /// Looks at the places anew.
    pub(crate) fn relocate(&mut self, places: &[Id<Place>]) {
        for &id in places {
            let place = self.places.get(id).clone();
            let at = self.locate(&place);
            let old = std::mem::replace(&mut self.at[id.index()], at);
            self.release_at(old);
        }
    }

    pub(crate) fn relocate_said(&mut self, cluster: Id<Cluster>) {
        let of_cluster = self.said_places.iter().filter(|(_, place)| place.cluster == cluster);
        let places: Vec<_> = of_cluster.map(|(id, place)| (id, place.clone())).collect();
        for (id, place) in places {
            let at = self.locate_said(&place);
            let old = std::mem::replace(&mut self.said_at[id.index()], at);
            self.release_at(old);
        }
    }

    fn release_at(&mut self, at: At) {
        self.networks.release(at.network);
        self.localities.release(at.locality);
    }

    /// Once nothing compares old with new any more: forgets what nobody uses.
    pub(crate) fn settle(&mut self) {
        self.workloads.settle();
        self.targets.settle();
        self.ports.settle();
        for (_, class) in self.classes.settle() {
            if let Some(identity) = class.identity {
                self.identities.release(identity);
            }
        }
        for (id, place) in self.places.settle() {
            self.release_at(self.at[id.index()]);
            let key = (place.cluster, place.node);
            if let Some(places) = self.places_by_node.get_mut(&key) {
                places.retain(|other| *other != id);
                if places.is_empty() {
                    self.places_by_node.remove(&key);
                }
            }
        }
        for (id, _) in self.said_places.settle() {
            self.release_at(self.said_at[id.index()]);
        }
        self.gateways.settle();
        self.identities.settle();
        self.networks.settle();
        self.localities.settle();
    }
}

fn set_slot(slots: &mut Vec<At>, index: usize, at: At) {
    if index < slots.len() {
        slots[index] = at;
    } else {
        debug_assert_eq!(index, slots.len(), "numbers are given out one after the other");
        slots.push(at);
    }
}
