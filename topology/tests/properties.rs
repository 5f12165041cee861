//! Properties 1 to 5 and 8: what holds of every history. See `tests/order.rs` for the rest.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod common;

use common::*;
use diolkos_topology::*;
use proptest::prelude::*;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn run(steps: &[Step], mut each: impl FnMut(&mut Bench, &Event)) -> Bench {
    let (mut bench, mut stamps) = (Bench::default(), Stamps::default());
    for event in opening().into_iter().chain(audiences()) {
        bench.apply(event);
    }
    for step in steps {
        if let Step::Wait(ms) = step {
            bench.now += ms;
        }
        for event in stamps.events(step.clone()) {
            bench.apply(event.clone());
            each(&mut bench, &event);
        }
    }
    bench
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn p1_the_same_events_have_the_same_effects(steps in prop::collection::vec(any_step(), 1..40)) {
        let mut first = Vec::new();
        run(&steps, |bench, _| first.push(bench.last.clone()));
        let mut second = Vec::new();
        run(&steps, |bench, _| second.push(bench.last.clone()));
        prop_assert_eq!(first, second);
    }

    #[test]
    fn p4_an_event_said_twice_changes_nothing(steps in prop::collection::vec(any_step(), 1..40)) {
        run(&steps, |bench, event| {
            let again = bench.apply(event.clone());
            // An unknown cluster and its gone are two different things to say.
            assert!(again.is_empty(), "{event:?} again: {again:?}");
        });
    }
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn p2_deltas_add_up_to_what_the_oracle_derives(
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        run(&steps, |bench, _| bench.check());
    }
}

proptest! {
    #![proptest_config(config(256))]

    /// Which IPv6 endpoints are told hangs on IPv4 ones that come and go.
    #[test]
    fn p2_deltas_of_dual_stack_pods_add_up_too(
        steps in prop::collection::vec(any_dual_stack_word(), 1..30),
    ) {
        let steps: Vec<Step> = dual_stack_opening().into_iter().chain(steps).collect();
        run(&steps, |bench, _| bench.check());
    }
}

/// Two clusters that say the service on one network, and clients of both families there.
fn dual_stack_opening() -> Vec<Step> {
    let export = MeshSettings { export: ExportMode::All, ..MeshSettings::default() };
    let service = || service_fact(key("shop", "web"), &[("http", 80), ("grpc", 90)]);
    let mut steps =
        vec![Step::Other(Event::Mesh(export)), Step::Say(0, service()), Step::Say(1, service())];
    for (id, kind) in
        [ClientKind::Sidecar, ClientKind::Gateway, ClientKind::Grpc].iter().enumerate()
    {
        let audience = Audience {
            kind: *kind,
            cluster: cluster(NAMES[id % 2]),
            network: network("n1"),
            locality: Locality::new("r1", "z1"),
            families: IpFamilies::Both,
        };
        steps.push(Step::Other(Event::AudienceUp { id: AudienceId(id as u32), audience }));
    }
    steps
}

/// Where no endpoints are said as a number: those a cluster's own primary leads its gateways to.
fn any_step_with_addresses() -> impl Strategy<Value = Step> {
    any_step().prop_filter("a summary", |step| match step {
        Step::Say(_, fact) => fact.key().kind() != FactKind::Summary,
        Step::Resay(_, _, facts) | Step::Swap(_, facts) => {
            facts.iter().all(|fact| fact.key().kind() != FactKind::Summary)
        }
        _ => true,
    })
}

/// What any gateway on a network is told, whoever's it is.
fn gateway_view(bench: &mut Bench, name: &str, on: &NetworkId) -> View {
    bench.fresh_view(&Audience {
        kind: ClientKind::Gateway,
        cluster: cluster(name),
        network: on.clone(),
        locality: Locality::unknown(),
        families: IpFamilies::Both,
    })
}

proptest! {
    #![proptest_config(config(256))]

    /// At every moment, and whatever its cluster says of the service: else the gateway would
    /// refuse what it is sent.
    #[test]
    fn a_gateway_has_endpoints_for_whatever_sidecars_are_sent_to_its_network_for(
        steps in prop::collection::vec(any_step_with_addresses(), 1..60),
    ) {
        let mut bench = run(&steps, |_, _| {});
        let views = bench.views.values();
        let sidecars: Vec<Audience> = views
            .filter(|(audience, _)| audience.kind == ClientKind::Sidecar)
            .map(|(audience, _)| audience.clone())
            .collect();
        for service in [key("shop", "web"), key("shop", "db"), key("kube-system", "dns")] {
            for sidecar in &sidecars {
                for line in bench.federation.explain(sidecar, &service) {
                    let Verdict::Replaced { .. } = line.verdict else { continue };
                    for name in NAMES {
                        let view = gateway_view(&mut bench, name, &line.network);
                        let entry = view.services.get(&service);
                        let port = entry.and_then(|entry| entry.ports.get(&line.port.port));
                        let led = port.is_some_and(|port| !port.endpoints.is_empty());
                        prop_assert!(led, "{sidecar} by a gateway of {name}: {line}");
                    }
                }
            }
        }
    }

    /// Wherever a sidecar is sent to its way out, that has gateways to send it on to, and as much
    /// behind them. (Of one family: so is what the sidecar's way out has.)
    #[test]
    fn an_egress_has_gateways_for_whatever_sidecars_are_sent_to_it_for(
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let mut bench = run(&steps, |_, _| {});
        let views = bench.views.values().cloned().collect::<Vec<_>>();
        for (sidecar, view) in views.iter().filter(|(who, _)| who.kind == ClientKind::Sidecar) {
            let egress = Audience {
                kind: ClientKind::Egress,
                families: IpFamilies::Both,
                ..sidecar.clone()
            };
            let egress = bench.fresh_view(&egress);
            for (service, entry) in &view.services {
                for (port, told) in &entry.ports {
                    let out = told.gateways.iter().filter(|(at, _)| at.port() == 15444);
                    let out: u64 = out.map(|(_, gateway)| gateway.weight).sum();
                    let beyond = egress.services.get(service).and_then(|e| e.ports.get(port));
                    let on = beyond.map_or(0, |port| port.gateways.values().map(|g| g.weight).sum());
                    prop_assert!(on >= out, "{sidecar}: {service}:{port} {out} {on}");
                }
            }
        }
    }
}
