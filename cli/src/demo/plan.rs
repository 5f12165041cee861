//! Who lives where: two clusters on two networks, each with its own loopback range.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;

pub(crate) const TRUST_DOMAIN: &str = "cluster.local";
pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const SYSTEM: &str = "diolkos-system";
pub(crate) const SERVICE_PORT: u16 = 8080;
pub(crate) const PRIMARY_PORT: u16 = 15012;
pub(crate) const GATEWAY_PORT: u16 = 15443;
pub(crate) const PROXY_PORT: u16 = 15080;
pub(crate) const ADMIN_PORT: u16 = 15014;
pub(crate) const ENVOY_ADMIN_PORT: u16 = 15000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    East,
    West,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::West, Self::East];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::East => "east",
            Self::West => "west",
        }
    }
}

/// One server process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod {
    pub(crate) side: Side,
    pub(crate) service: &'static str,
    pub(crate) number: u8,
    /// The last byte of its address; its third byte is 1.
    last: u8,
}

/// `catalog` is in both clusters, `payments` only in east; `ledger` is run by an intruder.
pub(crate) const PODS: [Pod; 7] = [
    Pod { side: Side::West, service: "catalog", number: 1, last: 1 },
    Pod { side: Side::West, service: "catalog", number: 2, last: 2 },
    Pod { side: Side::East, service: "catalog", number: 1, last: 1 },
    Pod { side: Side::East, service: "catalog", number: 2, last: 2 },
    Pod { side: Side::East, service: "payments", number: 1, last: 3 },
    Pod { side: Side::East, service: "payments", number: 2, last: 4 },
    Pod { side: Side::East, service: "ledger", number: 1, last: 5 },
];

impl Pod {
    pub(crate) fn name(&self) -> String {
        format!("{}-{}-{}", self.service, self.side.name(), self.number)
    }
}

/// Keeps other demos off the ranges while it lives.
#[derive(Debug)]
pub(crate) struct Claim {
    _listeners: Vec<TcpListener>,
}

/// The loopback ranges in use, so that two demos can run on one machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    west: u8,
    east: u8,
}

impl Plan {
    /// The first pair of ranges that nobody claims and whose primaries' addresses are free.
    pub(crate) fn claim() -> anyhow::Result<(Self, Claim)> {
        for offset in 0..10 {
            let plan = Self { west: 10 + offset, east: 20 + offset };
            let claim = |side| TcpListener::bind((plan.ip(side, 0, 254), PRIMARY_PORT));
            let Ok(listeners) = Side::BOTH.into_iter().map(claim).collect() else { continue };
            let free = |side| TcpListener::bind(plan.primary(side)).is_ok();
            if Side::BOTH.into_iter().all(free) {
                return Ok((plan, Claim { _listeners: listeners }));
            }
        }
        bail!(
            "none of 127.10.0.1 to 127.19.0.1 can be bound on port {PRIMARY_PORT}: the demo needs \
             Linux's loopback range, and at most ten demos run at once"
        );
    }

    pub(crate) fn range(&self, side: Side) -> String {
        format!("127.{}.0.0/16", self.second(side))
    }

    fn second(&self, side: Side) -> u8 {
        match side {
            Side::East => self.east,
            Side::West => self.west,
        }
    }

    fn ip(&self, side: Side, third: u8, last: u8) -> IpAddr {
        Ipv4Addr::new(127, self.second(side), third, last).into()
    }

    pub(crate) fn primary(&self, side: Side) -> SocketAddr {
        SocketAddr::new(self.ip(side, 0, 1), PRIMARY_PORT)
    }

    pub(crate) fn admin(&self, of: IpAddr) -> SocketAddr {
        SocketAddr::new(of, ADMIN_PORT)
    }

    pub(crate) fn client(&self) -> IpAddr {
        self.ip(Side::West, 0, 9)
    }

    /// Where the client's sidecar takes plain HTTP, with `--proxy envoy`.
    pub(crate) fn sidecar(&self) -> SocketAddr {
        SocketAddr::new(self.client(), PROXY_PORT)
    }

    pub(crate) fn gateways(&self, side: Side) -> Vec<SocketAddr> {
        let replicas: &[u8] = match side {
            Side::East => &[11, 12],
            Side::West => &[11],
        };
        replicas.iter().map(|last| SocketAddr::new(self.ip(side, 0, *last), GATEWAY_PORT)).collect()
    }

    pub(crate) fn pod(&self, pod: &Pod) -> SocketAddr {
        SocketAddr::new(self.ip(pod.side, 1, pod.last), SERVICE_PORT)
    }

    /// A cluster IP: nothing listens there, and no other network routes to it.
    pub(crate) fn vip(&self, side: Side, service: &str) -> IpAddr {
        let last = match service {
            "catalog" => 1,
            "payments" => 2,
            _ => 3,
        };
        self.ip(side, 255, last)
    }

    pub(crate) fn side_of(&self, ip: IpAddr) -> Option<Side> {
        let IpAddr::V4(ip) = ip else { return None };
        Side::BOTH.into_iter().find(|side| ip.octets()[1] == self.second(*side))
    }
}
