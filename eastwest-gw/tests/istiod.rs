//! What an istiod may say, and what the gateway answers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use diolkos_eastwest_gw::resource::Entry;
use diolkos_eastwest_gw::{Config, ControlPlane};
use diolkos_route::{ClientHello, Decision, Dialed, HostName};
use diolkos_xds::ResourceType::{self, Cluster, Endpoint, Listener};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, TunnelingConfig, WeightedCluster,
};
use prost::Message;
use world::resources::*;

const CATALOG: &str = "outbound_.8080_._.catalog.shop.svc.cluster.local";
const SUBSET: &str = "outbound_.8080_.v1_.catalog.shop.svc.cluster.local";
const LEDGER: &str = "outbound_.443_._.ledger.payments.svc.cluster.local";
/// As istiods call it.
const NAME: &str = "0.0.0.0_15443";

fn tcp_proxy(cluster: &str) -> TcpProxy {
    TcpProxy {
        stat_prefix: cluster.into(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    }
}

fn chain(name: &str, cluster: &str) -> listener::FilterChain {
    listener::FilterChain {
        filter_chain_match: Some(listener::FilterChainMatch {
            server_names: vec![name.into()],
            application_protocols: ISTIO_ALPNS.map(str::to_owned).into(),
            ..Default::default()
        }),
        filters: vec![
            listener::Filter { name: "istio.stats".into(), ..Default::default() },
            filter(&tcp_proxy(cluster)),
        ],
        ..Default::default()
    }
}

fn of(chains: Vec<listener::FilterChain>) -> listener::Listener {
    listener::Listener {
        name: NAME.into(),
        address: Some(named_address("0.0.0.0", 15443)),
        listener_filters: vec![listener::ListenerFilter {
            name: "envoy.filters.listener.tls_inspector".into(),
            ..Default::default()
        }],
        filter_chains: chains,
        ..Default::default()
    }
}

fn say(config: &Config, kind: ResourceType, name: &str, body: Vec<u8>) -> Vec<String> {
    config.apply_of(ControlPlane::Istiod, kind, &[(name.to_owned(), body)], &[]).faults
}

fn listen(config: &Config, chains: Vec<listener::FilterChain>) -> Vec<String> {
    say(config, Listener, NAME, of(chains).encode_to_vec())
}

/// Each with an endpoint, and a chain.
fn config(names: &[&str]) -> Config {
    let config = Config::default();
    for name in names {
        assert_eq!(say(&config, Cluster, name, cluster(name)), [""; 0]);
        let body = endpoints(name, &["10.0.0.1:80".parse().unwrap()]);
        assert_eq!(say(&config, Endpoint, name, body), [""; 0]);
    }
    let chains = names.iter().map(|name| chain(name, name)).collect();
    assert_eq!(listen(&config, chains), [""; 0]);
    config
}

/// Where a client comes to, or why not.
fn decide(config: &Config, sni: &str, alpn: &str) -> Result<String, &'static str> {
    let hello =
        ClientHello { sni: HostName::new(sni.as_bytes()).ok(), alpn: [alpn].into_iter().collect() };
    match config.decide(&hello) {
        Decision::Splice(route) => Ok(route.name().to_string()),
        Decision::Refuse(refusal) => Err(refusal.label()),
    }
}

fn leads(config: &Config, names: &[&str]) -> Vec<bool> {
    names.iter().map(|name| decide(config, name, "istio").is_ok()).collect()
}

#[test]
fn every_chain_leads_its_name_to_its_cluster_for_the_meshs_protocols() {
    let config = config(&[CATALOG, SUBSET]);
    let cases = [
        (CATALOG, "istio-h2", Ok(CATALOG.to_owned())),
        (SUBSET, "istio", Ok(SUBSET.to_owned())),
        (CATALOG, "h2", Err("no_mesh_alpn")),
        (LEDGER, "istio", Err("unknown_name")),
        ("catalog.shop.svc.cluster.local", "istio", Err("unknown_name")),
        ("outbound|8080||catalog.shop.svc.cluster.local", "istio", Err("no_sni")),
    ];
    for (sni, alpn, want) in cases {
        assert_eq!(decide(&config, sni, alpn), want, "{sni} {alpn}");
    }
    assert!(config.is_warm());
    assert_eq!(config.plan().borrow().as_ref().unwrap().address.to_string(), "0.0.0.0:15443");
}

