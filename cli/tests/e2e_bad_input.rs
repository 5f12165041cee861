//! Bad input: one clear line each, and the rest goes on working.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use diolkos_trust_service::Authority;
use serde_json::Value;
use support::{DAY, World, call, service_manifest, valid};

const OCTET: u8 = 61;
const URL: &str = "http://catalog.shop:8080/";

fn answered(line: &Value) -> bool {
    line["echo"]["pod"] == "catalog-west-1"
}

/// A manifest that must be complained about: its file, its text, the words of the one line.
struct Bad {
    what: &'static str,
    text: String,
    words: &'static [&'static str],
}

fn corpus() -> Vec<Bad> {
    let service = |name: &str, ports: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec:\n  ports: {ports}\n{more}"
        )
    };
    let lost_pod = service_manifest("lost", "http", &[("lost-1", "127.61.1.77", "lost")])
        .replace("labels: {security", "labels: {topology.istio.io/network: atlantis, security");
    vec![
        Bad {
            what: "unknown_fields",
            text: service("unknown", "[{name: http, port: 80}]", "  portz: []\n"),
            words: &["shop/unknown", "spec.portz"],
        },
        Bad {
            what: "wrong_types",
            text: service("wrong", "eighty", ""),
            words: &["bad-wrong_types.yaml:5"],
        },
        Bad {
            what: "two_services_of_one_name",
            text: format!(
                "{}---\n{}",
                service("twice", "[{name: http, port: 80}]", ""),
                service("twice", "[{name: http, port: 81}]", ""),
            ),
            words: &["shop/twice", "bad-two_services_of_one_name.yaml:1"],
        },
        Bad {
            what: "undeclared_network",
            text: lost_pod,
            words: &["network atlantis", "no gateway leads to it"],
        },
        Bad {
            what: "gateway_without_address",
            text: service("nowhere", "[{name: tls, port: 15443}]", "").replace(
                "namespace: shop}",
                "namespace: shop, labels: {topology.istio.io/network: west}}",
            ),
            words: &["shop/nowhere", "no address"],
        },
    ]
}

#[test]
fn each_bad_manifest_gives_one_line_and_the_rest_goes_on() {
    let world = World::new(&[("west", OCTET)]);
    let pods = [("catalog-west-1", "127.61.1.1", "catalog")];
    world.write("clusters/west/catalog.yaml", &service_manifest("catalog", "http", &pods));
    let _primary = world.primary("west", OCTET);
    let _catalog = world.echo("west", OCTET, 1, "catalog");
    let client = world.leaf("client", "west", "shop/client", &[]);
    let mut args = world.caller("west", OCTET, &client);
    args.push(URL.into());
    world.call_until("the mesh works", &args, answered);

    for bad in corpus() {
        world.write(&format!("clusters/west/bad-{}.yaml", bad.what), &bad.text);
        let log = world.logged("primary-west", bad.words[0]);
        let told: Vec<&str> =
            log.lines().filter(|line| bad.words.iter().all(|word| line.contains(word))).collect();
        assert_eq!(told.len(), 1, "{}: wanted one line with {:?}:\n{log}", bad.what, bad.words);
        assert!(answered(&call(&args)), "{}: the rest does not work", bad.what);
    }

    // A broken edit of a good file keeps what was there.
    world.write("clusters/west/catalog.yaml", "kind: Service\n  broken: [\n");
    world.logged("primary-west", "catalog.yaml:2");
    assert!(answered(&call(&args)), "a broken edit took the last good state away");
}

#[test]
fn a_cluster_without_a_ca_refuses_its_own_clients_only() {
    let octet = OCTET + 1;
    let world = World::new(&[("west", octet)]);
    let pods = [("catalog-west-1", "127.62.1.1", "catalog")];
    world.write("clusters/west/catalog.yaml", &service_manifest("catalog", "http", &pods));
    world.write("clusters/north/empty.yaml", "");
    let mesh = std::fs::read_to_string(world.path("mesh.yaml")).unwrap();
    world.write("mesh.yaml", &format!("{mesh}  - name: north\n"));
    let _primary = world.primary("west", octet);
    let _catalog = world.echo("west", octet, 1, "catalog");
    let log = world.logged("primary-west", "caCertificate");
    assert!(log.lines().any(|l| l.contains("north") && l.contains("caCertificate")), "{log}");

    let client = world.leaf("client", "west", "shop/client", &[]);
    let mut args = world.caller("west", octet, &client);
    args.push(URL.into());
    world.call_until("the others are served", &args, answered);

    let north = world.root.intermediate("north", valid(SystemTime::now(), DAY)).unwrap();
    let validity = valid(SystemTime::now(), DAY / 2);
    let client = world.leaf_of(&north, "north", "shop/client", &[], validity);
    let mut args = world.caller("north", octet, &client);
    args.push(URL.into());
    let line = call(&args);
    assert_eq!(line["failure"]["refused_by"], "primary", "{line:#}");
    assert!(line["failure"]["why"].as_str().unwrap().contains("caCertificate"), "{line:#}");
}

