//! Groups behind another network become gateway entries.
//!
//! A gateway is one address with one weight at one priority, however many localities and clusters
//! lie behind it: Envoy keeps only the first of equal addresses.

use crate::audience::ClientKind;
use crate::view::WEIGHT_UNIT;

/// Endpoints that are alike for the audience, and the gateways that may carry it to them.
#[derive(Clone, Copy, Debug)]
pub struct Group<'g, G, L> {
    pub count: u64,
    pub priority: u8,
    pub locality: L,
    /// At most `limit::GATEWAYS_PER_GROUP_MAX`, each once.
    pub gateways: &'g [G],
}

/// One gateway's share of all groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayShare<G, L> {
    pub gateway: G,
    /// In units of 1 / `WEIGHT_UNIT` endpoints.
    pub weight: u64,
    /// Of the nearest group behind it.
    pub priority: u8,
    /// That group's; the smallest, if several are as near.
    pub locality: L,
}

/// Each group is divided among its gateways in equal parts, and each gateway's parts are summed:
/// the weights add up to the counts, exactly. Sorted by gateway; the order of groups is of no
/// consequence. Clients that cannot use gateways get none.
pub fn spread<G: Ord + Copy, L: Ord + Copy>(
    kind: ClientKind,
    groups: &[Group<'_, G, L>],
) -> Vec<GatewayShare<G, L>> {
    let mut shares: Vec<GatewayShare<G, L>> = Vec::new();
    match kind {
        ClientKind::Gateway | ClientKind::Grpc => return shares,
        ClientKind::Egress | ClientKind::Sidecar => {}
    }
    for group in groups.iter().filter(|group| group.count > 0) {
        debug_assert!(WEIGHT_UNIT.is_multiple_of(group.gateways.len().max(1) as u64));
        for &gateway in group.gateways {
            let share = GatewayShare {
                gateway,
                weight: group.count * (WEIGHT_UNIT / group.gateways.len() as u64),
                priority: group.priority,
                locality: group.locality,
            };
            match shares.binary_search_by(|known| known.gateway.cmp(&gateway)) {
                Err(place) => shares.insert(place, share),
                Ok(place) => add(&mut shares[place], &share),
            }
        }
    }
    shares
}

fn add<G, L: Ord + Copy>(known: &mut GatewayShare<G, L>, share: &GatewayShare<G, L>) {
    known.weight += share.weight;
    if (share.priority, share.locality) < (known.priority, known.locality) {
        known.priority = share.priority;
        known.locality = share.locality;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group<'g>(
        count: u64,
        priority: u8,
        locality: &'g str,
        gateways: &'g [u8],
    ) -> Group<'g, u8, &'g str> {
        Group { count, priority, locality, gateways }
    }

    #[test]
    fn weights_are_summed_over_localities_and_clusters() {
        let groups = [group(3, 2, "b", &[1]), group(4, 1, "a", &[1]), group(1, 1, "0", &[1])];
        let expected =
            GatewayShare { gateway: 1, weight: 8 * WEIGHT_UNIT, priority: 1, locality: "0" };
        assert_eq!(spread(ClientKind::Sidecar, &groups), [expected]);
        let reversed: Vec<_> = groups.iter().rev().copied().collect();
        assert_eq!(spread(ClientKind::Sidecar, &reversed), [expected]);
    }

    #[test]
    fn any_number_of_gateways_up_to_the_limit_shares_exactly() {
        let all: Vec<u8> = (0..16).collect();
        for count in 1..=all.len() {
            let shares = spread(ClientKind::Sidecar, &[group(7, 0, "a", &all[..count])]);
            assert_eq!(shares.len(), count);
            let sum: u64 = shares.iter().map(|share| share.weight).sum();
            assert_eq!(sum, 7 * WEIGHT_UNIT, "among {count}");
        }
    }

    #[test]
    fn nobody_is_given_a_gateway_it_cannot_use() {
        let groups = [group(3, 0, "a", &[1])];
        assert_eq!(spread(ClientKind::Grpc, &groups), []);
        assert_eq!(spread(ClientKind::Gateway, &groups), []);
        assert_eq!(spread(ClientKind::Sidecar, &[group(0, 0, "a", &[1])]), []);
        assert_eq!(spread(ClientKind::Sidecar, &[group(5, 0, "a", &[])]), []);
    }
}