#[test]
fn a_chain_that_comes_or_goes_touches_its_own_name_alone() {
    let config = config(&[CATALOG, SUBSET, LEDGER]);
    let before = config.routes();
    let mut address = config.plan();
    address.mark_unchanged();
    assert_eq!(listen(&config, vec![chain(CATALOG, CATALOG), chain(SUBSET, SUBSET)]), [""; 0]);
    assert_eq!(leads(&config, &[CATALOG, SUBSET, LEDGER]), [true, true, false]);
    let after = config.routes();
    assert!(before.iter().zip(&after).all(|(a, b)| std::sync::Arc::ptr_eq(a, b)));
    let without = config.names().into_iter().find(|named| named.why.is_some()).unwrap();
    assert_eq!(
        (without.name.as_str(), without.why.as_deref().unwrap()),
        (LEDGER, "no filter chain leads to it")
    );
    let all = [CATALOG, SUBSET, LEDGER].map(|name| chain(name, name));
    assert_eq!(listen(&config, all.into()), [""; 0]);
    assert_eq!(leads(&config, &[CATALOG, SUBSET, LEDGER]), [true; 3]);
}

#[test]
fn a_malformed_chain_is_refused_by_name_and_spoils_nothing_else() {
    let mut cases = vec![];
    let mut case = |reason: &'static str, change: &dyn Fn(&mut listener::FilterChain)| {
        let mut bad = chain(LEDGER, LEDGER);
        change(&mut bad);
        cases.push((reason, bad));
    };
    let proxy = |change: &dyn Fn(&mut TcpProxy)| {
        let mut proxy = tcp_proxy(LEDGER);
        change(&mut proxy);
        vec![filter(&proxy)]
    };
    case("would end the workloads' TLS", &|c| c.transport_socket = Some(Default::default()));
    case("matches any ALPN", &|c| {
        c.filter_chain_match.as_mut().unwrap().application_protocols.clear();
    });
    case("more than server names, TLS and ALPN", &|c| {
        c.filter_chain_match.as_mut().unwrap().source_ports = vec![7];
    });
    case("more than server names, TLS and ALPN", &|c| {
        c.filter_chain_match.as_mut().unwrap().transport_protocol = "raw_buffer".into();
    });
    case("has a chain before it", &|c| {
        c.filter_chain_match.as_mut().unwrap().server_names.push(CATALOG.to_uppercase());
        c.filter_chain_match.as_mut().unwrap().server_names[1].replace_range(..8, "outbound");
    });
    case("does not begin with outbound_.", &|c| {
        c.filter_chain_match.as_mut().unwrap().server_names.push("*.test".into());
    });
    case("not allowed in one", &|c| {
        c.filter_chain_match.as_mut().unwrap().server_names.push("outbound_.1_._.*".into());
    });
    case("its filters are , not tcp_proxy alone", &|c| c.filters.clear());
    case("SniCluster, envoy.extensions", &|c| c.filters[0] = filter(&SniCluster {}));
    case("not tcp_proxy alone", &|c| c.filters = vec![filter(&SniCluster {})]);
    case("tunnels", &|c| {
        c.filters = proxy(&|p| p.tunneling_config = Some(TunnelingConfig::default()));
    });
    case("does not lead to one cluster", &|c| {
        c.filters = proxy(&|p| {
            let weighted = WeightedCluster::default();
            p.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(weighted));
        });
    });
    case("its cluster: server name", &|c| {
        c.filters = vec![filter(&tcp_proxy("outbound|443||ledger.payments.svc.cluster.local"))];
    });
    for (reason, bad) in cases {
        let config = config(&[LEDGER]);
        let faults = listen(&config, vec![chain(CATALOG, CATALOG), bad]);
        let begin = format!("{NAME}: filter chain {LEDGER}: ");
        assert!(faults.len() == 1 && faults[0].starts_with(&begin), "{faults:?}");
        assert!(faults[0].contains(reason), "{reason}: {faults:?}");
        // The other is in force once its cluster comes, and what this one was before stays.
        say(&config, Cluster, CATALOG, cluster(CATALOG));
        say(&config, Endpoint, CATALOG, endpoints(CATALOG, &["10.0.0.2:80".parse().unwrap()]));
        assert_eq!(leads(&config, &[CATALOG, LEDGER]), [true, true], "{reason}");
        let told = config.not_in_force();
        assert_eq!(
            (told.len(), told[0].chain.as_deref(), told[0].refused),
            (1, Some(LEDGER), true)
        );

        assert_eq!(listen(&config, vec![chain(CATALOG, CATALOG)]), [""; 0]);
        assert_eq!(leads(&config, &[CATALOG, LEDGER]), [true, false], "{reason}");
        assert_eq!(config.not_in_force(), []);
    }
}

