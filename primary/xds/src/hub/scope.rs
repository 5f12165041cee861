//! Scopes: who has the same listeners and routes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use diolkos_topology::{AppProtocol, AudienceId, MtlsMode, Namespace, Port};

/// The caller's handle for a live scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub u32);

/// Whoever agrees in all of these has the same listeners and routes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    pub audience: AudienceId,
    /// Where short names of services are looked for.
    pub namespace: Namespace,
    /// Where a sidecar offers an HTTP proxy, if it does.
    pub http_proxy: Option<SocketAddr>,
    /// Of a sidecar to which its pod's connections are redirected: what the pod takes in.
    pub inbound: Option<Arc<Inbound>>,
    /// Where a gateway listens, and on which port: for those who come in, or for those who go out.
    pub bind: IpAddr,
    pub sni_port: u16,
    /// Of a gateway that ends tunnels: it is told how clusters are told apart.
    pub hbone: bool,
}

/// A class of workloads: those that take in the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inbound {
    /// For ports that no service leads to.
    pub rest: MtlsMode,
    /// By the number that the application listens on.
    pub ports: BTreeMap<Port, InboundPort>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundPort {
    pub protocol: AppProtocol,
    pub mode: MtlsMode,
}

impl Scope {
    pub(crate) fn is_redirected(&self) -> bool {
        self.inbound.is_some()
    }
}
