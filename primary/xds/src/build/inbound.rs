//! What a redirected workload takes in: one listener, a few chains for each port.
//!
//! | mode | mutual TLS of the mesh | plaintext | other TLS |
//! |---|---|---|---|
//! | STRICT | ended here | closed | closed, or ended here and the client refused |
//! | PERMISSIVE | ended here | to the application | to the application as it is |
//! | DISABLE | to the application as it is | to the application | to the application as it is |
//!
//! The application is dialled at the address that the client dialled.

use std::collections::BTreeMap;

use diolkos_topology::{AppProtocol, IpFamilies, MtlsMode, Port};
use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::google::protobuf::BoolValue;
use hcm::http_connection_manager as manager;

use super::outbound::{self, INBOUND_PORT};
use super::wire::{header, seconds, uint};
use super::{filter, mtls, name, route};
use crate::hub::{HubSettings, Inbound, InboundPort};
use crate::limit;

/// Envoy's own, and the sidecar's: nobody reaches them by way of the application's ports. What
/// listens there would be sent its own connections, or is not meant for others.
pub(crate) const RESERVED_PORTS: [u16; 7] =
    [15_000, outbound::OUTBOUND_PORT, INBOUND_PORT, 15_008, 15_020, 15_021, 15_090];

pub(crate) fn virtual_inbound(
    inbound: &Inbound,
    families: IpFamilies,
    settings: &HubSettings,
) -> listener::Listener {
    let (ports, rest) = within_limit(inbound);
    let reserved = RESERVED_PORTS.iter().map(|port| listener::FilterChain {
        name: format!("reserved-{port}"),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: uint((*port).into()),
            ..Default::default()
        }),
        filters: vec![filter::tcp(&filter::bytes(name::BLACK_HOLE))],
        ..Default::default()
    });
    let declared = ports.iter().flat_map(|(port, InboundPort { protocol, mode })| {
        Chains { port: Some(*port), protocol: *protocol, settings }.of(*mode)
    });
    let others = Chains { port: None, protocol: AppProtocol::Tcp, settings }.of(rest);
    listener::Listener {
        filter_chains: reserved.chain(declared).chain(others).collect(),
        listener_filters: vec![
            filter::original_dst(),
            filter::tls_inspector(&TlsInspector::default()),
        ],
        // A client that waits for the server's first word speaks no TLS.
        listener_filters_timeout: seconds(SILENCE_SECONDS),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Inbound as i32,
        socket_options: keepalive(),
        ..outbound::everywhere(name::VIRTUAL_INBOUND, families, INBOUND_PORT)
    }
}

const SILENCE_SECONDS: i64 = 5;

/// Ports beyond the limit are treated as those that nobody declared, and none of them more freely
/// than it should be.
fn within_limit(inbound: &Inbound) -> (BTreeMap<Port, InboundPort>, MtlsMode) {
    let free = |port: &Port| !RESERVED_PORTS.contains(&port.get());
    let mut ports = inbound.ports.iter().filter(|(port, _)| free(port));
    let kept = ports.by_ref().take(limit::INBOUND_PORTS_MAX).map(|(port, word)| (*port, *word));
    let kept = kept.collect();
    let rest = ports.map(|(_, word)| word.mode).fold(inbound.rest, Ord::max);
    (kept, rest)
}

/// Of one port, or of all that nobody declared.
struct Chains<'a> {
    port: Option<Port>,
    protocol: AppProtocol,
    settings: &'a HubSettings,
}

