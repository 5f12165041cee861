//! How resources are called. The names are Istio's: other control planes' clients know them.

use std::net::SocketAddr;
use std::sync::Arc;

use diolkos_topology::{AppProtocol, ClientKind, Port, ServicePort};

/// The five by which a server knows Istio's mutual TLS.
pub(crate) const ISTIO_ALPNS: [&str; 5] =
    ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

/// Every sidecar's explicit proxy has its routes under this name.
pub(crate) const HTTP_PROXY_ROUTES: &str = "http_proxy";

/// Constant clusters and listeners of redirected workloads.
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
pub(crate) const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
pub(crate) const VIRTUAL_INBOUND: &str = "virtualInbound";

/// Of the cluster that leads to the pod's own application, whatever the port.
pub(crate) fn inbound(protocol: AppProtocol) -> &'static str {
    match protocol {
        AppProtocol::Http => "inbound-http",
        AppProtocol::Grpc | AppProtocol::Http2 => "inbound-http2",
        AppProtocol::Tcp | AppProtocol::Tls => "InboundPassthroughCluster",
    }
}

/// `direct|<port>||<host>`
pub(crate) fn direct(port: &ServicePort, cluster_domain: &str) -> String {
    format!("direct|{}||{}", port.port, port.service.host(cluster_domain))
}

/// Of the routes for HTTP to a port number, whoever is dialled.
pub(crate) fn port_routes(port: Port) -> Arc<str> {
    port.to_string().into()
}

/// `outbound|<port>||<host>`
pub(crate) fn outbound(port: &ServicePort, cluster_domain: &str) -> String {
    format!("outbound|{}||{}", port.port, port.service.host(cluster_domain))
}

/// `outbound_.<port>_._.<host>`
pub(crate) fn sni(port: &ServicePort, cluster_domain: &str) -> String {
    format!("outbound_.{}_._.{}", port.port, port.service.host(cluster_domain))
}

/// Of a service port's cluster, and so of its endpoints.
pub(crate) fn cluster(kind: ClientKind, port: &ServicePort, cluster_domain: &str) -> Arc<str> {
    match kind {
        ClientKind::Egress | ClientKind::Gateway => sni(port, cluster_domain).into(),
        ClientKind::Grpc | ClientKind::Sidecar => outbound(port, cluster_domain).into(),
    }
}

/// `<host>:<port>`, which is what gRPC clients dial.
pub(crate) fn target(port: &ServicePort, cluster_domain: &str) -> Arc<str> {
    format!("{}:{}", port.service.host(cluster_domain), port.port).into()
}

/// `<ip>_<port>`
pub(crate) fn listener(address: SocketAddr) -> Arc<str> {
    format!("{}_{}", address.ip(), address.port()).into()
}
