//! Every quota of `limit`, at the limit and one past it.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod common;

use common::*;
use diolkos_topology::*;

fn begun() -> (Bench, Stamps) {
    let mut bench = Bench::default();
    for event in opening() {
        bench.apply(event);
    }
    (bench, Stamps::default())
}

/// The notices of saying one fact more.
fn say(bench: &mut Bench, stamps: &mut Stamps, fact: Fact) -> Vec<Notice> {
    let mut notices = Vec::new();
    for event in stamps.events(Step::Say(0, fact)) {
        notices.extend(bench.apply(event).notices.clone());
    }
    notices
}

fn fact(kind: FactKind, place: usize) -> Fact {
    let name = format!("f{place}");
    let service = key("shop", &name);
    match kind {
        FactKind::Export => {
            Fact::Export(ExportFact { service, created: 0, consumers: Consumers::Everyone })
        }
        FactKind::Gateway => Fact::Gateway(GatewayFact {
            key: GatewayKey {
                namespace: Namespace::new("istio-system").unwrap(),
                name: GatewayName::new(&name).unwrap(),
                address: std::net::Ipv4Addr::from(0x2200_0000 + place as u32).into(),
            },
            network: network(&name),
            sni_port: Some(port(15443)),
            hbone_port: None,
            egress_port: None,
        }),
        FactKind::Namespace => {
            Fact::Namespace(NamespaceFact { name: Namespace::new(&name).unwrap(), network: None })
        }
        FactKind::Node => Fact::Node(NodeFact {
            name: NodeName::new(&name).unwrap(),
            locality: Locality::unknown(),
        }),
        FactKind::Service => service_fact(service, &[("http", 80)]),
        FactKind::Slice => slice(&name, 0, 0),
        FactKind::Summary => Fact::Summary(SummaryFact { service, groups: Vec::new() }),
    }
}

fn slice(name: &str, first: u32, count: usize) -> Fact {
    let endpoints = (0..count as u32).map(|host| EndpointFact {
        address: std::net::Ipv4Addr::from(0x0a00_0000 + first + host).into(),
        health: Health::Ready,
        pod: None,
        node: None,
        zone: None,
        network: None,
        mtls: Mtls::Plaintext,
        identity: None,
        workload: Default::default(),
    });
    Fact::Slice(SliceFact {
        service: key("shop", "web"),
        name: SliceName::new(name).unwrap(),
        ports: Vec::new(),
        endpoints: endpoints.collect(),
    })
}

#[test]
fn a_kind_may_be_said_up_to_its_limit_and_one_past_it_is_ignored_and_reported_once() {
    for kind in FactKind::ALL {
        // Fifty thousand slices of one service are another test's.
        if kind == FactKind::Slice {
            continue;
        }
        let limit = limit::facts_max(kind);
        let (mut bench, mut stamps) = begun();
        for place in 0..limit {
            assert_eq!(say(&mut bench, &mut stamps, fact(kind, place)), [], "{kind:?} {place}");
        }
        let quota = Notice::Quota { cluster: cluster("a"), kind, limit };
        assert_eq!(say(&mut bench, &mut stamps, fact(kind, limit)), std::slice::from_ref(&quota));
        assert_eq!(say(&mut bench, &mut stamps, fact(kind, limit + 1)), []);
        // One that is known may still change, and one that goes makes room.
        for event in stamps.events(Step::Unsay(0, fact(kind, 0).key())) {
            bench.apply(event);
        }
        assert_eq!(say(&mut bench, &mut stamps, fact(kind, limit)), []);
        assert_eq!(say(&mut bench, &mut stamps, fact(kind, limit + 1)), [quota]);
    }
}

#[test]
fn endpoints_of_a_cluster_are_cut_at_the_limit() {
    let max = limit::ENDPOINTS_PER_CLUSTER_MAX;
    let (mut bench, mut stamps) = begun();
    for place in 0..max / 1000 {
        let full = slice(&format!("s{place}"), place as u32 * 1000, 1000);
        assert_eq!(say(&mut bench, &mut stamps, full), []);
    }
    assert_eq!(bench.federation.clusters()[0].endpoints, max);
    let one_more = slice("late", 0x10_0000, 1);
    let quota = Notice::Quota { cluster: cluster("a"), kind: FactKind::Slice, limit: max };
    assert_eq!(say(&mut bench, &mut stamps, one_more.clone()), [quota]);
    assert_eq!(bench.federation.clusters()[0].endpoints, max);
    assert_eq!(say(&mut bench, &mut stamps, slice("s0", 0, 999)), []);
    assert_eq!(say(&mut bench, &mut stamps, one_more), []);
    assert_eq!(bench.federation.clusters()[0].endpoints, max);
}

