//! How much of a cluster would vanish.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use diolkos_topology::{Fact, FactKey, Mtls, ServiceKey};

/// Endpoints that can be served, before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    pub before: usize,
    pub after: usize,
    /// Of those before, how many are not there after.
    pub gone: usize,
}

type Served<'f> = BTreeSet<(&'f ServiceKey, IpAddr)>;

impl Loss {
    /// An endpoint is lost with its slice, with its Service, and with the pod that gave it its
    /// identity. One that is not ready is not lost: that is its cluster's own word.
    pub fn between(before: &BTreeMap<FactKey, Fact>, after: &BTreeMap<FactKey, Fact>) -> Self {
        let (before, after) = (served(before), served(after));
        let gone = before.difference(&after).count();
        Self { before: before.len(), after: after.len(), gone }
    }
}

fn served(facts: &BTreeMap<FactKey, Fact>) -> Served<'_> {
    let slices = facts.values().filter_map(|fact| match fact {
        Fact::Slice(slice) => Some(slice),
        _ => None,
    });
    let with_service =
        slices.filter(|slice| facts.contains_key(&FactKey::Service(slice.service.clone())));
    let endpoints = with_service.flat_map(|slice| {
        let shown = slice.endpoints.iter();
        let shown = shown.filter(|one| one.mtls == Mtls::Plaintext || one.identity.is_some());
        shown.map(|one| (&slice.service, one.address))
    });
    endpoints.collect()
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} endpoints would be gone", self.gone, self.before)
    }
}

#[cfg(test)]
mod tests {
    use diolkos_topology::{EndpointFact, Health, ServiceFact, SliceFact, SliceName};
    use std::sync::Arc;

    use super::*;

    fn key(name: &str) -> ServiceKey {
        ServiceKey::new("shop", name).unwrap()
    }

    fn service(name: &str) -> Fact {
        Fact::Service(ServiceFact {
            key: key(name),
            vips: Vec::new(),
            ports: Vec::new(),
            created: None,
        })
    }

    fn slice(name: &str, place: u8, hosts: &[u8], change: impl Fn(&mut EndpointFact)) -> Fact {
        let endpoints = hosts.iter().map(|host| {
            let mut one = EndpointFact {
                address: [10, 0, 0, *host].into(),
                health: Health::Ready,
                pod: None,
                node: None,
                zone: None,
                network: None,
                mtls: Mtls::Plaintext,
                identity: None,
                workload: Arc::default(),
            };
            change(&mut one);
            one
        });
        Fact::Slice(SliceFact {
            service: key(name),
            name: SliceName::new(&format!("{name}-{place}")).unwrap(),
            ports: Vec::new(),
            endpoints: endpoints.collect(),
        })
    }

    fn facts(facts: &[Fact]) -> BTreeMap<FactKey, Fact> {
        facts.iter().map(|fact| (fact.key(), fact.clone())).collect()
    }

    #[test]
    fn r10_an_endpoint_is_lost_with_whatever_it_needs() {
        let same = |_: &mut EndpointFact| {};
        let before = facts(&[
            service("web"),
            slice("web", 0, &[1, 2, 3], same),
            slice("web", 1, &[3, 4], same),
            slice("orphan", 0, &[9], same),
        ]);
        let loss = |after: &[Fact]| {
            let Loss { before, after, gone } = Loss::between(&before, &facts(after));
            assert_eq!(before, 4, "an address counts once, and only with its Service");
            (gone, after)
        };
        assert_eq!(loss(&[]), (4, 0));
        assert_eq!(loss(&[slice("web", 0, &[1, 2, 3, 4], same)]), (4, 0));
        assert_eq!(loss(&[service("web"), slice("web", 0, &[1, 2], same)]), (2, 2));
        // Moved to another slice, gone from one of two, new ones beside.
        assert_eq!(loss(&[service("web"), slice("web", 2, &[1, 2, 3, 4, 5], same)]), (0, 5));
        let not_ready = |one: &mut EndpointFact| one.health = Health::NotReady;
        assert_eq!(loss(&[service("web"), slice("web", 0, &[1, 2, 3, 4], not_ready)]), (0, 4));
        let nobody = |one: &mut EndpointFact| one.mtls = Mtls::Istio;
        assert_eq!(loss(&[service("web"), slice("web", 0, &[1, 2, 3, 4], nobody)]), (4, 0));
    }
}
