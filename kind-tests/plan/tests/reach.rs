//! What holds for the matrix of every topology, whoever wrote it.
#![allow(clippy::disallowed_methods, reason = "it reads the topologies")]
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::path::Path;

use diolkos_kind_plan::{
    Cluster, Expect, Export, Group, Row, Sidecar, Topology, Transport, Way, Workload, matrix, parse,
};

fn topologies() -> Vec<Topology> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| parse(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
}

fn workload<'t>(topology: &'t Topology, namespace: &str, name: &str) -> &'t Workload {
    let mut all = topology.workloads.iter();
    all.find(|workload| &workload.namespace == namespace && &workload.name == name).unwrap()
}

/// Every line of every topology, with both ends.
fn each(mut check: impl FnMut(&Topology, &Row, &Cluster, &Workload, &Workload)) {
    for topology in topologies() {
        for row in matrix(&topology) {
            let from = topology.cluster(row.from.cluster.as_str()).unwrap();
            let (caller, callee) = (&row.from, &row.to);
            let caller = workload(&topology, caller.namespace.as_str(), caller.workload.as_str());
            let callee = workload(&topology, callee.namespace.as_str(), callee.service.as_str());
            check(&topology, &row, from, caller, callee);
        }
    }
}

fn groups(row: &Row) -> &[Group] {
    match &row.expect {
        Expect::Answers(groups) => groups,
        Expect::Never(_) => &[],
    }
}

#[test]
fn a_gateway_is_passed_between_networks_and_only_there() {
    let mut crossed = 0;
    each(|topology, row, from, _, _| {
        for group in groups(row) {
            let there = topology.cluster(group.cluster.as_str()).unwrap();
            match &group.way {
                Way::Direct => assert_eq!(there.network, from.network, "{row}"),
                Way::Gateway(network) => {
                    assert_eq!(*network, there.network, "{row}");
                    assert_ne!(*network, from.network, "{row}");
                    assert_eq!(group.transport, Transport::MutualTls, "{row}");
                    let mut of_network =
                        topology.clusters.iter().filter(|cluster| cluster.network == *network);
                    assert!(of_network.any(|cluster| cluster.gateways > 0), "{row}");
                    crossed += 1;
                }
            }
        }
    });
    assert!(crossed > 20, "{crossed}");
}

#[test]
fn what_answers_is_there_and_the_nearest_comes_first() {
    each(|_, row, _, _, callee| {
        for group in groups(row) {
            assert_eq!(group.pods, callee.replicas_in(group.cluster.as_str()), "{row}");
            assert!(group.pods > 0, "{row}");
        }
        assert!(groups(row).is_sorted_by_key(|group| group.near), "{row}");
    });
}

#[test]
fn meshes_meet_in_no_other_cluster_and_never_by_mutual_tls() {
    let mut met = 0;
    each(|_, row, from, caller, callee| {
        if caller.mesh == callee.mesh {
            return;
        }
        met += 1;
        for group in groups(row) {
            assert_eq!(group.cluster, from.name, "{row}");
            assert_eq!(group.transport, Transport::Plaintext, "{row}");
        }
    });
    assert!(met > 4, "{met}");
}

#[test]
fn who_has_no_sidecar_reaches_its_own_cluster_and_nothing_strict() {
    each(|_, row, from, caller, callee| {
        if caller.sidecar != Sidecar::None {
            return;
        }
        assert!(groups(row).iter().all(|group| group.cluster == from.name), "{row}");
        assert!(groups(row).is_empty() || callee.sidecar != Sidecar::Strict, "{row}");
    });
}

#[test]
fn what_is_not_exported_stays_where_it_is() {
    let mut kept = 0;
    each(|topology, row, from, _, callee| {
        let listed = topology.mesh(callee.mesh.as_str()).unwrap().export == Export::Listed;
        if listed && !callee.exported {
            kept += 1;
            assert!(groups(row).iter().all(|group| group.cluster == from.name), "{row}");
        }
    });
    assert!(kept > 4, "{kept}");
}
