//! Clusters: how a client speaks to the endpoints of a service port.
//!
//! Which identities a server may show is said here and nowhere else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use diolkos_topology::{AppProtocol, IpFamilies, Restricted, ServicePort};
use diolkos_trust::SpiffeId;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::thresholds::RetryBudget;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
    TransportSocketMatch,
};
use envoy_types::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, OutlierDetection, UpstreamConnectionOptions,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{Any, Struct};
use prost::Name;

use super::mtls::{self, socket};
use super::name;
use super::wire::{ads, any, one_field, seconds, uint};
use crate::callers;
use crate::hub::SecretSource;

/// For an Envoy beside a workload: mutual TLS where the endpoint's metadata says so, else plaintext.
pub(crate) fn sidecar(
    port: &ServicePort,
    protocol: AppProtocol,
    identities: &[SpiffeId],
    cluster_domain: &str,
    secrets: &SecretSource,
) -> Cluster {
    let context = mesh_tls(port, protocol, identities, cluster_domain, secrets);
    let mtls = TransportSocketMatch {
        name: "tlsMode-istio".into(),
        r#match: Some(one_field("tlsMode", "istio")),
        transport_socket: Some(socket(mtls::SOCKET, &context)),
    };
    // Matches the rest, so it comes last.
    let plaintext = TransportSocketMatch {
        name: "tlsMode-disabled".into(),
        r#match: Some(Struct::default()),
        transport_socket: Some(socket("envoy.transport_sockets.raw_buffer", &RawBuffer {})),
    };
    Cluster {
        transport_socket_matches: vec![mtls, plaintext],
        typed_extension_protocol_options: options(protocol, asked_when_silent()),
        outlier_detection: Some(outlier_detection()),
        circuit_breakers: Some(breakers()),
        ..envoy(name::outbound(port, cluster_domain))
    }
}

fn mesh_tls(
    port: &ServicePort,
    protocol: AppProtocol,
    identities: &[SpiffeId],
    cluster_domain: &str,
    secrets: &SecretSource,
) -> tls::UpstreamTlsContext {
    tls::UpstreamTlsContext {
        sni: name::sni(port, cluster_domain),
        common_tls_context: Some(mtls::common(&alpn(protocol), mtls::exact(identities), secrets)),
        ..Default::default()
    }
}

/// For a headless service's bytes: to the very pod that was dialled, by mutual TLS.
pub(crate) fn direct(
    port: &ServicePort,
    identities: &[SpiffeId],
    cluster_domain: &str,
    secrets: &SecretSource,
) -> Cluster {
    let context = mesh_tls(port, AppProtocol::Tcp, identities, cluster_domain, secrets);
    Cluster {
        transport_socket: Some(socket(mtls::SOCKET, &context)),
        ..original_dst(name::direct(port, cluster_domain))
    }
}

/// Where connections go that no service has.
pub(crate) fn passthrough() -> Cluster {
    Cluster {
        typed_extension_protocol_options: options(
            AppProtocol::Http,
            core::Http2ProtocolOptions::default(),
        ),
        ..original_dst(name::PASSTHROUGH.into())
    }
}

/// Where nothing goes.
pub(crate) fn black_hole() -> Cluster {
    Cluster {
        name: name::BLACK_HOLE.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
        connect_timeout: seconds(1),
        ..Default::default()
    }
}

