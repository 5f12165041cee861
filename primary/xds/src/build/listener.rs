//! Listeners that are told about: a sidecar's explicit proxy, a gateway's one port, and a gRPC
//! client's targets.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;

use super::filter::{self, filter};
use super::name;
use super::wire::{address, any, seconds, uint};
use crate::callers::Callers;

/// An HTTP proxy that applications are told to use.
pub(crate) fn http_proxy(at: SocketAddr) -> listener::Listener {
    let manager = hcm::HttpConnectionManager {
        stat_prefix: "http_proxy".into(),
        // Nobody but the mesh says who called.
        forward_client_cert_details:
            hcm::http_connection_manager::ForwardClientCertDetails::Sanitize as i32,
        route_specifier: Some(filter::routes(name::HTTP_PROXY_ROUTES)),
        http_filters: filter::client_filters(),
        ..Default::default()
    };
    listener::Listener {
        name: name::listener(at).to_string(),
        address: Some(address(at)),
        traffic_direction: core::TrafficDirection::Outbound as i32,
        filter_chains: vec![listener::FilterChain {
            filters: vec![filter::http(&manager)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The server name is the cluster's name; what is no cluster is closed. Nothing here changes when a
/// service comes or goes. `callers` is for one that ends tunnels as well.
pub(crate) fn gateway(at: SocketAddr, callers: Option<&Callers>) -> listener::Listener {
    let inspector = TlsInspector {
        close_connection_on_client_hello_parsing_errors: true,
        ..Default::default()
    };
    let proxy = tcp_proxy::TcpProxy {
        stat_prefix: "sni".into(),
        max_connect_attempts: uint(3),
        // Never used: sni_cluster comes first and always names another.
        cluster_specifier: Some(tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster(
            name::BLACK_HOLE.into(),
        )),
        ..Default::default()
    };
    listener::Listener {
        name: name::listener(at).to_string(),
        address: Some(address(at)),
        metadata: callers.map(Callers::metadata),
        listener_filters_timeout: seconds(3),
        listener_filters: vec![filter::tls_inspector(&inspector)],
        filter_chains: vec![listener::FilterChain {
            filter_chain_match: Some(listener::FilterChainMatch {
                transport_protocol: "tls".into(),
                application_protocols: name::ISTIO_ALPNS.map(str::to_owned).into(),
                ..Default::default()
            }),
            filters: vec![
                filter("envoy.filters.network.sni_cluster", &SniCluster {}),
                filter::tcp(&proxy),
            ],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// What a gRPC client asks for by the name it dials. Its routes have the same name.
pub(crate) fn grpc_target(target: &str) -> listener::Listener {
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(filter::routes(target)),
        // gRPC refuses an empty list, and any filter it does not know.
        http_filters: vec![filter::router()],
        ..Default::default()
    };
    listener::Listener {
        name: target.into(),
        api_listener: Some(listener::ApiListener { api_listener: Some(any(&manager)) }),
        ..Default::default()
    }
}
