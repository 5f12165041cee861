//! What a cluster may claim: addresses within its grant, identities of its own trust domain.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use diolkos_trust::SpiffeId;

use crate::event::ClusterSettings;

/// Why a claim is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No range of the cluster's settings covers the address.
    BeyondGrant,
    LinkLocal,
    Loopback,
    /// ::ffff:a.b.c.d, a second spelling of a.b.c.d.
    MappedV4,
    /// Where clouds serve credentials.
    Metadata,
    Multicast,
    /// The identity belongs to a trust domain that is not the cluster's.
    TrustDomain,
    Unspecified,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeyondGrant => "the address is in none of the cluster's ranges",
            Self::LinkLocal => "the address is link-local",
            Self::Loopback => "the address is loopback and no range of the cluster covers it",
            Self::MappedV4 => "the address is an IPv4 address in IPv6 clothes; say it as IPv4",
            Self::Metadata => "the address is a cloud's metadata service",
            Self::Multicast => "the address is multicast or broadcast",
            Self::TrustDomain => "its identity belongs to another trust domain than the cluster",
            Self::Unspecified => "the address is unspecified",
        })
    }
}

/// fd00:ec2::254, AWS over IPv6.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
/// Alibaba, Oracle.
const METADATA_V4: [Ipv4Addr; 2] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];

/// `None` is a yes.
pub(crate) fn refuse_address(settings: &ClusterSettings, address: IpAddr) -> Option<Refusal> {
    let never = match address {
        IpAddr::V4(v4) => refuse_v4(v4),
        IpAddr::V6(v6) => refuse_v6(v6),
    };
    if never.is_some() {
        return never;
    }
    let covered = settings.addresses.iter().any(|range| range.contains(&address));
    if address.is_loopback() && !covered {
        return Some(Refusal::Loopback);
    }
    if !settings.addresses.is_empty() && !covered {
        return Some(Refusal::BeyondGrant);
    }
    None
}

pub(crate) fn refuse_identity(settings: &ClusterSettings, identity: &SpiffeId) -> Option<Refusal> {
    let rest = identity.as_str().strip_prefix("spiffe://")?;
    let domain = rest.split('/').next()?;
    (domain != settings.trust_domain.as_str()).then_some(Refusal::TrustDomain)
}

fn refuse_v4(address: Ipv4Addr) -> Option<Refusal> {
    if address == Ipv4Addr::new(169, 254, 169, 254) || METADATA_V4.contains(&address) {
        Some(Refusal::Metadata)
    } else if address.octets()[0] == 0 {
        Some(Refusal::Unspecified)
    } else if address.is_link_local() {
        Some(Refusal::LinkLocal)
    } else if address.is_multicast() || address.is_broadcast() {
        Some(Refusal::Multicast)
    } else {
        None
    }
}

fn refuse_v6(address: Ipv6Addr) -> Option<Refusal> {
    if address.is_unspecified() {
        Some(Refusal::Unspecified)
    } else if address == METADATA_V6 {
        Some(Refusal::Metadata)
    } else if address.to_ipv4_mapped().is_some() {
        Some(Refusal::MappedV4)
    } else if address.is_unicast_link_local() {
        Some(Refusal::LinkLocal)
    } else if address.is_multicast() {
        Some(Refusal::Multicast)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use diolkos_trust::TrustDomain;

    use super::*;
    use crate::name::{ClusterId, NetworkId};

    fn settings(ranges: &[&str]) -> ClusterSettings {
        ClusterSettings {
            cluster: ClusterId::new("east").unwrap(),
            trust_domain: TrustDomain::new("cluster.local").unwrap(),
            network: NetworkId::unnamed(),
            addresses: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn addresses_are_refused_with_the_right_reason() {
        let cases: &[(&str, &[&str], Option<Refusal>)] = &[
            ("10.0.0.1", &[], None),
            ("2001:db8::1", &[], None),
            ("127.0.0.1", &[], Some(Refusal::Loopback)),
            ("::1", &[], Some(Refusal::Loopback)),
            ("127.2.0.1", &["127.2.0.0/16"], None),
            ("127.3.0.1", &["127.2.0.0/16"], Some(Refusal::Loopback)),
            ("10.0.0.1", &["10.1.0.0/16"], Some(Refusal::BeyondGrant)),
            ("10.1.0.1", &["10.1.0.0/16"], None),
            ("169.254.169.254", &["169.254.0.0/16"], Some(Refusal::Metadata)),
            ("100.100.100.200", &[], Some(Refusal::Metadata)),
            ("fd00:ec2::254", &[], Some(Refusal::Metadata)),
            ("169.254.1.1", &["0.0.0.0/0"], Some(Refusal::LinkLocal)),
            ("fe80::1", &["::/0"], Some(Refusal::LinkLocal)),
            ("0.0.0.0", &[], Some(Refusal::Unspecified)),
            ("0.1.2.3", &["0.0.0.0/0"], Some(Refusal::Unspecified)),
            ("::", &["::/0"], Some(Refusal::Unspecified)),
            ("224.0.0.1", &[], Some(Refusal::Multicast)),
            ("255.255.255.255", &[], Some(Refusal::Multicast)),
            ("ff02::1", &[], Some(Refusal::Multicast)),
            ("::ffff:10.0.0.1", &[], Some(Refusal::MappedV4)),
            ("::ffff:127.0.0.1", &["::/0"], Some(Refusal::MappedV4)),
        ];
        for (address, ranges, expected) in cases {
            let refusal = refuse_address(&settings(ranges), address.parse().unwrap());
            assert_eq!(refusal, *expected, "{address} within {ranges:?}");
        }
    }

    #[test]
    fn an_identity_of_another_trust_domain_is_refused() {
        let id = |text| SpiffeId::parse(text).unwrap();
        let own = id("spiffe://cluster.local/ns/a/sa/b");
        let longer = id("spiffe://cluster.local.evil/ns/a/sa/b");
        assert_eq!(refuse_identity(&settings(&[]), &own), None);
        assert_eq!(refuse_identity(&settings(&[]), &longer), Some(Refusal::TrustDomain));
    }
}
