//! What a stock Envoy beside a workload is started with: who it is, where its primary is, where its
//! secrets come from, and how much it may take. Everything else it learns.
//!
//! The hub of its primary must be told [`SecretSource::Cluster`](crate::SecretSource::Cluster) with
//! [`SDS_CLUSTER`].

use std::net::IpAddr;

use serde_json::{Value, json};

/// Over a Unix socket from whoever keeps the workload's key.
pub const SDS_CLUSTER: &str = "sds-grpc";
/// The primary.
pub const ADS_CLUSTER: &str = "xds-grpc";
/// Envoy's admin endpoint, on the pod's loopback.
pub const ADMIN_PORT: u16 = 15_000;

/// A sidecar in a pod whose connections are redirected.
#[derive(Clone, Debug)]
pub struct Sidecar<'a> {
    pub pod: &'a str,
    pub namespace: &'a str,
    pub service_account: &'a str,
    /// What telemetry calls the workload; the pod's name will do.
    pub workload: &'a str,
    /// The pod's, its own family first; at least one.
    pub ips: &'a [IpAddr],
    pub cluster: &'a str,
    /// `None`: whatever the facts say, which decide in any case.
    pub network: Option<&'a str>,
    /// Usually `cluster.local`.
    pub cluster_domain: &'a str,
    /// A DNS name, which the primary's certificate must carry.
    pub primary_host: &'a str,
    pub primary_port: u16,
    /// Where SDS is served, as Envoy sees it.
    pub sds_socket: &'a str,
    pub limits: Limits,
}

/// What a sidecar may take from its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of all listeners together, in and out.
    pub connections_max: u32,
    /// Where Envoy gives memory back, and in the end takes no more requests. `None`: no limit.
    pub heap_bytes_max: Option<u64>,
}

impl Default for Limits {
    /// Two for each connection of an application that uses every port it can from one address.
    fn default() -> Self {
        Self { connections_max: 131_072, heap_bytes_max: None }
    }
}

/// Envoy's bootstrap, as JSON. Equal arguments give equal text.
pub fn sidecar(of: &Sidecar<'_>) -> Value {
    json!({
        "node": node(of),
        "admin": { "address": { "socket_address": {
            "address": "127.0.0.1", "port_value": ADMIN_PORT,
        }}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": {
                    "cluster_name": ADS_CLUSTER,
                    "retry_policy": { "retry_back_off": {
                        "base_interval": "0.1s", "max_interval": "5s",
                    }},
                }}],
            },
            "cds_config": ads(),
            "lds_config": ads(),
        },
        "static_resources": { "clusters": [primary(of), secrets(of)] },
        "overload_manager": overload(of.limits),
    })
}

/// Without its first configuration a proxy is of no use, so it waits for it.
fn ads() -> Value {
    json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s" })
}

fn node(of: &Sidecar<'_>) -> Value {
    let Sidecar { pod, namespace, ips, cluster_domain, .. } = of;
    let first = ips.first().map_or_else(String::new, IpAddr::to_string);
    let all: Vec<String> = ips.iter().map(IpAddr::to_string).collect();
    let mut metadata = json!({
        "CLUSTER_ID": of.cluster,
        "INSTANCE_IPS": all.join(","),
        "INTERCEPTION_MODE": "REDIRECT",
        "NAMESPACE": namespace,
        "SERVICE_ACCOUNT": of.service_account,
    });
    if let Some(network) = of.network {
        metadata["NETWORK"] = json!(network);
    }
    json!({
        "id": format!("sidecar~{first}~{pod}.{namespace}~{namespace}.svc.{cluster_domain}"),
        "cluster": format!("{}.{namespace}", of.workload),
        "metadata": metadata,
    })
}

