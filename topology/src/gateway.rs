//! Which gateways lead to which network.
//!
//! The table is built anew whenever a gateway or a grant changes: gateways are few. A group is
//! carried by the gateways its own cluster has on that network; if it has none, by the first
//! `GATEWAYS_PER_GROUP_MAX` of all, by cluster name and address. One address leads to one network
//! (the smallest name that claims it), and belongs to the first cluster that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::audience::IpFamilies;
use crate::classify::Reach;
use crate::fact::{FactKind, GatewayFact};
use crate::grant::{self, Refusal};
use crate::index::{Cluster, Index};
use crate::intern::{Id, Interner};
use crate::limit::GATEWAYS_PER_GROUP_MAX;
use crate::name::{ClusterId, NetworkId};
use crate::notice::Notice;
use crate::status::{GatewayStatus, NetworkStatus};

/// An address at which sidecars can enter a network.
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
    /// By the gateway's number: the network as a number.
    network_of: Vec<Option<Id<NetworkId>>>,
    noticed: BTreeSet<Notice>,
}

/// Any of them may be empty: a network may have gateways of a kind no sidecar can use.
#[derive(Debug, Default, PartialEq, Eq)]
struct NetworkGateways {
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

impl Gateways {
    /// The gateways for what a cluster has on a network; empty unless the reach is `Gateways`.
    pub(crate) fn reach(
        &self,
        families: IpFamilies,
        network: Id<NetworkId>,
        cluster: Id<Cluster>,
    ) -> (Reach, &[Id<GatewayAt>]) {
        let Some(known) = self.networks.get(&network) else { return (Reach::NoGateway, &[]) };
        let own = known.of_cluster.get(&cluster).map_or(&[][..], |own| own.of(families));
        let eligible = if own.is_empty() { known.all.of(families) } else { own };
        match (eligible.is_empty(), known.all.both.is_empty()) {
            (false, _) => (Reach::Gateways, eligible),
            (true, false) => (Reach::NoGatewayOfFamily, &[]),
            (true, true) => (Reach::NoGatewayOfKind, &[]),
        }
    }

    pub(crate) fn network_of(&self, id: Id<GatewayAt>) -> Option<Id<NetworkId>> {
        self.network_of.get(id.index()).copied().flatten()
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
}

impl Index {
    /// Builds the table anew; yields the networks that are entered differently now.
    pub(crate) fn rebuild_gateways(&mut self, notices: &mut Vec<Notice>) -> Vec<Id<NetworkId>> {
        let mut found = BTreeSet::new();
        let (sni, networks) = self.accepted_gateways(&mut found);
        let mut built: BTreeMap<Id<NetworkId>, NetworkGateways> = BTreeMap::new();
        for network in networks {
            built.entry(self.networks.acquire(&network).0).or_default();
        }
        for (at, clusters) in &sni {
            let Some(network) = self.networks.find(&at.network) else { continue };
            let id = self.gateways.at.acquire(at).0;
            let network_of = &mut self.gateways.network_of;
            network_of.resize(network_of.len().max(id.index() + 1), None);
            network_of[id.index()] = Some(network);
            let known = built.entry(network).or_default();
            known.all.add(id, at.address);
            for cluster in clusters {
                known.of_cluster.entry(*cluster).or_default().add(id, at.address);
            }
        }
        let old = std::mem::replace(&mut self.gateways.networks, built);
        let new = &self.gateways.networks;
        let both: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        let changed = both.into_iter().filter(|network| old.get(network) != new.get(network));
        let changed = changed.collect();
        for (network, gateways) in old {
            self.networks.release(network);
            for id in gateways.every() {
                self.gateways.at.release(id);
            }
        }
        notices.extend(found.difference(&self.gateways.noticed).cloned());
        self.gateways.noticed = found;
        changed
    }

    /// By name.
    pub(crate) fn network_statuses(&self) -> Vec<NetworkStatus> {
        let (sni, networks) = self.accepted_gateways(&mut BTreeSet::new());
        let own = self.cluster_ids.values().map(|id| self.clusters[*id].network().clone());
        let mut found: BTreeMap<NetworkId, NetworkStatus> = networks
            .into_iter()
            .chain(own)
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
        for status in found.values_mut() {
            status.gateways.sort_by_key(|gateway| gateway.address);
        }
        found.into_values().collect()
    }

    /// Gateways with an SNI port, in order, with the clusters that have them; and all networks
    /// that any gateway leads to.
    fn accepted_gateways(
        &self,
        notices: &mut BTreeSet<Notice>,
    ) -> (Vec<Held>, BTreeSet<NetworkId>) {
        let mut networks = BTreeSet::new();
        let mut leads_to: BTreeMap<SocketAddr, NetworkId> = BTreeMap::new();
        let mut claims = Vec::new();
        for (name, &id) in &self.cluster_ids {
            let cluster = &self.clusters[id];
            let mut counts: BTreeMap<&NetworkId, usize> = BTreeMap::new();
            for (_, fact) in cluster.gateways.values() {
                if let Some(why) = cluster.refuse_gateway(fact) {
                    notices.insert(refused(name, fact, why.to_string()));
                    continue;
                }
                networks.insert(fact.network.clone());
                let Some(port) = fact.sni_port else { continue };
                let count = counts.entry(&fact.network).or_default();
                *count += 1;
                if *count > GATEWAYS_PER_GROUP_MAX {
                    notices.insert(Notice::Quota {
                        cluster: name.clone(),
                        kind: FactKind::Gateway,
                        limit: GATEWAYS_PER_GROUP_MAX,
                    });
                    continue;
                }
                let address = SocketAddr::new(fact.key.address, port.get());
                let network = leads_to.entry(address).or_insert_with(|| fact.network.clone());
                if fact.network < *network {
                    *network = fact.network.clone();
                }
                claims.push((name, id, fact, address));
            }
        }
        let mut holders: BTreeMap<(&NetworkId, SocketAddr), Holder> = BTreeMap::new();
        for (name, id, fact, address) in claims {
            let network = &leads_to[&address];
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
        (all, networks)
    }
}

/// A gateway, and the clusters that have it.
type Held = (GatewayAt, Vec<Id<Cluster>>);
/// The first cluster by name that has an address, and all that have it.
type Holder = (ClusterId, Vec<Id<Cluster>>);

impl NetworkGateways {
    /// Each once: as often as `rebuild_gateways` acquired it.
    fn every(&self) -> BTreeSet<Id<GatewayAt>> {
        let own = self.of_cluster.values();
        let lists = own.flat_map(|own| [&own.both, &own.v4, &own.v6]);
        let all = [&self.all.both, &self.all.v4, &self.all.v6];
        lists.chain(all).flatten().copied().collect()
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
