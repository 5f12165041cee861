//! A mesh in real clusters while things break and change: what goes on, and what comes back. Tests
//! that are named as Istio's do what Istio's of the same name do.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clusters::{Ground, eventually};
use serde_json::Value;

const NAME: &str = "two-networks";
const EAST: &str = "east/shop/client";
/// In both clusters, and in west alone.
const CATALOG: &str = "http://catalog.shop:8080/";
const ORDERS: &str = "http://orders.shop:8080/";
const PATIENCE: Duration = Duration::from_secs(60);

/// How often each cluster answers, of some calls from a pod; what failed counts under "".
fn answers(ground: &Ground, from: &str, url: &str) -> BTreeMap<String, usize> {
    let (cluster, pod) = from.split_once('/').unwrap();
    let call = ["diolkos", "call", "--plain", "--count", "16", "--rate", "100", url];
    let output = ground.run(&[&["exec", cluster, pod, "--"], &call[..]].concat());
    count(&String::from_utf8_lossy(&output.stdout))
}

fn count(lines: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let by = line["answer"]["cluster"].as_str().filter(|_| line["status"] == 200);
        *counts.entry(by.unwrap_or_default().to_owned()).or_default() += 1;
    }
    counts
}

/// Soon, and then again, exactly these clusters answer.
fn reaches(ground: &Ground, from: &str, url: &str, clusters: &[&str]) {
    let mut last = BTreeMap::new();
    let mut are_they = || {
        last = answers(ground, from, url);
        last.keys().map(String::as_str).eq(clusters.iter().copied())
    };
    let what = format!("{from} -> {url} is answered by {clusters:?}");
    eventually(PATIENCE, &what, &mut are_they);
    assert!(are_they(), "{what}, but {last:?}");
}

/// Requests from a pod, at a steady rate, until they are all made.
struct Traffic(Child);

impl Traffic {
    fn start(ground: &Ground, from: &str, seconds: u32, urls: &[&str]) -> Self {
        let (cluster, pod) = from.split_once('/').unwrap();
        let total = (seconds * 50).to_string();
        let call = ["diolkos", "call", "--plain", "--count", &total, "--rate", "50"];
        let words = [&["exec", cluster, pod, "--"], &call[..], urls].concat();
        let file = std::fs::File::create(ground.path("traffic")).unwrap();
        let child = ground.command().args(words).stdout(file).stderr(Stdio::null()).spawn();
        let traffic = Self(child.unwrap());
        eventually(PATIENCE, "the first requests are answered", || made(ground) > 0);
        traffic
    }