fn primary(of: &Sidecar<'_>) -> Value {
    let address = json!({ "socket_address": {
        "address": of.primary_host, "port_value": of.primary_port,
    }});
    let names = json!([{ "san_type": "DNS", "matcher": { "exact": of.primary_host } }]);
    json!({
        "name": ADS_CLUSTER,
        "cluster_type": {
            "name": "envoy.cluster.dns",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
                "dns_refresh_rate": "5s",
                "respect_dns_ttl": true,
            },
        },
        "connect_timeout": "1s",
        "load_assignment": assignment(ADS_CLUSTER, &address),
        "typed_extension_protocol_options": http2(),
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": TLS,
                "sni": of.primary_host,
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "tls_certificate_sds_secret_configs": [secret("default")],
                    "combined_validation_context": {
                        "default_validation_context": { "match_typed_subject_alt_names": names },
                        "validation_context_sds_secret_config": secret("ROOTCA"),
                    },
                },
            },
        },
    })
}

const TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn secrets(of: &Sidecar<'_>) -> Value {
    json!({
        "name": SDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment":
            assignment(SDS_CLUSTER, &json!({ "pipe": { "path": of.sds_socket } })),
        "typed_extension_protocol_options": http2(),
    })
}

fn assignment(cluster: &str, address: &Value) -> Value {
    json!({
        "cluster_name": cluster,
        "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
    })
}

fn http2() -> Value {
    let keepalive = json!({ "interval": "30s", "timeout": "10s" });
    json!({ HTTP: {
        "@type": format!("type.googleapis.com/{HTTP}"),
        "explicit_http_config": { "http2_protocol_options": { "connection_keepalive": keepalive } },
    }})
}

fn secret(name: &str) -> Value {
    json!({
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "initial_fetch_timeout": "0s",
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": SDS_CLUSTER } }],
            },
        },
    })
}

fn overload(Limits { connections_max, heap_bytes_max }: Limits) -> Value {
    let monitor = |name: &str, kind: &str, mut config: Value| {
        config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{kind}"));
        json!({ "name": format!("envoy.resource_monitors.{name}"), "typed_config": config })
    };
    let mut monitors = vec![monitor(
        "global_downstream_max_connections",
        "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        json!({ "max_active_downstream_connections": connections_max }),
    )];
    let mut actions = Vec::new();
    if let Some(bytes) = heap_bytes_max {
        monitors.push(monitor(
            "fixed_heap",
            "resource_monitors.fixed_heap.v3.FixedHeapConfig",
            json!({ "max_heap_size_bytes": bytes }),
        ));
        let at = |action: &str, value: f64| {
            json!({
                "name": format!("envoy.overload_actions.{action}"),
                "triggers": [{
                    "name": "envoy.resource_monitors.fixed_heap",
                    "threshold": { "value": value },
                }],
            })
        };
        actions = vec![at("shrink_heap", 0.9), at("stop_accepting_requests", 0.98)];
    }
    json!({ "refresh_interval": "0.25s", "resource_monitors": monitors, "actions": actions })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../testdata/sidecar-bootstrap.json");

    fn example(ips: &[IpAddr]) -> Sidecar<'_> {
        Sidecar {
            pod: "cart-7d4b9c-x2x2x",
            namespace: "shop",
            service_account: "cart",
            workload: "cart",
            ips,
            cluster: "west",
            network: None,
            cluster_domain: "cluster.local",
            primary_host: "diolkos-primary.diolkos-system.svc",
            primary_port: 15_012,
            sds_socket: "/var/run/diolkos/sds.sock",
            limits: Limits { heap_bytes_max: Some(128 << 20), ..Limits::default() },
        }
    }

    #[test]
    fn a_sidecars_bootstrap_is_the_reviewed_one() {
        let ips = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let made = serde_json::to_string_pretty(&sidecar(&example(&ips))).unwrap();
        assert_eq!(
            format!("{made}\n"),
            GOLDEN,
            "if this is meant, write the left side to testdata/sidecar-bootstrap.json"
        );
    }

    #[test]
    fn a_network_is_claimed_and_memory_limited_only_if_said() {
        let ips = ["10.0.0.7".parse().unwrap()];
        let mut of = example(&ips);
        of.limits.heap_bytes_max = None;
        let without = sidecar(&of);
        assert!(without["node"]["metadata"].get("NETWORK").is_none());
        assert_eq!(without["overload_manager"]["actions"], json!([]));
        of.network = Some("north");
        assert_eq!(sidecar(&of)["node"]["metadata"]["NETWORK"], "north");
    }
}
