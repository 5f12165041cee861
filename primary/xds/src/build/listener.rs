//! Listeners: a sidecar's explicit proxy, a gateway's one port, and a gRPC client's targets.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::common::set_filter_state::v3 as filter_state;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::http::set_filter_state::v3::Config as SetState;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use prost::{Message, Name};

use super::name;
use super::wire::{address, ads, any, inline, seconds, uint};

pub(crate) const SET_FILTER_STATE: &str = "envoy.filters.http.set_filter_state";

/// Stock Envoy has no Istio ALPN filter; this says the same to the server, by what the request is.
const ALPN_BY_PROTOCOL: &str = "%CEL(request.protocol == \"HTTP/2\" ? \
    \"istio-h2,istio,h2\" : \"istio-http/1.1,istio,http/1.1\")%";

/// An HTTP proxy that applications are told to use.
pub(crate) fn http_proxy(at: SocketAddr) -> listener::Listener {
    let manager = hcm::HttpConnectionManager {
        stat_prefix: "http_proxy".into(),
        // Nobody but the mesh says who called.
        forward_client_cert_details:
            hcm::http_connection_manager::ForwardClientCertDetails::Sanitize as i32,
        route_specifier: Some(routes(name::HTTP_PROXY_ROUTES)),
        http_filters: vec![
            http_filter(SET_FILTER_STATE, &alpn_by_protocol()),
            http_filter("envoy.filters.http.router", &Router::default()),
        ],
        ..Default::default()
    };
    listener::Listener {
        name: name::listener(at).to_string(),
        address: Some(address(at)),
        traffic_direction: core::TrafficDirection::Outbound as i32,
        filter_chains: vec![listener::FilterChain {
            filters: vec![filter("envoy.filters.network.http_connection_manager", &manager)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The server name is the cluster's name; what is no cluster is closed. Nothing here changes when a
/// service comes or goes.
pub(crate) fn gateway(at: SocketAddr) -> listener::Listener {
    let inspector = TlsInspector {
        close_connection_on_client_hello_parsing_errors: true,
        ..Default::default()
    };
    let proxy = tcp_proxy::TcpProxy {
        stat_prefix: "sni".into(),
        max_connect_attempts: uint(3),
        // Never used: sni_cluster comes first and always names another.
        cluster_specifier: Some(tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster(
            "BlackHoleCluster".into(),
        )),
        ..Default::default()
    };
    listener::Listener {
        name: name::listener(at).to_string(),
        address: Some(address(at)),
        listener_filters_timeout: seconds(3),
        listener_filters: vec![listener::ListenerFilter {
            name: "envoy.filters.listener.tls_inspector".into(),
            config_type: Some(listener::listener_filter::ConfigType::TypedConfig(any(&inspector))),
            ..Default::default()
        }],
        filter_chains: vec![listener::FilterChain {
            filter_chain_match: Some(listener::FilterChainMatch {
                transport_protocol: "tls".into(),
                application_protocols: name::ISTIO_ALPNS.map(str::to_owned).into(),
                ..Default::default()
            }),
            filters: vec![
                filter("envoy.filters.network.sni_cluster", &SniCluster {}),
                filter("envoy.filters.network.tcp_proxy", &proxy),
            ],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// What a gRPC client asks for by the name it dials. Its routes have the same name.
pub(crate) fn grpc_target(target: &str) -> listener::Listener {
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(routes(target)),
        // gRPC refuses an empty list, and any filter it does not know.
        http_filters: vec![http_filter("envoy.filters.http.router", &Router::default())],
        ..Default::default()
    };
    listener::Listener {
        name: target.into(),
        api_listener: Some(listener::ApiListener { api_listener: Some(any(&manager)) }),
        ..Default::default()
    }
}

fn routes(name: &str) -> hcm::http_connection_manager::RouteSpecifier {
    hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
        config_source: ads(),
        route_config_name: name.into(),
    })
}

fn alpn_by_protocol() -> SetState {
    use filter_state::filter_state_value as value;
    let format = core::SubstitutionFormatString {
        format: Some(core::substitution_format_string::Format::TextFormatSource(inline(
            ALPN_BY_PROTOCOL,
        ))),
        ..Default::default()
    };
    SetState {
        on_request_headers: vec![filter_state::FilterStateValue {
            key: Some(value::Key::ObjectKey("envoy.network.application_protocols".into())),
            value: Some(value::Value::FormatString(format)),
            shared_with_upstream: value::SharedWithUpstream::Once as i32,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn http_filter<M: Message + Name>(name: &str, config: &M) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(config))),
        ..Default::default()
    }
}

fn filter<M: Message + Name>(name: &str, config: &M) -> listener::Filter {
    listener::Filter {
        name: name.into(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(any(config))),
    }
}
