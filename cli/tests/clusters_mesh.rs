//! A mesh of two primaries in real clusters while things break: what goes on, and what comes back.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;

use std::collections::BTreeMap;
use std::time::Duration;

use clusters::traffic::{Traffic, more};
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