    /// Every request was answered, and some still were when it was asked for.
    fn none_failed(mut self, ground: &Ground) {
        assert!(self.0.try_wait().unwrap().is_none(), "it ended before what it should see did");
        self.0.wait().unwrap();
        let lines = std::fs::read_to_string(ground.path("traffic")).unwrap();
        let failed: Vec<&str> =
            lines.lines().filter(|line| !line.contains(r#""status":200"#)).collect();
        assert_eq!(failed, [""; 0], "of {}", lines.lines().count());
    }
}

fn made(ground: &Ground) -> usize {
    std::fs::read_to_string(ground.path("traffic")).unwrap().lines().count()
}

/// Until so many more were answered.
fn more(ground: &Ground, requests: usize) {
    let before = made(ground);
    eventually(PATIENCE, "more requests are answered", || made(ground) >= before + requests);
}

fn restarts(ground: &Ground, cluster: &str, label: &str) -> u64 {
    let path = "jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    let words = ["get", "pod", "-n", "diolkos-system", "-l", label, "-o", path];
    let counts = ground.kubectl(NAME, cluster, &words);
    counts.split_whitespace().map(|count| count.parse::<u64>().unwrap()).sum()
}

fn primary_is_ready(ground: &Ground, cluster: &str) -> bool {
    let path = "jsonpath={.status.readyReplicas}";
    let words = ["get", "deployment", "-n", "diolkos-system", "diolkos-primary", "-o", path];
    ground.kubectl(NAME, cluster, &words) == "1"
}

/// Its process only: what it kept in its pod is there when it comes back.
fn kill_primary(ground: &Ground, cluster: &str) {
    eventually(PATIENCE, "the primary is there to be killed", || primary_is_ready(ground, cluster));
    let before = restarts(ground, cluster, "app=istiod");
    ground.must(&["fault", "kill-pods", cluster, "app=istiod"]);
    let what = format!("the primary of {cluster} was started again");
    eventually(PATIENCE, &what, || restarts(ground, cluster, "app=istiod") > before);
    eventually(PATIENCE, "it is ready", || primary_is_ready(ground, cluster));
}

#[test]
fn nothing_is_lost_while_api_servers_are_away_primaries_are_killed_and_gateways_rolled() {
    let Some(ground) = Ground::find() else { return };
    ground.up(NAME, NAME);
    reaches(&ground, EAST, CATALOG, &["east", "west"]);
    reaches(&ground, EAST, ORDERS, &["west"]);

    let traffic = Traffic::start(&ground, EAST, 40, &[CATALOG, ORDERS]);
    ground.must(&["fault", "stop-api", "west"]);
    more(&ground, 100);
    // It comes back without a word of west's API server, and with what that said before.
    kill_primary(&ground, "east");
    more(&ground, 100);
    ground.must(&["fault", "heal"]);
    for cluster in ["east", "west", "east"] {
        kill_primary(&ground, cluster);
    }
    more(&ground, 100);
    traffic.none_failed(&ground);
    reaches(&ground, EAST, ORDERS, &["west"]);

    let traffic = Traffic::start(&ground, EAST, 60, &[CATALOG, ORDERS]);
    let deployment = "deployment/diolkos-eastwestgateway";
    for verb in [&["restart"][..], &["status", "--timeout=60s"]] {
        let words = [&["rollout"], verb, &["-n", "diolkos-system", deployment]].concat();
        ground.kubectl(NAME, "west", &words);
    }
    more(&ground, 100);
    traffic.none_failed(&ground);
    assert_eq!(ground.forbidden(NAME), [0, 0]);
}

/// The secret by which the primary of east reads west, as a manifest with another kubeconfig.
fn remote_secret(ground: &Ground, name: &str, change: impl Fn(&str) -> String) -> String {
    let words = ["get", "secret", "-n", "diolkos-system", "istio-remote-secret-west", "-o", "json"];
    let secret: Value = serde_json::from_str(&ground.kubectl(NAME, "east", &words)).unwrap();
    let kubeconfig = STANDARD.decode(secret["data"]["west"].as_str().unwrap()).unwrap();
    let kubeconfig = change(&String::from_utf8(kubeconfig).unwrap());
    let (key, secret) = match name {
        "west" => ("west", "istio-remote-secret-west".to_owned()),
        other => (other, format!("istio-remote-secret-{other}")),
    };
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {secret}\n  namespace: diolkos-system\n  \
         labels: {{istio/multiCluster: \"true\"}}\ndata:\n  {key}: {}\n",
        STANDARD.encode(kubeconfig)
    )
}

#[test]
fn test_remote_secret_rotation_keeps_cross_cluster_traffic() {
    let Some(ground) = Ground::find() else { return };
    ground.up(NAME, NAME);
    reaches(&ground, EAST, ORDERS, &["west"]);
    let traffic = Traffic::start(&ground, EAST, 40, &[ORDERS]);
    for turn in 0..10 {
        let other = |text: &str| format!("{text}# turn {turn}\n");
        ground.apply(NAME, "east", &remote_secret(&ground, "west", other));
        more(&ground, 25);
    }
    // Another credential is another generation, and nobody's traffic.
    let words = ["create", "token", "-n", "diolkos-system", "diolkos-reader"];
    let token = ground.kubectl(NAME, "west", &words);
    let rotate = |text: &str| {
        let (before, _) = text.split_once("token: ").unwrap();
        format!("{before}token: {}\n", token.trim())
    };
    ground.apply(NAME, "east", &remote_secret(&ground, "west", rotate));
    more(&ground, 100);
    traffic.none_failed(&ground);
    reaches(&ground, EAST, ORDERS, &["west"]);
}

#[test]
fn test_bad_remote_secret() {
    let Some(ground) = Ground::find() else { return };
    ground.up(NAME, NAME);
    reaches(&ground, EAST, ORDERS, &["west"]);
    let server = |text: &str| {
        let (before, after) = text.split_once("server: ").unwrap();
        let (_, after) = after.split_once('\n').unwrap();
        format!("{before}server: \"https://255.255.255.255:6443\"\n{after}")
    };
    let nobody = |text: &str| {
        let (before, _) = text.split_once("token: ").unwrap();
        format!("{before}token: nobody\n")
    };
    let plugin = |text: &str| {
        let (before, _) = text.split_once("token: ").unwrap();
        format!("{before}exec: {{apiVersion: client.authentication.k8s.io/v1, command: steal}}\n")
    };
    for (name, secret) in [
        ("unreachable", remote_secret(&ground, "unreachable", server)),
        ("nobody", remote_secret(&ground, "nobody", nobody)),
        ("plugin", remote_secret(&ground, "plugin", plugin)),
    ] {
        assert!(secret.contains(name));
        ground.apply(NAME, "east", &secret);
    }
    // A fresh primary, with nothing kept, does not wait for any of them.
    let pods = ["delete", "pod", "-n", "diolkos-system", "-l", "app=istiod", "--wait=false"];
    ground.kubectl(NAME, "east", &pods);
    let rollout = ["rollout", "status", "-n", "diolkos-system", "deployment/diolkos-primary"];
    ground.kubectl(NAME, "east", &[&rollout[..], &["--timeout=45s"]].concat());
    reaches(&ground, EAST, ORDERS, &["west"]);
    reaches(&ground, EAST, CATALOG, &["east", "west"]);
}

#[test]
fn test_cluster_local() {
    let Some(ground) = Ground::find() else { return };
    ground.up(NAME, NAME);
    let west = "west/shop/client";
    let both = || {
        reaches(&ground, EAST, CATALOG, &["east", "west"]);
        reaches(&ground, west, CATALOG, &["east", "west"]);
    };
    both();
    let get =
        ["get", "configmap", "-n", "diolkos-system", "diolkos", "-o", "jsonpath={.data.mesh}"];
    let mesh = ground.kubectl(NAME, "east", &get);
    let local = "spec:\n  clusterLocal:\n  - {host: catalog.shop.svc.cluster.local}\n";
    let stays = mesh.replace("spec:\n", local);
    assert_ne!(mesh, stays);
    let set = |text: &str| {
        let text = text.replace('\n', "\n    ");
        let map = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: diolkos, namespace: \
             diolkos-system}}\ndata:\n  mesh: |\n    {text}\n"
        );
        for cluster in ["east", "west"] {
            ground.apply(NAME, cluster, &map);
        }
    };
    set(&stays);
    reaches(&ground, EAST, CATALOG, &["east"]);
    reaches(&ground, west, CATALOG, &["west"]);
    reaches(&ground, EAST, ORDERS, &["west"]);
    set(&mesh);
    both();
}

#[test]
fn test_locality_failover() {
    let Some(ground) = Ground::find() else { return };
    let name = "three-zones";
    ground.up(name, name);
    let client = "oslo/shop/client";
    let scale = |cluster: &str, replicas: u32| {
        let replicas = format!("--replicas={replicas}");
        ground.kubectl(name, cluster, &["scale", "-n", "shop", "deployment/catalog", &replicas]);
    };
    // The own zone, the own region, and what is left behind a gateway.
    reaches(&ground, client, CATALOG, &["oslo"]);
    scale("oslo", 0);
    reaches(&ground, client, CATALOG, &["bergen"]);
    scale("bergen", 0);
    reaches(&ground, client, CATALOG, &["lisbon"]);
    scale("oslo", 1);
    reaches(&ground, client, CATALOG, &["oslo"]);
    scale("bergen", 1);
    reaches(&ground, client, CATALOG, &["oslo"]);
    assert_eq!(ground.forbidden(name), [0, 0, 0]);
}
