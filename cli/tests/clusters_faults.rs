//! Every fault does what it says, is over when healed, and may be set and healed twice.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;

use std::process::Command;
use std::time::{Duration, Instant};

use clusters::{Ground, eventually, told};

const NAME: &str = "two-networks";
const EAST: &str = "east/shop/client";
const WEST: &str = "west/shop/client";
const PATIENCE: Duration = Duration::from_secs(30);

/// Two clusters, and a load balancer in each: the URLs.
fn two_networks(ground: &Ground) -> [String; 2] {
    ground.up_bare(NAME, NAME);
    ["east", "west"].map(|cluster| ground.balancer(NAME, cluster, "catalog").swap_remove(0))
}

fn fault(ground: &Ground, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    ground.must(&[&["fault"], &words[..]].concat());
}

fn millis(line: &serde_json::Value) -> u64 {
    line["took_us"].as_u64().unwrap() / 1000
}

fn faults(ground: &Ground) -> usize {
    ground.status(NAME)["faults"].as_array().unwrap().len()
}

/// Whether the API server of west answers somebody in east.
fn api_answers(ground: &Ground) -> bool {
    let server = ground.status(NAME)["clusters"][1]["server"].as_str().unwrap().to_owned();
    let url = server.replace("https", "http");
    ground.call_within(NAME, EAST, &url, 1000)["status"] == 400
}

#[test]
fn links_are_cut_and_slowed_as_told_and_healed() {
    let Some(ground) = Ground::find() else { return };
    let [east, west] = two_networks(&ground);
    let both_answer = || {
        ground.answers(NAME, EAST, &west, "west");
        ground.answers(NAME, WEST, &east, "east");
    };
    both_answer();

    for cut in ["cut east west", "cut east west --one-way", "cut west east --one-way"] {
        fault(&ground, cut);
        fault(&ground, cut);
        assert_eq!(faults(&ground), 1, "{cut}");
        // Half of a connection is none, whichever half it is; and nobody is told.
        let line = ground.fails(NAME, EAST, &west, "connect");
        assert!(line["failure"]["why"].as_str().unwrap().contains("nothing within"), "{line:#}");
        ground.fails(NAME, WEST, &east, "connect");
        ground.answers(NAME, EAST, "http://catalog.shop:8080/", "east");
        fault(&ground, &format!("heal {cut}"));
        fault(&ground, &format!("heal {cut}"));
        both_answer();
    }
    fault(&ground, "cut east west --port 6443");
    assert!(!api_answers(&ground));
    both_answer();
    fault(&ground, "heal");
    assert!(api_answers(&ground));

    fault(&ground, "slow east west --delay 200ms");
    let line = ground.answers(NAME, EAST, &west, "west");
    assert!((400..2000).contains(&millis(&line)), "{line:#}");
    fault(&ground, "heal");
    let line = ground.answers(NAME, EAST, &west, "west");
    assert!(millis(&line) < 200, "{line:#}");

    // Eight kilobits are an answer a second; the other direction does not wait.
    fault(&ground, "slow west east --rate 8kbit --one-way");
    let words = ["exec", "east", "shop/client", "--", "diolkos", "call", "--plain"];
    let many = ["--count", "10", "--rate", "100", "--patience", "1500", west.as_str()];
    let output = ground.run(&[&words[..], &many].concat());
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let late = lines.lines().filter(|line| line.contains("nothing within")).count();
    assert!(late >= 5, "{lines}");
    fault(&ground, "heal");
    both_answer();
    assert_eq!(faults(&ground), 0);
}

#[test]
fn connections_are_spoiled_as_told_and_healed() {
    let Some(ground) = Ground::find() else { return };
    let [_, west] = two_networks(&ground);
    for (spoil, stage, says) in [
        ("--half-open", "answer", "nothing within"),
        ("--stall back", "answer", "nothing within"),
        ("--stall out", "answer", "nothing within"),
        ("--reset-after 20", "answer", "connection"),
        ("--bytes-per-second 100", "answer", "nothing within"),
    ] {
        fault(&ground, &format!("streams east west {spoil}"));
        let line = ground.call_within(NAME, EAST, &west, 1500);
        let failure = &line["failure"];
        assert_eq!(failure["stage"], stage, "{spoil}: {line:#}");
        assert!(failure["why"].as_str().unwrap().contains(says), "{spoil}: {line:#}");
        // The same link, spoiled another way: one fault with new figures.
        assert_eq!(faults(&ground), 1, "{spoil}");
    }
    fault(&ground, "streams east west --slice 1");
    ground.answers(NAME, EAST, &west, "west");
    fault(&ground, "streams east west --delay 100ms --port 9999");
    let line = ground.answers(NAME, EAST, &west, "west");
    assert!(millis(&line) < 200, "a fault of another port: {line:#}");
    assert_eq!(faults(&ground), 2);
    let none = ground.run(&["fault", "streams", "east", "west"]);
    assert!(told(&none).contains("no way to spoil"), "{}", told(&none));
    let unknown = ground.run(&["fault", "cut", "east", "rome"]);
    assert!(told(&unknown).contains("no cluster is named rome"), "{}", told(&unknown));
    assert_eq!(faults(&ground), 2);
    fault(&ground, "heal");
    ground.answers(NAME, EAST, &west, "west");
}

