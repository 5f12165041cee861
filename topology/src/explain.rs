//! Why a view holds what it holds.

use std::fmt;
use std::net::SocketAddr;

use crate::name::{ClusterId, Locality, NetworkId, PodName, ServicePort, SliceName, Stamp};

/// What became of one endpoint, or of endpoints said as a number, for one audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub port: ServicePort,
    pub cluster: ClusterId,
    pub network: NetworkId,
    pub locality: Locality,
    pub subject: Subject,
    /// When its cluster said so.
    pub said: Stamp,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Endpoint {
        address: SocketAddr,
        pod: Option<PodName>,
        slice: SliceName,
    },
    /// As many as the cluster said, without their addresses.
    Summary {
        count: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Kept {
        priority: u8,
    },
    /// These gateways stand for it, in equal parts.
    Replaced {
        gateways: Vec<SocketAddr>,
    },
    Dropped {
        reason: String,
    },
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.port, self.cluster)
    }
}
