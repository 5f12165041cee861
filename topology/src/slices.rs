//! EndpointSlices, compact, and which of their endpoints changed.
//!
//! An address that several slices of one service and cluster have for the same port counts once:
//! for the first of them by name. Refused endpoints do not count at all.

use std::net::IpAddr;

use crate::change::{Changes, Piece, Side};
use crate::fact::{EndpointFact, FactKind, SliceFact};
use crate::grant;
use crate::index::{
    Class, Cluster, Endpoint, Family, Index, Member, Place, Slice, Targets, pack, unpack,
};
use crate::intern::Id;
use crate::limit;
use crate::name::{ClusterId, Stamp};
use crate::notice::Notice;

/// A slice's content before it has a place.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) targets: Id<Targets>,
    pub(crate) endpoints: Box<[Endpoint]>,
    pub(crate) pods: Box<str>,
}

#[derive(Clone, Copy, Debug)]
struct Tally {
    all: usize,
    refused: usize,
}

impl Index {
    /// Sorted by address; the first of equal addresses stays, and no more than `room` in all.
    pub(crate) fn compact(
        &mut self,
        cluster: Id<Cluster>,
        fact: &SliceFact,
        old: Option<Id<Slice>>,
        room: usize,
    ) -> Content {
        let mut order: Vec<&EndpointFact> = fact.endpoints.iter().collect();
        let key = |endpoint: &&EndpointFact| pack(endpoint.address);
        if !order.is_sorted_by_key(key) {
            order.sort_by_key(key);
        }
        order.dedup_by_key(|endpoint| pack(endpoint.address));
        order.truncate(room);
        let mut endpoints = Vec::with_capacity(order.len());
        let pods_len = order.iter().filter_map(|one| Some(one.pod.as_ref()?.as_str().len())).sum();
        let mut pods = String::with_capacity(pods_len);
        let mut before: Option<(&EndpointFact, Endpoint)> = None;
        for endpoint in order {
            if let Some(pod) = &endpoint.pod {
                pods.push_str(pod.as_str());
            }
            let pod_end = u32::try_from(pods.len()).expect("names of 50,000 pods fit");
            let known = old.and_then(|old| self.slices[old].find(pack(endpoint.address)).copied());
            let compact = match known.filter(|known| self.says(known, endpoint)) {
                Some(known) => self.retain(Endpoint { pod_end, ..known }),
                None => self.compact_one(cluster, endpoint, before, pod_end),
            };
            endpoints.push(compact);
            before = Some((endpoint, compact));
        }
        let mut targets: Vec<_> = fact.ports.clone();
        targets.sort();
        targets.dedup_by(|later, first| later.0 == first.0);
        let targets = self.targets.acquire(&Targets::from(targets)).0;
        Content { targets, endpoints: endpoints.into(), pods: pods.into() }
    }

    /// Whether the endpoint, of the same address and cluster, is as said. Cheaper than finding the
    /// numbers again; and the grants are the same, as a change of grants visits every endpoint.
    fn says(&self, known: &Endpoint, fact: &EndpointFact) -> bool {
        let class = self.classes.get(known.class);
        let place = self.places.get(known.place);
        (class.health, class.mtls) == (fact.health, fact.mtls)
            && class.identity.map(|id| self.identities.get(id)) == fact.identity.as_ref()
            && place.node == fact.node
            && place.zone == fact.zone
            && place.network == fact.network
            && *self.workloads.get(known.workload) == fact.workload
    }

    fn retain(&mut self, endpoint: Endpoint) -> Endpoint {
        self.classes.retain(endpoint.class);
        self.places.retain(endpoint.place);
        self.workloads.retain(endpoint.workload);
        endpoint
    }

    /// Neighbours in a slice are mostly alike: what equals the one before needs no look-up.
    fn compact_one(
        &mut self,
        cluster: Id<Cluster>,
        fact: &EndpointFact,
        before: Option<(&EndpointFact, Endpoint)>,
        pod_end: u32,
    ) -> Endpoint {
        let refusal = self.refuse(cluster, fact);
        let class = match before {
            Some((other, known))
                if (other.health, other.mtls) == (fact.health, fact.mtls)
                    && other.address.is_ipv4() == fact.address.is_ipv4()
                    && self.classes.get(known.class).refusal == refusal
                    && other.identity == fact.identity =>
            {
                self.classes.retain(known.class);
                known.class
            }
            _ => {
                let family = if fact.address.is_ipv4() { Family::V4 } else { Family::V6 };
                let (mtls, health) = (fact.mtls, fact.health);
                let class = Class { mtls, health, identity: None, family, refusal };
                self.acquire_class(class, fact.identity.as_ref())
            }
        };
        let place = match before {
            Some((other, known))
                if other.node == fact.node
                    && other.zone == fact.zone
                    && other.network == fact.network =>
            {
                self.places.retain(known.place);
                known.place
            }
            _ => self.acquire_place(&Place {
                cluster,
                node: fact.node.clone(),
                zone: fact.zone.clone(),
                network: fact.network.clone(),
            }),
        };
        let workload = match before {
            Some((other, known)) if other.workload == fact.workload => {
                self.workloads.retain(known.workload);
                known.workload
            }
            _ => self.workloads.acquire(&fact.workload).0,
        };
        Endpoint { address: pack(fact.address), class, place, workload, pod_end }
    }

