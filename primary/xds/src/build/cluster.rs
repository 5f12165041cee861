//! Clusters: how a client speaks to the endpoints of a service port.
//!
//! Which identities a server may show is said here and nowhere else. Where none is known the list
//! holds one that nobody has, for an empty list means "anyone" to every client.

use diolkos_topology::{AppProtocol, ServicePort};
use diolkos_trust::SpiffeId;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, TransportSocketMatch,
};
use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster, OutlierDetection, UpstreamConnectionOptions,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::Struct;
use prost::Name;

use super::name;
use super::wire::{ads, any, config_source, one_field, seconds, uint};
use crate::hub::SecretSource;

/// Trust domains end in no `.invalid` (RFC 6761), so no certificate can carry it.
const NOBODY: &str = "spiffe://nobody.invalid/none";

/// For an Envoy beside a workload: mutual TLS where the endpoint's metadata says so, else plaintext.
pub(crate) fn sidecar(
    port: &ServicePort,
    protocol: AppProtocol,
    identities: &[SpiffeId],
    cluster_domain: &str,
    secrets: &SecretSource,
) -> Cluster {
    let context = tls::UpstreamTlsContext {
        sni: name::sni(port, cluster_domain),
        common_tls_context: Some(tls::CommonTlsContext {
            alpn_protocols: alpn(protocol).map(str::to_owned).into(),
            tls_certificate_sds_secret_configs: vec![secret("default", secrets)],
            validation_context_type: Some(validation_of(identities, secrets)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mtls = TransportSocketMatch {
        name: "tlsMode-istio".into(),
        r#match: Some(one_field("tlsMode", "istio")),
        transport_socket: Some(socket("envoy.transport_sockets.tls", &context)),
    };
    // Matches the rest, so it comes last.
    let plaintext = TransportSocketMatch {
        name: "tlsMode-disabled".into(),
        r#match: Some(Struct::default()),
        transport_socket: Some(socket("envoy.transport_sockets.raw_buffer", &RawBuffer {})),
    };
    Cluster {
        transport_socket_matches: vec![mtls, plaintext],
        typed_extension_protocol_options: protocol_options(protocol)
            .map(|options| (http::HttpProtocolOptions::full_name(), any(&options)))
            .into_iter()
            .collect(),
        outlier_detection: Some(outlier_detection()),
        ..envoy(name::outbound(port, cluster_domain))
    }
}

/// For an east-west gateway: bytes are passed on, TLS is not its business.
pub(crate) fn gateway(port: &ServicePort, cluster_domain: &str) -> Cluster {
    Cluster {
        outlier_detection: Some(outlier_detection()),
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
            Some(socket("envoy.transport_sockets.tls", &context))
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
        match_subject_alt_names: exact(identities),
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

fn envoy(name: String) -> Cluster {
    let keepalive = core::TcpKeepalive {
        keepalive_probes: uint(3),
        keepalive_time: uint(15),
        keepalive_interval: uint(5),
    };
    Cluster {
        common_lb_config: Some(CommonLbConfig {
            // Panic would send requests to gateways known to be dead although others live.
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            ..Default::default()
        }),
        ignore_health_on_host_removal: true,
        upstream_connection_options: Some(UpstreamConnectionOptions {
            tcp_keepalive: Some(keepalive),
            ..Default::default()
        }),
        ..eds(name)
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

fn protocol_options(protocol: AppProtocol) -> Option<http::HttpProtocolOptions> {
    use http::http_protocol_options as options;
    let upstream = match protocol {
        AppProtocol::Tcp | AppProtocol::Tls => return None,
        AppProtocol::Http => options::UpstreamProtocolOptions::UseDownstreamProtocolConfig(
            options::UseDownstreamHttpConfig {
                http_protocol_options: Some(core::Http1ProtocolOptions::default()),
                http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
                ..Default::default()
            },
        ),
        AppProtocol::Grpc | AppProtocol::Http2 => {
            let http2 = options::explicit_http_config::ProtocolConfig::Http2ProtocolOptions(
                core::Http2ProtocolOptions::default(),
            );
            options::UpstreamProtocolOptions::ExplicitHttpConfig(options::ExplicitHttpConfig {
                protocol_config: Some(http2),
            })
        }
    };
    Some(http::HttpProtocolOptions {
        upstream_protocol_options: Some(upstream),
        ..Default::default()
    })
}

fn validation_of(
    identities: &[SpiffeId],
    secrets: &SecretSource,
) -> tls::common_tls_context::ValidationContextType {
    let names = exact(identities)
        .into_iter()
        .map(|matcher| tls::SubjectAltNameMatcher {
            san_type: tls::subject_alt_name_matcher::SanType::Uri as i32,
            matcher: Some(matcher),
            ..Default::default()
        })
        .collect();
    tls::common_tls_context::ValidationContextType::CombinedValidationContext(
        tls::common_tls_context::CombinedCertificateValidationContext {
            default_validation_context: Some(tls::CertificateValidationContext {
                match_typed_subject_alt_names: names,
                ..Default::default()
            }),
            validation_context_sds_secret_config: Some(secret("ROOTCA", secrets)),
            ..Default::default()
        },
    )
}

fn exact(identities: &[SpiffeId]) -> Vec<StringMatcher> {
    let matcher = |text: &str| StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text.into())),
        ..Default::default()
    };
    if identities.is_empty() {
        return vec![matcher(NOBODY)];
    }
    identities.iter().map(|id| matcher(id.as_str())).collect()
}

fn secret(name: &str, secrets: &SecretSource) -> tls::SdsSecretConfig {
    use core::config_source::ConfigSourceSpecifier;
    let specifier = match secrets {
        SecretSource::Cluster(cluster) => {
            let target =
                core::grpc_service::TargetSpecifier::EnvoyGrpc(core::grpc_service::EnvoyGrpc {
                    cluster_name: cluster.clone(),
                    ..Default::default()
                });
            ConfigSourceSpecifier::ApiConfigSource(core::ApiConfigSource {
                api_type: core::api_config_source::ApiType::Grpc as i32,
                transport_api_version: core::ApiVersion::V3 as i32,
                grpc_services: vec![core::GrpcService {
                    target_specifier: Some(target),
                    ..Default::default()
                }],
                set_node_on_first_message_only: true,
                ..Default::default()
            })
        }
        SecretSource::Paths { default, root } => {
            let path = if name == "default" { default } else { root };
            ConfigSourceSpecifier::PathConfigSource(core::PathConfigSource {
                path: path.clone(),
                ..Default::default()
            })
        }
    };
    tls::SdsSecretConfig { name: name.into(), sds_config: Some(config_source(specifier)) }
}

fn socket<M: prost::Message + Name>(name: &str, config: &M) -> core::TransportSocket {
    core::TransportSocket {
        name: name.into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(config))),
    }
}
