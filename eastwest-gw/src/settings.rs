//! What an operator may choose, with the defaults of `docs/gateway.md`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use diolkos_hbone::Probes;
use diolkos_hbone::limit::OUTER_TUNNELS_MAX;
use diolkos_trust::SpiffeId;
use diolkos_trust_client::PrimaryName;
use diolkos_xds_client::{Backoff, NodeClaims};
use ipnet::IpNet;

use crate::{ControlPlane, ControlPort, OwnIdentity};

#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Where to listen at once; otherwise where the first Listener says, not before it comes.
    pub listen: Option<SocketAddr>,
    /// The primary's ports that are passed through; usually none.
    pub control: Vec<ControlPort>,
    /// Where tunnels (HBONE) end; usually nowhere.
    pub hbone: Option<SocketAddr>,
    /// The way out, where there is one.
    pub egress: Option<EgressSettings>,
    /// The address to dial targets from.
    pub source: Option<IpAddr>,
    /// The primary, or the istiod, that says what the routes are.
    pub primary: PrimaryName,
    pub control_plane: ControlPlane,
    /// Who the gateway is to it, and says it is.
    pub identity: OwnIdentity,
    pub node: NodeClaims,
    pub backoff: Backoff,
    /// Where `/healthz/ready`, `/healthz` and `/metrics` answer whoever reaches them.
    pub health: Option<SocketAddr>,
    /// Where `/ready`, `/metrics` and `/debug` answer; loopback.
    pub admin: Option<SocketAddr>,
    pub limits: Limits,
    pub path: BytePath,
    /// How long connections may live on after the shutdown began.
    pub drain: Duration,
}

/// The way out of the gateway's network, for its own cluster.
#[derive(Clone, Debug)]
pub struct EgressSettings {
    /// Where those of its cluster connect to.
    pub listen: SocketAddr,
    /// Whom gateways of other networks may be; none: whoever has the gateway's own id.
    pub gateways: Vec<SpiffeId>,
    pub limits: EgressLimits,
}

/// The bounds of the way out, beside [`Limits`]. The defaults are the documented ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EgressLimits {
    /// Connections to gateways of other networks.
    pub connections_max: usize,
    /// The same to one gateway.
    pub connections_per_gateway_max: usize,
    pub tunnels_per_connection_max: usize,
    /// A gateway's address may be that of several, with a load balancer before them: up to so many
    /// connections share what comes, before any of them is full.
    pub connections_sharing: usize,
    /// For one gateway to give a tunnel: connection, TLS, HTTP/2 and its answer, in total.
    pub open: Duration,
    /// Of a connection, without a tunnel.
    pub idle_connection: Duration,
    /// When a gateway is asked whether it is still there.
    pub probes: Probes,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_gateway_max: 512,
            tunnels_per_connection_max: OUTER_TUNNELS_MAX,
            connections_sharing: 4,
            open: Duration::from_secs(5),
            idle_connection: Duration::from_secs(60),
            probes: Probes { after: Duration::from_secs(2), patience: Duration::from_secs(10) },
        }
    }
}

/// How bytes are moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytePath {
    /// Event loops, each a thread.
    pub threads: NonZeroUsize,
    pub moves: Moves,
    /// Whoever connects from here says for whom, by a PROXY header of version 2, and nobody else.
    pub proxy_protocol_from: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Moves {
    /// By copying, and by splicing where a direction carries much.
    #[default]
    Adaptive,
    Copy,
}

impl Default for BytePath {
    /// A loop for each core that this process may use.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { threads, moves: Moves::Adaptive, proxy_protocol_from: Vec::new() }
    }
}

/// The bounds of one gateway. The defaults are the documented ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accept to the end of the ClientHello, in total and not per read.
    pub hello: Duration,
    /// Connections whose hello is not complete.
    pub pending_max: usize,
    /// The same for one source: an IPv4 address or an IPv6 /64.
    pub pending_per_source_max: usize,
    /// Connections at one time, whatever becomes of them; each of the primary's ports has a
    /// sixteenth of it besides.
    pub connections_max: usize,
    /// The same to one name.
    pub connections_per_route_max: usize,
    /// Names without a route that one source may ask for, before it is reset at once until it
    /// calms down; zero: as many as it likes.
    pub unknown_names_per_minute_max: u32,
    /// For the connection to one target.
    pub connect: Duration,
    pub targets_tried_max: usize,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// TCP keepalive, first probe and interval.
    pub keepalive: Duration,
    pub backlog: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(3),
            pending_max: 4096,
            pending_per_source_max: 64,
            connections_max: 65_536,
            connections_per_route_max: 32_768,
            unknown_names_per_minute_max: 100,
            connect: Duration::from_secs(2),
            targets_tried_max: 3,
            idle: Duration::from_secs(60 * 60),
            keepalive: Duration::from_secs(30),
            backlog: 1024,
        }
    }
}
