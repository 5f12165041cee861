use std::collections::BTreeSet;

use diolkos_topology::{ClientKind, Event, Fact, SliceFact};

use super::{ENDPOINTS_PER_SLICE, Mesh, Shape};

const SHAPE: Shape = Shape { clusters: 20, services: 60, endpoints: 10, seed: 7 };

fn slices(mesh: &Mesh) -> Vec<SliceFact> {
    let mut all = Vec::new();
    for index in 0..mesh.shape.clusters {
        let mut cluster = mesh.cluster(index);
        for number in 0..mesh.shape.services {
            all.extend(cluster.slices(&mesh.service(number), mesh.shape.endpoints));
        }
    }
    all
}

#[test]
fn addresses_and_pods_are_unique_and_as_many_as_asked_for() {
    let mesh = Mesh::new(SHAPE).unwrap();
    let slices = slices(&mesh);
    let endpoints: Vec<_> = slices.iter().flat_map(|slice| &slice.endpoints).collect();
    assert_eq!(endpoints.len(), mesh.endpoints());
    assert_eq!(endpoints.len(), 20 * 60 * 10);
    let addresses: BTreeSet<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
    assert_eq!(addresses.len(), endpoints.len());
    let pods: BTreeSet<_> = endpoints.iter().filter_map(|endpoint| endpoint.pod.clone()).collect();
    assert_eq!(pods.len(), endpoints.len());
}

#[test]
fn identities_and_workloads_are_as_varied_as_promised() {
    let mesh = Mesh::new(SHAPE).unwrap();
    let mut cluster = mesh.cluster(3);
    let slices = cluster.slices(&mesh.service(1), 300);
    let endpoints = || slices.iter().flat_map(|slice| &slice.endpoints);
    let identities: BTreeSet<_> = endpoints().filter_map(|one| one.identity.clone()).collect();
    let workloads: BTreeSet<_> = endpoints().map(|one| one.workload.name.clone()).collect();
    let zones: BTreeSet<_> = endpoints().filter_map(|one| one.zone.clone()).collect();
    assert_eq!((identities.len(), workloads.len(), zones.len()), (3, 2, 3));
    let others = cluster.slices(&mesh.service(2), 300);
    let other = others[0].endpoints[0].workload.name.clone();
    assert!(!workloads.contains(&other), "services share no workload");
    let elsewhere = mesh.cluster(4).slices(&mesh.service(1), 300);
    let other = &elsewhere[0].endpoints[0].workload.name;
    assert!(workloads.contains(other), "a service has the same workloads in every cluster");
}

#[test]
fn a_slice_holds_its_limit_and_not_one_more() {
    let mesh = Mesh::new(SHAPE).unwrap();
    for (endpoints, expected) in [(0, 1), (1, 1), (100, 1), (101, 2), (10_000, 100)] {
        let slices = mesh.cluster(0).slices(&mesh.service(0), endpoints);
        assert_eq!(slices.len(), expected, "{endpoints}");
        assert!(slices.iter().all(|slice| slice.endpoints.len() <= ENDPOINTS_PER_SLICE));
        let names: BTreeSet<_> = slices.iter().map(|slice| slice.name.clone()).collect();
        assert_eq!(names.len(), expected);
    }
}

#[test]
fn the_first_two_of_a_slice_are_of_one_group() {
    let slice =
        &Mesh::new(SHAPE).unwrap().cluster(5).slices(&Mesh::new(SHAPE).unwrap().service(9), 100)[0];
    let group = |index: usize| {
        let one = &slice.endpoints[index];
        (one.node.clone(), one.zone.clone(), one.identity.clone(), one.workload.clone())
    };
    assert_eq!(group(0), group(1));
}

#[test]
fn the_seed_decides_everything() {
    let mesh = |seed| Mesh::new(Shape { seed, ..SHAPE }).unwrap();
    assert_eq!(slices(&mesh(7)), slices(&mesh(7)));
    assert_ne!(slices(&mesh(7)), slices(&mesh(8)));
}

#[test]
fn every_tenth_cluster_shares_a_network_and_each_has_two_gateways() {
    let mesh = Mesh::new(SHAPE).unwrap();
    let networks: BTreeSet<_> = (0..20).map(|index| mesh.network(index)).collect();
    assert_eq!(networks.len(), 18);
    assert_eq!(mesh.network(19), mesh.network(18));
    let mut addresses = BTreeSet::new();
    for index in 0..20 {
        for fact in mesh.cluster(index).ground() {
            if let Fact::Gateway(gateway) = fact {
                assert!(addresses.insert(gateway.key.address));
            }
        }
    }
    assert_eq!(addresses.len(), 40);
}

#[test]
fn every_cluster_is_declared_and_activated() {
    let events = Mesh::new(SHAPE).unwrap().declare();
    let activated = events.iter().filter(|event| matches!(event, Event::Activate { .. })).count();
    assert_eq!((events.len(), activated), (41, 20));
}

#[test]
fn audiences_of_one_cluster_differ() {
    let mesh = Mesh::new(SHAPE).unwrap();
    let audience = |index| mesh.audience(ClientKind::Sidecar, 1, index);
    let localities: BTreeSet<_> = (0..100).map(|index| audience(index).locality).collect();
    assert_eq!(localities.len(), 100);
}

#[test]
fn a_shape_beyond_the_cores_limits_is_refused() {
    assert!(Mesh::new(Shape { services: 5_000, endpoints: 10, ..SHAPE }).is_ok());
    assert!(Mesh::new(Shape { services: 5_000, endpoints: 11, ..SHAPE }).is_err());
    assert!(Mesh::new(Shape { clusters: 251, ..SHAPE }).is_err());
}
