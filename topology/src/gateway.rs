//! Which gateways lead to which network.
//!
//! The table is built anew whenever a gateway or a grant changes: gateways are few. A group is
//! carried by the gateways its own cluster has on that network; if it has none, by the first
//! `GATEWAYS_PER_GROUP_MAX` of all, by cluster name and address. One address leads to one network
//! (the smallest name that claims it), and belongs to the first cluster that says so.
//!
//! A cluster may have ways out of a network. Its sidecars there are sent to those, and not to the
//! gateways of a network, wherever that network has gateways that end tunnels and believe the
//! cluster's certificates: those of its trust domain.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use diolkos_trust::TrustDomain;

use crate::audience::{ClientKind, IpFamilies};
use crate::classify::Reach;
use crate::fact::{FactKind, GatewayFact};
use crate::grant::{self, Refusal};
use crate::index::{Cluster, Index};
use crate::intern::{Id, Interner};
use crate::limit::GATEWAYS_PER_GROUP_MAX;
use crate::name::{ClusterId, NetworkId, Port};
use crate::notice::Notice;
use crate::scope::Who;
use crate::status::{GatewayStatus, NetworkStatus};

/// An address by which a network is entered. The way out of another network has a number for each
/// network that it leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GatewayAt {
    pub(crate) network: NetworkId,
    pub(crate) cluster: ClusterId,
    pub(crate) address: SocketAddr,
}

#[derive(Debug, Default)]
pub(crate) struct Gateways {
    networks: BTreeMap<Id<NetworkId>, NetworkGateways>,
    at: Interner<GatewayAt>,
    /// By the gateway's number.
    leads: Vec<Option<Leads>>,
    /// One use each, of those in `networks`.
    held: Vec<Id<GatewayAt>>,
    /// The same, of the networks that somebody has a way out of.
    left: Vec<Id<NetworkId>>,
    noticed: BTreeSet<Notice>,
}

#[derive(Clone, Copy, Debug)]
struct Leads {
    to: Id<NetworkId>,
    /// It is a way out, which other numbers may share its address with.
    out: bool,
}