impl Chains<'_> {
    fn of(&self, mode: MtlsMode) -> Vec<listener::FilterChain> {
        match mode {
            // Whatever protocols a client offers: it is its certificate that counts.
            MtlsMode::Strict => vec![self.mtls(&[])],
            MtlsMode::Permissive => {
                vec![self.mtls(&name::ISTIO_ALPNS), self.plaintext(), self.opaque()]
            }
            MtlsMode::Disable => vec![self.plaintext(), self.opaque()],
        }
    }

    fn chain(&self, kind: &str, transport: &str, alpn: &[&str]) -> listener::FilterChain {
        let port = self.port.map_or_else(|| "rest".to_owned(), |port| port.to_string());
        listener::FilterChain {
            name: format!("{port}-{kind}"),
            filter_chain_match: Some(listener::FilterChainMatch {
                destination_port: self.port.and_then(|port| uint(port.get().into())),
                transport_protocol: transport.into(),
                application_protocols: alpn.iter().map(|&alpn| alpn.to_owned()).collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn mtls(&self, alpn: &[&str]) -> listener::FilterChain {
        use manager::ForwardClientCertDetails::SanitizeSet;
        // Envoy dials for bytes before it has verified who sends them, unless it is told to wait.
        let proxy = tcp_proxy::TcpProxy {
            upstream_connect_mode: tcp_proxy::UpstreamConnectMode::OnDownstreamTlsHandshake as i32,
            max_early_data_bytes: uint(16 * 1024),
            ..filter::bytes(name::inbound(AppProtocol::Tcp))
        };
        let terms = match self.protocol.is_http() {
            true => filter::http(&self.requests(SanitizeSet)),
            false => filter::tcp(&proxy),
        };
        listener::FilterChain {
            filters: vec![terms],
            transport_socket: Some(mtls::socket(mtls::SOCKET, &self.server_tls())),
            ..self.chain("mtls", "tls", alpn)
        }
    }

    fn plaintext(&self) -> listener::FilterChain {
        let filter = match self.protocol.is_http() {
            true => filter::http(&self.requests(manager::ForwardClientCertDetails::Sanitize)),
            false => filter::tcp(&filter::bytes(name::inbound(AppProtocol::Tcp))),
        };
        listener::FilterChain {
            filters: vec![filter],
            ..self.chain("plaintext", "raw_buffer", &[])
        }
    }

    fn opaque(&self) -> listener::FilterChain {
        listener::FilterChain {
            filters: vec![filter::tcp(&filter::bytes(name::inbound(AppProtocol::Tcp)))],
            ..self.chain("tls", "tls", &[])
        }
    }

    /// Whoever the mesh's roots vouch for, in its own trust domain. Bytes are not asked for a
    /// protocol: an Istio client that is answered `istio-peer-exchange` sends what no stock Envoy
    /// reads.
    fn server_tls(&self) -> tls::DownstreamTlsContext {
        let alpn: &[&str] = if self.protocol.is_http() { &["h2", "http/1.1"] } else { &[] };
        let peers = vec![mtls::prefix(format!("spiffe://{}/", self.settings.trust_domain))];
        tls::DownstreamTlsContext {
            common_tls_context: Some(tls::CommonTlsContext {
                tls_params: Some(tls::TlsParameters {
                    tls_minimum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv12 as i32,
                    ..Default::default()
                }),
                ..mtls::common(alpn, peers, &self.settings.secrets)
            }),
            require_client_certificate: Some(BoolValue { value: true }),
            ..Default::default()
        }
    }

    fn requests(&self, caller: manager::ForwardClientCertDetails) -> hcm::HttpConnectionManager {
        let port = self.port.map_or_else(|| "rest".to_owned(), |port| port.to_string());
        hcm::HttpConnectionManager {
            forward_client_cert_details: caller as i32,
            set_current_client_cert_details: Some(manager::SetCurrentClientCertDetails {
                uri: true,
                ..Default::default()
            }),
            http_filters: vec![filter::router()],
            local_reply_config: Some(how_far()),
            route_specifier: Some(manager::RouteSpecifier::RouteConfig(route::inbound(
                name::inbound(self.protocol),
            ))),
            ..filter::transparent_http(format!("inbound_{port}"))
        }
    }
}

/// An answer that Envoy gives in the application's place says how far the request came, so that the
/// client's Envoy knows whether it may try another pod.
fn how_far() -> hcm::LocalReplyConfig {
    let mapper = |flags: &[&str], word: &str| hcm::ResponseMapper {
        filter: Some(accesslog::AccessLogFilter {
            filter_specifier: Some(
                accesslog::access_log_filter::FilterSpecifier::ResponseFlagFilter(
                    accesslog::ResponseFlagFilter {
                        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
                    },
                ),
            ),
        }),
        headers_to_add: vec![header(route::REACHED, word)],
        ..Default::default()
    };
    hcm::LocalReplyConfig {
        mappers: vec![
            // The connection broke, or the application reset it: it may have begun.
            mapper(&["LR", "UC", "UR"], route::REACHED_PERHAPS),
            // It could not be dialled.
            mapper(&["UF", "UH", "UO"], route::REACHED_NOT),
        ],
        ..Default::default()
    }
}

/// Accepted sockets have these from the listening one. Who is gone without a word is found out
/// after two minutes.
fn keepalive() -> Vec<core::SocketOption> {
    const SOL_SOCKET: i64 = 1;
    const SO_KEEPALIVE: i64 = 9;
    const IPPROTO_TCP: i64 = 6;
    const TCP_KEEPIDLE: i64 = 4;
    const TCP_KEEPINTVL: i64 = 5;
    const TCP_KEEPCNT: i64 = 6;
    [
        (SOL_SOCKET, SO_KEEPALIVE, 1),
        (IPPROTO_TCP, TCP_KEEPIDLE, 75),
        (IPPROTO_TCP, TCP_KEEPINTVL, 15),
        (IPPROTO_TCP, TCP_KEEPCNT, 3),
    ]
    .map(|(level, name, value)| core::SocketOption {
        level,
        name,
        value: Some(core::socket_option::Value::IntValue(value)),
        state: core::socket_option::SocketState::StatePrebind as i32,
        ..Default::default()
    })
    .into()
}
