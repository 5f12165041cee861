//! Bugs of others that are about order, each by its name. None of them may come back here.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod common;

use common::*;
use diolkos_topology::*;

const SIDECAR: AudienceId = AudienceId(1);

/// A client in `a` on n1; clusters `b` and `c` on n2 and n3 have shop/web, each behind a gateway.
fn mesh() -> Bench {
    let mut bench = Bench::default();
    bench.apply(Event::Mesh(MeshSettings { export: ExportMode::All, ..MeshSettings::default() }));
    for (name, on) in [("a", "n1"), ("b", "n2"), ("c", "n3")] {
        bench.apply(Event::Cluster(settings(name, on)));
        bench.apply(Event::Activate { source: source(name, 1) });
    }
    let audience = Audience {
        kind: ClientKind::Sidecar,
        cluster: cluster("a"),
        network: network("n1"),
        locality: Locality::unknown(),
        families: IpFamilies::V4,
    };
    bench.apply(Event::AudienceUp { id: SIDECAR, audience });
    for (place, name) in [(2, "b"), (3, "c")] {
        for fact in facts(place) {
            say(&mut bench, name, 1, fact);
        }
    }
    assert_eq!(gateways(&bench), ["34.0.0.2:15443", "34.0.0.3:15443"]);
    bench
}

fn facts(place: u8) -> Vec<Fact> {
    let web = key("shop", "web");
    let gateway = GatewayFact {
        key: GatewayKey {
            namespace: Namespace::new("istio-system").unwrap(),
            name: GatewayName::new("eastwest").unwrap(),
            address: [34, 0, 0, place].into(),
        },
        network: network(&format!("n{place}")),
        sni_port: Some(port(15443)),
        hbone_port: None,
        egress_port: None,
    };
    let endpoint = EndpointFact {
        address: [10, 0, place, 1].into(),
        health: Health::Ready,
        pod: None,
        node: None,
        zone: None,
        network: None,
        mtls: Mtls::Istio,
        identity: Some(identity("spiffe://td/ns/shop/sa/web")),
        workload: Default::default(),
    };
    let slice = SliceFact {
        service: web.clone(),
        name: SliceName::new("web-1").unwrap(),
        ports: vec![(PortName::new("http").unwrap(), port(8080))],
        endpoints: vec![endpoint],
    };
    vec![Fact::Gateway(gateway), service_fact(web, &[("http", 80)]), Fact::Slice(slice)]
}

fn say(bench: &mut Bench, name: &str, generation: u64, fact: Fact) -> Effects {
    let (source, stamp) = (source(name, generation), Stamp::new(1, 1));
    let effects = bench.apply(Event::Upsert { source, stamp, fact }).clone();
    bench.check();
    effects
}

/// By which gateways the client reaches shop/web. It never has an address behind one.
fn gateways(bench: &Bench) -> Vec<String> {
    let (_, view) = &bench.views[&SIDECAR];
    let Some(entry) = view.services.get(&key("shop", "web")) else { return Vec::new() };
    let port = &entry.ports[&port(80)];
    assert!(port.endpoints.is_empty(), "an address of another network: {port:?}");
    port.gateways.keys().map(ToString::to_string).collect()
}

/// The old connection of a rotated secret closes late, and what it takes back was its own alone.
#[test]
fn regress_istio_61043_rotation_shard_wipe() {
    let mut bench = mesh();
    for fact in facts(2) {
        assert!(say(&mut bench, "b", 2, fact).is_empty(), "it waits on its shelf");
    }
    let swap = bench.apply(Event::Activate { source: source("b", 2) }).clone();
    assert!(swap.is_empty(), "nothing changed, and so nothing is said: {swap}");
    for fact in facts(2) {
        let (source, stamp) = (source("b", 1), Stamp::new(9, 9));
        let late = bench.apply(Event::Remove { source, stamp, key: fact.key() });
        assert!(late.is_empty(), "{late}");
    }
    for kind in FactKind::ALL {
        let (source, begin) = (source("b", 1), Stamp::new(10, 1));
        bench.apply(Event::ResetBegin { source: source.clone(), kind, stamp: begin });
        assert!(bench.apply(Event::ResetEnd { source, kind, begin }).is_empty());
    }
    assert!(bench.apply(Event::Activate { source: source("b", 1) }).is_empty());
    assert_eq!(gateways(&bench), ["34.0.0.2:15443", "34.0.0.3:15443"]);
    bench.check();
}

/// One cluster goes; the others' gateways stay, and nobody is given addresses behind them.
#[test]
fn regress_istio_60920_survivor_gateways() {
    let mut bench = mesh();
    let gone = bench.apply(Event::ClusterGone { cluster: cluster("b") }).view.clone();
    assert_eq!(gateways(&bench), ["34.0.0.3:15443"]);
    let own: std::net::SocketAddr = "34.0.0.2:15443".parse().unwrap();
    let others = gone
        .changes
        .iter()
        .filter(|change| matches!(&change.what, What::Gateway { address, .. } if *address != own));
    assert_eq!(others.count(), 0, "{gone}");
    bench.check();
}

/// What one generation said is never read as the other's.
#[test]
fn regress_istio_60033_generation_key() {
    let mut bench = mesh();
    // The new credential sees the service, and neither endpoints nor a gateway.
    say(&mut bench, "b", 2, service_fact(key("shop", "web"), &[("http", 80)]));
    assert_eq!(gateways(&bench), ["34.0.0.2:15443", "34.0.0.3:15443"]);
    bench.apply(Event::Activate { source: source("b", 2) });
    bench.check();
    assert_eq!(gateways(&bench), ["34.0.0.3:15443"]);
    // A word of the old one about what the new one never named.
    for fact in facts(2) {
        assert!(say(&mut bench, "b", 1, fact).is_empty());
    }
    assert_eq!(bench.federation.clusters()[1].endpoints, 0);
}

/// A new credential that sees nothing yet takes nothing away before it is activated.
#[test]
fn regress_istio_49349_nothing_is_dropped_while_a_secret_rotates() {
    let mut bench = mesh();
    for kind in FactKind::ALL {
        let (source, begin) = (source("b", 2), Stamp::new(1, 1));
        bench.apply(Event::ResetBegin { source: source.clone(), kind, stamp: begin });
        assert!(bench.apply(Event::ResetEnd { source, kind, begin }).is_empty());
    }
    assert_eq!(gateways(&bench), ["34.0.0.2:15443", "34.0.0.3:15443"]);
    assert!(bench.apply(Event::ClusterStale { cluster: cluster("b") }).view.changes.is_empty());
    assert_eq!(gateways(&bench), ["34.0.0.2:15443", "34.0.0.3:15443"]);
    bench.check();
}
