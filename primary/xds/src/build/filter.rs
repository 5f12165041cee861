//! Network and HTTP filters that several listeners share.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::common::set_filter_state::v3 as filter_state;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::http::set_filter_state::v3::Config as SetState;
use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use hcm::http_connection_manager as manager;
use prost::{Message, Name};

use super::wire::{ads, any, inline, seconds};

pub(crate) const SET_FILTER_STATE: &str = "envoy.filters.http.set_filter_state";

/// Stock Envoy has no Istio ALPN filter; this says the same to the server, by what the request is.
const ALPN_BY_PROTOCOL: &str = "%CEL(request.protocol == \"HTTP/2\" ? \
    \"istio-h2,istio,h2\" : \"istio-http/1.1,istio,http/1.1\")%";

/// HTTP of an application that was not told of a proxy: nothing is timed, judged or rewritten that
/// would not be without one. HTTP/1.0 is taken, WebSockets pass, the other side's Server header
/// stays, and so does a request id that is there.
pub(super) fn transparent_http(stat_prefix: String) -> hcm::HttpConnectionManager {
    hcm::HttpConnectionManager {
        stat_prefix,
        server_header_transformation: manager::ServerHeaderTransformation::PassThrough as i32,
        http_protocol_options: Some(core::Http1ProtocolOptions {
            accept_http_10: true,
            ..Default::default()
        }),
        upgrade_configs: vec![manager::UpgradeConfig {
            upgrade_type: "websocket".into(),
            ..Default::default()
        }],
        stream_idle_timeout: seconds(0),
        // Nobody but the mesh says who called.
        forward_client_cert_details: manager::ForwardClientCertDetails::Sanitize as i32,
        ..Default::default()
    }
}

/// Of a client's side: servers are told which HTTP comes.
pub(super) fn client_filters() -> Vec<hcm::HttpFilter> {
    vec![http_filter(SET_FILTER_STATE, &alpn_by_protocol()), router()]
}

pub(super) fn router() -> hcm::HttpFilter {
    http_filter("envoy.filters.http.router", &Router::default())
}

/// Routes over RDS.
pub(super) fn routes(name: &str) -> manager::RouteSpecifier {
    manager::RouteSpecifier::Rds(hcm::Rds { config_source: ads(), route_config_name: name.into() })
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

pub(super) fn http(manager: &hcm::HttpConnectionManager) -> listener::Filter {
    filter("envoy.filters.network.http_connection_manager", manager)
}

/// Bytes, for as long as both ends want: the kernel's keepalive finds out who is gone.
pub(super) fn bytes(cluster: &str) -> tcp_proxy::TcpProxy {
    tcp_proxy::TcpProxy {
        stat_prefix: cluster.into(),
        idle_timeout: seconds(0),
        cluster_specifier: Some(tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    }
}

pub(super) fn tcp(proxy: &tcp_proxy::TcpProxy) -> listener::Filter {
    filter("envoy.filters.network.tcp_proxy", proxy)
}

pub(super) fn filter<M: Message + Name>(name: &str, config: &M) -> listener::Filter {
    listener::Filter {
        name: name.into(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(any(config))),
    }
}

pub(super) fn original_dst() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.original_dst", &OriginalDst {})
}

pub(super) fn tls_inspector(config: &TlsInspector) -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.tls_inspector", config)
}

pub(super) fn http_inspector() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.http_inspector", &HttpInspector {})
}

fn listener_filter<M: Message + Name>(name: &str, config: &M) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: name.into(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(any(config))),
        ..Default::default()
    }
}