    fn refuse(&self, cluster: Id<Cluster>, fact: &EndpointFact) -> Option<grant::Refusal> {
        let settings = &self.clusters[cluster].settings;
        let identity = || {
            fact.identity.as_ref().and_then(|identity| grant::refuse_identity(settings, identity))
        };
        grant::refuse_address(settings, fact.address).or_else(identity)
    }

    pub(crate) fn release_content(&mut self, targets: Id<Targets>, endpoints: &[Endpoint]) {
        self.targets.release(targets);
        for endpoint in endpoints {
            self.classes.release(endpoint.class);
            self.places.release(endpoint.place);
            self.workloads.release(endpoint.workload);
        }
    }

    /// Gives the slice its content, or takes slice and content away, and counts what changed.
    pub(crate) fn replace(
        &mut self,
        id: Id<Slice>,
        stamp: Stamp,
        content: Option<Content>,
        changes: &mut Changes,
    ) {
        let removes = content.is_none();
        let member = self.slices[id].member;
        let old_targets = self.slices[id].targets;
        let new = content.unwrap_or_else(|| Content {
            targets: old_targets,
            endpoints: Box::default(),
            pods: Box::default(),
        });
        changes.work.slices_diffed += 1;
        let differing = differences(&self.slices[id], &new);
        changes.work.endpoints_diffed += differing.len() as u64;
        let pieces = self.pieces(id, &new, &differing);
        let then = self.tally(&self.slices[id].endpoints);
        let now = self.tally(&new.endpoints);
        self.report_refused(id, &new, &mut changes.notices);

        let slice = &mut self.slices[id];
        slice.stamp = stamp;
        slice.targets = new.targets;
        slice.pods = new.pods;
        let old = std::mem::replace(&mut slice.endpoints, new.endpoints);
        let cluster_id = self.members[member].cluster;
        let cluster = &mut self.clusters[cluster_id];
        cluster.endpoints = cluster.endpoints + now.all - then.all;
        cluster.endpoints_refused = cluster.endpoints_refused + now.refused - then.refused;

        for piece in &pieces {
            match piece.side {
                Side::Was => self.count_out(member, piece.targets, &piece.endpoint, changes),
                Side::Is => self.count_in(member, piece.targets, &piece.endpoint, changes),
            }
        }
        for piece in &pieces {
            self.targets.release(piece.targets);
        }
        if !differing.is_empty() {
            self.draw(member);
        }
        if !pieces.is_empty() {
            let dirt = changes.dirt(self.members[member].service);
            dirt.cluster = Some(cluster_id);
            dirt.pieces.extend(pieces);
        }
        if removes {
            self.targets.retain(old_targets);
            self.forget_slice(id, changes);
        }
        self.release_content(old_targets, &old);
    }

    /// An empty slice leaves the tables.
    fn forget_slice(&mut self, id: Id<Slice>, changes: &mut Changes) {
        self.unlist_slice(id);
        let slice = self.slices.remove(id);
        debug_assert!(slice.endpoints.is_empty(), "its endpoints were counted out");
        self.targets.release(slice.targets);
        let member = &mut self.members[slice.member];
        member.slices.retain(|other| *other != id);
        self.drop_if_empty(slice.member, changes);
    }

    /// Makes an empty slice of the service.
    pub(crate) fn new_slice(&mut self, member: Id<Member>, fact: &SliceFact) -> Id<Slice> {
        let id = self.slices.insert(Slice {
            name: fact.name.clone(),
            member,
            stamp: Stamp::default(),
            targets: self.targets.acquire(&Targets::from([])).0,
            endpoints: Box::default(),
            pods: Box::default(),
        });
        let slices = &self.members[member].slices;
        let place = slices.partition_point(|other| self.slices[*other].name < fact.name);
        let slices = &mut self.members[member].slices;
        if slices.len() == slices.capacity() {
            slices.reserve_exact((slices.len() / 8).max(1));
        }
        slices.insert(place, id);
        self.list_slice(id);
        id
    }

