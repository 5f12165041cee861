//! What one cluster says, object by object: a change in, the facts that it changes out.
//!
//! The same rules as a folder's, kept up instead of worked out anew: `derive` is the oracle that a
//! property holds this to. Work follows the change. A pod joins only the slices that name it
//! again, a node only gateways on nodes; gateways are few and are worked out together.
//!
//! An object that is refused stays as it was; one that is not for us, or gone, goes.

mod changes;
mod gateways;
mod loss;
mod object_id;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use diolkos_topology::{
    ClusterSettings, Fact, FactKey, FactKind, GatewayFact, GatewayName, Namespace, NamespaceFact,
    NetworkId, NodeName, ServiceKey, SliceName,
};
use diolkos_trust::TrustDomain;

use crate::finding::Findings;
use crate::gateway::{HostNames, Resolved};
use crate::gateway_api::GatewayParts;
use crate::host::HostName;
use crate::mesh::MeshNetworks;
use crate::node::{NodeParts, SYSTEM_NAMESPACES};
use crate::object::Object;
use crate::pod::{PodEntry, PodKey};
use crate::service::ServiceParts;
use crate::slice::{SliceParts, Surroundings, UnknownPods};

pub use changes::{Changes, IndexWork};
pub use loss::EndpointLoss;
use object_id::Subject;
pub use object_id::{ObjectId, ObjectKind, Said};

type SliceKey = (Namespace, SliceName);

#[derive(Debug)]
pub struct ClusterIndex {
    settings: ClusterSettings,
    networks: MeshNetworks,
    unknown_pods: UnknownPods,
    exports: BTreeMap<ServiceKey, diolkos_topology::ExportFact>,
    gateways: BTreeMap<(Namespace, GatewayName), GatewayParts>,
    namespaces: BTreeMap<Namespace, NamespaceFact>,
    nodes: BTreeMap<NodeName, NodeParts>,
    pods: BTreeMap<PodKey, PodEntry>,
    services: BTreeMap<ServiceKey, ServiceParts>,
    slices: BTreeMap<SliceKey, SliceParts>,
    /// Of all slices.
    endpoints: usize,
    /// Slices by the pods they name.
    named_by: BTreeMap<PodKey, Vec<SliceKey>>,
    /// Services that may be gateways: labelled, or named by meshNetworks.
    doors: BTreeSet<ServiceKey>,
    names: BTreeMap<HostName, Resolved>,
    wanted: BTreeSet<HostName>,
    gateway_facts: BTreeMap<FactKey, GatewayFact>,
    /// By object: what is wrong with it alone, and with it among the others.
    told: BTreeMap<ObjectId, [Findings; 2]>,
    /// About gateways: by object, or by network where only meshNetworks knows them.
    told_gateways: BTreeMap<Subject, Vec<crate::Rejection>>,
}

impl ClusterIndex {
    pub fn new(
        settings: &ClusterSettings,
        networks: &MeshNetworks,
        unknown_pods: UnknownPods,
    ) -> Self {
        let mut index = Self {
            settings: settings.clone(),
            networks: networks.clone(),
            unknown_pods,
            exports: BTreeMap::new(),
            gateways: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            endpoints: 0,
            named_by: BTreeMap::new(),
            doors: BTreeSet::new(),
            names: BTreeMap::new(),
            wanted: BTreeSet::new(),
            gateway_facts: BTreeMap::new(),
            told: BTreeMap::new(),
            told_gateways: BTreeMap::new(),
        };
        index.rebuild_gateways(&mut Changes::default());
        index
    }

    pub fn settings(&self) -> &ClusterSettings {
        &self.settings
    }

    /// The operator says something new of the cluster, or of networks: everything is looked at.
    pub fn configure(
        &mut self,
        settings: &ClusterSettings,
        networks: &MeshNetworks,
        out: &mut Changes,
    ) {
        if self.settings == *settings && self.networks == *networks {
            return;
        }
        let joined_alike = self.settings.trust_domain == settings.trust_domain
            && self.settings.network == settings.network
            && self.networks.ranges == networks.ranges;
        let before = self.slice_facts(!joined_alike);
        self.settings = settings.clone();
        self.networks = networks.clone();
        self.doors = self.services.values().filter(|one| self.is_door(one)).map(key).collect();
        self.rejoin(before, out);
        self.rebuild_gateways(out);
    }

    /// What the cluster says of an object, with what is wrong with it.
    pub fn put(&mut self, id: &ObjectId, said: Said, findings: Findings, out: &mut Changes) {
        out.work.objects += 1;
        match said {
            Said::Taken(object) => self.take(*object, out),
            Said::Refused => {}
            Said::Skipped => self.forget(id, out),
        }
        self.tell(id, Of::Itself, findings, out);
    }

