//! Views and their deltas: what an audience is told.
//!
//! A view of a service port is a set of endpoints of the audience's own network, a set of gateways
//! that stand for all others, and the identities any of them may show. Deltas replace single
//! entries; folding all of them since `AudienceUp` gives the view.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use diolkos_trust::SpiffeId;

use crate::audience::AudienceId;
use crate::fact::{AppProtocol, Mtls, Workload};
use crate::name::{ClusterId, Locality, Port, PortName, ServiceKey, ServicePort};

/// What one endpoint weighs. Divisible by every number of gateways a network may have, so that a
/// group shared among gateways is shared exactly.
pub const WEIGHT_UNIT: u64 = 720_720;
/// What a gateway weighs at most: 390 million endpoints. No mesh has them; a cluster's own count of
/// them may say so.
pub const WEIGHT_MAX: u64 = (1 << 48) - 1;

/// In the order in which a mirror may apply it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewDelta {
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub audience: AudienceId,
    pub what: What,
}

/// `None` removes the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// An endpoint of the audience's own network.
    Endpoint { port: ServicePort, address: SocketAddr, entry: Option<Arc<ViewEndpoint>> },
    /// A gateway that stands for endpoints of another network.
    Gateway { port: ServicePort, address: SocketAddr, entry: Option<Arc<ViewGateway>> },
    /// Every identity that an endpoint of this port may show, sorted. Absent until said.
    Identities { port: ServicePort, identities: Arc<[SpiffeId]> },
    /// A service the audience may know. Removing it removes everything under it; a new entry that
    /// lacks a port of the old one removes everything under that port.
    Service { key: ServiceKey, entry: Option<Arc<ServiceView>> },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViewEndpoint {
    pub cluster: ClusterId,
    pub locality: Locality,
    /// 0 is nearest. Gaps are possible; the last is `PRIORITY_STALE`.
    pub priority: u8,
    pub mtls: Mtls,
    pub workload: Arc<Workload>,
    /// In units of 1 / `WEIGHT_UNIT` endpoints.
    pub weight: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViewGateway {
    /// The cluster whose gateway it is.
    pub cluster: ClusterId,
    /// Of the nearest group behind it.
    pub locality: Locality,
    pub priority: u8,
    /// As an endpoint's; at most `WEIGHT_MAX`.
    pub weight: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    pub key: ServiceKey,
    /// The audience's own cluster's, if the service is there.
    pub vips: Vec<IpAddr>,
    pub ports: Vec<PortView>,
    /// Who contributes to it, sorted.
    pub clusters: Vec<ClusterId>,
    /// Of gateways, which see who calls: the exports among them that name who may, sorted. What is
    /// not here is for everybody.
    pub restricted: Vec<Restricted>,
}

/// An export that names its consumers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Restricted {
    pub cluster: ClusterId,
    /// Sorted.
    pub consumers: Vec<ClusterId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortView {
    pub name: PortName,
    pub port: Port,
    pub protocol: AppProtocol,
}

/// Same zone.
pub const PRIORITY_ZONE: u8 = 0;
/// Same region.
pub const PRIORITY_REGION: u8 = 1;
/// Anywhere else.
pub const PRIORITY_ELSEWHERE: u8 = 2;
/// Of a cluster nobody has seen for too long.
pub const PRIORITY_STALE: u8 = 3;