/// Any of them may be empty: a network may have gateways of a kind no sidecar can use.
#[derive(Debug, Default, PartialEq, Eq)]
struct NetworkGateways {
    /// By SNI.
    sni: Ways,
    /// Where tunnels end, by the trust domain whose certificates are believed there.
    tunnels: BTreeMap<TrustDomain, Ways>,
    /// How sidecars of a cluster get here from a network that it has a way out of.
    exits: BTreeMap<(Id<NetworkId>, Id<Cluster>), ByFamily>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Ways {
    of_cluster: BTreeMap<Id<Cluster>, ByFamily>,
    all: ByFamily,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct ByFamily {
    both: Vec<Id<GatewayAt>>,
    v4: Vec<Id<GatewayAt>>,
    v6: Vec<Id<GatewayAt>>,
}

impl ByFamily {
    fn of(&self, families: IpFamilies) -> &[Id<GatewayAt>] {
        match families {
            IpFamilies::Both => &self.both,
            IpFamilies::V4 => &self.v4,
            IpFamilies::V6 => &self.v6,
        }
    }

    fn add(&mut self, id: Id<GatewayAt>, address: SocketAddr) {
        let own = if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        for list in [&mut self.both, own] {
            if list.len() < GATEWAYS_PER_GROUP_MAX && !list.contains(&id) {
                list.push(id);
            }
        }
    }
}

impl Ways {
    fn add(&mut self, id: Id<GatewayAt>, address: SocketAddr, clusters: &[Id<Cluster>]) {
        self.all.add(id, address);
        for cluster in clusters {
            self.of_cluster.entry(*cluster).or_default().add(id, address);
        }
    }

    /// For what a cluster has.
    fn of(&self, families: IpFamilies, cluster: Id<Cluster>) -> &[Id<GatewayAt>] {
        let own = self.of_cluster.get(&cluster).map_or(&[][..], |own| own.of(families));
        if own.is_empty() { self.all.of(families) } else { own }
    }
}

impl Gateways {
    pub(crate) fn network_of(&self, id: Id<GatewayAt>) -> Option<Id<NetworkId>> {
        self.leads.get(id.index()).copied().flatten().map(|leads| leads.to)
    }

    pub(crate) fn is_way_out(&self, id: Id<GatewayAt>) -> bool {
        self.leads.get(id.index()).copied().flatten().is_some_and(|leads| leads.out)
    }

    pub(crate) fn leads_to(&self, network: Id<NetworkId>) -> bool {
        self.networks.contains_key(&network)
    }

    pub(crate) fn get(&self, id: Id<GatewayAt>) -> &GatewayAt {
        self.at.get(id)
    }

    pub(crate) fn settle(&mut self) {
        self.at.settle();
    }

    fn number(&mut self, at: &GatewayAt, to: Id<NetworkId>, out: bool) -> Id<GatewayAt> {
        let id = self.at.acquire(at).0;
        self.held.push(id);
        self.leads.resize(self.leads.len().max(id.index() + 1), None);
        self.leads[id.index()] = Some(Leads { to, out });
        id
    }
}

impl Index {
    /// The gateways for what a cluster has on a network; empty unless the reach is `Gateways`.
    pub(crate) fn reach(
        &self,
        who: &Who<'_>,
        network: Id<NetworkId>,
        cluster: Id<Cluster>,
    ) -> (Reach, &[Id<GatewayAt>]) {
        let Some(known) = self.gateways.networks.get(&network) else {
            return (Reach::NoGateway, &[]);
        };
        let ways = match who.kind {
            ClientKind::Egress => {
                let own = who.cluster.filter(|own| self.leaving != Some(*own));
                let domain = own.map(|own| &self.clusters[own].settings.trust_domain);
                domain.and_then(|domain| known.tunnels.get(domain))
            }
            ClientKind::Gateway | ClientKind::Grpc | ClientKind::Sidecar => {
                let from = who.network.zip(who.cluster);
                let exits = from.and_then(|from| known.exits.get(&from));
                if let Some(exits) = exits.map(|exits| exits.of(who.families))
                    && !exits.is_empty()
                {
                    return (Reach::Gateways, exits);
                }
                Some(&known.sni)
            }
        };
        let Some(ways) = ways.filter(|ways| !ways.all.both.is_empty()) else {
            return (Reach::NoGatewayOfKind, &[]);
        };
        match ways.of(who.families, cluster) {
            [] => (Reach::NoGatewayOfFamily, &[]),
            eligible => (Reach::Gateways, eligible),
        }
    }

    /// Builds the table anew; yields the networks that are entered differently now.
    pub(crate) fn rebuild_gateways(&mut self, notices: &mut Vec<Notice>) -> Vec<Id<NetworkId>> {
        let mut found = BTreeSet::new();
        let accepted = self.accepted_gateways(&mut found);
        let held = std::mem::take(&mut self.gateways.held);
        let left = std::mem::take(&mut self.gateways.left);
        let mut built: BTreeMap<Id<NetworkId>, NetworkGateways> = BTreeMap::new();
        for network in &accepted.networks {
            built.entry(self.networks.acquire(network).0).or_default();
        }
        for (at, clusters) in &accepted.sni {
            let Some(network) = self.networks.find(&at.network) else { continue };
            let id = self.gateways.number(at, network, false);
            built.entry(network).or_default().sni.add(id, at.address, clusters);
        }
        for (at, clusters) in &accepted.tunnels {
            let Some(network) = self.networks.find(&at.network) else { continue };
            let id = self.gateways.number(at, network, false);
            let domains: BTreeMap<&TrustDomain, Vec<Id<Cluster>>> =
                clusters.iter().fold(BTreeMap::new(), |mut domains, cluster| {
                    let domain = &self.clusters[*cluster].settings.trust_domain;
                    domains.entry(domain).or_default().push(*cluster);
                    domains
                });
            let known = built.entry(network).or_default();
            for (domain, clusters) in domains {
                let ways = known.tunnels.entry(domain.clone()).or_default();
                ways.add(id, at.address, &clusters);
            }
        }
        for exits in &accepted.exits {
            self.lead_out(exits, &mut built);
        }
        let old = std::mem::replace(&mut self.gateways.networks, built);
        let new = &self.gateways.networks;
        let both: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        let changed = both.into_iter().filter(|network| old.get(network) != new.get(network));
        let changed = changed.collect();
        for network in old.into_keys().chain(left) {
            self.networks.release(network);
        }
        for id in held {
            self.gateways.at.release(id);
        }
        notices.extend(found.difference(&self.gateways.noticed).cloned());
        self.gateways.noticed = found;
        changed
    }

    /// To every other network that a cluster's way out can get to: one whose gateways have an
    /// address of a family that the way out has itself.
    fn lead_out(&mut self, exits: &Exits, built: &mut BTreeMap<Id<NetworkId>, NetworkGateways>) {
        let from = self.networks.acquire(&exits.from).0;
        self.gateways.left.push(from);
        let settings = &self.clusters[exits.cluster].settings;
        let (name, domain) = (settings.cluster.clone(), settings.trust_domain.clone());
        for (&to, known) in built.iter_mut().filter(|(to, _)| **to != from) {
            let reached = known.tunnels.get(&domain).is_some_and(|ways| {
                let common = |address: &SocketAddr| match address {
                    SocketAddr::V4(_) => !ways.all.v4.is_empty(),
                    SocketAddr::V6(_) => !ways.all.v6.is_empty(),
                };
                exits.addresses.iter().any(common)
            });
            if !reached {
                continue;
            }
            let network = self.networks.get(to).clone();
            for &address in &exits.addresses {
                let (network, cluster) = (network.clone(), name.clone());
                let id = self.gateways.number(&GatewayAt { network, cluster, address }, to, true);
                known.exits.entry((from, exits.cluster)).or_default().add(id, address);
            }
        }
    }

    /// By name.
    pub(crate) fn network_statuses(&self) -> Vec<NetworkStatus> {
        let Accepted { networks, sni, exits, .. } = self.accepted_gateways(&mut BTreeSet::new());
        let own = self.cluster_ids.values().map(|id| self.clusters[*id].network().clone());
        let left = exits.iter().map(|exits| exits.from.clone()).collect::<Vec<_>>();
        let mut found: BTreeMap<NetworkId, NetworkStatus> = networks
            .into_iter()
            .chain(own)
            .chain(left)
            .map(|network| (network.clone(), NetworkStatus::of(network)))
            .collect();
        for (name, id) in &self.cluster_ids {
            let network = found.get_mut(self.clusters[*id].network());
            network.expect("added above").clusters.push(name.clone());
        }
        for (at, clusters) in sni {
            let clusters = clusters.iter().map(|id| self.clusters[*id].settings.cluster.clone());
            let gateway = GatewayStatus { address: at.address, clusters: clusters.collect() };
            found.get_mut(&at.network).expect("added above").gateways.push(gateway);
        }
        for Exits { from, cluster, addresses } in exits {
            let clusters = vec![self.clusters[cluster].settings.cluster.clone()];
            let exit = |address| GatewayStatus { address, clusters: clusters.clone() };
            let status = found.get_mut(&from).expect("added above");
            status.exits.extend(addresses.into_iter().map(exit));
        }
        for status in found.values_mut() {
            status.gateways.sort_by_key(|gateway| gateway.address);
            status.exits.sort_by_key(|exit| exit.address);
        }
        found.into_values().collect()
    }

    /// What clusters have and may have.
    fn accepted_gateways(&self, notices: &mut BTreeSet<Notice>) -> Accepted {
        let mut accepted = Accepted::default();
        let (mut sni, mut tunnels) = (Claims::default(), Claims::default());
        for (name, &id) in &self.cluster_ids {
            let cluster = &self.clusters[id];
            let mut exits: BTreeMap<&NetworkId, Vec<SocketAddr>> = BTreeMap::new();
            for (_, fact) in cluster.gateways.values() {
                if let Some(why) = cluster.refuse_gateway(fact) {
                    notices.insert(refused(name, fact, why.to_string()));
                    continue;
                }
                if fact.sni_port.is_some() || fact.hbone_port.is_some() {
                    accepted.networks.insert(fact.network.clone());
                }
                let mut full = sni.claim(name, id, fact, fact.sni_port);
                full |= tunnels.claim(name, id, fact, fact.hbone_port);
                if let Some(port) = fact.egress_port {
                    let out = exits.entry(&fact.network).or_default();
                    full |= out.len() >= GATEWAYS_PER_GROUP_MAX;
                    out.push(SocketAddr::new(fact.key.address, port.get()));
                }
                if full {
                    notices.insert(Notice::Quota {
                        cluster: name.clone(),
                        kind: FactKind::Gateway,
                        limit: GATEWAYS_PER_GROUP_MAX,
                    });
                }
            }
            accepted.exits.extend(exits.into_iter().map(|(from, mut addresses)| {
                addresses.truncate(GATEWAYS_PER_GROUP_MAX);
                addresses.sort_unstable();
                addresses.dedup();
                Exits { from: from.clone(), cluster: id, addresses }
            }));
        }
        accepted.sni = sni.settled(notices);
        accepted.tunnels = tunnels.settled(notices);
        accepted
    }
}

#[derive(Default)]
struct Accepted {
    /// That any gateway leads to.
    networks: BTreeSet<NetworkId>,
    sni: Vec<Held>,
    tunnels: Vec<Held>,
    exits: Vec<Exits>,
}

/// The ways that a cluster has out of a network.
struct Exits {
    from: NetworkId,
    cluster: Id<Cluster>,
    addresses: Vec<SocketAddr>,
}

/// A gateway, and the clusters that have it.
type Held = (GatewayAt, Vec<Id<Cluster>>);
/// The first cluster by name that has an address, and all that have it.
type Holder = (ClusterId, Vec<Id<Cluster>>);

/// Addresses of one kind, by whoever says that they are gateways.
#[derive(Default)]
struct Claims<'f> {
    leads_to: BTreeMap<SocketAddr, &'f NetworkId>,
    counts: BTreeMap<(Id<Cluster>, &'f NetworkId), usize>,
    claims: Vec<(&'f ClusterId, Id<Cluster>, &'f GatewayFact, SocketAddr)>,
}

impl<'f> Claims<'f> {
    /// Whether it was one too many.
    fn claim(
        &mut self,
        name: &'f ClusterId,
        id: Id<Cluster>,
        fact: &'f GatewayFact,
        port: Option<Port>,
    ) -> bool {
        let Some(port) = port else { return false };
        let count = self.counts.entry((id, &fact.network)).or_default();
        *count += 1;
        if *count > GATEWAYS_PER_GROUP_MAX {
            return true;
        }
        let address = SocketAddr::new(fact.key.address, port.get());
        let network = self.leads_to.entry(address).or_insert(&fact.network);
        *network = (*network).min(&fact.network);
        self.claims.push((name, id, fact, address));
        false
    }

    /// In order.
    fn settled(self, notices: &mut BTreeSet<Notice>) -> Vec<Held> {
        let mut holders: BTreeMap<(&NetworkId, SocketAddr), Holder> = BTreeMap::new();
        for (name, id, fact, address) in self.claims {
            let network = self.leads_to[&address];
            if fact.network != *network {
                let why = format!("the address already leads to network {network}");
                notices.insert(refused(name, fact, why));
                continue;
            }
            let holder = holders
                .entry((&fact.network, address))
                .or_insert_with(|| (name.clone(), Vec::new()));
            if !holder.1.contains(&id) {
                holder.1.push(id);
            }
        }
        let mut all: Vec<_> = holders
            .into_iter()
            .map(|((network, address), (cluster, clusters))| {
                (GatewayAt { network: network.clone(), cluster, address }, clusters)
            })
            .collect();
        all.sort();
        all
    }
}

impl Cluster {
    pub(crate) fn gateways_refused(&self) -> usize {
        let said = self.gateways.values();
        said.filter(|(_, fact)| self.refuse_gateway(fact).is_some()).count()
    }

    fn refuse_gateway(&self, fact: &GatewayFact) -> Option<Refusal> {
        grant::refuse_gateway(&self.settings, self.network(), &fact.network, fact.key.address)
    }
}

fn refused(cluster: &ClusterId, fact: &GatewayFact, why: String) -> Notice {
    Notice::GatewayRefused {
        cluster: cluster.clone(),
        network: fact.network.clone(),
        address: fact.key.address,
        why,
    }
}