    pub fn remove(&mut self, id: &ObjectId, out: &mut Changes) {
        out.work.objects += 1;
        self.forget(id, out);
        for of in [Of::Itself, Of::Others] {
            self.tell(id, of, Findings::default(), out);
        }
    }

    /// All there is of a kind: what is not listed is gone.
    pub fn replace(
        &mut self,
        kind: ObjectKind,
        all: Vec<(ObjectId, Said, Findings)>,
        out: &mut Changes,
    ) {
        let listed: BTreeSet<&ObjectId> = all.iter().map(|(id, _, _)| id).collect();
        let gone: Vec<ObjectId> =
            self.ids(kind).into_iter().filter(|id| !listed.contains(id)).collect();
        for id in gone {
            self.remove(&id, out);
        }
        for (id, said, findings) in all {
            self.put(&id, said, findings, out);
        }
    }

    /// What is known of a name now: its last good addresses, and what went wrong since.
    pub fn resolve(&mut self, host: &HostName, mut answer: Resolved, out: &mut Changes) {
        if !self.wanted.contains(host) {
            return;
        }
        answer.addresses.sort_unstable();
        answer.addresses.dedup();
        if self.names.get(host) != Some(&answer) {
            self.names.insert(host.clone(), answer);
            self.rebuild_gateways(out);
        }
    }

    /// Names of which nothing is known yet, not even that they cannot be resolved.
    pub fn unresolved(&self) -> impl Iterator<Item = &HostName> {
        self.wanted.iter().filter(|host| !self.names.contains_key(*host))
    }

    /// Names that gateways are called by.
    pub fn wanted(&self) -> &BTreeSet<HostName> {
        &self.wanted
    }

    /// Every fact, or those of one kind, in order of their keys.
    pub fn facts(&self, kind: Option<FactKind>) -> BTreeMap<FactKey, Fact> {
        let wanted = |of: FactKind| kind.is_none_or(|kind| kind == of);
        let mut facts = BTreeMap::new();
        let mut say = |fact: Fact| drop(facts.insert(fact.key(), fact));
        if wanted(FactKind::Export) {
            self.exports.values().cloned().map(Fact::Export).for_each(&mut say);
        }
        if wanted(FactKind::Gateway) {
            self.gateway_facts.values().cloned().map(Fact::Gateway).for_each(&mut say);
        }
        if wanted(FactKind::Namespace) {
            self.system_namespace().cloned().map(Fact::Namespace).into_iter().for_each(&mut say);
        }
        if wanted(FactKind::Node) {
            self.nodes.values().map(|node| Fact::Node(node.fact.clone())).for_each(&mut say);
        }
        if wanted(FactKind::Service) {
            let services = self.services.values().map(|one| Fact::Service(one.fact.clone()));
            services.for_each(&mut say);
        }
        if wanted(FactKind::Slice) {
            for slice in self.slices.values() {
                say(Fact::Slice(slice.join(self, &mut Findings::default())));
            }
        }
        facts
    }

    pub fn pods(&self) -> &BTreeMap<PodKey, PodEntry> {
        &self.pods
    }

    /// Of all slices, whether or not they are served.
    pub fn endpoints(&self) -> usize {
        self.endpoints
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: ObjectKind) -> usize {
        match kind {
            ObjectKind::Export => self.exports.len(),
            ObjectKind::Gateway => self.gateways.len(),
            ObjectKind::Namespace => self.namespaces.len(),
            ObjectKind::Node => self.nodes.len(),
            ObjectKind::Pod => self.pods.len(),
            ObjectKind::Service => self.services.len(),
            ObjectKind::Slice => self.slices.len(),
        }
    }

    fn take(&mut self, object: Object, out: &mut Changes) {
        match object {
            Object::Export(fact) => {
                if self.exports.get(&fact.service) != Some(&fact) {
                    self.exports.insert(fact.service.clone(), fact.clone());
                    out.say(Fact::Export(fact));
                }
            }
            Object::Gateway(parts) => {
                let key = (parts.namespace.clone(), parts.name.clone());
                if self.gateways.get(&key) != Some(&parts) {
                    self.gateways.insert(key, parts);
                    self.rebuild_gateways(out);
                }
            }
            Object::Namespace(fact) => {
                if self.namespaces.get(&fact.name) != Some(&fact) {
                    self.rename(out, |own| drop(own.insert(fact.name.clone(), fact)));
                }
            }
            Object::Node(node) => self.take_node(node, out),
            Object::Pod(pod) => {
                let key = pod.key();
                if self.pods.get(&key) != Some(&pod.entry) {
                    self.change_pod(key, Some(pod.entry), out);
                }
            }
            Object::Service(service) => self.take_service(*service, out),
            Object::Slice(slice) => self.take_slice(slice, out),
        }
    }

