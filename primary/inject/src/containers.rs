//! The pod's own containers, read as far as needed, and the two that are added.

use serde_json::{Map, Value, json};

use crate::env;
use crate::exclude::Exclusions;
use crate::limit::{PROBE_HEADERS_MAX, PROBE_TIMEOUT_S, PROBE_TIMEOUT_S_MAX};
use crate::patch::Patch;
use crate::probes::{Action, Header, Probe, Probes, Scheme};
use crate::settings::{InjectSettings, Resources};

pub(crate) const INIT: &str = "diolkos-init";
pub(crate) const PROXY: &str = "diolkos-proxy";
pub(crate) const VOLUMES: [&str; 3] = ["diolkos-token", "diolkos-roots", "diolkos-run"];
const PROBE_FIELDS: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// Moves the probes of `/spec/<list>` behind the sidecar. What cannot be moved stays where it is,
/// with a warning.
pub(crate) fn move_probes(
    patch: &mut Patch,
    list: &str,
    containers: &[Value],
    probes: &mut Probes,
    warnings: &mut Vec<String>,
) {
    for (index, container) in containers.iter().enumerate() {
        let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
        for field in PROBE_FIELDS {
            let Some(probe) = container.get(field).and_then(Value::as_object) else { continue };
            match moved(probe, container) {
                Ok(None) => {}
                Ok(Some(taken)) => {
                    let path = Probes::path(name, field);
                    patch.replace(
                        &format!("/spec/{list}/{index}/{field}"),
                        asked_here(probe, &path),
                    );
                    probes.0.insert(path, taken);
                }
                Err(why) => warnings.push(format!(
                    "container {name}: {field} stays as it is and will fail under STRICT mutual \
                     TLS: {why}"
                )),
            }
        }
    }
}

/// `None` for a probe that sends nothing to the pod, as a command.
fn moved(probe: &Map<String, Value>, container: &Value) -> Result<Option<Probe>, String> {
    let timeout = probe.get("timeoutSeconds").and_then(Value::as_u64);
    let timeout_s = timeout
        .and_then(|seconds| u32::try_from(seconds).ok())
        .unwrap_or(PROBE_TIMEOUT_S)
        .clamp(PROBE_TIMEOUT_S, PROBE_TIMEOUT_S_MAX);
    let port = |of: &Value| port(of.get("port"), container);
    let here = |of: &Value| match of.get("host").and_then(Value::as_str) {
        None | Some("") => Ok(()),
        Some(host) => Err(format!("it asks another host, {host:?}")),
    };
    let action = if let Some(get) = probe.get("httpGet") {
        here(get)?;
        Action::HttpGet {
            port: port(get)?,
            path: path(get),
            scheme: scheme(get)?,
            headers: headers(get)?,
        }
    } else if let Some(tcp) = probe.get("tcpSocket") {
        here(tcp)?;
        Action::TcpSocket { port: port(tcp)? }
    } else if let Some(grpc) = probe.get("grpc") {
        let service = grpc.get("service").and_then(Value::as_str).unwrap_or_default();
        Action::Grpc { port: port(grpc)?, service: service.into() }
    } else {
        return Ok(None);
    };
    Ok(Some(Probe { action, timeout_s }))
}

fn path(get: &Value) -> String {
    match get.get("path").and_then(Value::as_str).unwrap_or_default() {
        rooted if rooted.starts_with('/') => rooted.to_owned(),
        bare => format!("/{bare}"),
    }
}

fn scheme(get: &Value) -> Result<Scheme, String> {
    match get.get("scheme").and_then(Value::as_str) {
        None | Some("" | "HTTP") => Ok(Scheme::Http),
        Some("HTTPS") => Ok(Scheme::Https),
        Some(other) => Err(format!("scheme {other:?} is neither HTTP nor HTTPS")),
    }
}