#[test]
fn a_client_of_another_root_and_one_with_the_wrong_identity_are_told_why() {
    let octet = OCTET + 2;
    let world = World::new(&[("west", octet), ("east", octet + 100)]);
    let pods = [("catalog-west-1", "127.63.1.1", "catalog")];
    world.write("clusters/west/catalog.yaml", &service_manifest("catalog", "http", &pods));
    let _primary = world.primary("west", octet);
    let _catalog = world.echo("west", octet, 1, "catalog");
    let good = world.leaf("client", "west", "shop/client", &[]);
    let mut good = world.caller("west", octet, &good);
    good.push(URL.into());
    world.call_until("the mesh works", &good, answered);

    // The right root, but another cluster's intermediate.
    let east = world.leaf("east-client", "east", "shop/client", &[]);
    let mut args = world.caller("west", octet, &east);
    args.push(URL.into());
    let line = call(&args);
    assert_eq!(line["failure"]["refused_by"], "primary", "{line:#}");
    let why = line["failure"]["why"].as_str().unwrap();
    assert!(why.contains("east") && why.contains("west"), "{why}");

    // Another root, with the very identity of the good client.
    let root = Authority::new_root("stranger", valid(SystemTime::now(), DAY)).unwrap();
    let west = root.intermediate("west", valid(SystemTime::now(), DAY)).unwrap();
    let validity = valid(SystemTime::now(), DAY / 2);
    let stranger = world.leaf_of(&west, "stranger", "shop/client", &[], validity);
    std::fs::write(stranger.join("root-cert.pem"), world.root.root_pem()).unwrap();
    let mut args = world.caller("west", octet, &stranger);
    args.push(URL.into());
    let line = call(&args);
    assert_eq!(line["failure"]["refused_by"], "primary", "{line:#}");
    assert_eq!(
        line["failure"]["why"],
        "the primary at 127.63.0.1:15012 refuses us, spiffe://cluster.local/ns/shop/sa/client: \
         certificate unknown; its log says why"
    );
    assert!(answered(&call(&good)), "the good client is served no more");

    // The good client, who expects the primary by another name.
    let line = call(&[good.clone(), vec!["--primary-name".into(), "else.example".into()]].concat());
    assert_eq!(line["failure"]["refused_by"], "client", "{line:#}");
    let why = line["failure"]["why"].as_str().unwrap();
    assert!(
        why.starts_with("what answers at 127.63.0.1:15012 is not trusted as the primary: ")
            && why.contains("not for \"else.example\"; correct its address, the name"),
        "{why}"
    );
}

#[test]
fn a_primary_that_is_away_is_said_to_be_away() {
    let octet = OCTET + 4;
    let world = World::new(&[("west", octet)]);
    let client = world.leaf("client", "west", "shop/client", &[]);
    let mut args = world.caller("west", octet, &client);
    args.push(URL.into());
    let line = call(&args);
    assert_eq!(line["failure"]["refused_by"], "nobody", "{line:#}");
    assert_eq!(
        line["failure"]["why"],
        "the primary at 127.65.0.1:15012 is away: connection refused; start it, or correct its \
         address"
    );
}

#[test]
fn an_expired_leaf_is_named_with_its_age() {
    let octet = OCTET + 3;
    let world = World::new(&[("west", octet)]);
    let validity = valid(SystemTime::now() - DAY, DAY - Duration::from_secs(3 * 60 * 60));
    let authority = world.authority("west");
    let expired = world.leaf_of(authority, "expired", "shop/client", &[], validity);
    let output = Command::new(env!("CARGO_BIN_EXE_diolkos"))
        .arg("call")
        .args(world.caller("west", octet, &expired))
        .arg(URL)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(told.contains("expired") && told.contains("3 h"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}