/// To the application of the pod, at the address that was dialled. The source address tells the
/// redirect that these connections have been through Envoy already.
pub(crate) fn inbound(protocol: AppProtocol, families: IpFamilies) -> Cluster {
    let socket = |ip: IpAddr| core::SocketAddress {
        address: ip.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
        ..Default::default()
    };
    let (source, extra) = match families {
        IpFamilies::V4 => (INBOUND_SOURCE_V4, None),
        IpFamilies::V6 => (INBOUND_SOURCE_V6, None),
        IpFamilies::Both => (INBOUND_SOURCE_V4, Some(INBOUND_SOURCE_V6)),
    };
    let extra = extra
        .map(|ip| core::ExtraSourceAddress { address: Some(socket(ip)), ..Default::default() });
    Cluster {
        typed_extension_protocol_options: options(protocol, core::Http2ProtocolOptions::default()),
        upstream_bind_config: Some(core::BindConfig {
            source_address: Some(socket(source)),
            extra_source_addresses: extra.into_iter().collect(),
            ..Default::default()
        }),
        ..original_dst(name::inbound(protocol).into())
    }
}

/// As Istio has them.
const INBOUND_SOURCE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
const INBOUND_SOURCE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6));

fn original_dst(name: String) -> Cluster {
    Cluster {
        name,
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32)),
        lb_policy: LbPolicy::ClusterProvided as i32,
        connect_timeout: seconds(10),
        circuit_breakers: Some(breakers()),
        upstream_connection_options: Some(keepalive()),
        ..Default::default()
    }
}

/// For an east-west gateway: bytes are passed on, TLS is not its business. Whom exports are
/// restricted to counts where a tunnel shows who calls.
pub(crate) fn gateway(
    port: &ServicePort,
    cluster_domain: &str,
    restricted: &[Restricted],
) -> Cluster {
    let named = |one: &Restricted| callers::Named {
        cluster: one.cluster.to_string(),
        texts: one.consumers.iter().map(ToString::to_string).collect(),
    };
    let exports: Vec<_> = restricted.iter().map(named).collect();
    Cluster {
        outlier_detection: Some(outlier_detection()),
        metadata: callers::consumers(&exports),
        ..envoy(name::sni(port, cluster_domain))
    }
}

/// How a gRPC client speaks to all endpoints of a service port: it knows no per-endpoint choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrpcSecurity<'a> {
    Mtls(&'a [SpiffeId]),
    Plaintext,
}

/// For gRPC's own client, which refuses `transport_socket_matches`.
pub(crate) fn grpc(
    port: &ServicePort,
    security: GrpcSecurity<'_>,
    cluster_domain: &str,
) -> Cluster {
    let transport_socket = match security {
        GrpcSecurity::Plaintext => None,
        GrpcSecurity::Mtls(identities) => {
            let context = grpc_tls(name::sni(port, cluster_domain), identities);
            Some(socket(mtls::SOCKET, &context))
        }
    };
    Cluster { transport_socket, ..eds(name::outbound(port, cluster_domain)) }
}

