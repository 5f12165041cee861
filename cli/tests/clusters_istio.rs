//! Istio's multicluster checklist on real clusters: each step has the name of Istio's test
//! (docs/istio-checklist.md). One topology serves several of them, for each is dear to bring up.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clusters::{Ground, eventually, told};
use serde_json::{Value, json};

const CATALOG: &str = "http://catalog.shop:8080/";
const ORDERS: &str = "http://orders.shop:8080/";
const SYSTEM: &str = "diolkos-system";
const PATIENCE: Duration = Duration::from_secs(90);
/// To each URL: a cluster that is one of several is not missed by all of them.
const CALLS: &str = "30";
/// In a row, before a state counts as one that stays.
const CONVERGED: usize = 3;

/// A topology that is up under its own name.
struct Mesh {
    ground: Ground,
    name: &'static str,
}

impl Mesh {
    fn up(name: &'static str) -> Option<Self> {
        let ground = Ground::find()?;
        ground.up(name, name);
        Some(Self { ground, name })
    }

    /// A program in the pod of a client, and its lines.
    fn client(&self, cluster: &str, words: &[&str]) -> Vec<Value> {
        let exec = ["exec", "--name", self.name, cluster, "shop/client", "--"];
        let output = self.ground.run(&[&exec[..], words].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{}", told(&output)));
        text.lines().map(line).collect()
    }

    fn calls(&self, cluster: &str, url: &str) -> Vec<Value> {
        let call = ["diolkos", "call", "--plain", "--count", CALLS, "--rate", "100", url];
        self.client(cluster, &call)
    }

    /// Which clusters answer a client; `Err` if anything fails.
    fn reached(&self, cluster: &str, url: &str) -> Result<BTreeSet<String>, Value> {
        let lines = self.calls(cluster, url);
        assert_eq!(lines.len().to_string(), CALLS);
        let by = |line: Value| match line["answer"]["cluster"].as_str() {
            Some(by) if line["status"] == 200 => Ok(by.to_owned()),
            _ => Err(line),
        };
        lines.into_iter().map(by).collect()
    }

    /// Soon, and from then on.
    fn reaches(&self, cluster: &str, url: &str, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
        let what = format!("{cluster} reaches {url} in {wanted:?}");
        let mut seen = 0;
        eventually(PATIENCE, &what, || {
            let holds = self.reached(cluster, url).as_ref() == Ok(&wanted);
            seen = if holds { seen + 1 } else { 0 };
            seen == CONVERGED
        });
    }

    fn kubectl(&self, cluster: &str, words: &[&str]) -> String {
        self.ground.kubectl(self.name, cluster, &[&["--namespace", SYSTEM], words].concat())
    }

    /// With the topology's kubeconfig, as its operator.
    fn diolkos(&self, context: &str, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_diolkos"))
            .args(words)
            .args(["--context", context, "--kubeconfig"])
            .arg(self.ground.path("topologies").join(self.name).join("kubeconfig"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What the primary of a cluster knows, if it can be asked.
    fn primary(&self, cluster: &str) -> Option<Value> {
        let output = self.diolkos(cluster, &["status", "--output", "json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(status["primaries"][0].clone())
    }

    /// A remote secret for a cluster, as a primary elsewhere takes it.
    fn remote_secret(&self, of: &str, more: &[&str]) -> String {
        let output = self.diolkos(of, &[&["remote-secret", "create"], more].concat());
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The kubeconfig by which one cluster's primary reads another.
    fn kubeconfig(&self, reader: &str, of: &str) -> String {
        let template = format!("go-template={{{{index .data {of:?} | base64decode}}}}");
        self.kubectl(reader, &["get", "secret", &secret_name(of), "-o", &template])
    }

    fn patch(&self, cluster: &str, object: &[&str], patch: &Value) {
        let patch = patch.to_string();
        self.kubectl(cluster, &[&["patch"], object, &["--type=merge", "-p", &patch]].concat());
    }

    fn scale(&self, cluster: &str, replicas: u32) {
        let replicas = format!("--replicas={replicas}");
        let words = ["scale", "--namespace", "shop", "deployment/catalog", &replicas];
        self.ground.kubectl(self.name, cluster, &words);
    }
}

fn secret_name(of: &str) -> String {
    format!("istio-remote-secret-{of}")
}

#[test]
fn two_networks_pass_istios_checklist() {
    let Some(mesh) = Mesh::up("two-networks") else { return };
    test_cluster_local(&mesh);
    test_remote_secret_rotation_keeps_cross_cluster_traffic(&mesh);
    test_bad_remote_secret(&mesh);
    assert_eq!(mesh.ground.forbidden(mesh.name), [0, 0]);
}

/// Istio's `MeshConfig.serviceSettings` is `clusterLocal` of the mesh file here.
fn test_cluster_local(mesh: &Mesh) {
    const BOTH: [&str; 2] = ["east", "west"];
    for cluster in BOTH {
        mesh.reaches(cluster, CATALOG, &BOTH);
    }
    let settings = BOTH.map(|cluster| {
        mesh.kubectl(cluster, &["get", "configmap/diolkos", "-o=jsonpath={.data.mesh}"])
    });
    let set = |cluster: &str, text: &str| {
        let patch = json!({ "data": { "mesh": text } });
        mesh.patch(cluster, &["configmap/diolkos"], &patch);
    };
    let local = "  clusterLocal:\n  - host: catalog.shop.svc.cluster.local\n";
    for (cluster, settings) in BOTH.iter().zip(&settings) {
        set(cluster, &format!("{}\n{local}", settings.trim_end()));
    }
    for cluster in BOTH {
        mesh.reaches(cluster, CATALOG, &[cluster]);
    }
    // Of what was not named nothing changed.
    mesh.reaches("east", ORDERS, &["west"]);

    // "cross cluster": once it is taken back.
    for (cluster, settings) in BOTH.iter().zip(&settings) {
        set(cluster, settings);
    }
    for cluster in BOTH {
        mesh.reaches(cluster, CATALOG, &BOTH);
    }
}

fn test_remote_secret_rotation_keeps_cross_cluster_traffic(mesh: &Mesh) {
    let generation = |primary: &Value| {
        let clusters = primary["clusters"].as_array().unwrap();
        let west = clusters.iter().find(|cluster| cluster["name"] == "west");
        west.and_then(|west| west["source"]["live"]["generation"].as_u64()).unwrap_or(0)
    };
    let before = generation(&mesh.primary("east").unwrap());
    assert!(before > 0);
    let rotated = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // All the while, whatever is done to the secret.
        let watch = scope.spawn(|| {
            while !rotated.load(Ordering::SeqCst) {
                assert_eq!(mesh.reached("east", ORDERS), Ok(["west".to_owned()].into()));
            }
        });
        // Istio's own case: other bytes, which say the same.
        let (name, good) = (secret_name("west"), mesh.kubeconfig("east", "west"));
        for turn in 0..10 {
            let commented = format!("{good}\n# rotated, {turn}\n");
            mesh.patch("east", &["secret", &name], &json!({ "stringData": { "west": commented } }));
        }
        // And another credential.
        let secret = mesh.remote_secret("west", &["--name", "west", "--lifetime", "1h"]);
        mesh.ground.apply(mesh.name, "east", &secret);
        let deadline = Instant::now() + PATIENCE;
        let mut now = before;
        while now == before && Instant::now() < deadline && !watch.is_finished() {
            now = mesh.primary("east").as_ref().map_or(before, generation);
        }
        rotated.store(true, Ordering::SeqCst);
        watch.join().unwrap();
        assert_eq!(now, before + 1, "the other credential, and it alone, is another generation");
    });
    mesh.reaches("east", CATALOG, &["east", "west"]);
}

fn test_bad_remote_secret(mesh: &Mesh) {
    let good = mesh.kubeconfig("east", "west");
    let server = good.lines().find(|line| line.trim_start().starts_with("server:")).unwrap();
    let token = good.lines().find(|line| line.trim_start().starts_with("token:")).unwrap();
    let elsewhere = |address: &str| good.replace(server, &replaced(server, "server", address));
    let exec = "{apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, args: [-c, exit]}";
    let bad = [
        ("broadcast", elsewhere("https://255.255.255.255")),
        ("unreachable", elsewhere("https://192.0.2.1")),
        ("exec-auth", good.replace(token, &replaced(token, "exec", exec))),
        ("stranger", good.replace(token, &replaced(token, "token", "nobody"))),
    ];
    for (cluster, kubeconfig) in &bad {
        assert_ne!(*kubeconfig, good);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": secret_name(cluster), "namespace": SYSTEM,
                "labels": { "istio/multiCluster": "true" },
            },
            "stringData": { *cluster: kubeconfig },
        });
        mesh.ground.apply(mesh.name, "east", &secret.to_string());
    }
    mesh.kubectl("west", &["create", "serviceaccount", "reader-no-perms"]);
    let account = ["--name", "no-permissions", "--reader-account", "reader-no-perms"];
    mesh.ground.apply(mesh.name, "east", &mesh.remote_secret("west", &account));

    // A fresh primary knows nothing but what it is told now, and must become ready all the same.
    let deployment = "deployment/diolkos-primary";
    mesh.kubectl("east", &["rollout", "restart", deployment]);
    mesh.kubectl("east", &["rollout", "status", deployment, "--timeout=45s"]);
    let mut shown = String::new();
    eventually(PATIENCE, "the state says what is wrong with each", || {
        shown = mesh.primary("east").unwrap_or_default().to_string();
        let whys = [
            "255.255.255.255 is multicast or broadcast",
            "it would run a program on the primary",
            "refused because it does not allow it (403)",
            "\"unreachable\"",
        ];
        whys.iter().all(|why| shown.contains(why))
    });
    for cluster in ["east", "west"] {
        mesh.reaches(cluster, CATALOG, &["east", "west"]);
    }
    for cluster in ["broadcast", "unreachable", "exec-auth", "stranger", "no-permissions"] {
        mesh.kubectl("east", &["delete", "secret", &secret_name(cluster)]);
    }
}

/// A line of a kubeconfig, with another key and value in the same place.
fn replaced(line: &str, key: &str, value: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    format!("{}{key}: {value}", &line[..indent])
}

#[test]
fn three_zones_pass_istios_checklist() {
    let Some(mesh) = Mesh::up("three-zones") else { return };
    test_locality_prioritized(&mesh);
    test_locality_failover_by_outlier_detection(&mesh);
    test_locality_failover(&mesh);
    assert_eq!(mesh.ground.forbidden(mesh.name), [0, 0, 0]);
}

fn test_locality_prioritized(mesh: &Mesh) {
    for cluster in ["oslo", "bergen", "lisbon"] {
        mesh.reaches(cluster, CATALOG, &[cluster]);
    }
}

/// The nearest is there, and answers nothing but errors: its clients leave it for a while.
fn test_locality_failover_by_outlier_detection(mesh: &Mesh) {
    // In one go: the shortest ejection is five seconds.
    let fail = format!("diolkos call --plain --count 5 --rate 50 {CATALOG}status/503 > /dev/null");
    let script = format!("{fail}; diolkos call --plain {CATALOG}");
    eventually(PATIENCE, "the next zone is taken", || {
        let lines = mesh.client("oslo", &["sh", "-c", &script]);
        lines.len() == 1 && lines[0]["answer"]["cluster"] == "bergen"
    });
    mesh.reaches("oslo", CATALOG, &["oslo"]);
}

/// The nearest is gone: the same region is next, then whatever is left, through its gateway.
fn test_locality_failover(mesh: &Mesh) {
    mesh.scale("oslo", 0);
    mesh.reaches("oslo", CATALOG, &["bergen"]);
    mesh.scale("bergen", 0);
    for cluster in ["oslo", "bergen"] {
        mesh.reaches(cluster, CATALOG, &["lisbon"]);
    }
    mesh.scale("oslo", 1);
    for cluster in ["oslo", "bergen"] {
        mesh.reaches(cluster, CATALOG, &["oslo"]);
    }
    mesh.scale("bergen", 1);
    mesh.reaches("bergen", CATALOG, &["bergen"]);
    mesh.reaches("oslo", CATALOG, &["oslo"]);
    mesh.reaches("lisbon", CATALOG, &["lisbon"]);
}
