//! Property 12: work follows the change, whatever the size of the service or the mesh.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod common;

use common::*;
use diolkos_topology::*;
use proptest::prelude::*;

fn endpoint(slice: usize, host: usize, health: Health) -> EndpointFact {
    EndpointFact {
        address: std::net::Ipv4Addr::new(10, 9, slice as u8, host as u8).into(),
        health,
        pod: None,
        node: None,
        zone: Some(["a", "b", "c"][host % 3].into()),
        network: None,
        mtls: Mtls::Istio,
        identity: Some(identity("spiffe://td/ns/shop/sa/one")),
        workload: Default::default(),
    }
}

/// Up to 100 endpoints, the first in the given state.
fn slice(place: usize, count: usize, first: Health) -> Fact {
    let endpoints =
        (0..count).map(|host| endpoint(place, host, if host == 0 { first } else { Health::Ready }));
    Fact::Slice(SliceFact {
        service: key("shop", "web"),
        name: SliceName::new(&format!("web-{place}")).unwrap(),
        ports: vec![(PortName::new("http").unwrap(), port(8080))],
        endpoints: endpoints.collect(),
    })
}

fn gateway(name: &str, on: &str, address: [u8; 4]) -> Fact {
    Fact::Gateway(GatewayFact {
        key: GatewayKey {
            namespace: Namespace::new("istio-system").unwrap(),
            name: GatewayName::new(name).unwrap(),
            address: std::net::Ipv4Addr::from(address).into(),
        },
        network: network(on),
        sni_port: Some(port(15443)),
        hbone_port: None,
        egress_port: None,
    })
}

/// Cluster c, on a network of its own, has `endpoints` of one service, and all audiences live.
fn mesh(endpoints: usize, others: usize) -> (Bench, Stamps) {
    let (mut bench, mut stamps) = (Bench::default(), Stamps::default());
    bench.apply(Event::Mesh(MeshSettings { export: ExportMode::All, ..MeshSettings::default() }));
    for event in opening().into_iter().chain(audiences()) {
        bench.apply(event);
    }
    let mut facts =
        vec![gateway("ew", "n2", [34, 0, 0, 1]), service_fact(key("shop", "web"), &[("http", 80)])];
    for other in 0..others {
        facts.push(service_fact(key("other", &format!("s{other}")), &[("http", 80)]));
    }
    for begin in (0..endpoints).step_by(100) {
        facts.push(slice(begin / 100, (endpoints - begin).min(100), Health::Ready));
    }
    for fact in facts {
        for event in stamps.events(Step::Say(2, fact)) {
            bench.apply(event);
        }
    }
    (bench, stamps)
}

fn spent(bench: &mut Bench, stamps: &mut Stamps, fact: Fact) -> Work {
    let before = bench.federation.work();
    for event in stamps.events(Step::Say(2, fact)) {
        bench.apply(event);
    }
    bench.federation.work().since(&before)
}

#[test]
fn p12_one_endpoint_costs_the_same_in_a_service_of_10_and_of_10_000() {
    let work = [10, 10_000].map(|endpoints| {
        let (mut bench, mut stamps) = mesh(endpoints, 0);
        spent(&mut bench, &mut stamps, slice(0, endpoints.min(100), Health::NotReady))
    });
    assert_eq!(work[0], work[1]);
    // Twelve audiences; the two sidecars and the two egresses elsewhere fold one unit each (the
    // third of each kind has no IPv4).
    assert_eq!(work[0].endpoints_diffed, 1);
    assert_eq!(work[0].units_derived, 4);
    assert_eq!(work[0].identities_united, 0);
    assert_eq!(work[0].services_derived, 0);
    assert_eq!(work[0].endpoints_rekeyed, 0);
}

/// Pods with an address of each family; the first is of another account than all others.
fn dual_stack(pods: usize, first: Health) -> Vec<Fact> {
    let slices = (0..pods).step_by(100).flat_map(|begin| {
        let (place, count) = (begin / 100, (pods - begin).min(100));
        [slice(place, count, Health::Ready), slice(100 + place, count, Health::Ready)]
    });
    let mut facts: Vec<Fact> = slices.collect();
    for (index, fact) in facts.iter_mut().enumerate() {
        let Fact::Slice(fact) = fact else { continue };
        for endpoint in fact.endpoints.iter_mut().filter(|_| index % 2 == 1) {
            let std::net::IpAddr::V4(v4) = endpoint.address else { continue };
            endpoint.address = v4.to_ipv6_compatible().into();
        }
        if index < 2 {
            fact.endpoints[0].identity = Some(identity("spiffe://td/ns/shop/sa/two"));
        }
        if index == 0 {
            fact.endpoints[0].health = first;
        }
    }
    facts
}

