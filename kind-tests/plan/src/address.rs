//! Which addresses a cluster has.
//!
//! ```text
//!  slot 0..8, cluster 0..8          IPv4                        IPv6, in fdd1:1c0:50::/48
//!  pods                             10.(64+2n).0.0/16           :SC00::/64      n = 8 slot + cluster
//!  services                         10.(65+2n).0.0/16           :SC10::/112
//!  outside: the node's link         198.18.(32 slot + C).0/25   :SC20::/64
//!           load balancers          198.18.(32 slot + C).128/25 :SC21::/112
//!  this machine's own link          198.18.(32 slot + 31).0/30
//! ```
//!
//! 198.18.0.0/15 is for measuring between networks (RFC 2544): nobody has it at home.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::limit::{CLUSTERS_MAX, SLOTS_MAX};

/// Which of the topologies side by side on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u8);

impl Slot {
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (number < SLOTS_MAX).then_some(Self(number))
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS_MAX).map(Self)
    }

    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The one interface in the machine's own network.
    #[must_use]
    pub fn host_link(self) -> String {
        format!("diolkos{}", self.0)
    }

    /// All that is outside a cluster, in one range.
    #[must_use]
    pub fn outside(self) -> IpNet {
        v4([198, 18, 32 * self.0, 0], 19)
    }

    /// Where Docker takes the addresses of kind's nodes from.
    pub(crate) fn kind_nodes(self) -> IpNet {
        v4([198, 18, 32 * self.0 + 30, 0], 24)
    }

    pub(crate) fn host(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 32 * self.0 + 31, 2)
    }

    pub(crate) fn host_router_net(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 32 * self.0 + 31, 0)
    }

    /// The router's end of the machine's link.
    pub(crate) fn host_router(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 32 * self.0 + 31, 1)
    }
}

/// One of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dual<T> {
    pub v4: T,
    pub v6: T,
}

impl<T: Copy> Dual<T> {
    #[must_use]
    pub fn both(&self) -> [T; 2] {
        [self.v4, self.v6]
    }
}

impl<T: fmt::Display> fmt::Display for Dual<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.v4, self.v6)
    }
}

/// A cluster's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    pub pods: Dual<IpNet>,
    pub services: Dual<IpNet>,
    /// Pods and services: what no other network may see.
    pub private: Dual<IpNet>,
    /// The node's link and the load balancers: what every network may see.
    pub outside: Dual<IpNet>,
    /// The node's link alone.
    pub link: Dual<IpNet>,
    pub load_balancers: Dual<IpNet>,
    /// The router's end of the link.
    pub router: Dual<IpAddr>,
    /// The node's end, where its API server is.
    pub api: Dual<IpAddr>,
    pub dns: Dual<IpAddr>,
}

impl Ranges {
    /// # Panics
    /// When `cluster` is not below [`CLUSTERS_MAX`], which a [`crate::Topology`] never has.
    #[must_use]
    pub fn of(slot: Slot, cluster: usize) -> Self {
        assert!(cluster < CLUSTERS_MAX, "a topology has at most {CLUSTERS_MAX} clusters");
        let cluster = u8::try_from(cluster).expect("less than CLUSTERS_MAX");
        let inside = 64 + 2 * (8 * slot.0 + cluster);
        let outside = 32 * slot.0 + cluster;
        let six = (u16::from(slot.0) << 12) | (u16::from(cluster) << 8);
        let link = Dual { v4: v4([198, 18, outside, 0], 25), v6: v6(six | 0x20, 64) };
        let services = Dual { v4: v4([10, inside + 1, 0, 0], 16), v6: v6(six | 0x10, 112) };
        Self {
            pods: Dual { v4: v4([10, inside, 0, 0], 16), v6: v6(six, 64) },
            services,
            private: Dual { v4: v4([10, inside, 0, 0], 15), v6: v6(six, 59) },
            outside: Dual { v4: v4([198, 18, outside, 0], 24), v6: v6(six | 0x20, 60) },
            link,
            load_balancers: Dual { v4: v4([198, 18, outside, 128], 25), v6: v6(six | 0x21, 112) },
            router: nth(&link, 1),
            api: nth(&link, 2),
            dns: nth(&services, 10),
        }
    }

