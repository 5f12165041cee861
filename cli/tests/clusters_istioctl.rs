//! Istio's own tool finds a primary and shows the clusters it reads.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clusters::{Ground, eventually, told};
use serde_json::{Value, json};

const NAME: &str = "primary-remote-one-network";
const SECRET: &str = "diolkos-system/istio-remote-secret-west";
/// The pods that `istioctl remote-clusters` looks for, where nobody gives it a revision.
const SOUGHT: &str = "app=istiod,istio.io/rev=default";

#[test]
fn istioctl_shows_the_clusters_of_a_primary() {
    let Some(ground) = Ground::find() else { return };
    ground.up(NAME, NAME);
    let get = [
        "get",
        "pod",
        "-n",
        "diolkos-system",
        "-l",
        SOUGHT,
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ];
    let pod = ground.kubectl(NAME, "east", &get);
    let there = format!("east/diolkos-system/{pod}");
    let clusterz = || -> Value {
        let line = ground.call(NAME, &there, "http://127.0.0.1:15014/debug/clusterz");
        line["answer"].clone()
    };
    let expected = json!([
        {"id": "east", "secretName": "", "syncStatus": "synced"},
        {"id": "west", "secretName": SECRET, "syncStatus": "synced"},
    ]);
    eventually(Duration::from_secs(30), "both clusters are synced", || clusterz() == expected);

    let Some(istio) = std::env::var_os("DIOLKOS_TEST_ISTIO").map(PathBuf::from) else {
        eprintln!("istioctl was not tried: DIOLKOS_TEST_ISTIO is not set");
        return;
    };
    let output = Command::new(istio.join("istioctl"))
        .args(["remote-clusters", "--context", "east", "-i", "diolkos-system", "--kubeconfig"])
        .arg(ground.path("topologies").join(NAME).join("kubeconfig"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [
            vec!["NAME", "SECRET", "STATUS", "ISTIOD", "REVISION"],
            vec!["east", "synced", &pod, "default"],
            vec!["west", SECRET, "synced", &pod, "default"],
        ],
        "{text}"
    );
}
