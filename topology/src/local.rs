//! Endpoints of the audience's own network, as the audience sees them. They are not copied per
//! audience: what was and what is are both computed from the index when something changes.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::change::{Piece, Side};
use crate::classify::{Fate, classify};
use crate::fact::{Mtls, Workload};
use crate::index::{Cluster, Endpoint, Index, Member, Ports, Service, Targets, pack, unpack};
use crate::intern::Id;
use crate::name::{Locality, Port};
use crate::priority::priority;
use crate::scope::{Scope, Who};
use crate::view::{PRIORITY_STALE, ViewEndpoint, WEIGHT_UNIT};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LocalKey {
    pub(crate) port: Port,
    pub(crate) address: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalEntry {
    pub(crate) cluster: Id<Cluster>,
    pub(crate) locality: Id<Locality>,
    pub(crate) priority: u8,
    pub(crate) mtls: Mtls,
    pub(crate) workload: Id<Arc<Workload>>,
}

/// Sorted by key, one each.
pub(crate) type LocalEntries = Vec<(LocalKey, LocalEntry)>;

impl Index {
    /// Which port of the endpoint a service port leads to, by the name both give it.
    pub(crate) fn leads(
        &self,
        member: &Member,
        targets: Id<Targets>,
        number: Port,
    ) -> Option<Port> {
        let word = member.word.as_ref()?;
        let port = self.port_named(word.ports, number)?;
        self.target(targets, &port.name)
    }

    pub(crate) fn priority(
        &self,
        who: &Who<'_>,
        cluster: Id<Cluster>,
        locality: Id<Locality>,
    ) -> u8 {
        if self.clusters[cluster].demoted {
            return PRIORITY_STALE;
        }
        priority(who.locality, self.localities.get(locality))
    }

    fn local_entry(
        &self,
        who: &Who<'_>,
        member: &Member,
        endpoint: &Endpoint,
    ) -> Option<LocalEntry> {
        let at = self.at(endpoint.place);
        if Some(at.network) != who.network {
            return None;
        }
        let class = self.classes.get(endpoint.class);
        if classify(&self.case(who, member, at.network, class)) != Fate::Kept {
            return None;
        }
        Some(LocalEntry {
            cluster: member.cluster,
            locality: at.locality,
            priority: self.priority(who, member.cluster, at.locality),
            mtls: class.mtls,
            workload: endpoint.workload,
        })
    }

    /// What the pieces of one side are to the audience.
    pub(crate) fn piece_entries(
        &self,
        who: &Who<'_>,
        ports: Id<Ports>,
        member: &Member,
        pieces: &[Piece],
        side: Side,
    ) -> LocalEntries {
        let mut entries = Vec::new();
        for piece in pieces.iter().filter(|piece| piece.side == side) {
            let Some(entry) = self.local_entry(who, member, &piece.endpoint) else { continue };
            for port in self.ports.get(ports).iter() {
                if let Some(target) = self.leads(member, piece.targets, port.port) {
                    let ip = unpack(piece.endpoint.address);
                    let address = SocketAddr::new(ip, target.get());
                    entries.push((LocalKey { port: port.port, address }, entry));
                }
            }
        }
        entries.sort_unstable_by_key(|(key, _)| *key);
        entries
    }

    /// What one cluster has for the audience, whatever others have.
    pub(crate) fn member_entries(
        &self,
        who: &Who<'_>,
        ports: Id<Ports>,
        member: &Member,
    ) -> LocalEntries {
        if !member.rows.iter().any(|row| Some(row.at.network) == who.network) {
            return LocalEntries::new();
        }
        let mut entries: Vec<(LocalKey, Option<LocalEntry>)> = Vec::new();
        for slice in &member.slices {
            let slice = &self.slices[*slice];
            let targets = self.ports.get(ports).iter().filter_map(|port| {
                Some((port.port, self.leads(member, slice.targets, port.port)?))
            });
            let targets: Vec<_> = targets.collect();
            for endpoint in &slice.endpoints {
                if self.classes.get(endpoint.class).refusal.is_some() {
                    continue;
                }
                let entry = self.local_entry(who, member, endpoint);
                for (port, target) in &targets {
                    let address = SocketAddr::new(unpack(endpoint.address), target.get());
                    entries.push((LocalKey { port: *port, address }, entry));
                }
            }
        }
        // Stable: of equal addresses the first slice's stays, even if its word is "not ready".
        if member.slices.len() > 1 {
            entries.sort_by_key(|(key, _)| (key.port, key.address.ip()));
            entries.dedup_by_key(|(key, _)| (key.port, key.address.ip()));
        }
        let kept = entries.into_iter().filter_map(|(key, entry)| Some((key, entry?)));
        let mut kept: LocalEntries = kept.collect();
        kept.sort_unstable_by_key(|(key, _)| *key);
        kept
    }

    /// What the cluster had before the pieces.
    pub(crate) fn entries_before(
        &self,
        who: &Who<'_>,
        ports: Id<Ports>,
        member: &Member,
        pieces: &[Piece],
    ) -> LocalEntries {
        let mut entries = self.member_entries(who, ports, member);
        if !pieces.is_empty() {
            let new = self.piece_entries(who, ports, member, pieces, Side::Is);
            entries.retain(|(key, _)| new.binary_search_by_key(key, |(key, _)| *key).is_err());
            entries.extend(self.piece_entries(who, ports, member, pieces, Side::Was));
            entries.sort_unstable_by_key(|(key, _)| *key);
        }
        entries
    }

    /// What all clusters of the scope have for the audience, except one.
    pub(crate) fn entries(
        &self,
        who: &Who<'_>,
        service: Id<Service>,
        scope: &Scope,
        except: Option<Id<Cluster>>,
    ) -> LocalEntries {
        let mut entries = Vec::new();
        for (cluster, member) in &self.services[service].members {
            if Some(*cluster) != except && scope.clusters.binary_search(cluster).is_ok() {
                let member = &self.members[*member];
                entries.extend(self.member_entries(who, scope.ports, member));
            }
        }
        self.first_of_each(who, &mut entries);
        entries
    }

    /// One address and port is one endpoint, whoever else claims it: the audience's own cluster
    /// goes first, then the cluster's name decides.
    pub(crate) fn first_of_each(&self, who: &Who<'_>, entries: &mut LocalEntries) {
        entries.sort_by(|(a, one), (b, other)| {
            let rank = |entry: &LocalEntry| self.rank(who, entry.cluster);
            a.cmp(b).then_with(|| rank(one).cmp(&rank(other)))
        });
        entries.dedup_by_key(|(key, _)| *key);
    }

    fn rank(&self, who: &Who<'_>, cluster: Id<Cluster>) -> (bool, &crate::name::ClusterId) {
        (Some(cluster) != who.cluster, self.cluster_name(cluster))
    }

    /// What the audience sees at a key, given what one cluster has there.
    pub(crate) fn settle_key(
        &self,
        who: &Who<'_>,
        service: Id<Service>,
        scope: &Scope,
        key: &LocalKey,
        own: (Id<Cluster>, Option<LocalEntry>),
    ) -> Option<LocalEntry> {
        let (own_cluster, mut best) = own;
        for (cluster, member) in &self.services[service].members {
            if *cluster == own_cluster || scope.clusters.binary_search(cluster).is_err() {
                continue;
            }
            let member = &self.members[*member];
            if !member.rows.iter().any(|row| Some(row.at.network) == who.network) {
                continue;
            }
            let Some(entry) = self.entry_at(who, member, key) else { continue };
            let better =
                |known: &LocalEntry| self.rank(who, entry.cluster) < self.rank(who, known.cluster);
            if best.as_ref().is_none_or(better) {
                best = Some(entry);
            }
        }
        best
    }

    fn entry_at(&self, who: &Who<'_>, member: &Member, key: &LocalKey) -> Option<LocalEntry> {
        let address = pack(key.address.ip());
        let holder = member.slices.iter().find_map(|slice| {
            let slice = &self.slices[*slice];
            let endpoint = slice.find(address)?;
            if self.classes.get(endpoint.class).refusal.is_some() {
                return None;
            }
            Some((self.leads(member, slice.targets, key.port)?, endpoint))
        });
        let (target, endpoint) = holder?;
        if target.get() != key.address.port() {
            return None;
        }
        self.local_entry(who, member, endpoint)
    }

    /// Whether any other cluster has one of the addresses for this service, on any network.
    pub(crate) fn contested(
        &self,
        service: Id<Service>,
        own: Id<Cluster>,
        pieces: &[Piece],
    ) -> bool {
        let known = &self.services[service];
        let others = known.members.iter().zip(&known.sketches);
        others.filter(|((cluster, _), _)| *cluster != own).any(|((_, member), sketch)| {
            pieces.iter().any(|piece| {
                let address = piece.endpoint.address;
                sketch.may_have(address)
                    && self.members[*member]
                        .slices
                        .iter()
                        .any(|slice| self.slices[*slice].find(address).is_some())
            })
        })
    }

    pub(crate) fn view_endpoint(&self, entry: &LocalEntry) -> Arc<ViewEndpoint> {
        Arc::new(ViewEndpoint {
            cluster: self.cluster_name(entry.cluster).clone(),
            locality: self.localities.get(entry.locality).clone(),
            priority: entry.priority,
            mtls: entry.mtls,
            workload: Arc::clone(self.workloads.get(entry.workload)),
            weight: WEIGHT_UNIT,
        })
    }
}
