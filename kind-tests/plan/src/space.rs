//! Network namespaces, what joins them, and what must not pass between them.
//!
//! ```text
//!  this machine ── diolkosS ── host ┌────────┐ c0 ── wan  east (one namespace per cluster, its node)
//!                                   │ router │ c1 ── wan  west
//!                                   └────────┘
//! ```
//!
//! The router has a routing table per cluster it takes packets from, so a network that must not be
//! reached is not refused but unknown: pods of one network know each other's addresses, and between
//! networks only what is [`Ranges::outside`] exists. Beside that it counts what should not have come:
//! `forbidden_CLUSTER`, for packets from that cluster to another network's pods or services, to
//! another network's node but for its API server, or from a pod's own address into another network.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::{Dual, Ranges, Slot};
use crate::model::{Cluster, Topology};

pub const ROUTER: &str = "router";
/// Where an API server listens.
pub const API_PORT: u16 = 6443;
/// The node's end of its link.
pub(crate) const WAN: &str = "wan";
const HOST: &str = "host";
/// Of the router's first cluster; tables below 256 are the system's.
const FIRST_TABLE: usize = 1000;

/// One network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    pub name: String,
    /// Kernel settings, as paths below /proc/sys.
    pub settings: Vec<(String, String)>,
    /// For `ip -batch`, with addresses of either family.
    pub ip: Vec<String>,
    /// For `ip -6 -batch`: what has no address to tell the family by.
    pub ip6: Vec<String>,
    /// For `nft -f`.
    pub nft: String,
}

/// What is done in this machine's own network: for `ip -batch`, once all spaces are there.
#[must_use]
pub(crate) fn wires(topology: &Topology, slot: Slot) -> Vec<String> {
    let clusters = topology.clusters.iter().enumerate();
    let mut lines: Vec<String> = clusters
        .map(|(index, cluster)| {
            let link = router_link(index);
            let name = &cluster.name;
            format!("link add name {link} netns {ROUTER} type veth peer name {WAN} netns {name}")
        })
        .collect();
    let link = slot.host_link();
    lines.push(format!("link add name {link} type veth peer name {HOST} netns {ROUTER}"));
    lines.push(format!("address add {}/30 dev {link}", slot.host()));
    lines.push(format!("link set {link} up"));
    lines
}

/// The machine's way to the clusters, once the router is there.
#[must_use]
pub(crate) fn way_in(slot: Slot) -> String {
    format!("route add {} via {} dev {}", slot.outside(), slot.host_router(), slot.host_link())
}

/// The router's end of the link of the cluster with this index.
#[must_use]
pub fn router_link(cluster: usize) -> String {
    format!("c{cluster}")
}

#[must_use]
pub(crate) fn router(topology: &Topology, slot: Slot) -> Space {
    let all: Vec<(usize, &Cluster, Ranges)> = topology
        .clusters
        .iter()
        .enumerate()
        .map(|(index, cluster)| (index, cluster, Ranges::of(slot, index)))
        .collect();
    let mut ip = vec!["link set lo up".to_owned()];
    ip.push(format!("address add {}/30 dev {HOST}", slot.host_router()));
    ip.push(format!("link set {HOST} up"));
    for (index, _, ranges) in &all {
        let link = router_link(*index);
        ip.push(format!("address add {}/30 dev {link}", ranges.router.v4));
        ip.push(format!("address add {}/64 dev {link} nodad", ranges.router.v6));
        ip.push(format!("link set {link} up"));
    }
    let mut ip6 = Vec::new();
    for (_, cluster, ranges) in &all {
        // For this machine, and for what runs in the router itself.
        ip.extend(routes(&ranges.outside, ranges, ""));
        ip.extend(
            routes(&ranges.pods, ranges, "").into_iter().filter(|_| cluster.holds_workloads()),
        );
    }
    for (index, cluster, _) in &all {
        let (link, table) = (router_link(*index), FIRST_TABLE + index);
        let into = format!(" table {table}");
        ip.push(format!("route add {}/30 dev {HOST}{into}", slot.host_router_net()));
        for (_, other, ranges) in all.iter().filter(|(other, ..)| other != index) {
            ip.extend(routes(&ranges.outside, ranges, &into));
            if other.network == cluster.network {
                ip.extend(routes(&ranges.pods, ranges, &into));
            }
        }
        for lines in [&mut ip, &mut ip6] {
            lines.push(format!("rule add iif {link} lookup {table} priority {table}"));
            lines.push(format!("rule add iif {link} unreachable priority {}", table + 100));
        }
    }
    let mut settings = forwarding();
    settings.push(("net/ipv4/conf/all/send_redirects".into(), "0".into()));
    Space { name: ROUTER.to_owned(), settings, ip, ip6, nft: boundary(&all) }
}

fn routes(to: &Dual<IpNet>, ranges: &Ranges, into: &str) -> [String; 2] {
    let route = |to: IpNet, via: IpAddr| format!("route add {to} via {via}{into}");
    [route(to.v4, ranges.api.v4), route(to.v6, ranges.api.v6)]
}