#[test]
fn what_is_wrong_with_a_whole_listener_is_told_and_the_one_before_stays() {
    let config = config(&[CATALOG]);
    let good = || of(vec![chain(CATALOG, CATALOG)]);
    let mut proxy = good();
    proxy.listener_filters.push(listener::ListenerFilter {
        name: "envoy.filters.listener.proxy_protocol".into(),
        ..Default::default()
    });
    let mut two = good();
    two.additional_addresses = vec![listener::AdditionalAddress {
        address: Some(named_address("10.0.0.7", 15443)),
        ..Default::default()
    }];
    let nowhere = listener::Listener { address: None, ..good() };
    for (bad, reason) in [
        (proxy, "has no listener filter \"envoy.filters.listener.proxy_protocol\""),
        (two, "listens on one address, not on 0.0.0.0:15443 and 10.0.0.7:15443"),
        (nowhere, "it has no address"),
    ] {
        let faults = say(&config, Listener, NAME, bad.encode_to_vec());
        assert!(faults.len() == 1 && faults[0].contains(reason), "{faults:?}");
        assert_eq!(leads(&config, &[CATALOG]), [true]);
    }
    let mut default = good();
    default.default_filter_chain = Some(chain(LEDGER, LEDGER));
    let faults = say(&config, Listener, NAME, default.encode_to_vec());
    assert!(faults[0].starts_with("0.0.0.0_15443: filter chain default: "), "{faults:?}");
    assert_eq!(leads(&config, &[CATALOG]), [true]);
}

#[test]
fn every_address_of_both_families_is_one() {
    let config = config(&[CATALOG]);
    let mut both = of(vec![chain(CATALOG, CATALOG)]);
    both.additional_addresses = vec![listener::AdditionalAddress {
        address: Some(named_address("::", 15443)),
        ..Default::default()
    }];
    assert_eq!(say(&config, Listener, NAME, both.encode_to_vec()), [""; 0]);
    assert_eq!(config.plan().borrow().as_ref().unwrap().address.to_string(), "[::]:15443");
}

#[test]
fn other_listeners_and_clusters_are_left_aside_the_listeners_with_a_reason() {
    let config = config(&[CATALOG]);
    let mut other =
        of(vec![chain("istiod.istio-system.svc", "outbound|15012||istiod.istio-system")]);
    other.name = "0.0.0.0_15012".into();
    assert_eq!(say(&config, Listener, "0.0.0.0_15012", other.encode_to_vec()), [""; 0]);
    let told = config.not_in_force();
    assert_eq!(told.len(), 1);
    assert!(!told[0].refused && told[0].reason.contains("as those of AUTO_PASSTHROUGH have"));
    let pipes = "outbound|8080||catalog.shop.svc.cluster.local";
    let mut with_tls = cluster_message(pipes);
    with_tls.transport_socket = Some(core::TransportSocket::default());
    let said = [(pipes.to_owned(), with_tls.encode_to_vec())];
    let applied = config.apply_of(ControlPlane::Istiod, Cluster, &said, &[]);
    assert_eq!((applied.subscribe, applied.faults), (vec![], vec![]));
    assert_eq!(leads(&config, &[CATALOG]), [true]);

    config.apply_of::<Vec<u8>>(ControlPlane::Istiod, Listener, &[], &["0.0.0.0_15012".to_owned()]);
    assert_eq!(config.not_in_force(), []);
    assert_eq!(leads(&config, &[CATALOG]), [true]);
}

