//! What several objects have alike.

use serde_json::{Map, Value, json};

use crate::names;
use crate::settings::Settings;

/// Of an object in the system namespace.
pub(crate) fn metadata(settings: &Settings, name: &str) -> Value {
    json!({"name": name, "namespace": settings.namespace(), "labels": labels(name)})
}

/// Of an object of the whole cluster.
pub(crate) fn of_cluster(settings: &Settings, name: &str) -> Value {
    json!({"name": settings.of_cluster(name), "labels": labels(name)})
}

pub(crate) fn labels(name: &str) -> Value {
    json!({names::NAME_LABEL: name, "app.kubernetes.io/part-of": "diolkos"})
}

/// By which Services, budgets and spreads find a role's pods.
pub(crate) fn selector(name: &str) -> Value {
    json!({names::NAME_LABEL: name})
}

/// `control_planes`: whose primaries may write into the cluster, beside its own.
pub(crate) fn namespace(settings: &Settings, control_planes: Option<&str>) -> Value {
    let mut labels = Map::new();
    let mut say = |key: &str, value: &str| labels.insert(key.to_owned(), value.into());
    say("app.kubernetes.io/part-of", "diolkos");
    if let Some(network) = &settings.network {
        say(names::NETWORK_LABEL, network.as_str());
    }
    for what in ["enforce", "audit", "warn"] {
        say(&format!("pod-security.kubernetes.io/{what}"), "restricted");
    }
    let mut metadata = json!({"name": settings.namespace(), "labels": labels});
    if let Some(control_planes) = control_planes {
        metadata["annotations"] = json!({names::CONTROL_PLANES: control_planes});
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

/// `asks`: its pods ask the API server, and need a token for it.
pub(crate) fn service_account(settings: &Settings, name: &str, asks: bool) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(settings, name),
        "automountServiceAccountToken": asks,
    })
}

/// One pod at a time may be taken away on purpose.
pub(crate) fn budget(settings: &Settings, name: &str) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(settings, name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(name)}},
    })
}

pub(crate) fn port(name: &str, port: u16, target: u16) -> Value {
    json!({"name": name, "port": port, "protocol": "TCP", "targetPort": target})
}