fn headers(get: &Value) -> Result<Vec<Header>, String> {
    let list = get.get("httpHeaders").and_then(Value::as_array);
    let list = list.map(Vec::as_slice).unwrap_or_default();
    if list.len() > PROBE_HEADERS_MAX {
        return Err(format!("it sends more than {PROBE_HEADERS_MAX} headers"));
    }
    let text = |header: &Value, key| {
        header.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let header = |header| Header { name: text(header, "name"), value: text(header, "value") };
    Ok(list.iter().map(header).collect())
}

/// A number, or the name of one of the container's ports.
fn port(port: Option<&Value>, container: &Value) -> Result<u16, String> {
    let number = |value: &Value| {
        value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
    };
    let shown = || port.map(Value::to_string).unwrap_or_default();
    match port {
        Some(Value::String(name)) => declared(container)
            .find(|declared| declared.get("name").and_then(Value::as_str) == Some(name))
            .and_then(|declared| declared.get("containerPort").and_then(number))
            .ok_or_else(|| format!("the container has no port named {}", shown())),
        Some(value) => number(value).ok_or_else(|| format!("{} is not a port", shown())),
        None => Err("it names no port".into()),
    }
}

pub(crate) fn declared(container: &Value) -> impl Iterator<Item = &Value> {
    container.get("ports").and_then(Value::as_array).into_iter().flatten()
}

/// The same probe, asked of the sidecar: thresholds, delays and the rest stay.
fn asked_here(probe: &Map<String, Value>, path: &str) -> Value {
    let mut here = probe.clone();
    for action in ["httpGet", "tcpSocket", "grpc"] {
        here.remove(action);
    }
    here.insert("httpGet".into(), json!({ "path": path, "port": env::PROBE_PORT }));
    Value::Object(here)
}

/// Redirects the pod's traffic, and ends.
pub(crate) fn init(settings: &InjectSettings, exclusions: &Exclusions) -> Value {
    let mut args = vec!["redirect".to_owned()];
    let mut list = |flag: &str, values: Vec<String>| {
        if !values.is_empty() {
            args.push(format!("--{flag}={}", values.join(",")));
        }
    };
    let text = |ports: &[u16]| ports.iter().map(u16::to_string).collect();
    list("exclude-inbound-ports", text(&exclusions.inbound_ports));
    list("exclude-outbound-ports", text(&exclusions.outbound_ports));
    let ranges = exclusions.outbound_ranges.iter().map(ToString::to_string).collect();
    list("exclude-outbound-ranges", ranges);
    container(
        INIT,
        settings,
        &json!({
            "args": args,
            "resources": resources(&settings.init),
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": { "add": ["NET_ADMIN"], "drop": ["ALL"] },
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "runAsUser": 0,
            },
        }),
    )
}

/// Runs beside the application for as long as the pod lives.
pub(crate) fn proxy(
    settings: &InjectSettings,
    cluster: &str,
    network: Option<&str>,
    probes: &Probes,
) -> Value {
    let ready = |period: u32, failures: u32| {
        json!({
            "httpGet": { "path": env::READY_PATH, "port": env::HEALTH_PORT },
            "failureThreshold": failures,
            "periodSeconds": period,
            "timeoutSeconds": 3,
        })
    };
    container(
        PROXY,
        settings,
        &json!({
            "args": ["sidecar"],
            "env": environment(settings, cluster, network, probes),
            "ports": [
                { "containerPort": env::HEALTH_PORT, "name": "diolkos-health", "protocol": "TCP" },
                { "containerPort": env::PROBE_PORT, "name": "diolkos-probes", "protocol": "TCP" },
            ],
            "readinessProbe": ready(5, 3),
            "resources": resources(&settings.proxy),
            // As an init container that goes on it is a native sidecar.
            "restartPolicy": "Always",
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"] },
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsGroup": env::PROXY_UID,
                "runAsNonRoot": true,
                "runAsUser": env::PROXY_UID,
            },
            // The pod's own init containers wait for it.
            "startupProbe": ready(1, 600),
            "volumeMounts": [
                { "mountPath": env::TOKEN_DIR, "name": VOLUMES[0], "readOnly": true },
                { "mountPath": env::ROOT_DIR, "name": VOLUMES[1], "readOnly": true },
                { "mountPath": env::RUN_DIR, "name": VOLUMES[2] },
            ],
        }),
    )
}

fn container(name: &str, settings: &InjectSettings, rest: &Value) -> Value {
    let mut container = rest.clone();
    container["name"] = name.into();
    container["image"] = settings.image.as_str().into();
    if let Some(policy) = &settings.pull_policy {
        container["imagePullPolicy"] = policy.as_str().into();
    }
    container
}

fn resources(resources: &Resources) -> Value {
    json!({ "limits": resources.limits, "requests": resources.requests })
}

fn environment(
    settings: &InjectSettings,
    cluster: &str,
    network: Option<&str>,
    probes: &Probes,
) -> Value {
    let said = |name: &str, value: &str| json!({ "name": name, "value": value });
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let probes = serde_json::to_string(probes).expect("text and numbers are always JSON");
    Value::Array(vec![
        field(env::POD, "metadata.name"),
        field(env::NAMESPACE, "metadata.namespace"),
        field(env::POD_IPS, "status.podIPs"),
        field(env::SERVICE_ACCOUNT, "spec.serviceAccountName"),
        field(env::NODE, "spec.nodeName"),
        said(env::CLUSTER, cluster),
        said(env::NETWORK, network.unwrap_or_default()),
        said(env::TRUST_DOMAIN, &settings.trust_domain),
        said(env::CLUSTER_DOMAIN, &settings.cluster_domain),
        said(env::PRIMARY, &settings.primary),
        said(env::DRAIN_SECONDS, &settings.drain_s.to_string()),
        said(env::PROBES, &probes),
        said(env::HUGE_PAGES, "0"),
    ])
}

pub(crate) fn volumes(settings: &InjectSettings) -> [Value; 3] {
    [
        json!({
            "name": VOLUMES[0],
            "projected": { "sources": [{ "serviceAccountToken": {
                "audience": env::TOKEN_AUDIENCE,
                "expirationSeconds": settings.token_s,
                "path": env::TOKEN_FILE,
            } }] },
        }),
        json!({ "name": VOLUMES[1], "configMap": { "name": env::ROOT_CONFIG_MAP } }),
        json!({ "name": VOLUMES[2], "emptyDir": { "medium": "Memory", "sizeLimit": "16Mi" } }),
    ]
}