    /// Of the node with this index.
    #[must_use]
    pub fn node(&self, index: usize) -> Dual<IpAddr> {
        nth(&self.link, 11 + u8::try_from(index).unwrap_or(u8::MAX - 11))
    }

    /// The service by which pods find their API server: the first address, as Kubernetes has it.
    #[must_use]
    pub fn kubernetes(&self) -> Dual<IpAddr> {
        nth(&self.services, 1)
    }
}

fn v4(octets: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(octets), prefix))
}

fn v6(subnet: u16, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfdd1, 0x1c0, 0x50, subnet, 0, 0, 0, 0), prefix))
}

fn nth(range: &Dual<IpNet>, number: u8) -> Dual<IpAddr> {
    let of = |range: IpNet| match range.network() {
        IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from(u32::from(first) + u32::from(number))),
        IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from(u128::from(first) + u128::from(number))),
    };
    Dual { v4: of(range.v4), v6: of(range.v6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Ranges> {
        let clusters = |slot| (0..CLUSTERS_MAX).map(move |cluster| Ranges::of(slot, cluster));
        Slot::all().flat_map(clusters).collect()
    }

    #[test]
    fn no_two_clusters_of_any_two_slots_share_an_address() {
        let mut ranges: Vec<IpNet> = Vec::new();
        for cluster in all() {
            ranges.extend(cluster.private.both());
            ranges.extend(cluster.outside.both());
        }
        for slot in Slot::all() {
            ranges.push(v4([198, 18, 32 * slot.0 + 31, 0], 30));
            assert!(slot.outside().contains(&IpAddr::V4(slot.host())));
        }
        for (index, range) in ranges.iter().enumerate() {
            let overlaps = |other: &&IpNet| other.contains(range) || range.contains(*other);
            assert_eq!(ranges[..index].iter().find(overlaps), None, "{range}");
        }
    }

    #[test]
    fn what_is_inside_is_inside() {
        for cluster in all() {
            for family in [0, 1] {
                let of = |range: Dual<IpNet>| range.both()[family];
                assert!(of(cluster.private).contains(&of(cluster.pods)));
                assert!(of(cluster.private).contains(&of(cluster.services)));
                assert!(of(cluster.outside).contains(&of(cluster.link)));
                assert!(of(cluster.outside).contains(&of(cluster.load_balancers)));
                assert!(!of(cluster.pods).contains(&of(cluster.services)));
                assert!(!of(cluster.link).contains(&of(cluster.load_balancers)));
                assert!(of(cluster.link).contains(&cluster.node(7).both()[family]));
                assert!(of(cluster.services).contains(&cluster.dns.both()[family]));
            }
        }
    }

    #[test]
    fn the_addresses_of_a_cluster_as_a_person_sees_them() {
        let ranges = Ranges::of(Slot::new(1).unwrap(), 2);
        assert_eq!(ranges.pods.to_string(), "10.84.0.0/16,fdd1:1c0:50:1200::/64");
        assert_eq!(ranges.services.to_string(), "10.85.0.0/16,fdd1:1c0:50:1210::/112");
        assert_eq!(ranges.api.to_string(), "198.18.34.2,fdd1:1c0:50:1220::2");
        assert_eq!(ranges.node(0).to_string(), "198.18.34.11,fdd1:1c0:50:1220::b");
        assert_eq!(ranges.dns.to_string(), "10.85.0.10,fdd1:1c0:50:1210::a");
        assert_eq!(ranges.load_balancers.to_string(), "198.18.34.128/25,fdd1:1c0:50:1221::/112");
        assert_eq!(Slot::new(SLOTS_MAX), None);
    }
}
