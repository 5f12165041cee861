//! What is known of networks and of names, for people.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod common;

use common::*;
use diolkos_topology::*;

fn gateway(into: &str, address: &str, name: &str) -> Fact {
    Fact::Gateway(GatewayFact {
        key: GatewayKey {
            namespace: Namespace::new("istio-system").unwrap(),
            name: GatewayName::new(name).unwrap(),
            address: address.parse().unwrap(),
        },
        network: network(into),
        sni_port: Some(port(15443)),
        hbone_port: None,
        egress_port: None,
    })
}

fn say(bench: &mut Bench, who: &str, seq: u64, fact: Fact) {
    bench.apply(Event::Upsert { source: source(who, 1), stamp: Stamp::new(1, seq), fact });
}

#[test]
fn a_network_has_the_gateways_that_may_lead_there_and_the_clusters_on_it() {
    let mut bench = Bench::default();
    for (name, on) in [("a", "n1"), ("b", "n2"), ("c", "n2")] {
        bench.apply(Event::Cluster(settings(name, on)));
        bench.apply(Event::Activate { source: source(name, 1) });
    }
    say(&mut bench, "b", 1, gateway("n2", "34.0.0.9", "second"));
    say(&mut bench, "b", 2, gateway("n2", "34.0.0.2", "first"));
    say(&mut bench, "c", 1, gateway("n2", "34.0.0.2", "first"));
    say(&mut bench, "c", 2, gateway("n3", "34.0.0.3", "third"));
    say(&mut bench, "c", 3, gateway("n2", "127.0.0.1", "loopback"));
    let told: Vec<String> = bench
        .federation
        .networks()
        .iter()
        .map(|status| {
            let names = |clusters: &[ClusterId]| {
                clusters.iter().map(ClusterId::as_str).collect::<Vec<_>>().join("+")
            };
            let gateways = status.gateways.iter();
            let gateways: Vec<_> =
                gateways.map(|one| format!("{} {}", one.address, names(&one.clusters))).collect();
            format!("{}: {}: {}", status.network, names(&status.clusters), gateways.join(", "))
        })
        .collect();
    assert_eq!(
        told,
        ["n1: a: ", "n2: b+c: 34.0.0.2:15443 b+c, 34.0.0.9:15443 b", "n3: : 34.0.0.3:15443 c"]
    );
}

#[test]
fn a_name_that_is_not_known_is_like_those_of_its_name_and_then_of_its_namespace() {
    let mut bench = Bench::default();
    bench.apply(Event::Cluster(settings("a", "n1")));
    bench.apply(Event::Activate { source: source("a", 1) });
    let known = [("shop", "cart"), ("shop", "web"), ("test", "web"), ("pay", "ledger")];
    for (seq, (namespace, name)) in (1..).zip(known) {
        say(&mut bench, "a", seq, service_fact(key(namespace, name), &[("http", 80)]));
    }
    let like = |namespace: &str, name: &str, max: usize| {
        let like = bench.federation.services_like(&key(namespace, name), max);
        like.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(bench.federation.knows(&key("shop", "web")));
    assert!(!bench.federation.knows(&key("pay", "web")));
    assert_eq!(like("pay", "web", 9), ["shop/web", "test/web", "pay/ledger"]);
    assert_eq!(like("pay", "web", 2), ["shop/web", "test/web"]);
    assert_eq!(like("none", "none", 9), [""; 0]);
}
