//! A stock Envoy's bootstrap: who it is, where its primary is, whose secrets it uses.

use std::path::Path;

use serde_json::{Value, json};

use crate::sds::{DEFAULT, ROOTS};
use crate::settings::SidecarSettings;

/// The static cluster that serves secrets; the primary's clusters and listeners name it.
const SDS_CLUSTER: &str = "sds-grpc";
const PRIMARY_CLUSTER: &str = "primary";

pub fn sidecar(settings: &SidecarSettings, socket: &Path) -> Value {
    let mut bootstrap = json!({
        "node": {
            "id": settings.node.id(),
            "cluster": settings.node.pod,
            "metadata": settings.node.metadata(),
        },
        "admin": { "address": { "socket_address": {
            "address": settings.envoy.admin.ip(), "port_value": settings.envoy.admin.port(),
        }}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{ "envoy_grpc": {
                    "cluster_name": PRIMARY_CLUSTER,
                    "retry_policy": { "retry_back_off": {
                        "base_interval": "0.1s", "max_interval": "5s",
                    }},
                }}],
            },
            "cds_config": { "ads": {}, "resource_api_version": "V3" },
            "lds_config": { "ads": {}, "resource_api_version": "V3" },
        },
        "static_resources": { "clusters": [primary(settings), secrets(socket)] },
    });
    if let Some(source) = settings.envoy.source {
        bootstrap["cluster_manager"] = json!({
            "upstream_bind_config": { "source_address": { "address": source, "port_value": 0 } },
        });
    }
    bootstrap
}

fn primary(settings: &SidecarSettings) -> Value {
    let primary = &settings.primary;
    json!({
        "name": PRIMARY_CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "3s",
        "dns_lookup_family": "ALL",
        "load_assignment": {
            "cluster_name": PRIMARY_CLUSTER,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": { "socket_address": {
                "address": primary.host, "port_value": primary.port,
            }}}}]}],
        },
        "typed_extension_protocol_options": http2(&json!({
            "connection_keepalive": { "interval": "10s", "timeout": "5s" },
        })),
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": primary.server(),
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "tls_certificate_sds_secret_configs": [secret(DEFAULT)],
                    "combined_validation_context": {
                        "default_validation_context": {
                            "match_typed_subject_alt_names": [{
                                "san_type": san_type(primary.server()),
                                "matcher": { "exact": primary.server() },
                            }],
                        },
                        "validation_context_sds_secret_config": secret(ROOTS),
                    },
                },
            },
        },
    })
}

fn san_type(name: &str) -> &'static str {
    match name.parse::<std::net::IpAddr>() {
        Ok(_) => "IP_ADDRESS",
        Err(_) => "DNS",
    }
}

fn secrets(socket: &Path) -> Value {
    json!({
        "name": SDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": SDS_CLUSTER,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": { "pipe": {
                "path": socket,
            }}}}]}],
        },
        "typed_extension_protocol_options": http2(&json!({})),
    })
}

fn secret(name: &str) -> Value {
    json!({
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": SDS_CLUSTER } }],
            },
        },
    })
}

fn http2(options: &Value) -> Value {
    json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": options },
        },
    })
}
