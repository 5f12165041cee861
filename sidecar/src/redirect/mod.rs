//! The rules that lead a pod's TCP connections to its Envoy, in both IP families.
//!
//! ```text
//!  RedirectSettings ─> ruleset (text) ─> nft -f -      one transaction: all of it, or nothing
//!                   └> ::6/128 on lo                   the source of what Envoy hands on, in IPv6
//! ```
//!
//! Laying them again is laying them once. What they say is docs/sidecar-pod.md's.

mod address;
mod apply;
mod ruleset;

use std::path::PathBuf;

use ipnet::IpNet;

pub use apply::{RedirectError, apply, check, undo};
pub use ruleset::ruleset;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectSettings {
    /// Where Envoy takes what the pod sends.
    pub outbound_port: u16,
    /// Where Envoy takes what comes to the pod.
    pub inbound_port: u16,
    /// Whose own traffic is left alone.
    pub uid: u32,
    pub exclude_inbound_ports: Vec<u16>,
    pub exclude_outbound_ports: Vec<u16>,
    pub exclude_outbound_ranges: Vec<IpNet>,
}

/// How `nft` is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nft(pub PathBuf);