#[test]
fn p12_a_pod_whose_ipv4_is_not_ready_turns_to_its_ipv6_address_whatever_others_there_are() {
    let work = [10, 5_000].map(|pods| {
        let (mut bench, mut stamps) = mesh(0, 0);
        for fact in dual_stack(pods, Health::Ready) {
            spent(&mut bench, &mut stamps, fact);
        }
        let fact = dual_stack(pods, Health::NotReady).remove(0);
        let work = spent(&mut bench, &mut stamps, fact);
        let told = bench.last.view.changes.iter().filter(|change| match &change.what {
            What::Endpoint { address, entry: Some(_), .. } => address.is_ipv6(),
            _ => false,
        });
        assert_eq!(told.count(), 3, "a sidecar, a gateway and a gRPC client on its network");
        work
    });
    assert_eq!(work[0], work[1]);
    assert_eq!(work[0].endpoints_diffed, 1);
    assert_eq!(work[0].endpoints_rekeyed, 0);
}

#[test]
fn p12_other_services_cost_nothing() {
    let work = [0, 300].map(|others| {
        let (mut bench, mut stamps) = mesh(10, others);
        spent(&mut bench, &mut stamps, slice(0, 10, Health::NotReady))
    });
    assert_eq!(work[0], work[1]);
}

#[test]
fn p12_a_change_that_leaves_the_weight_as_it_was_sends_nothing_to_others() {
    let (mut bench, mut stamps) = mesh(10, 0);
    let moved = match slice(0, 10, Health::Ready) {
        Fact::Slice(mut fact) => {
            fact.endpoints[0].address = std::net::Ipv4Addr::new(10, 9, 200, 1).into();
            Fact::Slice(fact)
        }
        other => other,
    };
    for event in stamps.events(Step::Say(2, moved)) {
        bench.apply(event);
    }
    let remote = |change: &&Change| matches!(change.what, What::Gateway { .. });
    assert_eq!(bench.last.view.changes.iter().filter(remote).count(), 0);
    assert!(!bench.last.view.changes.is_empty(), "those on its network are told");
}

#[test]
fn p12_the_same_slice_again_derives_nothing() {
    let (mut bench, mut stamps) = mesh(200, 0);
    let work = spent(&mut bench, &mut stamps, slice(1, 100, Health::Ready));
    let expected = Work { events: 1, slices_diffed: 1, ..Work::default() };
    assert_eq!(work, expected);
}

#[test]
fn p12_without_audiences_nothing_is_derived() {
    let (mut bench, mut stamps) = mesh(10, 0);
    for id in bench.views.keys().copied().collect::<Vec<_>>() {
        bench.apply(Event::AudienceDown { id });
    }
    let work = spent(&mut bench, &mut stamps, slice(0, 10, Health::NotReady));
    assert_eq!((work.units_derived, work.entries_emitted), (0, 0));
    assert_eq!(work.groups_touched, 2);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Any one fact about one service derives at most that service, once per audience, and each
    /// audience at most the units of it.
    #[test]
    fn p12_dirty_bounds_derived(
        steps in prop::collection::vec(any_word(), 1..30),
        fact in any_fact(),
    ) {
        let (mut bench, mut stamps) = (Bench::default(), Stamps::default());
        for event in opening().into_iter().chain(audiences()) {
            bench.apply(event);
        }
        for step in steps {
            for event in stamps.events(step) {
                bench.apply(event);
            }
        }
        let kind = fact.key().kind();
        let work = spent(&mut bench, &mut stamps, fact);
        let audiences = bench.views.len() as u64;
        // A slice may leave one service for another; gateways, nodes and networks touch all three.
        let services = match kind {
            FactKind::Service | FactKind::Export | FactKind::Summary => 1,
            FactKind::Slice => 2,
            FactKind::Gateway | FactKind::Namespace | FactKind::Node => 3,
        };
        let (ports, networks) = (2, 3);
        prop_assert!(work.services_derived <= services * audiences, "{:?}", work);
        prop_assert!(work.identities_united <= services * audiences * ports, "{:?}", work);
        prop_assert!(work.units_derived <= services * audiences * ports * networks, "{:?}", work);
    }
}
