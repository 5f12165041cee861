//! What is known of each cluster and network, for people.

use std::fmt;
use std::net::SocketAddr;

use crate::name::{ClusterId, Generation, NetworkId, Tick};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    pub cluster: ClusterId,
    pub network: NetworkId,
    pub state: ClusterState,
    pub services: usize,
    pub endpoints: usize,
    pub gateways: usize,
    pub exports: usize,
    pub nodes: usize,
    pub refused: Refused,
}

/// What a cluster has and may not claim. Counted once: endpoints of a service that is refused are
/// among these only where they are refused for themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub services: usize,
    pub endpoints: usize,
    pub gateways: usize,
}

/// A network that a cluster is on, or that a gateway leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkStatus {
    pub network: NetworkId,
    /// Whose own network it is.
    pub clusters: Vec<ClusterId>,
    /// By address; those that are refused are not among them.
    pub gateways: Vec<GatewayStatus>,
    /// The ways out of it, by address and cluster; each is for one cluster.
    pub exits: Vec<GatewayStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayStatus {
    pub address: SocketAddr,
    /// That have it.
    pub clusters: Vec<ClusterId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Named by the operator; no generation of its facts is active yet.
    Declared,
    Live {
        generation: Generation,
    },
    /// Out of sight. Its facts stay as last known.
    Stale {
        generation: Option<Generation>,
        since: Tick,
        demoted: bool,
    },
}

impl NetworkStatus {
    pub(crate) fn of(network: NetworkId) -> Self {
        Self { network, clusters: Vec::new(), gateways: Vec::new(), exits: Vec::new() }
    }
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared => f.write_str("declared"),
            Self::Live { .. } => f.write_str("live"),
            Self::Stale { since, demoted: false, .. } => write!(f, "stale since {}", since.0),
            Self::Stale { since, demoted: true, .. } => {
                write!(f, "stale since {}, demoted", since.0)
            }
        }
    }
}

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cluster {} on {}: {}, services={} endpoints={} gateways={} exports={} nodes={}",
            self.cluster,
            self.network,
            self.state,
            self.services,
            self.endpoints,
            self.gateways,
            self.exports,
            self.nodes
        )?;
        let Refused { services, endpoints, gateways } = self.refused;
        if self.refused == Refused::default() {
            return Ok(());
        }
        write!(f, " refused: services={services} endpoints={endpoints} gateways={gateways}")
    }
}
