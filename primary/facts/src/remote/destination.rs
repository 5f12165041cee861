//! Where the primary may connect to because a document of somebody else's says so.
//!
//! The rule is asked twice: of an address in the document, and by whoever connects, of each address
//! that a name resolved to, so that a name cannot lead where an address may not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use diolkos_topology::{Refusal, special_address};
use ipnet::IpNet;

/// Loopback and link-local ranges that are right all the same: for meshes on one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedRanges(pub Vec<IpNet>);

/// An address that is no place to send a request to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForbiddenAddress {
    pub address: IpAddr,
    /// Of the address itself, or of the IPv4 address it leads to.
    pub why: Refusal,
}

/// Metadata, multicast and unspecified addresses, and IPv4 inside IPv6, are forbidden whatever is
/// allowed; loopback and link-local ones unless a range covers them.
pub fn may_connect(address: IpAddr, allowed: &AllowedRanges) -> Result<(), ForbiddenAddress> {
    let inner = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => embedded(v6),
    };
    let own = special_address(address);
    let why = own.or_else(|| special_address(inner?.into()));
    let Some(why) = why else { return Ok(()) };
    let may_be_allowed = own.is_some() && matches!(why, Refusal::Loopback | Refusal::LinkLocal);
    if may_be_allowed && allowed.0.iter().any(|range| range.contains(&address)) {
        return Ok(());
    }
    Err(ForbiddenAddress { address, why })
}

/// The IPv4 address to which translators and tunnels carry an IPv6 address.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        // RFC 4291, 2.5.5.1: IPv4-compatible, of no use any more.
        [0, 0, 0, 0, 0, 0] => Some(v4(g, h)),
        // RFC 6052: NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0] => Some(v4(g, h)),
        // RFC 3056: 6to4.
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

impl fmt::Display for ForbiddenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Refusal::LinkLocal => "link-local",
            Refusal::Loopback => "loopback, the primary itself",
            Refusal::MappedV4 => "IPv4 inside IPv6",
            Refusal::Metadata => "a cloud's metadata service",
            Refusal::Multicast => "multicast or broadcast",
            _ => "no address of a server",
        };
        write!(f, "{} is {why}", self.address)
    }
}

impl std::error::Error for ForbiddenAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a4_what_is_no_place_for_a_request_is_forbidden() {
        use Refusal::{LinkLocal, Loopback, MappedV4, Metadata, Multicast, Unspecified};
        let cases: &[(&str, &[&str], Option<Refusal>)] = &[
            ("10.0.0.1", &[], None),
            ("192.0.2.1", &[], None),
            ("2001:db8::1", &[], None),
            ("fd12::1", &[], None),
            ("127.0.0.1", &[], Some(Loopback)),
            ("127.8.0.1", &["127.8.0.0/16"], None),
            ("127.9.0.1", &["127.8.0.0/16"], Some(Loopback)),
            ("::1", &[], Some(Loopback)),
            ("::1", &["::1/128"], None),
            ("169.254.7.7", &[], Some(LinkLocal)),
            ("169.254.7.7", &["169.254.7.0/24"], None),
            ("fe80::1", &[], Some(LinkLocal)),
            ("169.254.169.254", &[], Some(Metadata)),
            ("169.254.169.254", &["169.254.0.0/16"], Some(Metadata)),
            ("169.254.169.254", &["0.0.0.0/0"], Some(Metadata)),
            ("168.63.129.16", &[], Some(Metadata)),
            ("100.100.100.200", &[], Some(Metadata)),
            ("fd00:ec2::254", &["::/0"], Some(Metadata)),
            ("fd20:ce::254", &["::/0"], Some(Metadata)),
            ("0.0.0.0", &["0.0.0.0/0"], Some(Unspecified)),
            ("0.1.2.3", &[], Some(Unspecified)),
            ("::", &["::/0"], Some(Unspecified)),
            ("224.0.0.1", &["0.0.0.0/0"], Some(Multicast)),
            ("255.255.255.255", &[], Some(Multicast)),
            ("ff02::1", &[], Some(Multicast)),
            ("::ffff:10.0.0.1", &["::/0"], Some(MappedV4)),
            ("::ffff:127.0.0.1", &["::/0", "127.0.0.0/8"], Some(MappedV4)),
            ("::127.0.0.1", &["::/0"], Some(Loopback)),
            ("64:ff9b::127.0.0.1", &["127.0.0.0/8", "::/0"], Some(Loopback)),
            ("64:ff9b::169.254.169.254", &[], Some(Metadata)),
            ("64:ff9b::192.0.2.1", &[], None),
            ("2002:7f00:1::1", &[], Some(Loopback)),
            ("2002:c000:201::1", &[], None),
        ];
        for (address, ranges, expected) in cases {
            let allowed = ranges.iter().map(|range| range.parse().expect("a range")).collect();
            let verdict =
                may_connect(address.parse().expect("an address"), &AllowedRanges(allowed));
            assert_eq!(verdict.err().map(|one| one.why), *expected, "{address} in {ranges:?}");
        }
    }
}
