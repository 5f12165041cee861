//! A role as a Deployment: what is alike for all of them, within the restricted pod security
//! standard.

use serde_json::{Value, json};

use crate::names;
use crate::parts::{labels, metadata, selector};
use crate::settings::{Role, Settings};

/// Nobody's: the container's files are root's, and the volumes' the group's.
const USER: u32 = 65_532;

/// While proxies and load balancers still send new connections to a pod that ends.
pub(crate) const LAME_SECONDS: u64 = 5;

/// What one role's pods have that others' have not.
pub(crate) struct Pod<'s> {
    pub(crate) name: &'static str,
    pub(crate) role: &'s Role,
    pub(crate) args: Vec<String>,
    pub(crate) env: Value,
    pub(crate) ports: Value,
    pub(crate) resources: Value,
    pub(crate) volume_mounts: Value,
    pub(crate) volumes: Value,
    pub(crate) asks: bool,
    pub(crate) more_labels: Vec<(&'static str, String)>,
    /// From the signal to the end, beside [`LAME_SECONDS`].
    pub(crate) ends_seconds: u64,
}

pub(crate) fn deployment(settings: &Settings, pod: Pod<'_>) -> Value {
    let name = pod.name;
    let mut metadata = metadata(settings, name);
    let mut pod_labels = labels(name);
    // Ours is no pod of the mesh, whatever its namespace's labels say.
    pod_labels[names::INJECT_LABEL] = json!("false");
    for (key, value) in &pod.more_labels {
        pod_labels[*key] = json!(value);
        metadata["labels"][*key] = json!(value);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": pod.role.replicas,
            "selector": {"matchLabels": selector(name)},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": pod_labels}, "spec": spec(settings, pod)},
        },
    })
}

fn spec(settings: &Settings, pod: Pod<'_>) -> Value {
    let mut spec = json!({
        "automountServiceAccountToken": pod.asks,
        "enableServiceLinks": false,
        "securityContext": {
            "fsGroup": USER,
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "serviceAccountName": pod.name,
        // What waits before the signal counts as well.
        "terminationGracePeriodSeconds": LAME_SECONDS + pod.ends_seconds,
        "topologySpreadConstraints": [
            spread(pod.name, "kubernetes.io/hostname"),
            spread(pod.name, "topology.kubernetes.io/zone"),
        ],
        "volumes": pod.volumes,
    });
    if !settings.image.pull_secrets.is_empty() {
        let secrets = settings.image.pull_secrets.iter().map(|name| json!({"name": name}));
        spec["imagePullSecrets"] = secrets.collect();
    }
    spec["containers"] = json!([container(settings, pod)]);
    spec
}

fn container(settings: &Settings, pod: Pod<'_>) -> Value {
    let args: Vec<String> = pod.args.into_iter().chain(pod.role.args.iter().cloned()).collect();
    let mut container = json!({
        "name": pod.name,
        "image": settings.image.name,
        "args": args,
        "env": pod.env,
        "lifecycle": {"preStop": {"sleep": {"seconds": LAME_SECONDS}}},
        "livenessProbe": probe("/healthz", 10, 3),
        "ports": pod.ports,
        "readinessProbe": probe("/healthz/ready", 2, 2),
        "resources": pod.role.resources.clone().unwrap_or(pod.resources),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
        },
        "volumeMounts": pod.volume_mounts,
    });
    if let Some(policy) = &settings.image.pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    container
}

fn probe(path: &str, period_seconds: u32, failures: u32) -> Value {
    json!({
        "failureThreshold": failures,
        "httpGet": {"path": path, "port": names::HEALTH_PORT},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 3,
    })
}

fn spread(name: &str, key: &str) -> Value {
    json!({
        "labelSelector": {"matchLabels": selector(name)},
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
    })
}

pub(crate) fn container_port(name: &str, port: u16) -> Value {
    json!({"containerPort": port, "name": name, "protocol": "TCP"})
}

pub(crate) fn from_field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

pub(crate) fn resources(memory_request: &str, memory_limit: &str) -> Value {
    // No limit of the processor: a role that is held back looks like one that hangs.
    json!({
        "limits": {"memory": memory_limit},
        "requests": {"cpu": "100m", "memory": memory_request},
    })
}

pub(crate) fn mounted(name: &str, path: &str, read_only: bool) -> Value {
    let mut mount = json!({"mountPath": path, "name": name});
    if read_only {
        mount["readOnly"] = json!(true);
    }
    mount
}