#[test]
fn slices_of_a_cluster_have_a_limit_too() {
    let max = limit::SLICES_PER_CLUSTER_MAX;
    let (mut bench, mut stamps) = begun();
    // Over many services, as their slices are kept in order of name.
    let empty = |place: usize| match fact(FactKind::Slice, place) {
        Fact::Slice(fact) => {
            let service = key("shop", &format!("s{}", place % 500));
            Fact::Slice(SliceFact { service, ..fact })
        }
        other => other,
    };
    for place in 0..max {
        assert_eq!(say(&mut bench, &mut stamps, empty(place)), []);
    }
    let quota = Notice::Quota { cluster: cluster("a"), kind: FactKind::Slice, limit: max };
    assert_eq!(say(&mut bench, &mut stamps, empty(max)), [quota]);
}

#[test]
fn groups_of_a_summary_are_cut_at_the_limit() {
    let summary = |count: usize| {
        let groups = (0..count).map(|place| SummaryGroup {
            port: port(80),
            network: None,
            locality: Locality::new("r", &format!("z{place}")),
            mtls: Mtls::Istio,
            identity: None,
            count: 1,
        });
        Fact::Summary(SummaryFact { service: key("shop", "web"), groups: groups.collect() })
    };
    let (mut bench, mut stamps) = begun();
    let limit = limit::SUMMARY_GROUPS_MAX;
    assert_eq!(say(&mut bench, &mut stamps, summary(limit)), []);
    let notices = say(&mut bench, &mut stamps, summary(limit + 1));
    assert_eq!(notices, [Notice::Quota { cluster: cluster("a"), kind: FactKind::Summary, limit }]);
}

#[test]
fn a_seventeenth_gateway_does_not_share_and_is_reported() {
    let (mut bench, mut stamps) = begun();
    bench.apply(Event::Mesh(MeshSettings { export: ExportMode::All, ..MeshSettings::default() }));
    let audience = Audience {
        kind: ClientKind::Sidecar,
        cluster: cluster("c"),
        network: network("n2"),
        locality: Locality::unknown(),
        families: IpFamilies::V4,
    };
    bench.apply(Event::AudienceUp { id: AudienceId(1), audience });
    say(&mut bench, &mut stamps, service_fact(key("shop", "web"), &[("http", 80)]));
    let web = match slice("web-1", 0, 1) {
        Fact::Slice(mut fact) => {
            fact.ports = vec![(PortName::new("http").unwrap(), port(8080))];
            fact.endpoints[0].mtls = Mtls::Istio;
            fact.endpoints[0].identity = Some(identity("spiffe://td/ns/shop/sa/one"));
            Fact::Slice(fact)
        }
        other => other,
    };
    say(&mut bench, &mut stamps, web);
    let entry = |place: usize| match fact(FactKind::Gateway, place) {
        Fact::Gateway(fact) => Fact::Gateway(GatewayFact { network: network("n1"), ..fact }),
        other => other,
    };
    let limit = limit::GATEWAYS_PER_GROUP_MAX;
    let weights = |bench: &Bench| -> Vec<u64> {
        let (_, view) = &bench.views[&AudienceId(1)];
        let gateways = &view.services[&key("shop", "web")].ports[&port(80)].gateways;
        gateways.values().map(|gateway| gateway.weight).collect()
    };
    for place in 0..limit {
        assert_eq!(say(&mut bench, &mut stamps, entry(place)), []);
        assert_eq!(weights(&bench), vec![WEIGHT_UNIT / (place as u64 + 1); place + 1]);
    }
    let quota = Notice::Quota { cluster: cluster("a"), kind: FactKind::Gateway, limit };
    assert_eq!(say(&mut bench, &mut stamps, entry(limit)), [quota]);
    assert_eq!(weights(&bench), vec![WEIGHT_UNIT / limit as u64; limit]);
}

#[test]
fn generations_waiting_beyond_the_limit_push_out_the_oldest() {
    let limit = limit::SHELVES_PER_CLUSTER_MAX as u64;
    for (waiting, survives) in [(limit, true), (limit + 1, false)] {
        let mut bench = Bench::default();
        bench.apply(Event::Cluster(settings("a", "n1")));
        for generation in 1..=waiting {
            let fact = service_fact(key("shop", "web"), &[("http", 80)]);
            let stamp = Stamp::new(1, 1);
            bench.apply(Event::Upsert { source: source("a", generation), stamp, fact });
        }
        bench.apply(Event::Activate { source: source("a", 1) });
        assert_eq!(bench.federation.clusters()[0].services == 1, survives, "{waiting}");
    }
}

#[test]
fn undeclared_clusters_are_reported_once_each_up_to_the_limit() {
    let mut bench = Bench::default();
    let mut speak = |place: usize| {
        let name = format!("x{place}");
        let fact = service_fact(key("shop", "web"), &[("http", 80)]);
        let stamp = Stamp::new(1, 1);
        bench.apply(Event::Upsert { source: source(&name, 1), stamp, fact }).notices.len()
    };
    for place in 0..limit::UNKNOWN_CLUSTERS_MAX {
        assert_eq!((speak(place), speak(place)), (1, 0));
    }
    assert_eq!(speak(limit::UNKNOWN_CLUSTERS_MAX), 0);
}
