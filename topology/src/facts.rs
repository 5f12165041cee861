//! Facts of the live generation, written into the index. What is said again changes nothing but
//! its stamp.

use std::sync::Arc;

use crate::fact::{
    ExportFact, Fact, FactKey, FactKind, GatewayFact, NamespaceFact, NodeFact, ServiceFact,
    SliceFact, SummaryFact, SummaryGroup,
};
use crate::federation::Federation;
use crate::grant::{self, Refusal};
use crate::index::{
    Class, Cluster, ExportWord, Family, Member, Place, SaidGroup, SaidPlace, ServiceWord,
    SummaryWord,
};
use crate::intern::Id;
use crate::ledger::Keeper;
use crate::limit;
use crate::name::{NodeName, ServiceKey, Stamp};
use crate::notice::Notice;
use crate::slices::quota;

/// One cluster's part of the index.
pub(crate) struct Desk<'f> {
    pub(crate) federation: &'f mut Federation,
    pub(crate) cluster: Id<Cluster>,
}

impl Keeper for Desk<'_> {
    fn stamp_of(&self, key: &FactKey) -> Option<Stamp> {
        self.federation.index.stamp_of(self.cluster, key)
    }

    fn said_before(&self, kind: FactKind, stamp: Stamp) -> Vec<FactKey> {
        let keys = self.federation.index.live_keys(self.cluster, kind);
        keys.into_iter().filter(|(_, said)| *said < stamp).map(|(key, _)| key).collect()
    }

    fn put(&mut self, stamp: Stamp, fact: Fact) {
        let (federation, cluster) = (&mut *self.federation, self.cluster);
        match fact {
            Fact::Export(fact) => federation.put_export(cluster, stamp, fact),
            Fact::Gateway(fact) => federation.put_gateway(cluster, stamp, fact),
            Fact::Namespace(fact) => federation.put_namespace(cluster, stamp, &fact),
            Fact::Node(fact) => federation.put_node(cluster, stamp, &fact),
            Fact::Service(fact) => federation.put_service(cluster, stamp, &fact),
            Fact::Slice(fact) => federation.put_slice(cluster, stamp, &fact),
            Fact::Summary(fact) => federation.put_summary(cluster, stamp, &fact),
        }
    }

    fn drop_key(&mut self, key: &FactKey) {
        let (federation, cluster) = (&mut *self.federation, self.cluster);
        match key {
            FactKey::Export(service) => federation.drop_export(cluster, service),
            FactKey::Gateway(key) => {
                if federation.index.clusters[cluster].gateways.remove(key).is_some() {
                    federation.changes.gateways = true;
                }
            }
            FactKey::Namespace(name) => federation.rename_network(cluster, |own| {
                own.namespaces.remove(name);
            }),
            FactKey::Node(name) => federation.move_node(cluster, name, |own| {
                own.nodes.remove(name);
            }),
            FactKey::Service(service) => federation.drop_service(cluster, service),
            FactKey::Slice(namespace, name) => {
                if let Some(slice) = federation.index.slice(cluster, namespace, name) {
                    federation.drop_slice(slice);
                }
            }
            FactKey::Summary(service) => federation.drop_summary(cluster, service),
        }
        let own = &mut federation.index.clusters[cluster];
        if own.facts_of(key.kind()) < limit::facts_max(key.kind()) {
            own.over.remove(&key.kind());
        }
    }
}

impl Federation {
    /// Whether the cluster may say one more of a kind; if not, that is said once.
    fn has_room(&mut self, cluster: Id<Cluster>, kind: FactKind) -> bool {
        let limit = limit::facts_max(kind);
        let own = &mut self.index.clusters[cluster];
        if own.facts_of(kind) < limit {
            return true;
        }
        if own.over.insert(kind) {
            self.changes.notices.push(quota(&own.settings.cluster, kind, limit));
        }
        false
    }

