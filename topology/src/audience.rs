//! Audiences: the keys by which clients share one derivation.

use std::fmt;

use crate::name::{ClusterId, Locality, NetworkId};

/// The caller's handle for a live audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AudienceId(pub u32);

/// Whoever agrees in all of these is told the same about endpoints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Audience {
    pub kind: ClientKind,
    pub cluster: ClusterId,
    pub network: NetworkId,
    pub locality: Locality,
    pub families: IpFamilies,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKind {
    /// An east-west gateway as the way out of its network: gateways of other networks that end
    /// tunnels, and nothing else.
    Egress,
    /// An east-west gateway: mTLS endpoints of its own network, and nothing behind other gateways.
    Gateway,
    /// gRPC's own xDS client. It cannot speak through a gateway.
    Grpc,
    /// Envoy beside a workload.
    Sidecar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpFamilies {
    Both,
    V4,
    V6,
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ClientKind::Egress => "egress",
            ClientKind::Gateway => "gateway",
            ClientKind::Grpc => "grpc",
            ClientKind::Sidecar => "sidecar",
        };
        write!(f, "{kind} in {} on {} at {}", self.cluster, self.network, self.locality)
    }
}