fn grpc_tls(sni: String, identities: &[SpiffeId]) -> tls::UpstreamTlsContext {
    let instance = tls::CertificateProviderPluginInstance {
        instance_name: "default".into(),
        ..Default::default()
    };
    #[expect(deprecated, reason = "the only list of names that grpc-go enforces")]
    let validation = tls::CertificateValidationContext {
        ca_certificate_provider_instance: Some(instance.clone()),
        match_subject_alt_names: mtls::exact(identities),
        ..Default::default()
    };
    tls::UpstreamTlsContext {
        sni,
        common_tls_context: Some(tls::CommonTlsContext {
            tls_certificate_provider_instance: Some(instance),
            validation_context_type: Some(
                tls::common_tls_context::ValidationContextType::ValidationContext(validation),
            ),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn eds(name: String) -> Cluster {
    Cluster {
        name,
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: ads(),
            service_name: String::new(),
        }),
        connect_timeout: seconds(3),
        ..Default::default()
    }
}

/// After 19 s nobody sends a request on a connection whose other end is silent.
fn keepalive() -> UpstreamConnectionOptions {
    UpstreamConnectionOptions {
        tcp_keepalive: Some(core::TcpKeepalive {
            keepalive_probes: uint(3),
            keepalive_time: uint(10),
            keepalive_interval: uint(3),
        }),
        ..Default::default()
    }
}

fn envoy(name: String) -> Cluster {
    Cluster {
        common_lb_config: Some(CommonLbConfig {
            // Panic would send requests to gateways known to be dead although others live.
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            ..Default::default()
        }),
        ignore_health_on_host_removal: true,
        upstream_connection_options: Some(keepalive()),
        ..eds(name)
    }
}

/// Envoy's own limits (1024 connections, three retries at a time) are for a proxy at the edge. An
/// application that opened so many connections without a proxy still may; and when one of two
/// endpoints dies, half of what is under way needs a second try at once. As many retries as
/// requests is the most that can be of use, and keeps a broken service from more than twice its
/// load. Who waited together for a connection no longer counts as under way when all fail together:
/// hence the number.
fn breakers() -> CircuitBreakers {
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: uint(u32::MAX),
            max_pending_requests: uint(u32::MAX),
            max_requests: uint(u32::MAX),
            retry_budget: Some(RetryBudget {
                budget_percent: Some(Percent { value: 100.0 }),
                min_retry_concurrency: uint(1024),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// An application's own 500s say little about an address, a refused connection says much. Never so
/// many that none is left: a lone endpoint is always tried.
fn outlier_detection() -> OutlierDetection {
    OutlierDetection {
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: uint(3),
        enforcing_consecutive_local_origin_failure: uint(100),
        consecutive_gateway_failure: uint(5),
        enforcing_consecutive_gateway_failure: uint(100),
        consecutive_5xx: uint(20),
        enforcing_consecutive_5xx: uint(100),
        enforcing_success_rate: uint(0),
        enforcing_local_origin_success_rate: uint(0),
        interval: seconds(1),
        base_ejection_time: seconds(5),
        max_ejection_time: seconds(60),
        max_ejection_percent: uint(80),
        ..Default::default()
    }
}

/// See docs/xds.md for why each.
fn alpn(protocol: AppProtocol) -> [&'static str; 2] {
    match protocol {
        AppProtocol::Grpc | AppProtocol::Http2 => ["istio", "h2"],
        AppProtocol::Http => ["istio", "http/1.1"],
        AppProtocol::Tcp | AppProtocol::Tls => ["istio-peer-exchange", "istio"],
    }
}

/// One connection carries all requests to a destination, and the kernel would wait for its answers
/// for a quarter of an hour. Only who begins a request asks: a server that counts PINGs sees no more
/// of them than of requests.
fn asked_when_silent() -> core::Http2ProtocolOptions {
    core::Http2ProtocolOptions {
        connection_keepalive: Some(core::KeepaliveSettings {
            connection_idle_interval: seconds(5),
            timeout: seconds(3),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn options(protocol: AppProtocol, http2: core::Http2ProtocolOptions) -> HashMap<String, Any> {
    protocol_options(protocol, http2)
        .map(|options| (http::HttpProtocolOptions::full_name(), any(&options)))
        .into_iter()
        .collect()
}

fn protocol_options(
    protocol: AppProtocol,
    http2: core::Http2ProtocolOptions,
) -> Option<http::HttpProtocolOptions> {
    use http::http_protocol_options as options;
    let upstream = match protocol {
        AppProtocol::Tcp | AppProtocol::Tls => return None,
        AppProtocol::Http => options::UpstreamProtocolOptions::UseDownstreamProtocolConfig(
            options::UseDownstreamHttpConfig {
                http_protocol_options: Some(core::Http1ProtocolOptions::default()),
                http2_protocol_options: Some(http2),
                ..Default::default()
            },
        ),
        AppProtocol::Grpc | AppProtocol::Http2 => {
            use options::explicit_http_config::ProtocolConfig;
            options::UpstreamProtocolOptions::ExplicitHttpConfig(options::ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(http2)),
            })
        }
    };
    Some(http::HttpProtocolOptions {
        upstream_protocol_options: Some(upstream),
        ..Default::default()
    })
}
