//! Whatever the pod: its patch applies, keeps what was there, and is made once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use diolkos_inject::{InjectPath, InjectSettings, Verdict, decide};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn name() -> impl Strategy<Value = String> {
    "[a-z]([a-z0-9-]{0,8}[a-z0-9])?"
}

fn probe() -> impl Strategy<Value = Value> {
    let port =
        prop_oneof![(0_u32..70_000).prop_map(Value::from), "[a-z]{1,4}".prop_map(Value::from)];
    (port, 0_u8..6, any::<Option<u16>>()).prop_map(|(port, kind, timeout)| {
        let mut probe = match kind {
            0 => json!({ "httpGet": { "port": port, "path": "x" } }),
            1 => json!({ "httpGet": { "port": port, "scheme": "HTTPS", "host": "other" } }),
            2 => json!({ "tcpSocket": { "port": port } }),
            3 => json!({ "grpc": { "port": port, "service": "s" } }),
            4 => json!({ "exec": { "command": ["true"] } }),
            _ => json!({}),
        };
        probe["timeoutSeconds"] = json!(timeout);
        probe
    })
}

fn container() -> impl Strategy<Value = Value> {
    let ports = prop::collection::vec((1_u16..15_000, "[a-z]{1,4}"), 0..3);
    (name(), ports, probe(), prop::option::of(probe())).prop_map(|(name, ports, live, ready)| {
        let ports: Vec<Value> = ports
            .into_iter()
            .map(|(port, name)| json!({ "containerPort": port, "name": name }))
            .collect();
        json!({ "name": name, "image": "i", "ports": ports, "livenessProbe": live,
                "readinessProbe": ready })
    })
}

fn containers() -> impl Strategy<Value = Value> {
    prop::collection::vec(container(), 0..4).prop_map(Value::Array)
}

/// Texts as keys too: slashes and tildes must survive as steps of a path.
fn texts() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-z~/.]{1,12}", "[a-z0-9]{0,5}", 0..4).prop_map(|map| json!(map))
}

fn pod() -> impl Strategy<Value = Map<String, Value>> {
    (
        prop::option::of(texts()),
        prop::option::of(texts()),
        containers(),
        prop::option::of(containers()),
        prop::option::of(prop::collection::vec(name(), 0..3)),
    )
        .prop_map(|(labels, annotations, containers, init, volumes)| {
            let mut pod = json!({
                "metadata": { "name": "p" }, "spec": { "containers": containers, "other": 7 },
            });
            for (part, key, value) in [
                ("metadata", "labels", labels),
                ("metadata", "annotations", annotations),
                ("spec", "initContainers", init),
                (
                    "spec",
                    "volumes",
                    volumes.map(|names| {
                        names.into_iter().map(|name| json!({ "name": name })).collect()
                    }),
                ),
            ] {
                if let Some(value) = value {
                    pod[part][key] = value;
                }
            }
            pod.as_object().unwrap().clone()
        })
}

fn verdict(pod: &Map<String, Value>) -> Verdict {
    let settings = InjectSettings::new("image", "west");
    decide(pod, "shop", &InjectPath::default(), &settings)
}

fn applied(pod: &Map<String, Value>, patch: Value) -> Value {
    let mut pod = Value::Object(pod.clone());
    let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

fn names(of: &Value) -> Vec<&str> {
    of.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

proptest! {
    #[test]
    fn a_patch_applies_keeps_the_pods_own_and_is_made_once(pod in pod()) {
        let Verdict::Injected { patch, .. } = verdict(&pod) else {
            panic!("nothing in it is skipped or refused");
        };
        prop_assert_eq!(&verdict(&pod), &verdict(&pod), "equal pods, equal answers");
        let patched = applied(&pod, patch);

        let init = names(&patched["spec"]["initContainers"]);
        prop_assert_eq!(&init[..2], &["diolkos-init", "diolkos-proxy"][..]);
        let none = json!([]);
        prop_assert_eq!(&init[2..], names(pod["spec"].get("initContainers").unwrap_or(&none)));
        prop_assert_eq!(names(&patched["spec"]["containers"]), names(&pod["spec"]["containers"]));
        let volumes = names(pod["spec"].get("volumes").unwrap_or(&none));
        prop_assert_eq!(&names(&patched["spec"]["volumes"])[..volumes.len()], volumes);
        for part in ["labels", "annotations"] {
            for (key, value) in pod["metadata"].get(part).and_then(Value::as_object).into_iter().flatten() {
                prop_assert_eq!(&patched["metadata"][part][key], value);
            }
        }
        prop_assert_eq!(&patched["spec"]["other"], 7);

        let again = verdict(patched.as_object().unwrap());
        let once = matches!(&again, Verdict::Skipped { reason } if reason == "it was injected before");
        prop_assert!(once, "{:?}", again);
    }
}
