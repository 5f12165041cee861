//! Work follows the change, whatever the size of the cluster.

use std::net::IpAddr;

use diolkos_facts::{
    Changes, ClusterIndex, HostName, IndexWork, MeshNetworks, ObjectId, ObjectKind, Resolved,
    UnknownPods, parse_mesh,
};
use diolkos_topology::{Fact, FactKey};
use serde_json::{Value, json};

use crate::objects::read;

fn index(unknown_pods: UnknownPods) -> ClusterIndex {
    let mesh = parse_mesh(
        "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {name: t}\nspec: {trustDomain: m, \
         clusters: [{name: east}]}",
    );
    let mesh = mesh.0.expect("a mesh file");
    ClusterIndex::new(&mesh.clusters[0].settings, &MeshNetworks::default(), unknown_pods)
}

fn say(index: &mut ClusterIndex, kind: ObjectKind, object: &Value) -> Changes {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let id = ObjectId::new(kind, text("namespace"), text("name"));
    let (said, findings) = read(kind, object);
    let mut out = Changes::default();
    index.put(&id, said, findings, &mut out);
    out
}

fn pod(number: usize, account: &str) -> Value {
    json!({"metadata": {"namespace": "shop", "name": format!("pod-{number}"),
        "labels": {"security.istio.io/tlsMode": "istio"}},
        "spec": {"containers": [], "serviceAccountName": account}})
}