    /// What the member had and will have at the differing addresses, as far as that is not the
    /// same. Each piece owns one use of its targets.
    fn pieces(
        &mut self,
        id: Id<Slice>,
        new: &Content,
        differing: &[(Option<Endpoint>, Option<Endpoint>)],
    ) -> Vec<Piece> {
        let member = self.slices[id].member;
        let shared = self.shared(id, differing);
        let mut pieces = Vec::with_capacity(2 * differing.len());
        for (was, is) in differing {
            let Some(address) = was.or(*is).map(|endpoint| endpoint.address) else { continue };
            let (was, is) = if shared.binary_search(&address).is_ok() {
                let was = self.effective(member, address, None);
                (was, self.effective(member, address, Some((id, new.targets, *is))))
            } else {
                let old_targets = self.slices[id].targets;
                (self.alone(old_targets, *was), self.alone(new.targets, *is))
            };
            for (side, all) in [(Side::Was, was), (Side::Is, is)] {
                for (targets, endpoint) in all {
                    pieces.push(Piece { side, targets, endpoint });
                }
            }
        }
        pieces
    }

    fn alone(
        &mut self,
        targets: Id<Targets>,
        endpoint: Option<Endpoint>,
    ) -> Vec<(Id<Targets>, Endpoint)> {
        let Some(endpoint) = endpoint.filter(|one| !self.is_refused(one)) else {
            return Vec::new();
        };
        if self.targets.get(targets).is_empty() {
            return Vec::new();
        }
        self.targets.retain(targets);
        vec![(targets, endpoint)]
    }

    fn is_refused(&self, endpoint: &Endpoint) -> bool {
        self.classes.get(endpoint.class).refusal.is_some()
    }

    /// Which of the addresses other slices of the member have too; sorted.
    fn shared(
        &self,
        id: Id<Slice>,
        differing: &[(Option<Endpoint>, Option<Endpoint>)],
    ) -> Vec<[u8; 16]> {
        let siblings = &self.members[self.slices[id].member].slices;
        if siblings.len() < 2 {
            return Vec::new();
        }
        let addresses: Vec<_> = differing
            .iter()
            .filter_map(|(was, is)| was.or(*is).map(|endpoint| endpoint.address))
            .collect();
        let mut shared = Vec::new();
        for sibling in siblings.iter().filter(|sibling| **sibling != id) {
            let sibling = &self.slices[*sibling];
            if addresses.len() * 8 < sibling.endpoints.len() {
                shared.extend(addresses.iter().filter(|one| sibling.find(**one).is_some()));
            } else {
                intersect(&addresses, &sibling.endpoints, &mut shared);
            }
        }
        shared.sort_unstable();
        shared.dedup();
        shared
    }

    /// What the member has at an address, ports and all, with one slice's word replaced. Each
    /// entry owns one use of its targets.
    pub(crate) fn effective(
        &mut self,
        member: Id<Member>,
        address: [u8; 16],
        replaced: Option<(Id<Slice>, Id<Targets>, Option<Endpoint>)>,
    ) -> Vec<(Id<Targets>, Endpoint)> {
        let mut words = Vec::new();
        for &slice in &self.members[member].slices {
            let word = match replaced {
                Some((id, targets, endpoint)) if id == slice => endpoint.map(|one| (targets, one)),
                _ => {
                    let slice = &self.slices[slice];
                    slice.find(address).map(|one| (slice.targets, *one))
                }
            };
            words.extend(word.filter(|(_, endpoint)| !self.is_refused(endpoint)));
        }
        let mut taken: Vec<crate::name::PortName> = Vec::new();
        let mut all = Vec::with_capacity(words.len());
        for (targets, endpoint) in words {
            let ports = self.targets.get(targets).clone();
            let left: Vec<_> =
                ports.iter().filter(|(name, _)| !taken.contains(name)).cloned().collect();
            if left.is_empty() {
                continue;
            }
            taken.extend(left.iter().map(|(name, _)| name.clone()));
            let id = if left.len() == ports.len() {
                self.targets.retain(targets);
                targets
            } else {
                self.targets.acquire(&Targets::from(left)).0
            };
            all.push((id, endpoint));
        }
        all
    }

    fn tally(&self, endpoints: &[Endpoint]) -> Tally {
        let refused =
            endpoints.iter().filter(|endpoint| self.classes.get(endpoint.class).refusal.is_some());
        Tally { all: endpoints.len(), refused: refused.count() }
    }

    fn report_refused(&self, id: Id<Slice>, new: &Content, notices: &mut Vec<Notice>) {
        let slice = &self.slices[id];
        if self.members[slice.member].refusal.is_some() {
            return;
        }
        for endpoint in &new.endpoints {
            let Some(why) = self.classes.get(endpoint.class).refusal else { continue };
            let before = slice.find(endpoint.address);
            if before.is_some_and(|one| self.classes.get(one.class).refusal == Some(why)) {
                continue;
            }
            let member = &self.members[slice.member];
            notices.push(self.endpoint_refused(member, unpack(endpoint.address), why));
        }
    }

