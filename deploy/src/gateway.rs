//! An east-west gateway, in a cluster with a primary or without.

use serde_json::{Value, json};

use crate::names;
use crate::parts::{budget, metadata, port, selector, service_account};
use crate::pod::{self, Pod, container_port, deployment, from_field, mounted};
use crate::settings::Settings;

const ROOTS_DIR: &str = "/var/run/secrets/istio";
const TOKEN_DIR: &str = "/var/run/secrets/tokens";
const TOKEN_FILE: &str = "diolkos-token";
const TOKEN_SECONDS: u64 = 12 * 60 * 60;

/// By which Istio's tools and examples find such a gateway.
const ISTIO_LABEL: (&str, &str) = ("istio", "eastwestgateway");

const EGRESS_PORT_NAME: &str = "tls-egress";

/// After the drain, the gateway is gone within five seconds.
const EXIT_SECONDS: u64 = 10;

pub(crate) fn objects(settings: &Settings) -> Vec<Value> {
    let mut objects = vec![
        // It asks no API server anything; its certificate it gets by a token of another audience.
        service_account(settings, names::GATEWAY, false),
        service(settings),
        budget(settings, names::GATEWAY),
        deployment(settings, pod(settings)),
    ];
    if settings.egress {
        objects.extend([way_out(settings), guard(settings)]);
    }
    objects
}

fn network(settings: &Settings) -> &str {
    settings.network.as_ref().map_or("", |network| network.as_str())
}

fn service(settings: &Settings) -> Value {
    let mut metadata = metadata(settings, names::GATEWAY);
    metadata["labels"][ISTIO_LABEL.0] = json!(ISTIO_LABEL.1);
    metadata["labels"][names::NETWORK_LABEL] = json!(network(settings));
    if !settings.service_annotations.is_empty() {
        metadata["annotations"] = json!(settings.service_annotations);
    }
    let mut ports = vec![
        port("status-port", names::HEALTH_PORT, names::HEALTH_PORT),
        port("tls", names::DATA_PORT, names::DATA_PORT),
        port("hbone", names::HBONE_PORT, names::HBONE_PORT),
    ];
    if settings.expose_primary {
        ports.push(port("tls-istiod", names::XDS_PORT, names::XDS_PORT));
        ports.push(port("tls-webhook", names::WEBHOOK_PORT, names::WEBHOOK_PORT));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "LoadBalancer",
            "ipFamilyPolicy": "PreferDualStack",
            "ports": ports,
            "selector": selector(names::GATEWAY),
        },
    })
}

/// Apart from the other ports, which a load balancer offers to the world. The port is meant by its
/// name: pods of before, that have none, are not behind it.
fn way_out(settings: &Settings) -> Value {
    let mut metadata = metadata(settings, names::EGRESS);
    metadata["labels"][names::NETWORK_LABEL] = json!(network(settings));
    let (port, name) = (names::EGRESS_PORT, EGRESS_PORT_NAME);
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [{"name": name, "port": port, "protocol": "TCP", "targetPort": name}],
            "selector": selector(names::GATEWAY),
        },
    })
}

/// Whoever reaches the way out is taken for the cluster itself, so only its own pods may. All other
/// ports are for everybody.
fn guard(settings: &Settings) -> Value {
    let mut open = vec![names::HEALTH_PORT, names::DATA_PORT, names::HBONE_PORT];
    if settings.expose_primary {
        open.extend([names::XDS_PORT, names::WEBHOOK_PORT]);
    }
    let ports = |ports: &[u16]| -> Vec<Value> {
        ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect()
    };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(settings, names::EGRESS),
        "spec": {
            "podSelector": {"matchLabels": selector(names::GATEWAY)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": ports(&open)},
                {"from": [{"namespaceSelector": {}}], "ports": ports(&[names::EGRESS_PORT])},
            ],
        },
    })
}

fn pod(settings: &Settings) -> Pod<'_> {
    let said = |name: &str, value: &str| json!({"name": name, "value": value});
    let mut ports = vec![
        container_port("tls", names::DATA_PORT),
        container_port("hbone", names::HBONE_PORT),
        container_port("http-health", names::HEALTH_PORT),
    ];
    if settings.egress {
        ports.push(container_port(EGRESS_PORT_NAME, names::EGRESS_PORT));
    }
    if settings.expose_primary {
        ports.push(container_port("tls-istiod", names::XDS_PORT));
        ports.push(container_port("tls-webhook", names::WEBHOOK_PORT));
    }
    let token = json!({"serviceAccountToken": {
        "audience": names::TOKEN_AUDIENCE,
        "expirationSeconds": TOKEN_SECONDS,
        "path": TOKEN_FILE,
    }});
    Pod {
        name: names::GATEWAY,
        role: &settings.gateway,
        args: args(settings),
        env: json!([
            from_field("POD_NAME", "metadata.name"),
            from_field("POD_NAMESPACE", "metadata.namespace"),
            from_field("POD_IPS", "status.podIPs"),
            from_field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
            said("DIOLKOS_CLUSTER", settings.cluster.as_str()),
            said("DIOLKOS_NETWORK", network(settings)),
            said("DIOLKOS_TRUST_DOMAIN", settings.trust_domain.as_str()),
            said("DIOLKOS_CLUSTER_DOMAIN", &settings.cluster_domain),
            // Of the allocator: no huge pages. A gateway would hold 5 MiB for nothing.
            said("MIMALLOC_ALLOW_THP", "0"),
        ]),
        ports: json!(ports),
        resources: pod::resources("128Mi", "1Gi"),
        volume_mounts: json!([
            mounted("roots", ROOTS_DIR, true),
            mounted("token", TOKEN_DIR, true),
        ]),
        volumes: json!([
            {"name": "roots", "configMap": {"name": names::ROOTS}},
            {"name": "token", "projected": {"sources": [token]}},
        ]),
        asks: false,
        more_labels: vec![
            (ISTIO_LABEL.0, ISTIO_LABEL.1.into()),
            (names::NETWORK_LABEL, network(settings).into()),
        ],
        ends_seconds: settings.drain_seconds + EXIT_SECONDS,
    }
}

fn args(settings: &Settings) -> Vec<String> {
    let host = names::primary_host(settings.namespace());
    let mut args = vec![
        "gateway".to_owned(),
        format!("--primary={host}:{}", names::XDS_PORT),
        format!("--token={TOKEN_DIR}/{TOKEN_FILE}"),
        format!("--roots={ROOTS_DIR}/{}", names::ROOTS_KEY),
        format!("--listen=*:{}", names::DATA_PORT),
        format!("--hbone=*:{}", names::HBONE_PORT),
        format!("--health=*:{}", names::HEALTH_PORT),
        format!("--admin=127.0.0.1:{}", names::ADMIN_PORT),
        format!("--drain-seconds={}", settings.drain_seconds),
    ];
    if settings.egress {
        args.push(format!("--egress=*:{}", names::EGRESS_PORT));
    }
    if settings.expose_primary {
        let (xds, webhook) = (names::XDS_PORT, names::WEBHOOK_PORT);
        let service = names::WEBHOOK_SERVICE_PORT;
        args.push(format!("--control={xds}={host}:{xds},{webhook}={host}:{service}"));
        args.extend([host.as_str(), names::ISTIOD].map(|name| format!("--control-name={name}")));
    }
    args
}
