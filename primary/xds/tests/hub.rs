//! The hub: what it publishes is what a new hub would, and it works only on what changed.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use diolkos_topology::{AppProtocol, Change, ClientKind, Mtls, ViewDelta, What};
use diolkos_xds::callers::{Callers, Named, read_consumers};
use diolkos_xds::{Hub, Resource, ResourceType, Scope, ScopeId};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use proptest::prelude::*;
use prost::Message;
use support::{AUDIENCE, Op, World, cases, client_kind, op, scope};

proptest! {
    #![proptest_config(cases(400))]

    /// The oracle: a hub that is told the folded view at once.
    #[test]
    fn deltas_end_where_a_new_hub_begins(
        mut world in world(),
        batches in prop::collection::vec(prop::collection::vec(op(), 1..6), 1..12),
    ) {
        for batch in &batches {
            for op in batch {
                world.change(op);
            }
            world.publish();
        }
        let oracle = world.again();
        let content = |world: &World| -> Vec<_> {
            let of = |one: Arc<Resource>| (one.kind, one.name.clone(), one.body.clone());
            world.resources().into_iter().map(of).collect()
        };
        prop_assert_eq!(content(&world), content(&oracle));
        prop_assert_eq!(world.publish(), 0, "a second drain has nothing to say");
    }

    #[test]
    fn a_new_hub_gives_the_same_versions(
        mut world in world(),
        ops in prop::collection::vec(op(), 0..20),
    ) {
        for op in &ops {
            world.change(op);
        }
        let (one, other) = (world.again(), world.again());
        prop_assert_eq!(one.resources(), other.resources());
    }
}

fn world() -> impl Strategy<Value = World> {
    prop_oneof![client_kind().prop_map(World::new), Just(()).prop_map(|()| World::redirected())]
}

fn service(service: u8) -> Op {
    let ports = vec![(0, AppProtocol::Http), (1, AppProtocol::Grpc)];
    Op::Service { service, ports, clusters: 1, vip: None }
}

fn endpoint(service: u8, host: u8, weight: u64) -> Op {
    Op::Endpoint { service, port: 0, host, entry: Some((Mtls::Istio, 0, 0, weight)) }
}

fn identities(service: u8, ids: &[u8]) -> Op {
    let ids: BTreeSet<u8> = ids.iter().copied().collect();
    Op::Identities { service, port: 0, ids }
}

fn mesh(kind: ClientKind, services: u8) -> World {
    let mut world = World::new(kind);
    for n in 0..services {
        world.change(&service(n));
        world.change(&identities(n, &[1]));
        for host in 0..4 {
            world.change(&endpoint(n, host, 720_720));
        }
    }
    world.publish();
    world
}

/// What was encoded by `ops`, by type, and how much of it was published.
fn work_of(world: &mut World, ops: &[Op]) -> ([u64; 4], usize) {
    let before = world.hub.work().encoded;
    for op in ops {
        world.change(op);
    }
    let published = world.publish();
    let after = world.hub.work().encoded;
    (std::array::from_fn(|n| after[n] - before[n]), published)
}

#[test]
fn one_endpoint_changed_encodes_one_assignment_whatever_the_size_of_the_mesh() {
    for kind in [ClientKind::Gateway, ClientKind::Grpc, ClientKind::Sidecar] {
        for services in [1, 10, 200] {
            let mut world = mesh(kind, services);
            let work = work_of(&mut world, &[endpoint(0, 1, 360_360)]);
            assert_eq!(work, ([0, 1, 0, 0], 1), "{kind:?} with {services} services");
        }
    }
}

#[test]
fn weights_that_keep_their_proportions_publish_nothing() {
    let mut world = mesh(ClientKind::Sidecar, 3);
    let halved: Vec<Op> = (0..4).map(|host| endpoint(1, host, 360_360)).collect();
    assert_eq!(work_of(&mut world, &halved), ([0, 1, 0, 0], 0));
}

#[test]
fn a_service_that_changes_only_who_contributes_encodes_nothing() {
    let mut world = mesh(ClientKind::Sidecar, 3);
    let ports = vec![(0, AppProtocol::Http), (1, AppProtocol::Grpc)];
    let op = Op::Service { service: 1, ports, clusters: 2, vip: None };
    assert_eq!(work_of(&mut world, &[op]), ([0; 4], 0));
}

