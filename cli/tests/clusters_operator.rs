//! The operator's commands against real API servers and a primary in a pod.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use clusters::{Ground, eventually, told};
use serde_json::Value;

const NAME: &str = "two-networks";

/// With the topology's kubeconfig, as its operator.
fn diolkos(ground: &Ground, context: &str, words: &[&str]) -> Output {
    let config = ground.path("topologies").join(NAME).join("kubeconfig");
    Command::new(env!("CARGO_BIN_EXE_diolkos"))
        .args(words)
        .args(["--context", context, "--kubeconfig"])
        .arg(config)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn status(ground: &Ground, context: &str) -> Option<Value> {
    let output = diolkos(ground, context, &["status", "--output", "json"]);
    let value: Value = serde_json::from_slice(&output.stdout).ok()?;
    output.status.success().then(|| value["primaries"][0].clone())
}

/// Once nothing is amiss.
fn well(ground: &Ground, context: &str) -> Value {
    let mut seen = None;
    eventually(Duration::from_secs(60), "nothing is amiss", || {
        seen = status(ground, context);
        seen.is_some()
    });
    seen.unwrap()
}

fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    let found = list.as_array().unwrap().iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list:#}"))
}

fn generation(primary: &Value, cluster: &str) -> u64 {
    named(&primary["clusters"], cluster)["source"]["live"]["generation"].as_u64().unwrap()
}

#[test]
fn an_operator_sees_real_clusters_and_renews_their_credentials() {
    let Some(ground) = Ground::find() else { return };
    ground.up(NAME, NAME);

    // The primary's pages are on its pod's loopback: this goes by port-forward.
    let before = well(&ground, "west");
    for cluster in ["east", "west"] {
        let shown = named(&before["clusters"], cluster);
        assert_eq!(shown["source"]["state"], "synced", "{shown:#}");
    }
    let gateways = named(&before["networks"], "north")["gateways"].as_array().unwrap();
    assert!(!gateways.is_empty(), "{before:#}");
    assert!(before["name"].as_str().unwrap().starts_with("diolkos-primary-"), "{before:#}");

    let output = diolkos(&ground, "west", &["explain", "catalog", "--from", "west/shop"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", told(&output));
    let way = format!("replaced by gateway {}", gateways[0]["address"].as_str().unwrap());
    assert!(text.contains(&way) && text.contains("kept, priority 0"), "{text}");

    // A new token for what is read already, and nothing is lost on the way.
    let create = ["remote-secret", "create", "--name", "east", "--lifetime", "1h"];
    let output = diolkos(&ground, "east", &create);
    assert!(output.status.success(), "{}", told(&output));
    ground.apply(NAME, "west", &String::from_utf8(output.stdout).unwrap());
    eventually(Duration::from_secs(60), "the new credential is in use", || {
        let now = status(&ground, "west");
        now.is_some_and(|now| generation(&now, "east") > generation(&before, "east"))
    });

    a_reader_that_is_made_reads_and_no_more(&ground);
}

fn a_reader_that_is_made_reads_and_no_more(ground: &Ground) {
    let mut create = vec!["remote-secret", "create", "--name", "east"];
    create.extend(["--reader-account", "second-reader"]);
    let output = diolkos(ground, "east", &create);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("no such service account; give --create-reader"));
    create.push("--create-reader");
    let output = diolkos(ground, "east", &create);
    assert!(output.status.success(), "{}", told(&output));

    let secret: Value = serde_saphyr::from_str(&String::from_utf8_lossy(&output.stdout)).unwrap();
    let kubeconfig = ground.path("east.kubeconfig");
    fs::write(&kubeconfig, secret["stringData"]["east"].as_str().unwrap()).unwrap();
    let get = |what: &str| {
        let mut kubectl = Command::new(ground.path("tools/kubectl"));
        kubectl.arg("--kubeconfig").arg(&kubeconfig);
        kubectl.args(["get", what, "--all-namespaces"]).output().unwrap()
    };
    let services = get("services");
    assert!(services.status.success(), "{}", told(&services));
    let secrets = get("secrets");
    assert!(told(&secrets).contains("Forbidden"), "{}", told(&secrets));
}