    fn take_node(&mut self, node: NodeParts, out: &mut Changes) {
        let name = node.fact.name.clone();
        let before = self.nodes.insert(name, node.clone());
        if before.as_ref() == Some(&node) {
            return;
        }
        if before.as_ref().map(|before| &before.fact) != Some(&node.fact) {
            out.say(Fact::Node(node.fact));
        }
        self.nodes_changed(out);
    }

    fn take_service(&mut self, service: ServiceParts, out: &mut Changes) {
        let key = service.fact.key.clone();
        let before = self.services.get(&key);
        if before == Some(&service) {
            return;
        }
        if before.map(|before| &before.fact) != Some(&service.fact) {
            out.say(Fact::Service(service.fact.clone()));
        }
        let was_door = self.doors.remove(&key);
        let is_door = self.is_door(&service);
        if is_door {
            self.doors.insert(key.clone());
        }
        self.services.insert(key, service);
        if was_door || is_door {
            self.rebuild_gateways(out);
        }
    }

    fn take_slice(&mut self, slice: SliceParts, out: &mut Changes) {
        let key = (slice.service.namespace.clone(), slice.name.clone());
        if self.slices.get(&key) == Some(&slice) {
            return;
        }
        self.unname(&key);
        self.endpoints += slice.endpoints.len();
        let mut pods: Vec<&PodKey> = slice.endpoints.iter().flat_map(|one| &one.pod).collect();
        pods.sort_unstable();
        pods.dedup();
        for pod in pods {
            self.named_by.entry(pod.clone()).or_default().push(key.clone());
        }
        let before = self.slices.insert(key.clone(), slice);
        self.endpoints -= before.as_ref().map_or(0, |before| before.endpoints.len());
        let before = before.map(|before| before.join(self, &mut Findings::default()));
        self.say_slice(&key, before.as_ref(), out);
    }

    fn forget(&mut self, id: &ObjectId, out: &mut Changes) {
        match id.kind {
            ObjectKind::Export => {
                let gone = id.service().filter(|key| self.exports.remove(key).is_some());
                out.unsay(gone.map(FactKey::Export));
            }
            ObjectKind::Gateway => {
                if id.gateway().is_some_and(|key| self.gateways.remove(&key).is_some()) {
                    self.rebuild_gateways(out);
                }
            }
            ObjectKind::Namespace => {
                let known = Namespace::new(&id.name).ok();
                if let Some(name) = known.filter(|name| self.namespaces.contains_key(name)) {
                    self.rename(out, |own| drop(own.remove(&name)));
                }
            }
            ObjectKind::Node => {
                let known = NodeName::new(&id.name).ok();
                if let Some(name) = known.filter(|name| self.nodes.remove(name).is_some()) {
                    out.unsay([FactKey::Node(name)]);
                    self.nodes_changed(out);
                }
            }
            ObjectKind::Pod => {
                if let Some(key) = id.pod().filter(|key| self.pods.contains_key(key)) {
                    self.change_pod(key, None, out);
                }
            }
            ObjectKind::Service => {
                if let Some(key) = id.service().filter(|key| self.services.remove(key).is_some()) {
                    let was_door = self.doors.remove(&key);
                    out.unsay([FactKey::Service(key)]);
                    if was_door {
                        self.rebuild_gateways(out);
                    }
                }
            }
            ObjectKind::Slice => {
                if let Some(key) = id.slice().filter(|key| self.slices.contains_key(key)) {
                    self.unname(&key);
                    let slice = self.slices.remove(&key);
                    self.endpoints -= slice.map_or(0, |slice| slice.endpoints.len());
                    out.unsay([FactKey::Slice(key.0, key.1)]);
                    self.tell(id, Of::Others, Findings::default(), out);
                }
            }
        }
    }

    fn nodes_changed(&mut self, out: &mut Changes) {
        let on_nodes = |key: &ServiceKey| self.services.get(key).is_some_and(|s| s.reach.on_nodes);
        if self.doors.iter().any(on_nodes) {
            self.rebuild_gateways(out);
        }
    }

    /// Joins the slices that name the pod again.
    fn change_pod(&mut self, key: PodKey, entry: Option<PodEntry>, out: &mut Changes) {
        let naming = self.named_by.get(&key).cloned().unwrap_or_default();
        let before = naming.into_iter().map(|slice| {
            let fact = self.slices[&slice].join(self, &mut Findings::default());
            (slice, fact)
        });
        let before: Vec<_> = before.collect();
        out.work.slices_joined += before.len() as u64;
        match &entry {
            Some(entry) => drop(self.pods.insert(key.clone(), entry.clone())),
            None => drop(self.pods.remove(&key)),
        }
        out.pods.insert(key, entry);
        self.rejoin(before, out);
    }