#[test]
fn changed_identities_publish_the_cluster_and_the_endpoints_that_warm_it() {
    let mut world = mesh(ClientKind::Sidecar, 3);
    assert_eq!(work_of(&mut world, &[identities(1, &[1, 2])]), ([1, 1, 0, 0], 2));
    assert_eq!(work_of(&mut world, &[identities(1, &[1, 2])]), ([1, 1, 0, 0], 0));
    let mut world = mesh(ClientKind::Gateway, 3);
    assert_eq!(work_of(&mut world, &[identities(1, &[1, 2])]), ([0; 4], 0), "no TLS ends there");
}

#[test]
fn a_cluster_that_changes_there_and_back_needs_its_endpoints_again() {
    let mut world = mesh(ClientKind::Sidecar, 1);
    let name = "outbound|80||s0.demo.svc.cluster.local";
    let get = |world: &World, kind| world.audience.get(kind, name).unwrap().version.clone();
    let (cluster, endpoints) =
        (get(&world, ResourceType::Cluster), get(&world, ResourceType::Endpoint));
    for ids in [[1, 2], [1, 1]] {
        world.change(&identities(0, &ids));
        world.publish();
    }
    assert_eq!(get(&world, ResourceType::Cluster), cluster);
    assert_ne!(get(&world, ResourceType::Endpoint), endpoints);
}

#[test]
fn the_last_mtls_endpoint_takes_grpcs_tls_with_it() {
    let mut world = mesh(ClientKind::Grpc, 1);
    let name = "outbound|80||s0.demo.svc.cluster.local";
    let body =
        |world: &World| world.audience.get(ResourceType::Cluster, name).unwrap().body.clone();
    let with_tls = body(&world);
    for host in 0..4 {
        assert_eq!(body(&world), with_tls);
        world.change(&Op::Endpoint { service: 0, port: 0, host, entry: None });
        world.publish();
    }
    assert_ne!(body(&world), with_tls);
}

#[test]
fn proxies_of_one_namespace_share_their_routes() {
    let mut world = mesh(ClientKind::Sidecar, 3);
    let encoded = world.hub.work().encoded[3];
    for n in 0..50u16 {
        let at = std::net::SocketAddr::from(([10, 1, 0, 1], 20_000 + n));
        world.hub.scope_up(ScopeId(100 + u32::from(n)), Scope { http_proxy: Some(at), ..scope() });
    }
    let deltas = world.hub.drain();
    assert_eq!(deltas.len(), 50);
    assert!(deltas.iter().all(|delta| delta.upserts.len() == 2), "a listener and its routes");
    assert_eq!(world.hub.work().encoded[3], encoded);

    world.change(&service(9));
    let deltas = world.hub.drain();
    assert_eq!(deltas.len(), 52, "clusters and endpoints once, routes for 51 scopes");
    assert_eq!(world.hub.work().encoded[3], encoded + 1);
}

#[test]
fn a_sidecar_without_a_proxy_has_no_listeners() {
    let mut world = mesh(ClientKind::Sidecar, 1);
    world.hub.scope_up(ScopeId(9), Scope { http_proxy: None, ..scope() });
    assert_eq!(world.hub.drain(), []);
}

#[test]
fn an_audience_that_went_is_told_nothing_and_those_unknown_are_passed_over() {
    let mut world = mesh(ClientKind::Sidecar, 1);
    world.hub.audience_down(AUDIENCE);
    world.change(&service(1));
    assert_eq!(world.publish(), 0);
    let mut hub = Hub::new(support::settings());
    hub.apply(&world.view.whole());
    hub.scope_up(ScopeId(1), scope());
    assert_eq!(hub.drain(), []);
}

fn exported_by(clusters: u8) -> Op {
    let ports = vec![(0, AppProtocol::Http), (1, AppProtocol::Grpc)];
    Op::Service { service: 0, ports, clusters, vip: None }
}

