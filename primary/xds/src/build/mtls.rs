//! TLS on either side of an Envoy: where its key and its roots come from, and whom it believes.

use diolkos_trust::SpiffeId;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use prost::{Message, Name};
use tls::common_tls_context::ValidationContextType;

use super::wire::{any, config_source};
use crate::hub::SecretSource;

/// Trust domains end in no `.invalid` (RFC 6761), so no certificate can carry it.
const NOBODY: &str = "spiffe://nobody.invalid/none";

/// Its own certificate, and peers whose identity one of the matchers accepts.
pub(super) fn common(
    alpn: &[&str],
    peers: Vec<StringMatcher>,
    secrets: &SecretSource,
) -> tls::CommonTlsContext {
    let names = peers
        .into_iter()
        .map(|matcher| tls::SubjectAltNameMatcher {
            san_type: tls::subject_alt_name_matcher::SanType::Uri as i32,
            matcher: Some(matcher),
            ..Default::default()
        })
        .collect();
    let combined = tls::common_tls_context::CombinedCertificateValidationContext {
        default_validation_context: Some(tls::CertificateValidationContext {
            match_typed_subject_alt_names: names,
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret("ROOTCA", secrets)),
        ..Default::default()
    };
    tls::CommonTlsContext {
        alpn_protocols: alpn.iter().map(|&alpn| alpn.to_owned()).collect(),
        tls_certificate_sds_secret_configs: vec![secret("default", secrets)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
        ..Default::default()
    }
}

/// Exactly these. Where none is known, one that nobody has: an empty list means "anyone" to every
/// client.
pub(super) fn exact(identities: &[SpiffeId]) -> Vec<StringMatcher> {
    let matcher = |text: &str| StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text.into())),
        ..Default::default()
    };
    if identities.is_empty() {
        return vec![matcher(NOBODY)];
    }
    identities.iter().map(|id| matcher(id.as_str())).collect()
}

pub(super) fn prefix(text: String) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Prefix(text)), ..Default::default() }
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

pub(super) fn socket<M: Message + Name>(name: &str, config: &M) -> core::TransportSocket {
    core::TransportSocket {
        name: name.into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(config))),
    }
}

pub(super) const SOCKET: &str = "envoy.transport_sockets.tls";