#[test]
fn a_listener_that_takes_anothers_place_comes_with_the_others_removal() {
    let config = config(&[CATALOG]);
    let mut moved = of(vec![chain(CATALOG, CATALOG)]);
    moved.name = "0.0.0.0_15444".into();
    moved.address = Some(named_address("0.0.0.0", 15444));
    let said = [(moved.name.clone(), moved.encode_to_vec())];
    let alone = config.apply_of(ControlPlane::Istiod, Listener, &said, &[]);
    assert_eq!(
        alone.faults,
        ["0.0.0.0_15444: this gateway serves one listener, and has 0.0.0.0_15443"]
    );
    let together = config.apply_of(ControlPlane::Istiod, Listener, &said, &[NAME.to_owned()]);
    assert_eq!(together.faults, [""; 0]);
    let plan = config.plan().borrow().clone().unwrap();
    assert_eq!(plan.address.to_string(), "0.0.0.0:15444");
    assert!(matches!(plan.entry, Entry::Chains(chains) if chains.len() == 1));
    assert_eq!(config.not_in_force(), []);
}

#[test]
fn each_name_is_shown_with_its_targets_or_the_reason_why_it_has_none() {
    let config = config(&[CATALOG]);
    let chains = [CATALOG, SUBSET, LEDGER, "outbound_.1_._.late"].map(|name| chain(name, name));
    listen(&config, chains.into());
    for name in [SUBSET, LEDGER] {
        say(&config, Cluster, name, cluster(name));
    }
    let mut down = lb_endpoint(address("10.0.0.3:80".parse().unwrap()), 1);
    down.health_status = core::HealthStatus::Unhealthy as i32;
    let body = envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment {
        endpoints: vec![envoy_types::pb::envoy::config::endpoint::v3::LocalityLbEndpoints {
            lb_endpoints: vec![down],
            ..Default::default()
        }],
        ..Default::default()
    };
    say(&config, Endpoint, SUBSET, body.encode_to_vec());
    let why = |config: &Config| -> Vec<(String, Option<String>)> {
        config.names().into_iter().map(|named| (named.name.to_string(), named.why)).collect()
    };
    let told = |name: &str, why: &str| (name.to_owned(), Some(why.to_owned()));
    assert_eq!(
        why(&config),
        [
            told("outbound_.1_._.late", "its cluster outbound_.1_._.late is not known"),
            told(LEDGER, "its endpoints have not come yet"),
            (CATALOG.to_owned(), None),
            told(SUBSET, "its endpoints are down, all 1"),
        ]
    );
    say(&config, Endpoint, LEDGER, endpoints(LEDGER, &[]));
    assert_eq!(why(&config)[1], told(LEDGER, "it has no endpoint here that takes mutual TLS"));

    // What came of a dial stays with its target while others come and go.
    let route = config.routes().into_iter().find(|route| route.name().as_str() == CATALOG).unwrap();
    let dialed = Dialed { connected: true, at_seconds: 5 };
    route.note("10.0.0.1:80".parse().unwrap(), dialed);
    let more = ["10.0.0.9:80", "10.0.0.1:80"].map(|text| text.parse().unwrap());
    say(&config, Endpoint, CATALOG, endpoints(CATALOG, &more));
    let named = config.names().into_iter().find(|named| named.name.as_str() == CATALOG).unwrap();
    let route = named.route.unwrap();
    let dials: Vec<_> = route.dials().map(|(_, dialed)| dialed).collect();
    assert_eq!(dials, [None, Some(dialed)]);
}
