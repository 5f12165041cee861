//! Addresses for Services of type LoadBalancer.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::{Dual, Ranges};

/// A Service of type LoadBalancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub namespace: String,
    pub name: String,
    /// In the order of its `ipFamilies`: true for IPv4.
    pub families: Vec<bool>,
    /// What its status says now.
    pub has: Vec<IpAddr>,
}

/// The addresses each claim is to have, where they are not what it has. A claim keeps what it has of
/// the range, so that an address never moves from one Service to another that is still there.
#[must_use]
pub fn assign(ranges: &Ranges, claims: &[Claim]) -> Vec<(Claim, Vec<IpAddr>)> {
    let mut taken: Vec<IpAddr> = Vec::new();
    let mut kept: Vec<Vec<IpAddr>> = Vec::new();
    for claim in claims {
        let mut own = Vec::new();
        for v4 in &claim.families {
            let range = of(&ranges.load_balancers, *v4);
            let fits = |ip: &&IpAddr| range.contains(*ip) && !taken.contains(ip);
            own.extend(claim.has.iter().find(fits).copied());
        }
        taken.extend(&own);
        kept.push(own);
    }
    let mut changes = Vec::new();
    for (claim, kept) in claims.iter().zip(kept) {
        let mut addresses = Vec::new();
        for v4 in &claim.families {
            let range = of(&ranges.load_balancers, *v4);
            let own = kept.iter().find(|ip| range.contains(*ip)).copied();
            let Some(address) = own.or_else(|| first_free(&range, &taken)) else { continue };
            taken.push(address);
            addresses.push(address);
        }
        if addresses != claim.has {
            changes.push((claim.clone(), addresses));
        }
    }
    changes
}

fn of(range: &Dual<IpNet>, v4: bool) -> IpNet {
    if v4 { range.v4 } else { range.v6 }
}

/// Not the range's own address, which some take for a network's.
fn first_free(range: &IpNet, taken: &[IpAddr]) -> Option<IpAddr> {
    range.hosts().find(|ip| *ip != range.network() && !taken.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Slot;

    fn ranges() -> Ranges {
        Ranges::of(Slot::new(0).unwrap(), 0)
    }

    fn claim(name: &str, families: &[bool], has: &[&str]) -> Claim {
        Claim {
            namespace: "shop".into(),
            name: name.into(),
            families: families.to_vec(),
            has: has.iter().map(|ip| ip.parse().unwrap()).collect(),
        }
    }

    fn told(claims: &[Claim]) -> Vec<String> {
        let show = |(claim, ips): &(Claim, Vec<IpAddr>)| format!("{} {ips:?}", claim.name);
        assign(&ranges(), claims).iter().map(show).collect()
    }

    #[test]
    fn addresses_are_given_in_order_and_by_family() {
        let found = told(&[
            claim("a", &[true], &[]),
            claim("b", &[true, false], &[]),
            claim("c", &[false], &[]),
        ]);
        assert_eq!(
            found,
            ["a [198.18.0.129]", "b [198.18.0.130, fdd1:1c0:50:21::1]", "c [fdd1:1c0:50:21::2]"]
        );
    }

    #[test]
    fn what_a_service_has_it_keeps_and_nobody_else_gets() {
        let found = told(&[
            claim("new", &[true], &[]),
            claim("old", &[true], &["198.18.0.129"]),
            claim("foreign", &[true], &["192.0.2.1"]),
            claim("thief", &[true], &["198.18.0.129"]),
        ]);
        assert_eq!(found, ["new [198.18.0.130]", "foreign [198.18.0.131]", "thief [198.18.0.132]"]);
    }

    #[test]
    fn a_range_that_is_used_up_gives_nothing() {
        let many: Vec<Claim> =
            (0..127).map(|number| claim(&number.to_string(), &[true], &[])).collect();
        let found = assign(&ranges(), &many);
        assert_eq!(found.len(), 126);
        assert_eq!(found[125].1, ["198.18.0.254".parse::<IpAddr>().unwrap()]);
    }
}