#[test]
fn another_choice_of_consumers_changes_the_clusters_of_that_service_and_what_follows_them() {
    let mut world = mesh(ClientKind::Gateway, 3);
    world.change(&exported_by(2));
    let deltas = world.hub.drain();
    let changed: Vec<_> = deltas.iter().flat_map(|delta| &delta.upserts).collect();
    let count = |kind| changed.iter().filter(|one| one.kind == kind).count();
    assert_eq!((count(ResourceType::Cluster), count(ResourceType::Endpoint)), (2, 2));
    assert_eq!(changed.len(), 4);
    for one in changed.iter().filter(|one| one.kind == ResourceType::Cluster) {
        let cluster = Cluster::decode(&*one.body).unwrap();
        let said = read_consumers(cluster.metadata.as_ref()).unwrap().unwrap();
        let named = Named { cluster: "c0".into(), texts: vec!["c1".into()] };
        assert_eq!(said, [named], "{}", one.name);
    }
}

#[test]
fn gateways_that_end_tunnels_are_told_of_callers_and_no_others() {
    let mut world = mesh(ClientKind::Gateway, 1);
    let callers = |key: &str| Callers {
        own: vec![],
        clusters: vec![Named { cluster: "west".into(), texts: vec![key.into()] }],
    };
    world.hub.set_callers(callers("0a"));
    assert_eq!(world.hub.drain(), [], "nobody asked");
    let said = |hub: &mut Hub| {
        let deltas = hub.drain();
        let [listener] = deltas.iter().flat_map(|delta| &delta.upserts).collect::<Vec<_>>()[..]
        else {
            panic!("{deltas:?}");
        };
        let listener = Listener::decode(&*listener.body).unwrap();
        Callers::read(listener.metadata.as_ref()).unwrap()
    };
    world.hub.scope_up(ScopeId(7), Scope { hbone: true, ..scope() });
    assert_eq!(said(&mut world.hub), Some(callers("0a")));
    world.hub.set_callers(callers("0b"));
    assert_eq!(said(&mut world.hub), Some(callers("0b")));
    world.hub.set_callers(callers("0b"));
    assert_eq!(world.hub.drain(), [], "the same again");
    world.hub.scope_up(ScopeId(8), scope());
    assert_eq!(said(&mut world.hub), None);
}

fn redirected_mesh(services: u8) -> World {
    let mut world = World::redirected();
    for n in 0..services {
        let ports = vec![(0, AppProtocol::Http), (1, AppProtocol::Tcp)];
        world.change(&Op::Service { service: n, ports, clusters: 1, vip: Some(n) });
        world.change(&identities(n, &[1]));
        world.change(&endpoint(n, 1, 720_720));
    }
    world.publish();
    world
}

fn listeners(world: &World) -> Vec<String> {
    world.scope.resources(ResourceType::Listener).map(|one| one.name.to_string()).collect()
}

#[test]
fn a_redirected_pod_has_a_listener_per_http_port_number_and_per_address_for_bytes() {
    let world = redirected_mesh(2);
    let expected =
        ["0.0.0.0_80", "10.96.0.0_7070", "10.96.0.1_7070", "virtualInbound", "virtualOutbound"];
    assert_eq!(listeners(&world), expected);
    let routes: Vec<_> =
        world.scope.resources(ResourceType::Route).map(|one| one.name.to_string()).collect();
    assert_eq!(routes, ["80"]);
}

#[test]
fn a_service_on_a_known_port_number_touches_that_numbers_routes_and_no_listener() {
    for services in [1, 20, 200] {
        let mut world = redirected_mesh(services);
        let ports = vec![(0, AppProtocol::Http)];
        let new = Op::Service { service: 201, ports, clusters: 1, vip: Some(201) };
        assert_eq!(work_of(&mut world, &[new]), ([1, 1, 0, 1], 3), "{services} services");
        let other = vec![(2, AppProtocol::Http)];
        let elsewhere = Op::Service { service: 202, ports: other, clusters: 1, vip: None };
        assert_eq!(work_of(&mut world, &[elsewhere]), ([1, 1, 1, 1], 4), "{services} services");
        assert_eq!(work_of(&mut world, &[endpoint(0, 1, 1)]), ([0, 1, 0, 0], 0));
        assert_eq!(work_of(&mut world, &[identities(0, &[2])]), ([1, 1, 0, 0], 2));
    }
}