    fn put_service(&mut self, cluster: Id<Cluster>, stamp: Stamp, fact: &ServiceFact) {
        let mut ports = fact.ports.clone();
        ports.sort_by(|a, b| (a.port, a).cmp(&(b.port, b)));
        ports.dedup_by_key(|port| port.port);
        let known = self.index.member(cluster, &fact.key);
        let word = known.and_then(|member| self.index.members[member].word.as_mut());
        if let Some(word) = word {
            let said = self.index.ports.get(word.ports);
            if **said == *ports && *word.vips == *fact.vips && word.created == fact.created {
                word.stamp = stamp;
                return;
            }
        } else if !self.has_room(cluster, FactKind::Service) {
            return;
        }
        let member = self.index.member_entry(cluster, &fact.key);
        let service = self.index.members[member].service;
        self.hold(service, cluster);
        let ports = self.index.ports.acquire(&Arc::from(ports)).0;
        let vips = fact.vips.as_slice().into();
        let word = ServiceWord { stamp, ports, vips, created: fact.created };
        match self.index.members[member].word.replace(word) {
            Some(old) => self.index.ports.release(old.ports),
            None => {
                self.index.clusters[cluster].services += 1;
                self.count_refused(member);
            }
        }
        self.changes.scope(service);
    }

    /// A service the cluster has now and may not claim.
    fn count_refused(&mut self, member: Id<Member>) {
        let known = &self.index.members[member];
        let Some(why) = known.refusal else { return };
        self.index.clusters[known.cluster].services_refused += 1;
        // That each cluster has what is reserved is nothing to tell anybody.
        if why != Refusal::Reserved {
            self.changes.notices.push(Notice::ServiceRefused {
                cluster: self.index.cluster_name(known.cluster).clone(),
                service: self.index.services[known.service].key.clone(),
                why: why.to_string(),
            });
        }
    }

    fn drop_service(&mut self, cluster: Id<Cluster>, key: &ServiceKey) {
        let Some(member) = self.index.member(cluster, key) else { return };
        let service = self.index.members[member].service;
        self.hold(service, cluster);
        if let Some(old) = self.index.members[member].word.take() {
            self.index.ports.release(old.ports);
            let own = &mut self.index.clusters[cluster];
            own.services -= 1;
            own.services_refused -= usize::from(self.index.members[member].refusal.is_some());
            self.changes.scope(service);
        }
        self.index.drop_if_empty(member, &mut self.changes);
    }

    fn put_export(&mut self, cluster: Id<Cluster>, stamp: Stamp, fact: ExportFact) {
        let known = self.index.member(cluster, &fact.service);
        let export = known.and_then(|member| self.index.members[member].export.as_mut());
        if let Some(export) = export {
            if export.created == fact.created && export.consumers == fact.consumers {
                export.stamp = stamp;
                return;
            }
        } else if !self.has_room(cluster, FactKind::Export) {
            return;
        }
        let member = self.index.member_entry(cluster, &fact.service);
        let service = self.index.members[member].service;
        self.hold(service, cluster);
        let known = &mut self.index.members[member].export;
        let wished = known.as_mut().and_then(|export| export.wished.take());
        if known.is_none() {
            self.index.clusters[cluster].exports += 1;
        }
        let (created, consumers) = (fact.created, fact.consumers);
        *known = Some(Box::new(ExportWord { stamp, created, consumers, wished }));
        self.changes.scope(service);
    }

    fn drop_export(&mut self, cluster: Id<Cluster>, key: &ServiceKey) {
        let Some(member) = self.index.member(cluster, key) else { return };
        let service = self.index.members[member].service;
        self.hold(service, cluster);
        if self.index.members[member].export.take().is_some() {
            self.index.clusters[cluster].exports -= 1;
            self.changes.scope(service);
        }
        self.index.drop_if_empty(member, &mut self.changes);
    }

    fn put_gateway(&mut self, cluster: Id<Cluster>, stamp: Stamp, fact: GatewayFact) {
        let own = &mut self.index.clusters[cluster];
        if let Some((said, known)) = own.gateways.get_mut(&fact.key) {
            *said = stamp;
            if *known != fact {
                *known = fact;
                self.changes.gateways = true;
            }
        } else if self.has_room(cluster, FactKind::Gateway) {
            let own = &mut self.index.clusters[cluster];
            own.gateways.insert(fact.key.clone(), (stamp, fact));
            self.changes.gateways = true;
        }
    }

    fn put_namespace(&mut self, cluster: Id<Cluster>, stamp: Stamp, fact: &NamespaceFact) {
        let known = self.index.clusters[cluster].namespaces.contains_key(&fact.name);
        if known || self.has_room(cluster, FactKind::Namespace) {
            self.rename_network(cluster, |own| {
                own.namespaces.insert(fact.name.clone(), (stamp, fact.network.clone()));
            });
        }
    }

