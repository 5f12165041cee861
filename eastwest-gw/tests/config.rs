//! What a primary may say, and what the gateway answers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::net::SocketAddr;
use std::sync::Arc;

use diolkos_eastwest_gw::Config;
use diolkos_eastwest_gw::resource::{Entry, ListenerPlan};
use diolkos_xds::ResourceType;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3::FilterChainMatch;
use envoy_types::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use prost::Message;
use world::ISTIO_NAME;
use world::resources::*;

const OTHER: &str = "outbound_.443_._.ledger.payments.svc.cluster.local";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn upsert(config: &Config, kind: ResourceType, name: &str, body: Vec<u8>) -> Vec<String> {
    config.apply(kind, &[(name.to_owned(), body)], &[]).faults
}

/// The targets of a route, in order.
fn targets(config: &Config, name: &str) -> Vec<String> {
    let routes = config.routes();
    let route = routes.iter().find(|route| route.name().as_str() == name).expect("a route");
    let text = |t: &diolkos_route::Target| format!("{} w{} p{}", t.address, t.weight, t.priority);
    route.targets().iter().map(text).collect()
}

#[test]
fn a_bad_cluster_is_refused_by_name_and_its_neighbours_are_taken() {
    let config = Config::default();
    let mut wrong_type = cluster_message("outbound_.1_._.a.b");
    wrong_type.cluster_discovery_type =
        Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns as i32));
    let mut tls = cluster_message("outbound_.2_._.a.b");
    tls.transport_socket = Some(core::TransportSocket::default());
    let mut other_eds = cluster_message("outbound_.3_._.a.b");
    other_eds.eds_cluster_config.as_mut().unwrap().service_name = "elsewhere".into();
    let mut no_ads = cluster_message("outbound_.4_._.a.b");
    no_ads.eds_cluster_config.as_mut().unwrap().eds_config = None;
    let bodies = [
        (ISTIO_NAME, cluster(ISTIO_NAME)),
        ("dns", wrong_type.encode_to_vec()),
        ("tls", tls.encode_to_vec()),
        ("eds", other_eds.encode_to_vec()),
        ("ads", no_ads.encode_to_vec()),
        ("pipes", cluster("outbound|80||a.b")),
        ("garbage", vec![0xff, 0xff]),
        (OTHER, cluster(OTHER)),
    ];
    let upserts = bodies.map(|(name, body)| (name.to_owned(), body));
    let applied = config.apply(ResourceType::Cluster, &upserts, &[]);
    assert_eq!(applied.subscribe, [ISTIO_NAME, OTHER]);
    let refused: Vec<&str> =
        applied.faults.iter().filter_map(|fault| Some(fault.split_once(':')?.0)).collect();
    assert_eq!(refused, ["dns", "tls", "eds", "ads", "pipes", "garbage"]);
    let text = applied.refusal().unwrap();
    assert!(text.starts_with("dns: its type is not EDS; tls: it has a transport socket"), "{text}");
    assert_eq!(config.route_count(), 2);
}

#[test]
fn a_refusal_names_eight_faults_and_counts_the_rest() {
    let config = Config::default();
    let bad = |number: usize| (format!("c{number}"), vec![0xff]);
    let refusal = |count: usize| {
        let upserts: Vec<_> = (0..count).map(bad).collect();
        config.apply(ResourceType::Cluster, &upserts, &[]).refusal().unwrap()
    };
    assert!(refusal(8).contains("c7: ") && !refusal(8).contains("more"));
    assert!(refusal(9).ends_with("; and 1 more") && !refusal(9).contains("c8: "));
}