fn forwarding() -> Vec<(String, String)> {
    // Addresses are ours alone; asking whether someone else has them only takes time.
    let on = [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv6/conf/default/dad_transmits", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
    ];
    on.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// A cluster's node.
#[must_use]
pub(crate) fn node(topology: &Topology, index: usize, slot: Slot) -> Space {
    let cluster = &topology.clusters[index];
    let ranges = Ranges::of(slot, index);
    let mut ip = vec!["link set lo up".to_owned()];
    ip.push(format!("address add {}/30 dev {WAN}", ranges.api.v4));
    ip.push(format!("address add {}/64 dev {WAN} nodad", ranges.api.v6));
    for node in 0..cluster.nodes.len() {
        let addresses = ranges.node(node);
        ip.push(format!("address add {}/32 dev {WAN}", addresses.v4));
        ip.push(format!("address add {}/128 dev {WAN} nodad", addresses.v6));
    }
    ip.push(format!("link set {WAN} up"));
    // Also what makes services and load balancers of this cluster reachable from the node itself:
    // a packet needs a way out before it is translated.
    ip.push(format!("route add 0.0.0.0/0 via {}", ranges.router.v4));
    ip.push(format!("route add ::/0 via {} src {}", ranges.router.v6, ranges.api.v6));
    let name = cluster.name.to_string();
    let nft = leaving(topology, index, slot);
    Space { name, settings: forwarding(), ip, ip6: Vec::new(), nft }
}

/// Pods show their own address within their network, and the node's outside it.
fn leaving(topology: &Topology, index: usize, slot: Slot) -> String {
    let cluster = &topology.clusters[index];
    let near = topology.clusters.iter().enumerate().filter(|(other, near)| {
        *other != index && near.network == cluster.network && near.holds_workloads()
    });
    let near: Vec<Dual<IpNet>> = near.map(|(other, _)| Ranges::of(slot, other).pods).collect();
    let own = Ranges::of(slot, index).pods;
    let mut rules = String::new();
    for (family, own, near) in [
        ("ip", own.v4, near.iter().map(|range| range.v4).collect::<Vec<_>>()),
        ("ip6", own.v6, near.iter().map(|range| range.v6).collect()),
    ] {
        let except = match near.as_slice() {
            [] => String::new(),
            near => format!(" {family} daddr != {}", set(near)),
        };
        let _ = writeln!(rules, "    oifname \"{WAN}\" {family} saddr {own}{except} masquerade");
    }
    format!(
        "table inet diolkos\ndelete table inet diolkos\ntable inet diolkos {{\n  chain leaving {{\n    \
         type nat hook postrouting priority srcnat + 5; policy accept;\n{rules}  }}\n}}\n"
    )
}

/// The name of the counter of what should not have come from a cluster.
#[must_use]
pub fn forbidden(cluster: &str) -> String {
    format!("forbidden_{cluster}")
}

fn boundary(all: &[(usize, &Cluster, Ranges)]) -> String {
    let mut counters = String::new();
    let mut coming = String::new();
    let mut passing = String::new();
    for (index, cluster, own) in all {
        let counter = forbidden(cluster.name.as_str());
        let link = router_link(*index);
        let _ = writeln!(counters, "  counter {counter} {{ }}");
        let others = || all.iter().filter(|(other, ..)| other != index);
        for (family, at) in [("ip", 0), ("ip6", 1)] {
            let of = |range: &Dual<IpNet>| range.both()[at];
            let is_near = |other: &Cluster| other.network == cluster.network;
            let mut hidden = vec![of(&own.services)];
            let mut near = Vec::new();
            let mut nodes = Vec::new();
            for (_, other, ranges) in others() {
                if is_near(other) {
                    near.push(of(&ranges.pods));
                    hidden.push(of(&ranges.services));
                } else {
                    hidden.push(of(&ranges.private));
                    nodes.push(of(&ranges.link));
                }
            }
            let from = format!("    iifname \"{link}\" {family}");
            let count = format!("counter name \"{counter}\"");
            let _ = writeln!(coming, "{from} daddr {} {count}", set(&hidden));
            let except = match near.as_slice() {
                [] => String::new(),
                near => format!(" {family} daddr != {}", set(near)),
            };
            let _ = writeln!(coming, "{from} saddr {}{except} {count}", of(&own.pods));
            if !nodes.is_empty() {
                let to = format!("{from} daddr {} ct state new", set(&nodes));
                let _ = writeln!(passing, "{to} tcp dport != {API_PORT} {count} reject");
                let _ = writeln!(passing, "{to} meta l4proto udp {count} reject");
            }
        }
    }
    format!(
        "table inet diolkos\ndelete table inet diolkos\ntable inet diolkos {{\n{counters}  \
         chain coming {{\n    type filter hook prerouting priority raw; policy accept;\n{coming}  \
         }}\n  chain passing {{\n    type filter hook forward priority filter; policy accept;\n\
         {passing}  }}\n}}\n"
    )
}

fn set(ranges: &[IpNet]) -> String {
    let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    format!("{{ {} }}", ranges.join(", "))
}