    /// Whatever may give the cluster's own network another name. If it does, every endpoint of the
    /// cluster is looked at.
    pub(crate) fn rename_network(
        &mut self,
        cluster: Id<Cluster>,
        change: impl FnOnce(&mut Cluster),
    ) {
        let own = &mut self.index.clusters[cluster];
        let before = own.network().clone();
        // Tried out, so that nothing is held for a change that is none.
        let namespaces = own.namespaces.clone();
        change(own);
        if *own.network() == before {
            return;
        }
        let changed = std::mem::replace(&mut own.namespaces, namespaces);
        self.changes.gateways = true;
        let members: Vec<_> = own.members.values().copied().collect();
        let places = self.index.places_of(cluster);
        self.rekey(cluster, &members, |federation| {
            federation.index.clusters[cluster].namespaces = changed;
            federation.index.relocate(&places);
            federation.index.relocate_said(cluster);
        });
    }

    fn put_node(&mut self, cluster: Id<Cluster>, stamp: Stamp, fact: &NodeFact) {
        let own = &mut self.index.clusters[cluster];
        if let Some((said, locality)) = own.nodes.get_mut(&fact.name) {
            if *locality == fact.locality {
                *said = stamp;
                return;
            }
        } else if !self.has_room(cluster, FactKind::Node) {
            return;
        }
        self.move_node(cluster, &fact.name, |own| {
            own.nodes.insert(fact.name.clone(), (stamp, fact.locality.clone()));
        });
    }

    /// Looks for endpoints on the node through all slices of the cluster: nodes seldom move.
    fn move_node(
        &mut self,
        cluster: Id<Cluster>,
        node: &NodeName,
        change: impl FnOnce(&mut Cluster),
    ) {
        let places = self.index.places_on(cluster, node);
        let members = self.members_at(cluster, &places);
        self.rekey(cluster, &members, |federation| {
            change(&mut federation.index.clusters[cluster]);
            federation.index.relocate(&places);
        });
    }

    fn members_at(&self, cluster: Id<Cluster>, places: &[Id<Place>]) -> Vec<Id<Member>> {
        if places.is_empty() {
            return Vec::new();
        }
        let index = &self.index;
        let members = index.clusters[cluster].members.values().copied();
        let on_node = |member: &Id<Member>| {
            let mut slices = index.members[*member].slices.iter();
            slices.any(|slice| {
                index.slices[*slice].endpoints.iter().any(|one| places.contains(&one.place))
            })
        };
        members.filter(on_node).collect()
    }

    /// Counts the members out, changes something, and counts them in again.
    pub(crate) fn rekey(
        &mut self,
        cluster: Id<Cluster>,
        members: &[Id<Member>],
        change: impl FnOnce(&mut Self),
    ) {
        for &member in members {
            self.hold(self.index.members[member].service, cluster);
            self.index.unfold(member, &mut self.changes);
        }
        change(self);
        for &member in members {
            self.index.fold(member, &mut self.changes);
        }
    }

    fn put_slice(&mut self, cluster: Id<Cluster>, stamp: Stamp, fact: &SliceFact) {
        let mut known = self.index.slice(cluster, &fact.service.namespace, &fact.name);
        if let Some(slice) = known {
            let member = &self.index.members[self.index.slices[slice].member];
            if self.index.services[member.service].key != fact.service {
                self.drop_slice(slice);
                known = None;
            }
        }
        if known.is_none() && !self.has_room(cluster, FactKind::Slice) {
            return;
        }
        let room = self.index.room_for(cluster, known);
        let own = &mut self.index.clusters[cluster];
        if fact.endpoints.len() > room && own.over.insert(FactKind::Slice) {
            let limit = limit::ENDPOINTS_PER_CLUSTER_MAX;
            let notice = quota(&own.settings.cluster, FactKind::Slice, limit);
            self.changes.notices.push(notice);
        }
        let content = self.index.compact(cluster, fact, known, room);
        let member = self.index.member_entry(cluster, &fact.service);
        let slice = match known {
            Some(slice) => slice,
            None => self.index.new_slice(member, fact),
        };
        self.index.replace(slice, stamp, Some(content), &mut self.changes);
        let own = &mut self.index.clusters[cluster];
        if own.endpoints < limit::ENDPOINTS_PER_CLUSTER_MAX {
            own.over.remove(&FactKind::Slice);
        }
    }

    fn drop_slice(&mut self, slice: Id<crate::index::Slice>) {
        self.index.replace(slice, Stamp::default(), None, &mut self.changes);
    }

