//! What a cluster may claim: addresses, service names, identities and networks within its grants.
//!
//! Each rule here looks at one claim and the settings of who makes it. They are the leaves that
//! the index and the oracle share; what follows from a refusal each works out by itself.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use diolkos_trust::SpiffeId;
use serde::{Deserialize, Serialize};

use crate::event::ClusterSettings;
use crate::name::{Namespace, NetworkId, ServiceKey};
use crate::pattern::{NamePattern, is_reserved_service};

/// What a cluster may claim apart from addresses. They select when a view is derived: facts beyond
/// them are kept, and count as soon as the grants are wider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    pub services: Names,
    /// By namespace and service account.
    pub identities: Names,
    pub networks: Networks,
    /// The system namespace of the mesh, where it is none of the usual ones: reserved as they are.
    pub system: Option<Namespace>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Names {
    /// The reserved ones too.
    Every,
    Listed(Arc<[NamePattern]>),
}

/// On which networks a cluster may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Networks {
    Every,
    /// Endpoints and gateways on these, and nowhere else.
    Listed(BTreeSet<NetworkId>),
    /// Gateways into its own network. Its endpoints may be on others, as their labels say.
    Own,
}

impl Grants {
    /// For the primary's own cluster, and for what lies on the operator's own disk.
    pub fn everything() -> Self {
        Self {
            services: Names::Every,
            identities: Names::Every,
            networks: Networks::Every,
            system: None,
        }
    }

    /// For a cluster that the operator named and said no more of, as Istio's remote secrets do: all
    /// but the reserved names, and gateways into its own network.
    pub fn plain() -> Self {
        let any = || Names::Listed([NamePattern::any()].into());
        Self { services: any(), identities: any(), networks: Networks::Own, system: None }
    }
}

impl ClusterSettings {
    /// Why a workload of this cluster may not have an identity; `None` is a yes.
    pub fn refuse_identity(&self, identity: &SpiffeId) -> Option<Refusal> {
        refuse_identity(self, identity)
    }
}

/// Why a claim is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No range of the cluster's settings covers the address.
    BeyondGrant,
    /// No pattern of the cluster's grants covers its identity.
    Identity,
    LinkLocal,
    Loopback,
    /// ::ffff:a.b.c.d, a second spelling of a.b.c.d.
    MappedV4,
    /// Where clouds serve credentials.
    Metadata,
    Multicast,
    /// The network is not one of the cluster's.
    Network,
    /// What each cluster has for itself, unless it is granted by its full name.
    Reserved,
    /// No pattern of the cluster's grants covers the service.
    Service,
    /// The identity belongs to a trust domain that is not the cluster's.
    TrustDomain,
    Unspecified,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeyondGrant => "the address is in none of the cluster's ranges",
            Self::Identity => "its identity is not granted to the cluster",
            Self::LinkLocal => "the address is link-local",
            Self::Loopback => "the address is loopback and no range of the cluster covers it",
            Self::MappedV4 => "the address is an IPv4 address in IPv6 clothes; say it as IPv4",
            Self::Metadata => "the address is a cloud's metadata service",
            Self::Multicast => "the address is multicast or broadcast",
            Self::Network => "the network is not granted to the cluster",
            Self::Reserved => "each cluster has this name for itself",
            Self::Service => "the service is not granted to the cluster",
            Self::TrustDomain => "its identity belongs to another trust domain than the cluster",
            Self::Unspecified => "the address is unspecified",
        })
    }
}

/// AWS, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
];
/// Alibaba, Azure, Oracle.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Why nobody should be told to go to an address; `None` for ordinary ones. Loopback may be right
/// all the same, on one machine.
pub fn special_address(address: IpAddr) -> Option<Refusal> {
    let never = match address {
        IpAddr::V4(v4) => refuse_v4(v4),
        IpAddr::V6(v6) => refuse_v6(v6),
    };
    never.or(address.is_loopback().then_some(Refusal::Loopback))
}

/// `None` is a yes.
pub(crate) fn refuse_address(settings: &ClusterSettings, address: IpAddr) -> Option<Refusal> {
    let never = special_address(address).filter(|why| *why != Refusal::Loopback);
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
    if domain != settings.trust_domain.as_str() {
        return Some(Refusal::TrustDomain);
    }
    let Names::Listed(patterns) = &settings.grants.identities else { return None };
    let granted = identity.workload_name().is_some_and(|own| {
        let system = settings.grants.system.as_ref();
        let covers = |one: &NamePattern| one.covers(own.namespace, own.service_account, system);
        patterns.iter().any(covers)
    });
    (!granted).then_some(Refusal::Identity)
}

pub(crate) fn refuse_service(settings: &ClusterSettings, key: &ServiceKey) -> Option<Refusal> {
    let Names::Listed(patterns) = &settings.grants.services else { return None };
    let system = settings.grants.system.as_ref();
    if patterns.iter().any(|pattern| pattern.covers_service(key, system)) {
        return None;
    }
    Some(if is_reserved_service(key, system) { Refusal::Reserved } else { Refusal::Service })
}

/// Endpoints on a network.
pub(crate) fn refuse_network(settings: &ClusterSettings, network: &NetworkId) -> Option<Refusal> {
    match &settings.grants.networks {
        Networks::Every | Networks::Own => None,
        Networks::Listed(listed) => (!listed.contains(network)).then_some(Refusal::Network),
    }
}

/// A gateway at an address into a network, of a cluster that is on `own`.
pub(crate) fn refuse_gateway(
    settings: &ClusterSettings,
    own: &NetworkId,
    network: &NetworkId,
    address: IpAddr,
) -> Option<Refusal> {
    let by_network = || match &settings.grants.networks {
        Networks::Own => (network != own).then_some(Refusal::Network),
        Networks::Every | Networks::Listed(_) => refuse_network(settings, network),
    };
    refuse_address(settings, address).or_else(by_network)
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
    } else if METADATA_V6.contains(&address) {
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
    use crate::name::ClusterId;

    fn settings(ranges: &[&str]) -> ClusterSettings {
        ClusterSettings {
            cluster: ClusterId::new("east").unwrap(),
            trust_domain: TrustDomain::new("cluster.local").unwrap(),
            network: NetworkId::unnamed(),
            addresses: ranges.iter().map(|range| range.parse().unwrap()).collect(),
            grants: Grants::everything(),
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
            ("168.63.129.16", &["0.0.0.0/0"], Some(Refusal::Metadata)),
            ("fd00:ec2::254", &[], Some(Refusal::Metadata)),
            ("fd20:ce::254", &["::/0"], Some(Refusal::Metadata)),
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