#[test]
fn endpoints_become_targets_in_priority_order_without_those_that_are_down() {
    let config = Config::default();
    upsert(&config, ResourceType::Cluster, ISTIO_NAME, cluster(ISTIO_NAME));
    let endpoint = |text: &str, weight: u32, health: core::HealthStatus| endpoint::LbEndpoint {
        health_status: health as i32,
        ..lb_endpoint(address(at(text)), weight)
    };
    let mut unweighted = endpoint("10.0.0.3:80", 1, core::HealthStatus::Degraded);
    unweighted.load_balancing_weight = None;
    let locality = |priority: u32, lb_endpoints: Vec<_>| endpoint::LocalityLbEndpoints {
        priority,
        lb_endpoints,
        ..Default::default()
    };
    let assignment = endpoint::ClusterLoadAssignment {
        cluster_name: ISTIO_NAME.into(),
        endpoints: vec![
            locality(1, vec![endpoint("[2001:db8::1]:80", 7, core::HealthStatus::Healthy)]),
            locality(
                0,
                vec![
                    endpoint("10.0.0.1:80", 2, core::HealthStatus::Unknown),
                    endpoint("10.0.0.2:80", 1, core::HealthStatus::Unhealthy),
                    endpoint("10.0.0.2:81", 1, core::HealthStatus::Draining),
                    endpoint("10.0.0.2:82", 1, core::HealthStatus::Timeout),
                    unweighted,
                ],
            ),
        ],
        ..Default::default()
    };
    let faults = upsert(&config, ResourceType::Endpoint, ISTIO_NAME, assignment.encode_to_vec());
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(
        targets(&config, ISTIO_NAME),
        ["10.0.0.1:80 w2 p0", "10.0.0.3:80 w1 p0", "[2001:db8::1]:80 w7 p1"]
    );
}

#[test]
fn bad_endpoints_are_refused_and_those_known_stay() {
    let config = Config::default();
    upsert(&config, ResourceType::Cluster, ISTIO_NAME, cluster(ISTIO_NAME));
    let good = endpoints(ISTIO_NAME, &[at("10.0.0.1:80")]);
    upsert(&config, ResourceType::Endpoint, ISTIO_NAME, good);
    let cases = [
        (lb_endpoint(named_address("db.example", 80), 1), "\"db.example\" is not an IP address"),
        (lb_endpoint(named_address("10.0.0.9", 0), 1), "10.0.0.9 has no port from 1 to 65535"),
        (lb_endpoint(named_address("10.0.0.9", 65536), 1), "no port from 1 to 65535"),
        (lb_endpoint(address(at("10.0.0.9:80")), 0), "10.0.0.9:80 has the weight 0"),
        (endpoint::LbEndpoint::default(), "given by reference, not by address"),
        (lb_endpoint(core::Address::default(), 1), "is not a socket address"),
    ];
    for (bad, reason) in cases {
        let locality =
            endpoint::LocalityLbEndpoints { lb_endpoints: vec![bad], ..Default::default() };
        let body =
            endpoint::ClusterLoadAssignment { endpoints: vec![locality], ..Default::default() };
        let faults = upsert(&config, ResourceType::Endpoint, ISTIO_NAME, body.encode_to_vec());
        assert!(faults[0].starts_with(ISTIO_NAME) && faults[0].contains(reason), "{faults:?}");
        assert_eq!(targets(&config, ISTIO_NAME), ["10.0.0.1:80 w1 p0"]);
    }
}

#[test]
fn a_change_of_one_route_leaves_the_others_as_they_are() {
    let config = Config::default();
    for name in [ISTIO_NAME, OTHER] {
        upsert(&config, ResourceType::Cluster, name, cluster(name));
        let body = endpoints(name, &[at("10.0.0.1:80")]);
        upsert(&config, ResourceType::Endpoint, name, body);
    }
    let before = config.routes();
    let body = endpoints(OTHER, &[at("10.0.0.2:80")]);
    upsert(&config, ResourceType::Endpoint, OTHER, body);
    upsert(&config, ResourceType::Cluster, OTHER, cluster(OTHER));
    config.apply::<Vec<u8>>(ResourceType::Endpoint, &[], &[ISTIO_NAME.to_owned()]);
    let after = config.routes();
    assert!(!Arc::ptr_eq(&before[0], &after[0]) && Arc::ptr_eq(&before[1], &after[1]));
    assert_eq!(targets(&config, OTHER), ["10.0.0.2:80 w1 p0"]);
}