    fn put_summary(&mut self, cluster: Id<Cluster>, stamp: Stamp, fact: &SummaryFact) {
        let known = self.index.member(cluster, &fact.service);
        let said = known.is_some_and(|member| self.index.members[member].summary.is_some());
        if !said && !self.has_room(cluster, FactKind::Summary) {
            return;
        }
        let groups = self.said_groups(cluster, fact);
        let member = self.index.member_entry(cluster, &fact.service);
        let service = self.index.members[member].service;
        if let Some(summary) = &mut self.index.members[member].summary
            && *summary.groups == *groups
        {
            summary.stamp = stamp;
            self.release_groups(&groups);
            return;
        }
        self.hold(service, cluster);
        self.index.unfold(member, &mut self.changes);
        let summary = SummaryWord { stamp, groups: groups.into() };
        match self.index.members[member].summary.replace(Box::new(summary)) {
            Some(old) => self.release_groups(&old.groups),
            None => self.index.clusters[cluster].summaries += 1,
        }
        self.index.fold(member, &mut self.changes);
    }

    fn drop_summary(&mut self, cluster: Id<Cluster>, key: &ServiceKey) {
        let Some(member) = self.index.member(cluster, key) else { return };
        if self.index.members[member].summary.is_none() {
            return;
        }
        self.rekey(cluster, &[member], |federation| {
            if let Some(old) = federation.index.members[member].summary.take() {
                federation.release_groups(&old.groups);
                federation.index.clusters[cluster].summaries -= 1;
            }
        });
        self.index.drop_if_empty(member, &mut self.changes);
    }

    fn said_groups(&mut self, cluster: Id<Cluster>, fact: &SummaryFact) -> Vec<SaidGroup> {
        let mut said: Vec<&SummaryGroup> = fact.groups.iter().collect();
        said.sort();
        if said.len() > limit::SUMMARY_GROUPS_MAX {
            said.truncate(limit::SUMMARY_GROUPS_MAX);
            let own = &mut self.index.clusters[cluster];
            if own.over.insert(FactKind::Summary) {
                let limit = limit::SUMMARY_GROUPS_MAX;
                let notice = quota(&own.settings.cluster, FactKind::Summary, limit);
                self.changes.notices.push(notice);
            }
        }
        let settings = self.index.clusters[cluster].settings.clone();
        let groups = said.into_iter().map(|group| {
            let (network, locality) = (group.network.clone(), group.locality.clone());
            let place = SaidPlace { cluster, network, locality };
            let identity = group.identity.as_ref();
            let class = Class {
                mtls: group.mtls,
                health: crate::fact::Health::Ready,
                identity: None,
                family: Family::Said,
                refusal: identity.and_then(|id| grant::refuse_identity(&settings, id)),
            };
            SaidGroup {
                port: group.port,
                place: self.index.acquire_said_place(&place),
                class: self.index.acquire_class(class, identity),
                count: group.count,
            }
        });
        groups.collect()
    }

    fn release_groups(&mut self, groups: &[SaidGroup]) {
        for group in groups {
            self.index.said_places.release(group.place);
            self.index.classes.release(group.class);
        }
    }

    /// Whether what it has of the service was refused as a whole and is not any more.
    fn regrant_member(&mut self, cluster: Id<Cluster>, id: Id<Member>) -> bool {
        let member = &self.index.members[id];
        let service = member.service;
        let key = &self.index.services[service].key;
        let now = grant::refuse_service(&self.index.clusters[cluster].settings, key);
        let (known, has_word) = (member.refusal, member.word.is_some());
        self.index.members[id].refusal = now;
        if known != now {
            self.changes.scope(service);
        }
        if has_word && known == now {
            let refused = usize::from(now.is_some());
            self.index.clusters[cluster].services_refused += refused;
        } else if has_word {
            self.count_refused(id);
        }
        known.is_some() && now.is_none()
    }

    /// After the cluster's settings changed, with its members counted out: looks at every claim
    /// anew.
    pub(crate) fn regrant(&mut self, cluster: Id<Cluster>) {
        let members: Vec<_> = self.index.clusters[cluster].members.values().copied().collect();
        self.index.clusters[cluster].services_refused = 0;
        for member in members {
            let opened = self.regrant_member(cluster, member);
            for slice in self.index.members[member].slices.clone() {
                self.index.regrant_slice(slice, opened, &mut self.changes);
            }
            let Some(mut summary) = self.index.members[member].summary.take() else { continue };
            for group in &mut summary.groups {
                group.class = self.index.regrant_class(cluster, group.class, None);
            }
            self.index.members[member].summary = Some(summary);
        }
    }
}