#[test]
fn a_services_new_address_moves_its_listener_and_is_named_in_its_routes() {
    let mut world = redirected_mesh(2);
    let ports = vec![(0, AppProtocol::Http), (1, AppProtocol::Tcp)];
    let moved = Op::Service { service: 1, ports, clusters: 1, vip: Some(9) };
    assert_eq!(work_of(&mut world, &[moved]), ([0, 0, 1, 1], 3), "one of them is a removal");
    assert!(listeners(&world).contains(&"10.96.0.9_7070".to_owned()));
    assert!(!listeners(&world).contains(&"10.96.0.1_7070".to_owned()));
}

#[test]
fn bytes_to_a_headless_service_go_to_the_pod_that_was_dialled() {
    let mut world = World::redirected();
    let ports = vec![(1, AppProtocol::Tcp)];
    world.change(&Op::Service { service: 0, ports, clusters: 1, vip: None });
    world.publish();
    let direct = "direct|7070||s0.demo.svc.cluster.local";
    assert!(world.audience.get(ResourceType::Cluster, direct).is_none());
    for (host, mtls) in [(1, Mtls::Istio), (2, Mtls::Plaintext)] {
        let entry = Some((mtls, 0, 0, 720_720));
        world.change(&Op::Endpoint { service: 0, port: 1, host, entry });
    }
    world.publish();
    assert!(world.audience.get(ResourceType::Cluster, direct).is_some());
    assert_eq!(
        listeners(&world),
        ["10.0.0.1_8080", "virtualInbound", "virtualOutbound"],
        "a pod without mutual TLS is an address like any other"
    );
    world.change(&Op::Endpoint { service: 0, port: 1, host: 1, entry: None });
    world.publish();
    assert!(world.audience.get(ResourceType::Cluster, direct).is_none());
    assert_eq!(listeners(&world), ["virtualInbound", "virtualOutbound"]);
}

#[test]
fn pods_of_one_class_in_one_namespace_share_everything_but_are_told_once_each() {
    let mut world = redirected_mesh(3);
    let encoded = world.hub.work().encoded;
    for n in 0..10 {
        world.hub.scope_up(ScopeId(100 + n), support::redirected());
    }
    let deltas = world.hub.drain();
    assert_eq!(deltas.len(), 10);
    assert_eq!(world.hub.work().encoded, [encoded[0], encoded[1], encoded[2] + 10, encoded[3]]);
    let namespace = diolkos_topology::Namespace::new("other").unwrap();
    world.hub.scope_up(ScopeId(99), Scope { namespace, ..support::redirected() });
    world.hub.drain();
    assert_eq!(world.hub.work().encoded[3], encoded[3] + 1, "short names are the namespace's own");
}

#[test]
fn as_many_pods_of_a_headless_service_as_the_limit_have_a_listener_and_not_one_more() {
    let mut world = World::redirected();
    let ports = vec![(1, AppProtocol::Tcp)];
    world.change(&Op::Service { service: 0, ports, clusters: 1, vip: None });
    let max = diolkos_xds::limit::DIRECT_ADDRESSES_MAX;
    let pod = |n: usize| {
        let change = support::what(&Op::Endpoint {
            service: 0,
            port: 1,
            host: 0,
            entry: Some((Mtls::Istio, 0, 0, 720_720)),
        });
        let Some(What::Endpoint { port, entry, .. }) = change else { panic!("an endpoint") };
        let (high, low) = (u8::try_from(n / 256).unwrap(), u8::try_from(n % 256).unwrap());
        let address = std::net::SocketAddr::from(([10, 1, high, low], 9000));
        let what = What::Endpoint { port, address, entry };
        ViewDelta { changes: vec![Change { audience: AUDIENCE, what }] }
    };
    for n in 0..max {
        world.hub.apply(&pod(n));
    }
    world.publish();
    assert_eq!(listeners(&world).len(), max + 2);
    world.hub.apply(&pod(max));
    world.publish();
    assert_eq!(listeners(&world).len(), max + 2, "it is an address like any other");
}
