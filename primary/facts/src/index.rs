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
mod policies;
mod slices;

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
use crate::peer::PeerPolicies;
use crate::pod::{PodEntry, PodKey};
use crate::service::ServiceParts;
use crate::slice::{SliceParts, Surroundings, UnknownPods};

pub use changes::{Changes, IndexWork};
pub use loss::EndpointLoss;
use object_id::Subject;
pub use object_id::{ObjectId, ObjectKind, Said};
use policies::{PodLabels, Unsettled};

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
    /// With what the policies say of each.
    pods: BTreeMap<PodKey, PodEntry>,
    labels: PodLabels,
    policies: PeerPolicies,
    unsettled: Unsettled,
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
            labels: PodLabels::default(),
            policies: PeerPolicies::default(),
            unsettled: Unsettled::default(),
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
        self.put_one(id, said, findings, out);
        self.settle(out);
    }

    pub fn remove(&mut self, id: &ObjectId, out: &mut Changes) {
        self.remove_one(id, out);
        self.settle(out);
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
            self.remove_one(&id, out);
        }
        for (id, said, findings) in all {
            self.put_one(&id, said, findings, out);
        }
        self.settle(out);
    }

    /// What hangs on many objects is worked out once all of them have been heard: on the way from
    /// one gateway of a name to another, nobody would ask for the name, and it would be forgotten.
    fn settle(&mut self, out: &mut Changes) {
        let unsettled = std::mem::take(&mut self.unsettled);
        self.settle_policies(&unsettled, out);
        if unsettled.gateways {
            self.rebuild_gateways(out);
        }
    }

    fn put_one(&mut self, id: &ObjectId, said: Said, findings: Findings, out: &mut Changes) {
        out.work.objects += 1;
        match said {
            Said::Taken(object) => self.take(*object, out),
            Said::Refused => {}
            Said::Skipped => self.forget(id, out),
        }
        self.tell(id, Of::Itself, findings, out);
    }

    fn remove_one(&mut self, id: &ObjectId, out: &mut Changes) {
        out.work.objects += 1;
        self.forget(id, out);
        for of in [Of::Itself, Of::Others] {
            self.tell(id, of, Findings::default(), out);
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
                self.joined(slice).into_iter().map(Fact::Slice).for_each(&mut say);
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
            ObjectKind::Peer => self.policies.len(),
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
                    self.unsettled.gateways = true;
                }
            }
            Object::Namespace(fact) => {
                if self.namespaces.get(&fact.name) != Some(&fact) {
                    self.rename(out, |own| drop(own.insert(fact.name.clone(), fact)));
                }
            }
            Object::Node(node) => self.take_node(node, out),
            Object::Peer(policy) => self.take_policy(policy),
            Object::Pod(pod) => self.take_pod(pod, out),
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
        self.nodes_changed();
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
            self.unsettled.gateways = true;
        }
    }

    fn forget(&mut self, id: &ObjectId, out: &mut Changes) {
        match id.kind {
            ObjectKind::Export => {
                let gone = id.service().filter(|key| self.exports.remove(key).is_some());
                out.unsay(gone.map(FactKey::Export));
            }
            ObjectKind::Gateway => {
                if id.gateway().is_some_and(|key| self.gateways.remove(&key).is_some()) {
                    self.unsettled.gateways = true;
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
                    self.nodes_changed();
                }
            }
            ObjectKind::Peer => self.forget_policy(&id.namespace, &id.name),
            ObjectKind::Pod => {
                if let Some(key) = id.pod().filter(|key| self.pods.contains_key(key)) {
                    self.change_pods(vec![(key, None)], out);
                }
            }
            ObjectKind::Service => {
                if let Some(key) = id.service().filter(|key| self.services.remove(key).is_some()) {
                    let was_door = self.doors.remove(&key);
                    out.unsay([FactKey::Service(key)]);
                    if was_door {
                        self.unsettled.gateways = true;
                    }
                }
            }
            ObjectKind::Slice => {
                if let Some(key) = id.slice() {
                    self.forget_slice(id, &key, out);
                }
            }
        }
    }

    fn nodes_changed(&mut self) {
        let on_nodes = |key: &ServiceKey| self.services.get(key).is_some_and(|s| s.reach.on_nodes);
        if self.doors.iter().any(on_nodes) {
            self.unsettled.gateways = true;
        }
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
            ObjectKind::Peer => {
                let keys = self.policies.keys();
                keys.map(|(ns, name)| ObjectId::new(kind, ns.as_str(), name)).collect()
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