#[test]
fn a_fault_flaps_as_often_as_told() {
    let Some(ground) = Ground::find() else { return };
    let [_, west] = two_networks(&ground);
    fault(&ground, "flap --period 1s --times 3 cut east west");
    let started = Instant::now();
    // In force at once, not in force in between, over after three periods each way.
    ground.call_within(NAME, EAST, &west, 300)["failure"].as_object().unwrap();
    eventually(PATIENCE, "it is not in force", || {
        ground.call_within(NAME, EAST, &west, 300)["status"] == 200
    });
    eventually(PATIENCE, "it is in force again", || {
        ground.call_within(NAME, EAST, &west, 300)["failure"].is_object()
    });
    eventually(PATIENCE, "it is over", || faults(&ground) == 0);
    assert!(started.elapsed() > Duration::from_secs(5), "{:?}", started.elapsed());
    ground.answers(NAME, EAST, &west, "west");
    // One that is healed early stays healed.
    fault(&ground, "flap --period 1s --times 60 stop-api west");
    fault(&ground, "heal");
    assert_eq!(faults(&ground), 0);
    assert!(api_answers(&ground));
}

#[test]
fn an_api_server_stops_and_a_store_goes_back() {
    let Some(ground) = Ground::find() else { return };
    let [_, west] = two_networks(&ground);
    let api = || ground.status(NAME)["clusters"][1]["api"].as_str().unwrap().to_owned();
    fault(&ground, "stop-api west");
    assert_eq!(api(), "silent");
    // What runs goes on.
    ground.answers(NAME, EAST, &west, "west");
    fault(&ground, "stop-api west --how killed");
    assert!(api().contains("refused"), "{}", api());
    ground.answers(NAME, EAST, &west, "west");
    assert_eq!(faults(&ground), 1);
    fault(&ground, "heal");
    assert_eq!(api(), "ready");

    let namespaces = || ground.kubectl(NAME, "west", &["get", "ns", "-o", "name"]);
    let snapshot = ground.path("west.snapshot");
    let snapshot = snapshot.to_str().unwrap();
    ground.must(&["snapshot", "west", "--to", snapshot]);
    ground.kubectl(NAME, "west", &["create", "namespace", "later"]);
    assert!(namespaces().contains("namespace/later"));
    fault(&ground, &format!("restore-etcd west --from {snapshot}"));
    assert!(!namespaces().contains("namespace/later"), "{}", namespaces());
    ground.answers(NAME, EAST, &west, "west");
    // The cluster is alive: its controllers and nodes go on from there.
    ground.kubectl(NAME, "west", &["scale", "-n", "shop", "deployment/orders", "--replicas=3"]);
    let wait = ["wait", "-n", "shop", "deployment/orders", "--timeout=60s"];
    let three = "--for=jsonpath={.status.readyReplicas}=3";
    ground.kubectl(NAME, "west", &[&wait[..], &[three]].concat());
    // A file that is no snapshot does no harm.
    std::fs::write(snapshot, "nothing").unwrap();
    let output = ground.run(&["fault", "restore-etcd", "west", "--from", snapshot]);
    assert!(!output.status.success(), "{}", told(&output));
    assert_eq!(api(), "ready");
    let compacted = ground.must(&["exec", "west", "--", "etcdctl", "compact", "10"]);
    assert!(compacted.contains("compacted revision 10"), "{compacted}");
    // A lost disk: the API server is there, and knows nothing.
    fault(&ground, "restore-etcd west --empty");
    assert_eq!(api(), "ready");
    assert!(!namespaces().contains("namespace/shop"), "{}", namespaces());
    ground.answers(NAME, EAST, "http://catalog.shop:8080/", "east");
}

#[test]
fn a_gateway_is_killed_and_scaled_away_and_comes_back() {
    let Some(ground) = Ground::find() else { return };
    ground.up(NAME, NAME);
    let get = |path: &str| {
        let path = format!("jsonpath={path}");
        let gateway = "diolkos-eastwestgateway";
        let words = ["get", "deployment", gateway, "-n", "diolkos-system", "-o", &path];
        ground.kubectl(NAME, "east", &words)
    };
    let ready = |count: &str| {
        eventually(PATIENCE, "the gateway has its replicas", || {
            get("{.status.readyReplicas}") == count
        });
    };
    ready("2");
    ground.must(&["fault", "kill-gateway", "east"]);
    let restarts = "jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    let words =
        ["get", "pod", "-n", "diolkos-system", "-l", "istio=eastwestgateway", "-o", restarts];
    eventually(PATIENCE, "both were started again", || {
        ground.kubectl(NAME, "east", &words) == "1 1"
    });
    ready("2");
    ground.must(&["fault", "kill-pods", "east", "istio=eastwestgateway"]);
    eventually(PATIENCE, "both were started once more", || {
        ground.kubectl(NAME, "east", &words) == "2 2"
    });
    ready("2");
    ground.must(&["fault", "stop-gateway", "east"]);
    ground.must(&["fault", "stop-gateway", "east"]);
    ready("");
    ground.must(&["fault", "heal"]);
    assert_eq!(get("{.spec.replicas}"), "2");
    ready("2");
}

#[test]
fn kubectl_works_with_the_kubeconfig_it_is_given() {
    let Some(ground) = Ground::find() else { return };
    let printed = ground.up("one-network", "one-network");
    let path = ground.path("kubeconfig");
    std::fs::write(&path, &printed).unwrap();
    assert_eq!(ground.must(&["kubeconfig"]), printed);
    let none = ground.run(&["fault", "kill-gateway", "east"]);
    assert!(told(&none).contains("no pod labelled istio=eastwestgateway"), "{}", told(&none));
    for cluster in ["east", "west"] {
        let output = Command::new(ground.path("tools/kubectl"))
            .arg("--kubeconfig")
            .arg(&path)
            .args(["--context", cluster, "auth", "can-i", "*", "*"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
    }
}
