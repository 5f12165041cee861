//! Definitions of custom resources that are read and that may be nobody else's in a cluster.
//!
//! PeerAuthentication is Istio's, and as much of it as is read is defined here, for clusters without
//! Istio. ServiceExport is not: its group is one of Kubernetes', whose definitions say who approved
//! them, and that is not ours to say. docs/install.md says where it comes from.

use serde_json::{Value, json};

pub(crate) fn objects() -> Vec<Value> {
    vec![peer_authentication()]
}

fn peer_authentication() -> Value {
    let version = |name: &str, storage: bool| {
        json!({
            "name": name,
            "served": true,
            "storage": storage,
            "additionalPrinterColumns": [
                {"name": "Mode", "type": "string", "jsonPath": ".spec.mtls.mode"},
                {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            ],
            "schema": {"openAPIV3Schema": {
                "type": "object",
                "description": "PeerAuthentication says whether a workload's ports take mutual \
                                TLS of the mesh.",
                "properties": {"spec": spec()},
            }},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "peerauthentications.security.istio.io",
            "labels": {"app.kubernetes.io/part-of": "diolkos"},
        },
        "spec": {
            "group": "security.istio.io",
            "names": {
                "kind": "PeerAuthentication",
                "listKind": "PeerAuthenticationList",
                "plural": "peerauthentications",
                "shortNames": ["pa"],
                "singular": "peerauthentication",
            },
            "scope": "Namespaced",
            "versions": [version("v1", true), version("v1beta1", false)],
        },
    })
}

fn spec() -> Value {
    let mode = json!({
        "type": "object",
        "properties": {
            "mode": {"type": "string", "enum": ["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]},
        },
    });
    json!({
        "type": "object",
        "properties": {
            "mtls": mode,
            "portLevelMtls": {
                "type": "object",
                "description": "By the port that the workload listens on; needs a selector.",
                "additionalProperties": mode,
            },
            "selector": {
                "type": "object",
                "description": "The pods it is for; without one, those of the namespace.",
                "properties": {"matchLabels": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                }},
            },
        },
    })
}