    /// Looks at the grants of every endpoint anew; its member must be counted out. `opened`: until
    /// now its service was refused as a whole, so nothing of its endpoints was told.
    pub(crate) fn regrant_slice(&mut self, id: Id<Slice>, opened: bool, changes: &mut Changes) {
        let mut endpoints = std::mem::take(&mut self.slices[id].endpoints);
        let member = self.slices[id].member;
        let cluster = self.members[member].cluster;
        let told = self.members[member].refusal.is_none();
        self.clusters[cluster].endpoints_refused -= self.tally(&endpoints).refused;
        for endpoint in &mut endpoints {
            let before = self.classes.get(endpoint.class).refusal;
            let address = unpack(endpoint.address);
            endpoint.class = self.regrant_class(cluster, endpoint.class, Some(address));
            if let Some(why) = self.classes.get(endpoint.class).refusal
                && (before != Some(why) || opened)
                && told
            {
                let notice = self.endpoint_refused(&self.members[member], address, why);
                changes.notices.push(notice);
            }
        }
        self.clusters[cluster].endpoints_refused += self.tally(&endpoints).refused;
        self.slices[id].endpoints = endpoints;
    }

    /// Trades one use of a class for one of the same class as it is granted now.
    pub(crate) fn regrant_class(
        &mut self,
        cluster: Id<Cluster>,
        id: Id<Class>,
        address: Option<IpAddr>,
    ) -> Id<Class> {
        let class = *self.classes.get(id);
        let identity = class.identity.map(|identity| self.identities.get(identity).clone());
        let settings = &self.clusters[cluster].settings;
        let by_address = address.and_then(|address| grant::refuse_address(settings, address));
        let by_identity =
            || identity.as_ref().and_then(|one| grant::refuse_identity(settings, one));
        let refusal = by_address.or_else(by_identity);
        let now = self.acquire_class(Class { refusal, ..class }, identity.as_ref());
        self.classes.release(id);
        now
    }

    pub(crate) fn endpoint_refused(
        &self,
        member: &Member,
        address: IpAddr,
        why: grant::Refusal,
    ) -> Notice {
        Notice::EndpointRefused {
            cluster: self.cluster_name(member.cluster).clone(),
            service: self.services[member.service].key.clone(),
            address,
            why: why.to_string(),
        }
    }

    /// How many endpoints the cluster may still have, the slice's own given back.
    pub(crate) fn room_for(&self, cluster: Id<Cluster>, slice: Option<Id<Slice>>) -> usize {
        let own = slice.map_or(0, |slice| self.slices[slice].endpoints.len());
        limit::ENDPOINTS_PER_CLUSTER_MAX + own - self.clusters[cluster].endpoints
    }
}

pub(crate) fn quota(cluster: &ClusterId, kind: FactKind, limit: usize) -> Notice {
    Notice::Quota { cluster: cluster.clone(), kind, limit }
}

/// Both sorted by address; every address whose endpoint is not the same in both. Other ports make
/// all of them differ.
fn differences(old: &Slice, new: &Content) -> Vec<(Option<Endpoint>, Option<Endpoint>)> {
    let same_ports = old.targets == new.targets;
    let mut differing = Vec::new();
    let mut was = old.endpoints.iter().peekable();
    let mut is = new.endpoints.iter().peekable();
    loop {
        let pair = match (was.peek(), is.peek()) {
            (None, None) => return differing,
            (Some(a), Some(b)) if a.address == b.address => (was.next(), is.next()),
            (Some(a), Some(b)) if a.address < b.address => (was.next(), None),
            (Some(_), None) => (was.next(), None),
            (_, Some(_)) => (None, is.next()),
        };
        let same = match pair {
            (Some(a), Some(b)) => {
                same_ports && (a.class, a.place, a.workload) == (b.class, b.place, b.workload)
            }
            _ => false,
        };
        if !same {
            differing.push((pair.0.copied(), pair.1.copied()));
        }
    }
}

fn intersect(addresses: &[[u8; 16]], endpoints: &[Endpoint], shared: &mut Vec<[u8; 16]>) {
    let (Some(first), Some(last)) = (addresses.first(), addresses.last()) else { return };
    let apart = endpoints.first().is_none_or(|one| one.address > *last)
        || endpoints.last().is_none_or(|one| one.address < *first);
    if apart {
        return;
    }
    let mut others = endpoints.iter().map(|endpoint| endpoint.address).peekable();
    for address in addresses {
        while others.next_if(|other| other < address).is_some() {}
        if others.peek() == Some(address) {
            shared.push(*address);
        }
    }
}