fn slice(number: usize, pods: std::ops::Range<usize>) -> Value {
    let endpoints: Vec<Value> = pods
        .map(|pod| {
            json!({"addresses": [format!("10.0.{}.{}", pod / 250, pod % 250 + 1)],
                "targetRef": {"kind": "Pod", "name": format!("pod-{pod}")}})
        })
        .collect();
    json!({"metadata": {"namespace": "shop", "name": format!("web-{number}"),
        "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 80}], "endpoints": endpoints})
}

const SLICES: usize = 100;
const PODS_OF_A_SLICE: usize = 50;

fn large() -> ClusterIndex {
    let mut index = index(UnknownPods::Wait);
    for pod_number in 0..SLICES * PODS_OF_A_SLICE {
        say(&mut index, ObjectKind::Pod, &pod(pod_number, "web"));
    }
    for number in 0..SLICES {
        let pods = number * PODS_OF_A_SLICE..(number + 1) * PODS_OF_A_SLICE;
        say(&mut index, ObjectKind::Slice, &slice(number, pods));
    }
    index
}

#[test]
fn a_pods_change_joins_only_the_slices_that_name_it() {
    let mut index = large();
    let out = say(&mut index, ObjectKind::Pod, &pod(7, "other"));
    assert_eq!(out.facts.len(), 1);
    assert_eq!(out.pods.len(), 1);
    // Once as it was, once as it is.
    let expected = IndexWork { objects: 1, slices_joined: 2, gateways_rebuilt: 0 };
    assert_eq!(out.work, expected);

    let out = say(&mut index, ObjectKind::Pod, &pod(7, "other"));
    assert!(out.is_empty(), "said again: {out:?}");
    assert_eq!(out.work.slices_joined, 0);
    let out = say(&mut index, ObjectKind::Pod, &pod(1_000_000, "idle"));
    assert_eq!((out.facts.len(), out.pods.len(), out.work.slices_joined), (0, 1, 0));
}

#[test]
fn a_policy_joins_only_the_slices_of_the_pods_that_it_changes() {
    let mut index = large();
    let labelled = |number: usize| {
        let mut object = pod(number, "web");
        object["metadata"]["labels"]["tier"] = json!("db");
        object
    };
    for number in [3, 4, 70] {
        let out = say(&mut index, ObjectKind::Pod, &labelled(number));
        assert!(out.is_empty(), "nobody selects by it yet");
    }
    let policy = |mode: &str| {
        json!({"metadata": {"namespace": "shop", "name": "db"}, "spec": {
            "selector": {"matchLabels": {"tier": "db"}}, "portLevelMtls": {"81": {"mode": mode}}}})
    };
    let out = say(&mut index, ObjectKind::Peer, &policy("STRICT"));
    assert_eq!((out.pods.len(), out.facts.len()), (3, 0), "no endpoint speaks otherwise");
    // Two slices, each once as it was and once as it is.
    assert_eq!(out.work, IndexWork { objects: 1, slices_joined: 4, gateways_rebuilt: 0 });
    let out = say(&mut index, ObjectKind::Peer, &policy("STRICT"));
    assert!(out.is_empty() && out.work.slices_joined == 0, "said again: {out:?}");
    let mut elsewhere = policy("DISABLE");
    elsewhere["metadata"]["namespace"] = json!("bank");
    let out = say(&mut index, ObjectKind::Peer, &elsewhere);
    assert!(out.is_empty() && out.work.slices_joined == 0, "nobody's: {out:?}");
    let out = say(&mut index, ObjectKind::Peer, &policy("DISABLE"));
    assert_eq!((out.pods.len(), out.facts.len()), (3, 0), "the slices have no port 81");
}

#[test]
fn a_node_touches_gateways_on_nodes_and_nothing_else() {
    let mut index = large();
    let node = |zone: &str, address: &str| {
        json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": zone}},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
    };
    let out = say(&mut index, ObjectKind::Node, &node("a", "192.0.2.1"));
    assert_eq!((out.facts.len(), out.work.slices_joined, out.work.gateways_rebuilt), (1, 0, 0));
    let gateway = json!({"metadata": {"namespace": "istio-system", "name": "ew",
        "labels": {"topology.istio.io/network": "west"}},
        "spec": {"type": "NodePort", "ports": [{"port": 15443, "nodePort": 31443}]}});
    let out = say(&mut index, ObjectKind::Service, &gateway);
    assert_eq!(out.facts.len(), 2, "the service and its gateway: {:?}", out.facts);
    let out = say(&mut index, ObjectKind::Node, &node("a", "192.0.2.2"));
    assert_eq!((out.work.slices_joined, out.work.gateways_rebuilt), (0, 1));
    let said: Vec<bool> = out.facts.values().map(Option::is_some).collect();
    assert_eq!(said, [false, true], "another address takes the place of the first");
}

#[test]
fn a_list_that_hands_a_name_to_another_gateway_keeps_what_is_known_of_it() {
    let mut index = index(UnknownPods::Wait);
    let gateway = |name: &str| {
        json!({"metadata": {"namespace": "istio-system", "name": name,
            "labels": {"topology.istio.io/network": "west"}},
            "spec": {"gatewayClassName": "istio",
                "addresses": [{"type": "Hostname", "value": "gw.example.com"}],
                "listeners": [{"name": "tls", "port": 15443, "protocol": "TLS",
                    "tls": {"mode": "Passthrough"}}]}})
    };
    say(&mut index, ObjectKind::Gateway, &gateway("old"));
    let host = HostName::new("gw.example.com").expect("a name");
    let known = Resolved { addresses: vec!["203.0.113.1".parse().unwrap()], ..Resolved::default() };
    index.resolve(&host, known, &mut Changes::default());
    let expected = [("old".to_owned(), "203.0.113.1".parse().unwrap())];
    assert_eq!(gateways(&index), expected);

    let mut out = Changes::default();
    let (said, findings) = read(ObjectKind::Gateway, &gateway("new"));
    let id = ObjectId::new(ObjectKind::Gateway, "istio-system", "new");
    index.replace(ObjectKind::Gateway, vec![(id, said, findings)], &mut out);
    let expected = [("new".to_owned(), "203.0.113.1".parse().unwrap())];
    assert_eq!(gateways(&index), expected, "nobody has to ask for the name again");
    assert_eq!((out.names, out.work.gateways_rebuilt), (false, 1));
}

/// Each gateway's name and address.
fn gateways(index: &ClusterIndex) -> Vec<(String, IpAddr)> {
    let facts = index.facts(None).into_keys();
    let gateway = |key| if let FactKey::Gateway(key) = key { Some(key) } else { None };
    facts.filter_map(gateway).map(|key| (key.name.to_string(), key.address)).collect()
}

#[test]
fn an_endpoint_ahead_of_its_pod_waits_for_it() {
    let mut index = index(UnknownPods::Wait);
    let out = say(&mut index, ObjectKind::Slice, &slice(0, 0..1));
    let endpoints = |out: &Changes| match out.facts.values().next() {
        Some(Some(Fact::Slice(slice))) => slice.endpoints.clone(),
        other => panic!("{other:?}"),
    };
    assert!(endpoints(&out).is_empty(), "never plaintext because a stream is behind");
    assert!(out.rejected.values().flatten().any(|one| one.cause.contains("waits for its pod")));
    let out = say(&mut index, ObjectKind::Pod, &pod(0, "web"));
    assert!(endpoints(&out)[0].identity.is_some());
    assert_eq!(out.rejected["EndpointSlice shop/web-0"], []);
}

#[test]
fn a_refused_version_leaves_the_last_good_one() {
    let mut index = index(UnknownPods::Wait);
    say(&mut index, ObjectKind::Service, &service(80));
    let out = say(&mut index, ObjectKind::Service, &service(70_000));
    assert!(out.facts.is_empty());
    assert_eq!(out.rejected["Service shop/web"].len(), 1);
    assert_eq!(index.facts(None).len(), 1);
    let id = ObjectId::new(ObjectKind::Service, "shop", "web");
    let mut out = Changes::default();
    index.remove(&id, &mut out);
    assert_eq!(out.facts.values().next(), Some(&None));
    assert!(matches!(out.facts.keys().next(), Some(FactKey::Service(_))));
    assert_eq!(out.rejected["Service shop/web"], []);
}

fn service(port: i32) -> Value {
    json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": {"ports": [{"port": port}]}})
}
