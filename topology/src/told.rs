//! What each live audience was told, as far as it cannot be computed again.
//!
//! Local endpoints are not here (see `local`). A gateway entry takes 20 bytes.

use std::net::IpAddr;
use std::sync::Arc;

use diolkos_trust::SpiffeId;

use crate::audience::Audience;
use crate::gateway::GatewayAt;
use crate::index::{Cluster, Ports, Service};
use crate::intern::{Id, Interner};
use crate::name::{Locality, NetworkId, Port};
use crate::scope::Scope;

pub(crate) type ClusterSet = Arc<[Id<Cluster>]>;

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) audience: Arc<Audience>,
    /// One use, so that the number stays while the audience does.
    pub(crate) network: Id<NetworkId>,
    /// By the service's number.
    told: Vec<Option<Box<Told>>>,
}

/// Of one service.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) ports: Id<Ports>,
    pub(crate) vips: Arc<[IpAddr]>,
    /// One use.
    pub(crate) clusters: Id<ClusterSet>,
    /// Whether the service was sent; a gateway's audience is spared those without a route.
    pub(crate) listed: bool,
    /// In the order of `ports`; empty unless listed.
    pub(crate) of_ports: Box<[ToldPort]>,
}

#[derive(Debug)]
pub(crate) struct ToldPort {
    pub(crate) port: Port,
    /// Sorted by number.
    pub(crate) identities: Box<[Id<SpiffeId>]>,
    /// Sorted by number, each once.
    pub(crate) gateways: Box<[ToldGateway]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ToldGateway {
    pub(crate) gateway: Id<GatewayAt>,
    pub(crate) locality: Id<Locality>,
    /// High and low half: a whole would cost four bytes of padding, a million times.
    weight: [u32; 2],
    pub(crate) priority: u8,
}

impl ToldGateway {
    pub(crate) fn new(
        gateway: Id<GatewayAt>,
        locality: Id<Locality>,
        weight: u64,
        priority: u8,
    ) -> Self {
        let low = u32::try_from(weight & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let high = u32::try_from(weight >> 32).unwrap_or(u32::MAX);
        Self { gateway, locality, weight: [high, low], priority }
    }

    pub(crate) fn weight(&self) -> u64 {
        u64::from(self.weight[0]) << 32 | u64::from(self.weight[1])
    }
}

impl Live {
    pub(crate) fn new(audience: Audience, network: Id<NetworkId>) -> Self {
        Self { audience: Arc::new(audience), network, told: Vec::new() }
    }

    pub(crate) fn told(&self, service: Id<Service>) -> Option<&Told> {
        self.told.get(service.index())?.as_deref()
    }

    pub(crate) fn take(&mut self, service: Id<Service>) -> Option<Box<Told>> {
        self.told.get_mut(service.index())?.take()
    }

    pub(crate) fn set(&mut self, service: Id<Service>, told: Box<Told>) {
        if self.told.len() <= service.index() {
            self.told.resize_with(service.index() + 1, || None);
        }
        self.told[service.index()] = Some(told);
    }

    pub(crate) fn forget_all(&mut self) -> impl Iterator<Item = Box<Told>> {
        std::mem::take(&mut self.told).into_iter().flatten()
    }
}

impl Told {
    pub(crate) fn new(scope: &Scope, clusters: Id<ClusterSet>) -> Self {
        let (ports, vips) = (scope.ports, Arc::clone(&scope.vips));
        Self { ports, vips, clusters, listed: false, of_ports: Box::default() }
    }

    pub(crate) fn scope(&self, sets: &Interner<ClusterSet>) -> Scope {
        Scope {
            ports: self.ports,
            vips: Arc::clone(&self.vips),
            clusters: Arc::clone(sets.get(self.clusters)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_told_gateway_takes_20_bytes_and_keeps_its_weight() {
        assert_eq!(size_of::<ToldGateway>(), 20);
        let mut gateways = Interner::default();
        let at = GatewayAt {
            network: NetworkId::unnamed(),
            cluster: crate::ClusterId::new("east").unwrap(),
            address: "10.0.0.1:15443".parse().unwrap(),
        };
        let mut localities = Interner::default();
        let (gateway, locality) =
            (gateways.acquire(&at).0, localities.acquire(&Locality::unknown()).0);
        for weight in [0, 1, u64::from(u32::MAX), 1 << 32, 50_000 * 720_720, u64::MAX] {
            assert_eq!(ToldGateway::new(gateway, locality, weight, 3).weight(), weight);
        }
    }
}
