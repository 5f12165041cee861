//! Gateways are few, and each may hang on the others: they are worked out together.

use std::collections::{BTreeMap, BTreeSet};

use diolkos_topology::{Fact, ServiceKey};

use super::changes::rejections;
use super::object_id::Subject;
use super::{Changes, ClusterIndex, ObjectId, ObjectKind};
use crate::derive::{no_service, of_network};
use crate::finding::Findings;
use crate::gateway::Gateways;
use crate::mesh::{MeshGateway, MeshGatewayTarget};
use crate::rejection::Rejection;
use crate::service::{EGRESS_PORT, ServiceParts};

type Told = BTreeMap<Subject, Vec<Rejection>>;

impl ClusterIndex {
    pub(super) fn is_door(&self, service: &ServiceParts) -> bool {
        let named = |gateway: &MeshGateway| match &gateway.target {
            MeshGatewayTarget::Service(key) => *key == service.fact.key,
            MeshGatewayTarget::Address(_) | MeshGatewayTarget::Host(_) => false,
        };
        service.gateway.is_some() || self.mesh_gateways().any(named)
    }

    /// Whoever is ready behind a way out is looked at.
    pub(super) fn slice_changed(&mut self, service: &ServiceKey) {
        let exits = |parts: &ServiceParts| {
            parts.reach.ports.iter().any(|(port, _)| port.get() == EGRESS_PORT)
        };
        if self.doors.contains(service) && self.services.get(service).is_some_and(exits) {
            self.unsettled.gateways = true;
        }
    }

    fn mesh_gateways(&self) -> impl Iterator<Item = &MeshGateway> {
        let own = |gateway: &&MeshGateway| gateway.cluster == self.settings.cluster;
        self.networks.gateways.iter().filter(own)
    }

    pub(super) fn rebuild_gateways(&mut self, out: &mut Changes) {
        out.work.gateways_rebuilt += 1;
        let names = self.host_names();
        let nodes = || self.nodes.values().collect();
        let slices = |service: &ServiceKey| {
            self.slices.values().filter(|slice| slice.service == *service).collect()
        };
        let mut gateways = Gateways::new(&names, &nodes, &slices);
        let mut told = Told::new();
        for key in &self.doors {
            let mut findings = Findings::default();
            let Some(service) = self.services.get(key) else { continue };
            gateways.labelled(service, &mut findings);
            self.note(&mut told, &ObjectId::of_key(ObjectKind::Service, key), &findings);
        }
        for ((namespace, name), gateway) in &self.gateways {
            let mut findings = Findings::default();
            gateways.by_api(gateway, &mut findings);
            let id = ObjectId::new(ObjectKind::Gateway, namespace.as_str(), name.as_str());
            self.note(&mut told, &id, &findings);
        }
        for gateway in self.mesh_gateways() {
            self.mesh_gateway(gateway, &mut gateways, &mut told);
        }
        let (facts, wanted) = gateways.facts();
        for (key, fact) in &facts {
            if self.gateway_facts.get(key) != Some(fact) {
                out.say(Fact::Gateway(fact.clone()));
            }
        }
        out.unsay(self.gateway_facts.keys().filter(|key| !facts.contains_key(key)).cloned());
        self.gateway_facts = facts;
        if self.wanted != wanted {
            self.names.retain(|host, _| wanted.contains(host));
            self.wanted = wanted;
            out.names = true;
        }
        self.tell_gateways(told, out);
    }

    fn mesh_gateway<'a>(
        &'a self,
        gateway: &MeshGateway,
        gateways: &mut Gateways<'a>,
        told: &mut Told,
    ) {
        let mut findings = Findings::default();
        let network = Subject::Network(gateway.network.to_string());
        gateways.addressed(gateway, &mut findings);
        told.entry(network.clone()).or_default().extend(of_network(gateway, findings));
        let MeshGatewayTarget::Service(key) = &gateway.target else { return };
        let Some(service) = self.services.get(key) else {
            told.entry(network).or_default().push(no_service(gateway, key));
            return;
        };
        let mut findings = Findings::default();
        gateways.registered(gateway, service, &mut findings);
        self.note(told, &ObjectId::of_key(ObjectKind::Service, key), &findings);
    }

    fn note(&self, told: &mut Told, id: &ObjectId, findings: &Findings) {
        if !findings.0.is_empty() {
            let list = rejections(self.settings.cluster.as_str(), &id.to_string(), findings);
            told.entry(Subject::Object(id.clone())).or_default().extend(list);
        }
    }

    fn tell_gateways(&mut self, mut told: Told, out: &mut Changes) {
        told.retain(|_, list| !list.is_empty());
        let before = std::mem::replace(&mut self.told_gateways, told);
        let all: BTreeSet<_> = before.keys().chain(self.told_gateways.keys()).collect();
        for subject in all {
            if before.get(subject) != self.told_gateways.get(subject) {
                self.tell_all_of(subject, out);
            }
        }
    }
}
