//! Notices: something someone should know. The shell logs and counts them.

use std::fmt;
use std::net::IpAddr;

use crate::fact::FactKind;
use crate::name::{ClusterId, NetworkId, Port, ServiceKey};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// A cluster that the operator never named said something.
    UnknownCluster {
        cluster: ClusterId,
    },
    /// Beyond what the cluster was granted.
    EndpointRefused {
        cluster: ClusterId,
        service: ServiceKey,
        address: IpAddr,
        why: String,
    },
    GatewayRefused {
        cluster: ClusterId,
        network: NetworkId,
        address: IpAddr,
        why: String,
    },
    /// Endpoints exist on a network that no gateway leads to.
    NetworkWithoutGateway {
        cluster: ClusterId,
        network: NetworkId,
    },
    /// Endpoints exist on a network that their cluster was not granted.
    NetworkRefused {
        cluster: ClusterId,
        network: NetworkId,
    },
    /// Two clusters say different things of one port. The winner's word is used.
    PortConflict {
        service: ServiceKey,
        port: Port,
        winner: ClusterId,
        loser: ClusterId,
        why: String,
    },
    Quota {
        cluster: ClusterId,
        kind: FactKind,
        limit: usize,
    },
    ServiceRefused {
        cluster: ClusterId,
        service: ServiceKey,
        why: String,
    },
    ClusterStale {
        cluster: ClusterId,
    },
    ClusterFresh {
        cluster: ClusterId,
    },
    ClusterDemoted {
        cluster: ClusterId,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCluster { cluster } => write!(
                f,
                "cluster {cluster}: not part of the mesh, its facts are ignored; name it in the mesh file"
            ),
            Self::EndpointRefused { cluster, service, address, why } => {
                write!(
                    f,
                    "service {service}: endpoint {address} of cluster {cluster} refused: {why}"
                )
            }
            Self::GatewayRefused { cluster, network, address, why } => {
                write!(
                    f,
                    "gateway {address} of network {network} in cluster {cluster} refused: {why}"
                )
            }
            Self::NetworkWithoutGateway { cluster, network } => write!(
                f,
                "network {network}: no gateway leads to it, so endpoints of cluster {cluster} on it \
                 are out of reach for other networks; label a gateway Service with \
                 topology.istio.io/network={network}"
            ),
            Self::NetworkRefused { cluster, network } => write!(
                f,
                "network {network}: endpoints of cluster {cluster} on it are refused, the network \
                 is not granted to the cluster; grant it, or correct the network's label there"
            ),
            Self::PortConflict { service, port, winner, loser, why } => write!(
                f,
                "service {service}: port {port} of cluster {loser} conflicts with cluster {winner} \
                 ({why}); rename the port or drop the export"
            ),
            Self::Quota { cluster, kind, limit } => write!(
                f,
                "cluster {cluster}: more than {limit} facts of kind {kind:?}; the rest is ignored"
            ),
            Self::ServiceRefused { cluster, service, why } => {
                write!(
                    f,
                    "service {service} of cluster {cluster} refused: {why}; widen the cluster's \
                     grants if it should be"
                )
            }
            Self::ClusterStale { cluster } => {
                write!(f, "cluster {cluster}: out of sight, its endpoints are kept as last known")
            }
            Self::ClusterFresh { cluster } => write!(f, "cluster {cluster}: in sight again"),
            Self::ClusterDemoted { cluster } => {
                write!(f, "cluster {cluster}: out of sight too long, its endpoints come last now")
            }
        }
    }
}
