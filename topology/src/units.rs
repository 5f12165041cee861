//! What lies behind other networks, and who shows which identity: rows, folded.

use std::collections::BTreeSet;

use diolkos_trust::SpiffeId;

use crate::audience::{ClientKind, IpFamilies};
use crate::classify::{Case, Fate, Reach, classify};
use crate::gateway::GatewayAt;
use crate::index::{At, Class, Cluster, Family, Index, Member, Service, Targets};
use crate::intern::Id;
use crate::name::{Locality, NetworkId, Port};
use crate::scope::{Scope, Who};
use crate::spread::{GatewayShare, Group, spread};

/// Endpoints of one cluster and locality that gateways may stand for. The same for all audiences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) cluster: Id<Cluster>,
    pub(crate) locality: Id<Locality>,
    pub(crate) count: u64,
}

/// A locality that is compared by its name and remembered by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ranked<'i> {
    name: &'i Locality,
    pub(crate) id: Id<Locality>,
}

impl Ord for Ranked<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(other.name)
    }
}

impl PartialOrd for Ranked<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A dual-stack pod is one endpoint with two addresses: the greater of both counts, per identity.
#[derive(Debug)]
struct Tally {
    locality: Id<Locality>,
    identity: Option<Id<SpiffeId>>,
    v4: u64,
    v6: u64,
    said: u64,
}

impl Tally {
    fn count(&self) -> u64 {
        self.v4.max(self.v6) + self.said
    }
}

impl Index {
    /// What every cluster has of a service port on a network, as far as gateways can carry it.
    pub(crate) fn shares(
        &self,
        service: Id<Service>,
        port: Port,
        network: Id<NetworkId>,
    ) -> Vec<Share> {
        let mut shares = Vec::new();
        let mut tallies: Vec<Tally> = Vec::new();
        let known = &self.services[service];
        for ((cluster, member), sketch) in known.members.iter().zip(&known.sketches) {
            if !sketch.may_be_on(network) || self.refuse_network(*cluster, network).is_some() {
                continue;
            }
            let member = &self.members[*member];
            if self.routed(known, member).is_err() {
                continue;
            }
            tallies.clear();
            let mut ports: Option<(Id<Targets>, bool)> = None;
            for row in member.rows.iter().filter(|row| row.at.network == network) {
                let leads = match ports {
                    Some((targets, leads)) if targets == row.targets => leads,
                    _ => self.leads(member, row.targets, port).is_some(),
                };
                ports = Some((row.targets, leads));
                if leads {
                    self.tally_row(&mut tallies, row.at, row.class, row.count);
                }
            }
            for (at, class, count) in self.said(member, port) {
                if at.network == network {
                    self.tally_row(&mut tallies, at, class, count);
                }
            }
            let begin = shares.len();
            for tally in &tallies {
                let (locality, count) = (tally.locality, tally.count());
                let known =
                    shares[begin..].iter_mut().find(|s: &&mut Share| s.locality == locality);
                match known {
                    Some(share) => share.count += count,
                    None => shares.push(Share { cluster: *cluster, locality, count }),
                }
            }
        }
        shares
    }

    fn tally_row(&self, tallies: &mut Vec<Tally>, at: At, class: Id<Class>, count: u32) {
        let class = self.classes.get(class);
        if !carried(class) {
            return;
        }
        let (locality, identity) = (at.locality, class.identity);
        let place = tallies
            .iter()
            .position(|tally| tally.locality == locality && tally.identity == identity)
            .unwrap_or_else(|| {
                tallies.push(Tally { locality, identity, v4: 0, v6: 0, said: 0 });
                tallies.len() - 1
            });
        let tally = &mut tallies[place];
        let counter = match class.family {
            Family::V4 => &mut tally.v4,
            Family::V6 => &mut tally.v6,
            Family::Said => &mut tally.said,
        };
        *counter += u64::from(count);
    }

