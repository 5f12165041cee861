//! Labels that make a pod a workload of the mesh, in Istio's names.

use serde_json::{Map, Value, json};

use crate::patch::{Patch, step};

pub(crate) const NETWORK: &str = "topology.istio.io/network";
const TLS_MODE: &str = "security.istio.io/tlsMode";
const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";

/// A label value is that long at most.
const LABEL_CHARS_MAX: usize = 63;

/// What the pod says already stays.
pub(crate) fn add(patch: &mut Patch, metadata: &Map<String, Value>, network: Option<&str>) {
    let none = Map::new();
    let labels = metadata.get("labels").and_then(Value::as_object);
    if labels.is_none() {
        patch.add("/metadata/labels", json!({}));
    }
    let labels = labels.unwrap_or(&none);
    let wanted = [
        (TLS_MODE, Some("istio".to_owned())),
        (CANONICAL_NAME, Some(canonical_name(metadata, labels))),
        (CANONICAL_REVISION, Some(canonical_revision(labels))),
        (NETWORK, network.filter(|network| !network.is_empty()).map(str::to_owned)),
    ];
    for (key, value) in wanted {
        if let Some(value) = value
            && !labels.contains_key(key)
        {
            patch.add(&format!("/metadata/labels/{}", step(key)), value.into());
        }
    }
}

fn canonical_name(metadata: &Map<String, Value>, labels: &Map<String, Value>) -> String {
    for key in ["app.kubernetes.io/name", "app"] {
        if let Some(name) = labels.get(key).and_then(Value::as_str).filter(|name| !name.is_empty())
        {
            return label(name);
        }
    }
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    let owner = metadata.get("ownerReferences").and_then(|owners| owners.get(0));
    let owner = |key| owner.and_then(|owner| owner.get(key)).and_then(Value::as_str);
    let name = match (owner("kind"), owner("name")) {
        // A Deployment's: its name and the hash of its template.
        (Some("ReplicaSet"), Some(set)) => match labels.get("pod-template-hash") {
            Some(Value::String(hash)) => set.strip_suffix(&format!("-{hash}")).unwrap_or(set),
            _ => set,
        },
        (Some(_), Some(name)) => name,
        _ => match text("name") {
            "" => text("generateName").trim_end_matches('-'),
            name => name,
        },
    };
    label(name)
}

fn canonical_revision(labels: &Map<String, Value>) -> String {
    let found = ["app.kubernetes.io/version", "version"]
        .into_iter()
        .find_map(|key| labels.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()));
    label(found.unwrap_or("latest"))
}

fn label(text: &str) -> String {
    let cut: String = text.chars().take(LABEL_CHARS_MAX).collect();
    cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(metadata: &Value) -> String {
        let metadata = metadata.as_object().unwrap();
        let labels = metadata.get("labels").and_then(Value::as_object).cloned().unwrap_or_default();
        canonical_name(metadata, &labels)
    }

    #[test]
    fn a_workload_is_called_as_its_owner_calls_it() {
        let owner = |kind, name| json!([{ "kind": kind, "name": name }]);
        for (metadata, name) in [
            (json!({ "labels": { "app.kubernetes.io/name": "cart", "app": "x" } }), "cart"),
            (json!({ "labels": { "app": "cart" }, "name": "p" }), "cart"),
            (
                json!({
                    "labels": { "pod-template-hash": "5d" },
                    "ownerReferences": owner("ReplicaSet", "cart-5d"),
                }),
                "cart",
            ),
            (json!({ "ownerReferences": owner("ReplicaSet", "cart-5d") }), "cart-5d"),
            (json!({ "ownerReferences": owner("StatefulSet", "ledger") }), "ledger"),
            (json!({ "name": "lone", "generateName": "x-" }), "lone"),
            (json!({ "generateName": "batch-" }), "batch"),
            (json!({ "name": format!("{}--{}", "a".repeat(62), "b") }), &"a".repeat(62)),
        ] {
            assert_eq!(name_of(&metadata), name, "{metadata}");
        }
    }
}
