//! By which gateways the oracle reaches other networks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::World;
use crate::audience::{Audience, ClientKind, IpFamilies};
use crate::fact::{Fact, GatewayFact};
use crate::grant::refuse_gateway;
use crate::name::{ClusterId, NetworkId, Port};

impl World {
    /// Which network each gateway's address leads to.
    pub fn leads_to(&self) -> BTreeMap<SocketAddr, NetworkId> {
        let first = first_of_each(self.claims(|fact| fact.sni_port)).into_iter();
        first.map(|(address, (network, _))| (address, network)).collect()
    }

    /// Addresses of gateways that have the port, as each cluster says them.
    fn claims(
        &self,
        port: impl Fn(&GatewayFact) -> Option<Port>,
    ) -> Vec<(SocketAddr, NetworkId, ClusterId)> {
        let mut claims = Vec::new();
        for (name, from) in &self.clusters {
            for fact in from.facts() {
                let Fact::Gateway(fact) = fact else { continue };
                let address = fact.key.address;
                if let Some(port) = port(fact)
                    && refuse_gateway(&from.settings, from.network(), &fact.network, address)
                        .is_none()
                {
                    let address = SocketAddr::new(address, port.get());
                    claims.push((address, fact.network.clone(), name.clone()));
                }
            }
        }
        claims
    }

    /// With their owners. A sidecar goes by the way out that its own cluster has, if that can get
    /// there.
    pub(super) fn gateways(
        &self,
        audience: &Audience,
        network: &NetworkId,
        cluster: &ClusterId,
    ) -> Vec<(SocketAddr, ClusterId)> {
        let fits = |address: &SocketAddr| of_families(audience.families, address);
        if audience.kind == ClientKind::Egress {
            let mut all = self.tunnels(audience, network);
            all.retain(|(address, _)| fits(address));
            return preferred(all, &self.believers(audience), network, cluster);
        }
        let mut exits = self.claims(|fact| fact.egress_port);
        exits.retain(|(_, from, owner)| {
            *from == audience.network && *owner == audience.cluster && from != network
        });
        let tunnels = self.tunnels(audience, network);
        let common = |(exit, ..): &(SocketAddr, NetworkId, ClusterId)| {
            tunnels.iter().any(|(tunnel, _)| tunnel.is_ipv4() == exit.is_ipv4())
        };
        if exits.iter().any(common) && exits.iter().any(|(address, ..)| fits(address)) {
            let mine: BTreeMap<_, _> =
                exits.into_iter().map(|(address, _, owner)| (address, owner)).collect();
            return mine.into_iter().filter(|(address, _)| fits(address)).collect();
        }
        let claims = self.claims(|fact| fact.sni_port);
        let mut all: Vec<_> = first_of_each(claims.clone())
            .into_iter()
            .filter(|(_, (to, _))| to == network)
            .map(|(address, (_, owner))| (address, owner))
            .collect();
        all.retain(|(address, _)| fits(address));
        preferred(all, &claims, network, cluster)
    }

    /// Where tunnels into a network end that believe the audience's cluster.
    fn tunnels(&self, audience: &Audience, network: &NetworkId) -> Vec<(SocketAddr, ClusterId)> {
        let believers = self.believers(audience);
        let believed = |at: &SocketAddr| believers.iter().any(|(address, ..)| address == at);
        first_of_each(self.claims(|fact| fact.hbone_port))
            .into_iter()
            .filter(|(address, (to, _))| to == network && believed(address))
            .map(|(address, (_, owner))| (address, owner))
            .collect()
    }

    /// Claims of clusters of the audience's trust domain.
    fn believers(&self, audience: &Audience) -> Vec<(SocketAddr, NetworkId, ClusterId)> {
        let Some(own) = self.clusters.get(&audience.cluster) else { return Vec::new() };
        let mut claims = self.claims(|fact| fact.hbone_port);
        claims.retain(|(_, _, owner)| {
            self.clusters[owner].settings.trust_domain == own.settings.trust_domain
        });
        claims
    }
}

fn of_families(families: IpFamilies, address: &SocketAddr) -> bool {
    match families {
        IpFamilies::Both => true,
        IpFamilies::V4 => address.is_ipv4(),
        IpFamilies::V6 => address.is_ipv6(),
    }
}

/// Those of the endpoints' own cluster, if it has any.
fn preferred(
    all: Vec<(SocketAddr, ClusterId)>,
    claims: &[(SocketAddr, NetworkId, ClusterId)],
    network: &NetworkId,
    cluster: &ClusterId,
) -> Vec<(SocketAddr, ClusterId)> {
    let own: BTreeSet<SocketAddr> = claims
        .iter()
        .filter(|(_, to, name)| name == cluster && to == network)
        .map(|(address, ..)| *address)
        .collect();
    let mine: Vec<_> = all.iter().filter(|(one, _)| own.contains(one)).cloned().collect();
    if mine.is_empty() { all } else { mine }
}

fn first_of_each(
    mut claims: Vec<(SocketAddr, NetworkId, ClusterId)>,
) -> BTreeMap<SocketAddr, (NetworkId, ClusterId)> {
    // The last of equal keys stays.
    claims.sort_by(|one, other| other.cmp(one));
    claims.into_iter().map(|(address, to, owner)| (address, (to, owner))).collect()
}
