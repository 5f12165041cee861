//! Pods: who runs where, under which service account.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use diolkos_topology::{Mtls, NetworkId, NodeName, Workload};

/// What is known of a pod, for its endpoints and for telling whether a client is who it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEntry {
    pub service_account: String,
    /// Its own label's word; `None` means its cluster's network.
    pub network: Option<NetworkId>,
    pub node: Option<NodeName>,
    pub mtls: Mtls,
    /// Only the labels that diolkos reads.
    pub labels: BTreeMap<String, String>,
    pub ips: Vec<IpAddr>,
    pub workload: Arc<Workload>,
}