    /// Whatever may give the cluster's own network another name.
    fn rename(
        &mut self,
        out: &mut Changes,
        change: impl FnOnce(&mut BTreeMap<Namespace, NamespaceFact>),
    ) {
        let before = self.system_namespace().cloned();
        let mut namespaces = self.namespaces.clone();
        change(&mut namespaces);
        // Where no range tells networks apart, only whose word counts has changed.
        let matters = !self.networks.ranges.is_empty() && before.is_none() != namespaces.is_empty();
        let slices = self.slice_facts(matters);
        self.namespaces = namespaces;
        let after = self.system_namespace().cloned();
        if before != after {
            let gone = before.filter(|was| after.as_ref().is_none_or(|is| is.name != was.name));
            out.unsay(gone.map(|fact| FactKey::Namespace(fact.name)));
            after.map(Fact::Namespace).into_iter().for_each(|fact| out.say(fact));
        }
        self.rejoin(slices, out);
    }

    /// As things stand, to be compared with what comes of a change.
    fn slice_facts(&self, all: bool) -> Vec<(SliceKey, diolkos_topology::SliceFact)> {
        let slices = self.slices.iter().filter(|_| all);
        slices.map(|(key, s)| (key.clone(), s.join(self, &mut Findings::default()))).collect()
    }

    fn rejoin(&mut self, before: Vec<(SliceKey, diolkos_topology::SliceFact)>, out: &mut Changes) {
        for (key, before) in before {
            self.say_slice(&key, Some(&before), out);
        }
    }

    fn say_slice(
        &mut self,
        key: &SliceKey,
        before: Option<&diolkos_topology::SliceFact>,
        out: &mut Changes,
    ) {
        let mut findings = Findings::default();
        let fact = self.slices[key].join(self, &mut findings);
        out.work.slices_joined += 1;
        if before != Some(&fact) {
            out.say(Fact::Slice(fact));
        }
        self.tell(&ObjectId::of_slice(key), Of::Others, findings, out);
    }

    fn unname(&mut self, key: &SliceKey) {
        let Some(slice) = self.slices.get(key) else { return };
        for pod in slice.endpoints.iter().filter_map(|one| one.pod.as_ref()) {
            if let Some(naming) = self.named_by.get_mut(pod) {
                naming.retain(|other| other != key);
                if naming.is_empty() {
                    self.named_by.remove(pod);
                }
            }
        }
    }

    fn system_namespace(&self) -> Option<&NamespaceFact> {
        let mut names = SYSTEM_NAMESPACES.into_iter();
        names.find_map(|name| self.namespaces.values().find(|fact| fact.name.as_str() == name))
    }

    fn ids(&self, kind: ObjectKind) -> BTreeSet<ObjectId> {
        let mut ids: BTreeSet<ObjectId> = match kind {
            ObjectKind::Export => {
                self.exports.keys().map(|key| ObjectId::of_key(kind, key)).collect()
            }
            ObjectKind::Gateway => {
                let keys = self.gateways.keys();
                keys.map(|(ns, name)| ObjectId::new(kind, ns.as_str(), name.as_str())).collect()
            }
            ObjectKind::Namespace => {
                self.namespaces.keys().map(|name| ObjectId::new(kind, "", name.as_str())).collect()
            }
            ObjectKind::Node => {
                self.nodes.keys().map(|name| ObjectId::new(kind, "", name.as_str())).collect()
            }
            ObjectKind::Pod => {
                let keys = self.pods.keys();
                keys.map(|(ns, name)| ObjectId::new(kind, ns.as_str(), name.as_str())).collect()
            }
            ObjectKind::Service => {
                self.services.keys().map(|key| ObjectId::of_key(kind, key)).collect()
            }
            ObjectKind::Slice => self.slices.keys().map(ObjectId::of_slice).collect(),
        };
        // Also what was only ever refused.
        ids.extend(self.told.keys().filter(|id| id.kind == kind).cloned());
        ids
    }
}

fn key(service: &ServiceParts) -> ServiceKey {
    service.fact.key.clone()
}

/// Where a finding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Itself,
    Others,
}

impl Surroundings for ClusterIndex {
    fn trust_domain(&self) -> &TrustDomain {
        &self.settings.trust_domain
    }

    fn pod(&self, key: &PodKey) -> Option<&PodEntry> {
        self.pods.get(key)
    }

    fn unknown_pods(&self) -> UnknownPods {
        self.unknown_pods
    }

    fn network_by_address(&self, address: IpAddr) -> Option<NetworkId> {
        let named =
            self.system_namespace().is_some() || self.settings.network != NetworkId::unnamed();
        if named { None } else { self.networks.network_of(address) }
    }
}

impl ClusterIndex {
    fn host_names(&self) -> HostNames {
        HostNames::Resolved(self.names.clone())
    }
}
