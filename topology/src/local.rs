//! Endpoints of the audience's own network, as the audience sees them. They are not copied per
//! audience: what was and what is are both computed from the index when something changes.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::change::{Dirt, Piece, Side};
use crate::classify::{Case, Fate, classify};
use crate::fact::{Mtls, Workload};
use crate::index::{
    At, Class, Cluster, Endpoint, Index, Member, Ports, Row, Service, Targets, pack, unpack,
};
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
        has_v4: bool,
    ) -> Option<LocalEntry> {
        let at = self.at(endpoint.place);
        if Some(at.network) != who.network {
            return None;
        }
        let class = self.classes.get(endpoint.class);
        let case = Case { has_v4, ..self.case(who, member, at.network, class) };
        if classify(&case) != Fate::Kept {
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

    /// What the pieces of one side are to the audience, beside the rows of then.
    fn piece_entries(
        &self,
        who: &Who<'_>,
        ports: Id<Ports>,
        member: &Member,
        rows: &[Row],
        pieces: &[Piece],
        side: Side,
    ) -> LocalEntries {
        let spares = self.spares(who, ports, member, rows);
        let mut entries = Vec::new();
        for Piece { targets, endpoint, .. } in pieces.iter().filter(|piece| piece.side == side) {
            let at = self.at(endpoint.place);
            if Some(at.network) != who.network {
                continue;
            }
            for port in self.ports.get(ports).iter().map(|port| port.port) {
                let Some(target) = self.leads(member, *targets, port) else { continue };
                let has_v4 = spares.have(port, at, endpoint.class);
                let Some(entry) = self.local_entry(who, member, endpoint, has_v4) else { continue };
                let address = SocketAddr::new(unpack(endpoint.address), target.get());
                entries.push((LocalKey { port, address }, entry));
            }
        }
        entries.sort_unstable_by_key(|(key, _)| *key);
        entries
    }

    /// What differs for the audience after a change of endpoints: what the differing ones were, and
    /// are.
    pub(crate) fn sides(
        &self,
        who: &Who<'_>,
        ports: Id<Ports>,
        member: &Member,
        dirt: &Dirt,
        turned: &[[u8; 16]],
    ) -> [LocalEntries; 2] {
        let sides = [(Side::Was, dirt.rows_before(&member.rows)), (Side::Is, &member.rows)];
        sides.map(|(side, rows)| {
            let pieces = &dirt.pieces;
            let mut entries = self.piece_entries(who, ports, member, rows, pieces, side);
            if !turned.is_empty() {
                entries.extend(self.turned_entries(who, ports, member, rows, (turned, pieces)));
                entries.sort_unstable_by_key(|(key, _)| *key);
            }
            entries
        })
    }

    /// Of addresses that stayed as they are; those that a piece tells of are left out.
    fn turned_entries(
        &self,
        who: &Who<'_>,
        ports: Id<Ports>,
        member: &Member,
        rows: &[Row],
        (turned, pieces): (&[[u8; 16]], &[Piece]),
    ) -> LocalEntries {
        let mut entries = LocalEntries::new();
        for address in turned {
            let from = pieces.partition_point(|piece| piece.endpoint.address < *address);
            let own = pieces[from..].iter().take_while(|piece| piece.endpoint.address == *address);
            for port in self.ports.get(ports).iter().map(|port| port.port) {
                let told = |piece: &Piece| self.leads(member, piece.targets, port).is_some();
                if own.clone().any(told) {
                    continue;
                }
                let Some((target, endpoint)) = self.holder(member, *address, port) else {
                    continue;
                };
                let has_v4 = self.has_v4(member, rows, port, self.kind_of(endpoint));
                let address = SocketAddr::new(unpack(*address), target.get());
                let entry = self.local_entry(who, member, endpoint, has_v4);
                entries.extend(entry.map(|entry| (LocalKey { port, address }, entry)));
            }
        }
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
        let spares = self.spares(who, ports, member, &member.rows);
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
                let at = self.at(endpoint.place);
                let entry = self.local_entry(who, member, endpoint, false);
                for (port, target) in &targets {
                    let entry = match spares.have(*port, at, endpoint.class) {
                        true => self.local_entry(who, member, endpoint, true),
                        false => entry,
                    };
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
        let (target, endpoint) = self.holder(member, pack(key.address.ip()), key.port)?;
        if target.get() != key.address.port() {
            return None;
        }
        let has_v4 = self.has_v4(member, &member.rows, key.port, self.kind_of(endpoint));
        self.local_entry(who, member, endpoint, has_v4)
    }

    fn kind_of(&self, endpoint: &Endpoint) -> (At, &Class) {
        (self.at(endpoint.place), self.classes.get(endpoint.class))
    }

    /// Whose word counts on an address and port: the first slice's that has them.
    fn holder(&self, member: &Member, address: [u8; 16], port: Port) -> Option<(Port, &Endpoint)> {
        member.slices.iter().find_map(|slice| {
            let slice = &self.slices[*slice];
            let endpoint = slice.find(address)?;
            if self.classes.get(endpoint.class).refusal.is_some() {
                return None;
            }
            Some((self.leads(member, slice.targets, port)?, endpoint))
        })
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
