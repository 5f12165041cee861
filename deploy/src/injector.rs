//! Who asks the primary to inject sidecars, and about which pods.

use serde_json::{Value, json};

use crate::names;
use crate::parts::of_cluster;
use crate::settings::Settings;

/// How the cluster's API server reaches the primary's webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the Service's port, which leads to the webhook's.
    Service,
    /// By the webhook's own port: of a name outside the cluster nobody translates ports.
    Name,
}

/// More than the webhook takes for an answer, and for its arrival.
const TIMEOUT_SECONDS: u32 = 10;

/// The primary fills `caBundle` in, and keeps it up; until then injected pods are refused.
pub(crate) fn configuration(settings: &Settings, way: Way) -> Value {
    let port = match way {
        Way::Service => names::WEBHOOK_SERVICE_PORT,
        Way::Name => names::WEBHOOK_PORT,
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": of_cluster(settings, names::INJECTOR),
        "webhooks": [{
            "name": "sidecar-injector.diolkos.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {
                "name": names::PRIMARY,
                "namespace": settings.namespace(),
                "path": path(settings),
                "port": port,
            }},
            // A pod without its sidecar would be in the mesh in name only.
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": {"matchExpressions": namespaces(settings)},
            "objectSelector": {"matchExpressions": [
                {"key": names::INJECT_LABEL, "operator": "NotIn", "values": ["false"]},
            ]},
            "reinvocationPolicy": "Never",
            "rules": [{
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
                "scope": "Namespaced",
            }],
            "sideEffects": "None",
            "timeoutSeconds": TIMEOUT_SECONDS,
        }],
    })
}

/// What the primary's own pods depend on never depends on the primary.
fn namespaces(settings: &Settings) -> Value {
    let never = ["kube-system", settings.namespace()];
    let mut expressions = vec![
        json!({"key": names::INJECTION_LABEL, "operator": "In", "values": ["enabled"]}),
        json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": never}),
    ];
    if let Some(revision) = &settings.revision {
        let values = [revision];
        expressions.push(json!({"key": names::REVISION_LABEL, "operator": "In", "values": values}));
    }
    Value::Array(expressions)
}

/// Names of clusters and networks hold nothing that a path would have to escape.
fn path(settings: &Settings) -> String {
    let cluster = &settings.cluster;
    match &settings.network {
        None => format!("/inject/cluster/{cluster}"),
        Some(network) => format!("/inject/cluster/{cluster}/net/{network}"),
    }
}