    /// What the member's summary says of a port its Service has.
    fn said(&self, member: &Member, port: Port) -> Vec<(At, Id<Class>, u32)> {
        let known = member.word.as_ref().and_then(|word| self.port_named(word.ports, port));
        let (Some(summary), Some(_)) = (&member.summary, known) else { return Vec::new() };
        let groups = summary.groups.iter().filter(|group| group.port == port);
        groups.map(|group| (self.said_at(group.place), group.class, group.count)).collect()
    }

    /// What the audience is told of a unit: a service port on one other network.
    pub(crate) fn unit<'i>(
        &'i self,
        who: &Who<'_>,
        scope: &Scope,
        network: Id<NetworkId>,
        shares: &[Share],
    ) -> Vec<GatewayShare<Id<GatewayAt>, Ranked<'i>>> {
        let mut groups: Vec<Group<'_, _, _>> = Vec::with_capacity(shares.len());
        for of_cluster in shares.chunk_by(|a, b| a.cluster == b.cluster) {
            let cluster = of_cluster[0].cluster;
            if scope.clusters.binary_search(&cluster).is_err() {
                continue;
            }
            let (_, gateways) = self.reach(who, network, cluster);
            groups.extend(of_cluster.iter().map(|share| Group {
                count: share.count,
                priority: self.priority(who, cluster, share.locality),
                locality: Ranked { name: self.localities.get(share.locality), id: share.locality },
                gateways,
            }));
        }
        spread(who.kind, &groups)
    }

    /// Every identity that an endpoint of the port shows this audience; sorted by number.
    pub(crate) fn identities(
        &self,
        who: &Who<'_>,
        service: Id<Service>,
        scope: &Scope,
        port: Port,
    ) -> Vec<Id<SpiffeId>> {
        let mut found = BTreeSet::new();
        for (cluster, member) in &self.services[service].members {
            if scope.clusters.binary_search(cluster).is_ok() {
                let member = &self.members[*member];
                self.each_shown(who, member, port, &mut |identity| {
                    found.insert(identity);
                    false
                });
            }
        }
        found.into_iter().collect()
    }

    /// Whether any endpoint of the port shows the audience this identity.
    pub(crate) fn shows(
        &self,
        who: &Who<'_>,
        service: Id<Service>,
        scope: &Scope,
        port: Port,
        identity: Id<SpiffeId>,
    ) -> bool {
        self.services[service].members.iter().any(|(cluster, member)| {
            scope.clusters.binary_search(cluster).is_ok()
                && self.each_shown(who, &self.members[*member], port, &mut |one| one == identity)
        })
    }

    /// Until `stop` says so; tells whether it did.
    fn each_shown(
        &self,
        who: &Who<'_>,
        member: &Member,
        port: Port,
        stop: &mut dyn FnMut(Id<SpiffeId>) -> bool,
    ) -> bool {
        let counted = member.rows.iter().filter(|row| {
            self.shows_identity(who, member, row.at, row.class)
                && self.leads(member, row.targets, port).is_some()
        });
        let mut counted = counted.map(|row| row.class);
        if counted.any(|class| self.classes.get(class).identity.is_some_and(&mut *stop)) {
            return true;
        }
        self.said(member, port).into_iter().any(|(at, class, count)| {
            count > 0
                && self.shows_identity(who, member, at, class)
                && self.classes.get(class).identity.is_some_and(&mut *stop)
        })
    }

    fn shows_identity(&self, who: &Who<'_>, member: &Member, at: At, class: Id<Class>) -> bool {
        let class = self.classes.get(class);
        Self::shown_by(class)
            && class.identity.is_some()
            && match classify(&self.case(who, member, at.network, class)) {
                Fate::Kept | Fate::Replaced => true,
                Fate::Dropped(_) => false,
            }
    }
}

/// Whether a gateway would carry it for someone who may know it and can use one.
pub(crate) fn carried(class: &Class) -> bool {
    let case = Case {
        kind: ClientKind::Sidecar,
        families: IpFamilies::Both,
        visible: Ok(()),
        port_known: true,
        here: false,
        mtls: class.mtls,
        health: class.health,
        identified: class.identity.is_some(),
        family: class.family,
        refusal: class.refusal,
        has_v4: false,
        reach: Reach::Gateways,
    };
    classify(&case) == Fate::Replaced
}
