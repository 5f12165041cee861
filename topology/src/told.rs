//! What each live audience was told, as far as it cannot be computed again.
//!
//! Local endpoints are not here (see `local`). Gateways that share groups, as those of one network
//! do, take 16 bytes together.

use std::net::IpAddr;
use std::sync::Arc;

use diolkos_trust::SpiffeId;

use crate::audience::Audience;
use crate::gateway::GatewayAt;
use crate::index::{Cluster, Ports, Service};
use crate::intern::{Id, Interner};
use crate::name::{Locality, NetworkId, Port};
use crate::scope::Scope;
use crate::view::{Restricted, WEIGHT_MAX};

pub(crate) type ClusterSet = Arc<[Id<Cluster>]>;

/// One word where nothing is restricted: there is one for each service of each audience.
pub(crate) type RestrictedSet = Option<Arc<Vec<Restricted>>>;

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
    pub(crate) restricted: RestrictedSet,
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
    pub(crate) gateways: ToldGateways,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ToldGateway {
    pub(crate) gateway: Id<GatewayAt>,
    pub(crate) locality: Id<Locality>,
    pub(crate) weight: u64,
    pub(crate) priority: u8,
}

/// Sorted by gateway, each once. Neighbours by number that are alike are one run: there is a list
/// for each port of each service of each audience, and together they are most of what these cost.
#[derive(Debug, Default)]
pub(crate) struct ToldGateways(Box<[Run]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: Id<GatewayAt>,
    locality: Id<Locality>,
    weight_low: u32,
    weight_high: u16,
    priority: u8,
    count: u8,
}

impl ToldGateways {
    /// Of gateways sorted by number, each once.
    pub(crate) fn new(gateways: impl IntoIterator<Item = ToldGateway>) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for told in gateways {
            let run = Run::of(&told);
            match runs.last_mut() {
                Some(last) if last.is_continued_by(&run) => last.count += 1,
                _ => runs.push(run),
            }
        }
        Self(runs.into())
    }

    /// In place where the runs stay as many: a change of weights is the usual one. Both sorted.
    pub(crate) fn replace(&mut self, was: &[ToldGateway], now: &[ToldGateway]) {
        let new = Self::new(now.iter().copied());
        if let Some(runs) = self.runs_of(was)
            && runs.len() == new.0.len()
            && was.iter().map(|told| told.gateway).eq(now.iter().map(|told| told.gateway))
        {
            self.0[runs].copy_from_slice(&new.0);
            return;
        }
        let goes = |told: &ToldGateway| {
            was.binary_search_by_key(&told.gateway, |other| other.gateway).is_ok()
        };
        let stay = self.iter().filter(|told| !goes(told));
        let mut all: Vec<_> = stay.chain(now.iter().copied()).collect();
        all.sort_unstable_by_key(|told| told.gateway);
        *self = Self::new(all);
    }

    /// The runs that hold these and no others.
    fn runs_of(&self, gateways: &[ToldGateway]) -> Option<std::ops::Range<usize>> {
        let (first, last) = (gateways.first()?.gateway, gateways.last()?.gateway);
        let from = self.0.partition_point(|run| run.first < first);
        let to = self.0.partition_point(|run| run.first <= last);
        let held: usize = self.0.get(from..to)?.iter().map(|run| usize::from(run.count)).sum();
        (held == gateways.len()).then_some(from..to)
    }

    /// Those whose number is meant.
    pub(crate) fn those(&self, is_meant: impl Fn(Id<GatewayAt>) -> bool) -> Vec<ToldGateway> {
        let mut those = Vec::new();
        for run in &self.0 {
            for place in (0..run.count).filter(|place| is_meant(run.first.after(*place))) {
                those.push(run.at(place));
            }
        }
        those
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ToldGateway> {
        self.0.iter().flat_map(|run| (0..run.count).map(|place| run.at(place)))
    }
}

impl Run {
    fn of(told: &ToldGateway) -> Self {
        debug_assert!(told.weight <= WEIGHT_MAX, "weights are cut where they are made");
        let [.., high_a, high_b, a, b, c, d] = told.weight.to_be_bytes();
        Self {
            first: told.gateway,
            locality: told.locality,
            weight_low: u32::from_be_bytes([a, b, c, d]),
            weight_high: u16::from_be_bytes([high_a, high_b]),
            priority: told.priority,
            count: 1,
        }
    }

    fn is_continued_by(&self, next: &Self) -> bool {
        self.count < u8::MAX
            && self.first.after(self.count) == next.first
            && Self { first: self.first, count: self.count, ..*next } == *self
    }

