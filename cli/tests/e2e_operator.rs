//! `diolkos status` and `diolkos explain` as processes, against a primary as a process.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

#[path = "support/kube.rs"]
mod kube;
mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use diolkos_tls::{Identity, Roots};
use diolkos_trust::TrustDomain;
use diolkos_xds::ResourceType::Cluster;
use diolkos_xds_client::{
    Backoff, ClientSettings, Credential, Incoming, NodeClaims, Subscription, connect,
};
use kube::{Api, TOKEN, refusal};
use serde_json::{Value, json};
use support::{PRIMARY_NAME, World, eventually, gateway_manifest, service_manifest};

struct Ran {
    code: i32,
    out: String,
    told: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{} {}", self.out, self.told))
    }
}

fn run(words: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_diolkos"))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        told: String::from_utf8(output.stderr).unwrap(),
    }
}

fn with<'a>(words: &[&'a str], more: &[&'a str]) -> Ran {
    run(&[words, more].concat())
}

/// Two clusters on two networks, each with the service `shop/catalog`; west's has two pods.
fn mesh(west: u8, east: u8) -> World {
    let world = World::new(&[("west", west), ("east", east)]);
    for (cluster, octet, pods) in [("west", west, 2), ("east", east, 1)] {
        let gateway = gateway_manifest(cluster, &[&format!("127.{octet}.0.77")]);
        world.write(&format!("clusters/{cluster}/gateway.yaml"), &gateway);
        let names: Vec<_> = (1..=pods)
            .map(|last| (format!("catalog-{cluster}-{last}"), format!("127.{octet}.1.{last}")))
            .collect();
        let pods: Vec<_> =
            names.iter().map(|(name, ip)| (name.as_str(), ip.as_str(), "catalog")).collect();
        let text = service_manifest("catalog", "http", &pods);
        world.write(&format!("clusters/{cluster}/catalog.yaml"), &text);
    }
    world
}

/// Waits until the status ends with this code.
fn status_until(admin: &str, code: i32, more: &[&str]) -> Ran {
    let mut last = None;
    let met = eventually(Duration::from_secs(15), || {
        let ran = with(&["status", "--admin", admin], more);
        let is_so = ran.code == code;
        last = Some(ran);
        is_so
    });
    let last = last.unwrap();
    assert!(met, "never {code}, but {}: {}{}", last.code, last.out, last.told);
    last
}

