//! The way out: connections of the gateway's own cluster to services behind other networks, each
//! through a tunnel to a gateway there.
//!
//! ```text
//!  lane: accept ──> hello ──> Egress::carry ──> Pool::open ══ CONNECT host:port ══> their :15008
//!         (the same as at the data port)        │ next target, at most three
//!                                               └──> relay: the client's bytes as they are
//! ```
//!
//! - Its routes come over a stream of their own to the same primary; their targets are gateways.
//! - The tunnel proves which cluster calls, by this gateway's certificate. Who calls within the
//!   cluster is between the ends of the client's TLS, which passes as it is.
//! - A connection keeps its seat, its place on the route and its line of the log from the lane that
//!   accepted it to the end of its tunnel.

mod carry;
mod fault;
mod link;
mod metrics;
mod pool;
mod shown;

use std::net::IpAddr;
use std::sync::Arc;

use diolkos_ops::metrics::Registry;
use diolkos_route::{ClientHello, Decision, Refusal, sni};
use diolkos_tls::{Identity, Roots};
use tokio::runtime::Handle;

use crate::follow::{Followed, SharedStream};
use crate::{Config, EgressSettings, Limits, Metrics};

pub(crate) use carry::Outbound;
pub use fault::Fault;
pub use metrics::EgressMetrics;
pub(crate) use shown::EgressShown;

use pool::Pool;

#[derive(Debug)]
pub struct Egress {
    config: Arc<Config>,
    metrics: EgressMetrics,
    pool: Arc<Pool>,
    stream: SharedStream,
    /// Where tunnels are carried: lanes have no runtime of their own.
    tasks: Handle,
}

impl Egress {
    /// To be made where tokio runs. Nobody is let out before [`Egress::enters`].
    pub fn new(
        settings: &EgressSettings,
        source: Option<IpAddr>,
        limits: Limits,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let metrics = EgressMetrics::new(registry);
        Arc::new(Self {
            config: Arc::default(),
            pool: Pool::new(settings, source, limits, metrics.clone()),
            metrics,
            stream: SharedStream::default(),
            tasks: Handle::current(),
        })
    }

    /// Says who the gateway is to those of other networks. Once; a renewal is seen in the identity.
    pub fn enters(&self, identity: Identity, roots: Roots) {
        self.pool.enters(identity, roots);
    }

    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub fn metrics(&self) -> &EgressMetrics {
        &self.metrics
    }

    pub(crate) fn stream(&self) -> &SharedStream {
        &self.stream
    }

    /// What a stream of the primary about the way out is counted in.
    pub(crate) fn followed(&self, metrics: &Metrics) -> Followed {
        Followed {
            routes: self.metrics.routes.clone(),
            connected: self.metrics.xds_connected.clone(),
            refused: metrics.xds_refused.clone(),
        }
    }

    /// As at the data port; a subset leads nowhere, for no tunnel can ask for one.
    pub(crate) fn decide(&self, hello: &ClientHello) -> Decision {
        let name = hello.sni.as_ref().and_then(|name| sni::decode(name.as_str()).ok());
        match name {
            Some(name) if !name.subset().is_empty() => Decision::Refuse(Refusal::UnknownName),
            _ => self.config.decide(hello),
        }
    }
}