#[test]
fn a_cluster_that_comes_back_asks_for_its_endpoints_anew() {
    let config = Config::default();
    let gone = [ISTIO_NAME.to_owned()];
    let said = [(ISTIO_NAME.to_owned(), cluster(ISTIO_NAME))];
    assert_eq!(config.apply(ResourceType::Cluster, &said, &[]).subscribe, gone);
    assert_eq!(config.apply(ResourceType::Cluster, &said, &[]).subscribe, [""; 0]);
    assert_eq!(config.apply::<Vec<u8>>(ResourceType::Cluster, &[], &gone).unsubscribe, gone);
    assert_eq!(config.apply(ResourceType::Cluster, &said, &[]).subscribe, gone);
}

#[test]
fn the_listener_is_taken_or_refused_with_the_reason() {
    let config = Config::default();
    let good = listener_message(at("127.0.0.1:15443"));
    let mut cases = vec![];
    let mut case = |reason: &'static str, change: &dyn Fn(&mut _)| {
        let mut listener = good.clone();
        change(&mut listener);
        cases.push((reason, listener));
    };
    case("it has no address", &|l| l.address = None);
    case("is not an IP address", &|l| l.address = Some(named_address("gateway", 15443)));
    case("it has 0 filter chains, not one", &|l| l.filter_chains.clear());
    case("no default filter chain", &|l| l.default_filter_chain = Some(Default::default()));
    case("would end the workloads' TLS", &|l| {
        l.filter_chains[0].transport_socket = Some(core::TransportSocket::default());
    });
    case("matches any ALPN", &|l| l.filter_chains[0].filter_chain_match = None);
    case("matches on more than TLS and ALPN", &|l| {
        l.filter_chains[0].filter_chain_match = Some(FilterChainMatch {
            application_protocols: vec!["istio".into()],
            server_names: vec!["a.b".into()],
            ..Default::default()
        });
    });
    case("its filters are not sni_cluster and tcp_proxy", &|l| {
        l.filter_chains[0].filters.truncate(1);
    });
    case("its first filter is not sni_cluster", &|l| {
        l.filter_chains[0].filters[0] = filter(&TcpProxy::default());
    });
    case("its second filter is not tcp_proxy", &|l| {
        l.filter_chains[0].filters[1] = filter(&SniCluster {});
    });
    for (reason, listener) in cases {
        let faults = upsert(&config, ResourceType::Listener, "sni", listener.encode_to_vec());
        assert!(faults[0].starts_with("sni: ") && faults[0].contains(reason), "{faults:?}");
        assert_eq!(*config.plan().borrow(), None);
    }
    let faults = upsert(&config, ResourceType::Listener, "sni", good.encode_to_vec());
    assert_eq!(faults, Vec::<String>::new());
    let plan = ListenerPlan {
        name: "sni".into(),
        address: at("127.0.0.1:15443"),
        entry: Entry::EveryName { protocols: ISTIO_ALPNS.map(str::to_owned).into() },
    };
    assert_eq!(*config.plan().borrow(), Some(plan));
}

#[test]
fn a_second_listener_is_refused_and_the_first_may_go() {
    let config = Config::default();
    upsert(&config, ResourceType::Listener, "sni", listener(at("127.0.0.1:15443")));
    let mut second = listener_message(at("127.0.0.1:15444"));
    second.name = "second".into();
    let faults = upsert(&config, ResourceType::Listener, "second", second.encode_to_vec());
    assert_eq!(faults, ["second: this gateway serves one listener, and has sni"]);
    config.apply::<Vec<u8>>(ResourceType::Listener, &[], &["second".to_owned()]);
    assert!(config.plan().borrow().is_some());
    config.apply::<Vec<u8>>(ResourceType::Listener, &[], &["sni".to_owned()]);
    assert!(config.plan().borrow().is_none());
}

#[test]
fn it_is_warm_when_the_listener_is_there_and_every_cluster_has_its_endpoints() {
    let config = Config::default();
    assert!(!config.is_warm());
    upsert(&config, ResourceType::Cluster, ISTIO_NAME, cluster(ISTIO_NAME));
    upsert(&config, ResourceType::Listener, "sni", listener(at("127.0.0.1:15443")));
    assert!(!config.is_warm());
    upsert(&config, ResourceType::Endpoint, ISTIO_NAME, endpoints(ISTIO_NAME, &[]));
    assert!(config.is_warm());
}