#[test]
fn a_status_shows_clusters_networks_and_gateways_and_says_what_is_amiss() {
    let world = mesh(101, 102);
    let _primary = world.primary("west", 101);
    let admin = "127.101.0.1:15014";
    let ran = status_until(admin, 0, &[]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        lines[0],
        format!("primary {admin} of cluster west, trust domain cluster.local: ready")
    );
    let rows: Vec<String> =
        lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for row in [
        "west west 2 2 1 0 files live",
        "east east 2 1 1 0 files live",
        "west west 127.101.0.77:15443",
        "east east 127.102.0.77:15443",
    ] {
        assert!(rows.iter().any(|one| one == row), "{row}: {}", ran.out);
    }
    assert!(ran.out.contains("clients: 0 connected\n"), "{}", ran.out);

    world.write("clusters/east/broken.yaml", "kind: Service\n  broken: [\n");
    let shown = || with(&["status", "--admin", admin], &[]).out;
    let told = eventually(Duration::from_secs(15), || {
        let shown = shown();
        shown.contains("rejections: 1\n") && shown.contains("refused: east: ")
    });
    assert!(told, "{}", shown());

    let mesh = std::fs::read_to_string(world.path("mesh.yaml")).unwrap();
    world.write("mesh.yaml", &format!("{mesh}  - name: north\n"));
    let ran = status_until(admin, 3, &["--output", "json"]);
    let primary = &ran.json()["primaries"][0];
    assert_eq!((&primary["name"], &primary["amiss"]), (&json!(admin), &json!(true)));
    let named = |list: &str, name: &str| -> Value {
        let found = primary[list].as_array().unwrap().iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {primary:#}")).clone()
    };
    assert_eq!(named("networks", "east")["gateways"][0]["address"], "127.102.0.77:15443");
    assert_ne!(named("clusters", "north")["state"], "live");
}

#[test]
fn a_client_that_refuses_what_it_is_sent_is_shown_with_its_reason() {
    let world = mesh(103, 104);
    let _primary = world.primary("west", 103);
    let admin = "127.103.0.1:15014";
    status_until(admin, 0, &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _held = runtime.block_on(async {
        let subscribe = vec![(Cluster, Subscription::Wildcard)];
        let (handle, mut incoming) = connect(client(&world), subscribe);
        while let Some(event) = incoming.recv().await {
            if let Incoming::Update(update) = event {
                update.reject("no such\u{1b}[31m filter");
                return (handle, incoming);
            }
        }
        panic!("no update came");
    });
    let ran = status_until(admin, 3, &[]);
    assert!(ran.out.contains("clients: 1 connected (1 sidecar), 1 refuse what"), "{}", ran.out);
    let line = ran.out.lines().find(|line| line.contains("west shop/web-1")).unwrap();
    assert!(line.contains("spiffe://cluster.local/ns/shop/sa/web  certificate"), "{line}");
    assert!(line.contains("(now, 1 times): no such"), "{line}");
    assert!(!ran.out.contains('\u{1b}'), "{:?}", ran.out);
}

fn client(world: &World) -> ClientSettings {
    let dir = world.leaf("web", "west", "shop/web", &[]);
    let domain = TrustDomain::new("cluster.local").unwrap();
    ClientSettings {
        place: "127.103.0.1:15012".parse::<std::net::SocketAddr>().unwrap().into(),
        server: PRIMARY_NAME.into(),
        credential: Credential::Certificate(Identity::load(&dir).unwrap()),
        roots: Roots::load(&dir, &domain).unwrap(),
        node: NodeClaims {
            kind: "sidecar".into(),
            ip: "127.103.1.9".parse().unwrap(),
            pod: "web-1".into(),
            namespace: "shop".into(),
            domain: "cluster.local".into(),
            cluster: "west".into(),
            network: None,
            service_account: Some("web".into()),
            labels: BTreeMap::new(),
            extra: BTreeMap::new(),
        },
        source: None,
        backoff: Backoff::default(),
        pings: Default::default(),
    }
}

#[test]
fn explain_says_of_every_endpoint_what_a_client_is_told_and_why() {
    let world = mesh(105, 106);
    let _primary = world.primary("west", 105);
    let admin = ["--admin", "127.105.0.1:15014"];
    status_until(admin[1], 0, &[]);
    let explain = |words: &[&str]| with(&[&["explain"], words].concat(), &admin);

    let ran = explain(&["catalog", "--from", "west/shop/catalog-west-1"]);
    assert_eq!(ran.code, 0, "{}", ran.told);
    let lines: Vec<&str> = ran.out.lines().collect();
    let head =
        "shop/catalog, as a sidecar in west is told, on network west, zone isthmus/isthmus-a";
    assert_eq!(lines[0], head);
    let line = |of: &str| *lines.iter().find(|line| line.contains(of)).unwrap();
    assert!(line("127.105.1.1:8080").ends_with("kept, priority 0"), "{}", ran.out);
    let east = line("127.106.1.1:8080");
    assert!(east.ends_with("replaced by gateway 127.106.0.77:15443"), "{}", ran.out);
    assert_eq!(lines.last(), Some(&"port 8080: 2 kept, 1 replaced, 0 dropped"));

    let kind = ["catalog.shop", "--from", "west/pay", "--kind", "grpc", "--output", "json"];
    let json = explain(&kind).json();
    assert_eq!(json["client"]["locality"], "-");
    let endpoints = json["endpoints"].as_array().unwrap();
    let east = endpoints.iter().find(|one| one["cluster"] == "east").unwrap();
    assert_eq!((&east["verdict"], &east["pod"]), (&json!("dropped"), &json!("catalog-east-1")));
    assert!(east["reason"].as_str().unwrap().contains("cannot use gateways"), "{json:#}");
}

#[test]
fn a_name_that_is_not_known_is_answered_with_those_there_are() {
    let world = mesh(107, 108);
    let _primary = world.primary("west", 107);
    let admin = "127.107.0.1:15014";
    status_until(admin, 0, &[]);
    for (service, from, code, words) in [
        (
            "catalog.pay",
            "west/shop",
            1,
            "service pay/catalog: no cluster has it; there are shop/catalog",
        ),
        ("cart", "west/pay", 1, "service pay/cart: no cluster has it; there is none like it"),
        ("catalog", "north/shop", 1, "cluster north: it is not in the mesh; there are east, west"),
        ("catalog", "west/shop/web-7", 1, "pod shop/web-7 of cluster west is not known"),
        (
            "www.example.com",
            "west/shop",
            2,
            "is no service of the mesh; write it like catalog.shop",
        ),
        ("catalog", "west", 2, "write CLUSTER/NAMESPACE or CLUSTER/NAMESPACE/POD"),
    ] {
        let ran = run(&["explain", service, "--from", from, "--admin", admin]);
        assert_eq!(ran.code, code, "{service} {from}: {}", ran.told);
        assert!(ran.told.contains(words), "{service} {from}: {}", ran.told);
        assert_eq!(ran.out, "");
    }
}

#[test]
fn a_primary_that_does_not_answer_ends_with_a_code_of_its_own() {
    let ran = run(&["status", "--admin", "127.109.0.1:15014"]);
    assert_eq!(ran.code, 4);
    assert_eq!(
        ran.told,
        "error: primary 127.109.0.1:15014: nobody listens there; start it with --admin \
         127.109.0.1:15014, or correct the address\n"
    );
    assert_eq!(run(&["status", "--admin", "127.109.0.1:1", "--context", "west"]).code, 2);
}

#[test]
fn a_primary_in_a_cluster_is_found_by_its_label_and_what_is_in_the_way_is_told() {
    const PODS: &str = "/api/v1/namespaces/diolkos-system/pods";
    let folder = tempfile::tempdir().unwrap();
    let none = Api::start(|_, path, _| match path {
        PODS => (200, json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []})),
        _ => refusal(404, "not found"),
    });
    let kubeconfig = none.kubeconfig(folder.path(), TOKEN, "");
    let ran = run(&["status", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    assert_eq!(ran.code, 4);
    let told = "context west: no primary runs in namespace diolkos-system; give --namespace";
    assert!(ran.told.contains(told), "{}", ran.told);

    let pod = |name: &str, ready: &str| {
        json!({"metadata": {"name": name}, "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": ready}]}})
    };
    let pods = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {},
        "items": [pod("primary-a", "False"), pod("primary-b", "True")]});
    let some = Api::start(move |_, path, _| match path {
        PODS => (200, pods.clone()),
        _ => refusal(403, "no"),
    });
    let kubeconfig = some.kubeconfig(folder.path(), TOKEN, "");
    let reach = ["--kubeconfig", kubeconfig.to_str().unwrap()];
    let ran = with(&["explain", "a", "--from", "west/shop"], &reach);
    assert_eq!(ran.code, 1, "{}", ran.told);
    let told = "error: primary primary-b: port-forward: you may not (403): no";
    assert!(ran.told.starts_with(told), "the ready one is asked: {}", ran.told);
    let ran = with(&["status", "--replica", "primary-c"], &reach);
    assert_eq!(ran.code, 2);
    assert!(ran.told.contains("there are primary-b, primary-a"), "{}", ran.told);
}