    fn at(&self, place: u8) -> ToldGateway {
        ToldGateway {
            gateway: self.first.after(place),
            locality: self.locality,
            weight: u64::from(self.weight_high) << 32 | u64::from(self.weight_low),
            priority: self.priority,
        }
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
        let restricted = scope.restricted.clone();
        Self { ports, vips, clusters, restricted, listed: false, of_ports: Box::default() }
    }

    pub(crate) fn scope(&self, sets: &Interner<ClusterSet>) -> Scope {
        Scope {
            ports: self.ports,
            vips: Arc::clone(&self.vips),
            clusters: Arc::clone(sets.get(self.clusters)),
            restricted: self.restricted.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which gateway, its weight and its priority.
    type One = (usize, u64, u8);

    fn told(gateways: &[Id<GatewayAt>], of: &[One]) -> Vec<ToldGateway> {
        let locality = Interner::default().acquire(&Locality::unknown()).0;
        let one = |&(place, weight, priority): &One| ToldGateway {
            gateway: gateways[place],
            locality,
            weight,
            priority,
        };
        of.iter().map(one).collect()
    }

    #[test]
    fn gateways_told_alike_take_16_bytes_together_and_come_back_as_they_were() {
        assert_eq!(size_of::<Run>(), 16);
        let gateways = gateways(600);
        let all: Vec<_> = (0..600).map(|place| (place, 7, 1)).collect();
        let cases: [(&[One], usize); 7] = [
            (&[], 0),
            (&[(0, 5, 1), (1, 5, 1)], 1),
            (&[(0, 5, 1), (2, 5, 1)], 2),
            (&[(0, 5, 1), (1, 6, 1)], 2),
            (&[(0, 5, 1), (1, 5, 2)], 2),
            (&[(3, 0, 0), (4, 1 << 32, 0), (5, u64::from(u32::MAX), 0), (6, WEIGHT_MAX, 9)], 4),
            (&all, 3),
        ];
        for (of, runs) in cases {
            let list = told(&gateways, of);
            let packed = ToldGateways::new(list.iter().copied());
            assert_eq!(packed.iter().collect::<Vec<_>>(), list);
            assert_eq!(packed.0.len(), runs, "{of:?}");
        }
    }

    #[test]
    fn what_is_replaced_is_as_if_told_anew() {
        let gateways = gateways(8);
        let begin: &[One] = &[(0, 5, 1), (1, 5, 1), (3, 5, 1), (4, 7, 1), (5, 7, 1)];
        let cases: [(&[One], &[One], &[One]); 7] = [
            (&[(0, 5, 1), (1, 5, 1)], &[(0, 6, 1), (1, 6, 1)], &[(0, 6, 1), (1, 6, 1)]),
            (&[(0, 5, 1), (1, 5, 1)], &[(0, 6, 1), (1, 7, 1)], &[(0, 6, 1), (1, 7, 1)]),
            (&[(0, 5, 1), (1, 5, 1)], &[(1, 5, 1), (2, 5, 1)], &[(1, 5, 1), (2, 5, 1)]),
            (&[(0, 5, 1)], &[(0, 9, 1)], &[(0, 9, 1), (1, 5, 1)]),
            (&[(0, 5, 1), (1, 5, 1)], &[], &[]),
            (&[], &[(7, 1, 1)], &[(0, 5, 1), (1, 5, 1), (7, 1, 1)]),
            (&[(0, 5, 1), (1, 5, 1)], &[(0, 5, 1), (7, 5, 1)], &[(0, 5, 1), (7, 5, 1)]),
        ];
        for (was, now, then) in cases {
            let mut packed = ToldGateways::new(told(&gateways, begin));
            packed.replace(&told(&gateways, was), &told(&gateways, now));
            let mut expected = [told(&gateways, then), told(&gateways, &begin[2..])].concat();
            expected.sort_by_key(|told| told.gateway);
            assert_eq!(packed.iter().collect::<Vec<_>>(), expected, "{was:?} -> {now:?}");
        }
    }

    fn gateways(count: u32) -> Vec<Id<GatewayAt>> {
        let mut known = Interner::default();
        let at = |number: u32| GatewayAt {
            network: NetworkId::unnamed(),
            cluster: crate::ClusterId::new("east").unwrap(),
            address: (std::net::Ipv4Addr::from(number), 15443).into(),
        };
        (0..count).map(|number| known.acquire(&at(number)).0).collect()
    }
}
