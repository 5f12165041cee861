//! Property 13: explanations add up to the view.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use common::*;
use diolkos_topology::*;
use proptest::prelude::*;

/// What a view of one service must be, by its explanations.
fn check(audience: &Audience, service: &ServiceKey, lines: &[Explanation], view: &View) {
    let empty = BTreeMap::new();
    let ports = view.services.get(service).map_or(&empty, |entry| &entry.ports);
    let mut kept: BTreeSet<(Port, SocketAddr, u8)> = BTreeSet::new();
    let mut weights: BTreeMap<(Port, SocketAddr), u64> = BTreeMap::new();
    for line in lines {
        let port = line.port.port;
        match (&line.verdict, &line.subject) {
            (Verdict::Kept { priority }, Subject::Endpoint { address, .. }) => {
                assert!(kept.insert((port, *address, *priority)), "kept twice: {line}");
            }
            (Verdict::Kept { .. }, Subject::Summary { .. }) => panic!("kept a number: {line}"),
            (Verdict::Replaced { gateways }, subject) => {
                assert!(!gateways.is_empty(), "{line}");
                for gateway in gateways {
                    *weights.entry((port, *gateway)).or_default() +=
                        subject.count() * WEIGHT_UNIT / gateways.len() as u64;
                }
            }
            (Verdict::Dropped { .. }, _) => {}
        }
    }
    weights.retain(|_, weight| *weight > 0);
    let endpoints = ports.iter().flat_map(|(port, entry)| {
        entry.endpoints.iter().map(|(address, endpoint)| (*port, *address, endpoint.priority))
    });
    assert_eq!(kept, endpoints.collect(), "{service} for {audience}");
    let gateways = ports.iter().flat_map(|(port, entry)| {
        entry.gateways.iter().map(|(address, gateway)| ((*port, *address), gateway.weight))
    });
    assert_eq!(weights, gateways.collect(), "{service} for {audience}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn p13_explanations_add_up_to_the_view(
        steps in prop::collection::vec(any_step(), 1..50),
        more in prop::collection::vec(any_audience(), 3),
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
        let services = [key("shop", "web"), key("shop", "db"), key("kube-system", "dns")];
        for service in &services {
            for (audience, view) in bench.views.values() {
                let lines = bench.federation.explain(audience, service);
                check(audience, service, &lines, view);
            }
        }
        // Of an audience that is not live, too.
        for audience in more {
            let view = bench.fresh_view(&audience);
            for service in &services {
                let lines = bench.federation.explain(&audience, service);
                check(&audience, service, &lines, &view);
            }
        }
    }
}
