//! Each topology comes up, carries what its matrix says, and goes without a trace.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;

use std::fs;
use std::time::Instant;

use clusters::matrix::Matrix;
use clusters::{Ground, Traces, alive, descendants};

fn topology(topology: &str) {
    let Some(ground) = Ground::find() else { return };
    let before = Traces::now(&ground.path("topologies"));
    let started = Instant::now();
    let kubeconfig = ground.up(topology, topology);
    let up = started.elapsed().as_secs_f64();
    let status = ground.status(topology);
    assert_eq!(status["standing"], "up", "{status:#}");
    for cluster in status["clusters"].as_array().unwrap() {
        let name = cluster["name"].as_str().unwrap();
        assert_eq!(cluster["api"], "ready", "{cluster:#}");
        assert_eq!(cluster["children"].as_array().unwrap().len(), 7, "{cluster:#}");
        assert!(kubeconfig.contains(&format!("- name: {name}\n")), "{kubeconfig}");
        let pods = ground.kubectl(topology, name, &["get", "pods", "-A", "--no-headers"]);
        let is_whole = |line: &str| line.contains(" 1/1 ") || line.contains(" 2/2 ");
        assert!(pods.lines().all(is_whole), "{topology} {name}:\n{pods}");
    }
    Matrix::of(&ground, topology).holds();
    println!("up in {up:.1} s, held after {:.1} s", started.elapsed().as_secs_f64());
    let processes = descendants(ground.supervisor(topology).0);
    assert!(processes.len() > 7, "{processes:?}");
    ground.must(&["down", topology]);
    assert_eq!(alive(&processes), [""; 0], "{topology}");
    assert_eq!(Traces::now(&ground.path("topologies")), before, "{topology}");
    assert_eq!(fs::read_dir(ground.path("topologies")).unwrap().count(), 0, "{topology}");
}

#[test]
fn single_reaches_what_its_matrix_says() {
    topology("single");
}

#[test]
fn one_network_reaches_what_its_matrix_says() {
    topology("one-network");
}

#[test]
fn two_networks_reach_what_their_matrix_says() {
    topology("two-networks");
}

#[test]
fn one_way_by_tunnel_reaches_what_its_matrix_says() {
    topology("one-way-by-tunnel");
}

#[test]
fn three_zones_reach_what_their_matrix_says() {
    topology("three-zones");
}

#[test]
fn primary_and_remote_on_one_network_reach_what_their_matrix_says() {
    topology("primary-remote-one-network");
}

#[test]
fn primary_and_remote_on_two_networks_reach_what_their_matrix_says() {
    topology("primary-remote-two-networks");
}

#[test]
fn an_external_control_plane_serves_what_its_matrix_says() {
    topology("external-control-plane");
}

#[test]
fn two_meshes_reach_what_their_matrix_says() {
    topology("two-meshes");
}

#[test]
fn isolated_meshes_reach_what_their_matrix_says() {
    topology("isolated-meshes");
}

#[test]
fn one_namespace_reaches_what_its_matrix_says() {
    topology("one-namespace");
}
