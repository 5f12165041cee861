//! What the networks of a topology carry without any mesh, and what they must not.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;

use clusters::{Ground, url_host};

fn pod_addresses(ground: &Ground, name: &str, cluster: &str, app: &str) -> Vec<String> {
    let words = ["get", "pod", "-n", "shop", "-l"];
    let (label, path) = (format!("app={app}"), "jsonpath={.items[0].status.podIPs[*].ip}");
    let words = [&words[..], &[&label, "-o", path]].concat();
    let addresses = ground.kubectl(name, cluster, &words);
    addresses.split_whitespace().map(url_host).collect()
}

#[test]
fn pods_of_another_network_are_out_of_reach_and_its_load_balancers_are_not() {
    let Some(ground) = Ground::find() else { return };
    let name = "two-networks";
    ground.up_bare(name, name);
    for url in ground.balancer(name, "west", "catalog") {
        // From the other network, from its own cluster's pods, and from a node.
        let line = ground.answers(name, "east/shop/client", &url, "west");
        let source = line["answer"]["source"].as_str().unwrap();
        assert!(!source.starts_with("10.64.") && !source.starts_with("[fdd1:1c0:50::"), "{line:#}");
        ground.answers(name, "west/shop/client", &url, "west");
        let diolkos = env!("CARGO_BIN_EXE_diolkos");
        for node in ["east", "west"] {
            ground.must(&["exec", "--name", name, node, "--", diolkos, "call", "--plain", &url]);
        }
    }
    assert_eq!(ground.forbidden(name), [0, 0]);
    let api = ground.status(name)["clusters"][1]["server"].as_str().unwrap().to_owned();
    let api = api.strip_prefix("https://").unwrap();
    // It is reached, and wants TLS.
    let line = ground.call(name, "east/shop/client", &format!("http://{api}/"));
    assert_eq!(line["status"], 400, "{line:#}");
    assert_eq!(ground.forbidden(name), [0, 0]);

    for address in pod_addresses(&ground, name, "west", "catalog") {
        let url = format!("http://{address}:8080/");
        ground.answers(name, "west/shop/client", &url, "west");
        let line = ground.fails(name, "east/shop/client", &url, "connect");
        let why = line["failure"]["why"].as_str().unwrap();
        assert!(why.contains("unreachable"), "not refused at once: {why}");
    }
    let after_pods = ground.forbidden(name);
    assert!(after_pods[0] >= 2 && after_pods[1] == 0, "{after_pods:?}");
    let node = api.replace("6443", "10256");
    ground.fails(name, "east/shop/client", &format!("http://{node}/healthz"), "connect");
    let after_node = ground.forbidden(name);
    assert!(after_node[0] > after_pods[0], "{after_node:?} after {after_pods:?}");
    let service = ground.kubectl(
        name,
        "west",
        &["get", "svc", "-n", "shop", "orders", "-o", "jsonpath={.spec.clusterIP}"],
    );
    ground.fails(name, "east/shop/client", &format!("http://{service}:8080/"), "connect");
    assert!(ground.forbidden(name)[0] > after_node[0]);
}

#[test]
fn pods_of_one_network_reach_each_other_by_their_own_addresses() {
    let Some(ground) = Ground::find() else { return };
    let name = "one-network";
    ground.up_bare(name, name);
    for (from, to) in [("east", "west"), ("west", "east")] {
        let caller = format!("{from}/shop/client");
        let own = pod_addresses(&ground, name, from, "client");
        for address in pod_addresses(&ground, name, to, "catalog") {
            let line = ground.answers(name, &caller, &format!("http://{address}:8080/"), to);
            let source = line["answer"]["source"].as_str().unwrap();
            let is_own = own.iter().any(|own| source.starts_with(own.as_str()));
            assert!(is_own, "{source} is none of {own:?}");
        }
    }
    assert_eq!(ground.forbidden(name), [0, 0]);
}

#[test]
fn a_cluster_alone_is_a_whole_cluster() {
    let Some(ground) = Ground::find() else { return };
    let name = "single";
    ground.up_bare(name, name);
    let client = "east/shop/client";
    // By name, short and long, HTTP/1 and TCP; and every pod gets its share.
    for host in ["catalog.shop", "catalog.shop.svc.cluster.local"] {
        ground.answers(name, client, &format!("http://{host}:8080/"), "east");
    }
    let line = ground.answers(name, client, "tcp://catalog.shop:9000", "east");
    assert_eq!(line["answer"]["line"], "tcp://catalog.shop:9000");
    let words = ["diolkos", "call", "--plain", "--count", "40", "http://catalog.shop:8080/"];
    let words = [&["exec", "east", "shop/client", "--"], &words[..]].concat();
    let lines = ground.must(&words);
    let pods: std::collections::BTreeSet<&str> = lines
        .lines()
        .map(|line| line.split("\"pod\":\"").nth(1).unwrap().split('"').next().unwrap())
        .collect();
    assert_eq!(pods.len(), 2, "{lines}");
    // A pod that calls itself by its service, on either of the nodes.
    for _ in 0..4 {
        ground.answers(name, "east/shop/catalog", "http://catalog.shop:8080/", "east");
    }
    let line = ground.call(name, client, "http://nowhere.shop:8080/");
    let why = line["failure"]["why"].as_str().unwrap();
    assert!(why.contains("Name or service not known"), "{why}");
    let line = ground.call(name, client, "http://catalog.shop:8080/status/503");
    assert_eq!(line["status"], 503, "{line:#}");
    // Nodes, each with its zone; the program's end comes through exec.
    let zones = "jsonpath={.items[*].metadata.labels.topology\\.kubernetes\\.io/zone}";
    let zones = ground.kubectl(name, "east", &["get", "nodes", "-o", zones]);
    assert_eq!(zones, "isthmus-a isthmus-b");
    let output = ground.run(&["exec", "east", "shop/client", "--", "sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    let output = ground.run(&["exec", "east", "--", "sh", "-c", "exit 9"]);
    assert_eq!(output.status.code(), Some(9));
}
