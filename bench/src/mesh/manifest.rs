//! Facts as the Kubernetes manifests they would come from. Each document is JSON, which is YAML.

use std::net::Ipv4Addr;

use diolkos_topology::{EndpointFact, Fact, Health, ServiceFact, SliceFact};
use serde_json::{Value, json};

use super::{Cluster, ENDPOINTS_PER_SLICE};

/// Namespaces, nodes and the gateway.
pub(crate) fn ground(cluster: &Cluster, network: &str) -> String {
    stream(&ground_objects(cluster, network))
}

pub(crate) fn ground_objects(cluster: &Cluster, network: &str) -> Vec<Value> {
    let mut documents = vec![json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": "istio-system",
            "labels": { "topology.istio.io/network": network },
        },
    })];
    let mut gateways = Vec::new();
    for fact in cluster.ground() {
        match fact {
            Fact::Node(node) => documents.push(json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": node.name.as_str(), "labels": {
                    "topology.kubernetes.io/region": &*node.locality.region,
                    "topology.kubernetes.io/zone": &*node.locality.zone,
                }},
            })),
            Fact::Gateway(gateway) => gateways.push(gateway.key.address.to_string()),
            _ => {}
        }
    }
    documents.push(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "eastwest", "namespace": "istio-system",
            "labels": { "topology.istio.io/network": network },
        },
        "spec": {
            "clusterIP": "172.31.0.1", "externalIPs": gateways,
            "ports": [{ "name": "tls", "port": 15_443 }],
        },
    }));
    documents
}

/// The Service, its export, and its pods.
pub(crate) fn service(service: &ServiceFact, slices: &[SliceFact]) -> String {
    stream(&service_objects(service, slices))
}

pub(crate) fn service_objects(service: &ServiceFact, slices: &[SliceFact]) -> Vec<Value> {
    let (name, namespace) = (service.key.name.as_str(), service.key.namespace.as_str());
    let ports = service
        .ports
        .iter()
        .map(|port| json!({ "name": port.name.as_str(), "port": port.port.get() }));
    let vip = service.vips.first().map(ToString::to_string);
    let mut documents = vec![
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "clusterIP": vip, "ports": ports.collect::<Vec<_>>() },
        }),
        json!({
            "apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceExport",
            "metadata": {
                "name": name, "namespace": namespace,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
        }),
    ];
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    documents.extend(endpoints.filter_map(|endpoint| pod_of(namespace, endpoint)));
    documents
}

pub(crate) fn slice(slice: &SliceFact) -> String {
    stream(&[slice_object(slice)])
}

pub(crate) fn slice_object(slice: &SliceFact) -> Value {
    let namespace = slice.service.namespace.as_str();
    let ports =
        slice.ports.iter().map(|(name, port)| json!({ "name": name.as_str(), "port": port.get() }));
    let endpoints = slice.endpoints.iter().map(|endpoint| {
        json!({
            "addresses": [endpoint.address.to_string()],
            "conditions": { "ready": endpoint.health == Health::Ready },
            "nodeName": endpoint.node.as_ref().map(|node| node.as_str()),
            "zone": endpoint.zone.as_deref(),
            "targetRef": {
                "kind": "Pod", "namespace": namespace,
                "name": endpoint.pod.as_ref().map(|pod| pod.as_str()),
            },
        })
    });
    debug_assert!(slice.endpoints.len() <= ENDPOINTS_PER_SLICE);
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": slice.name.as_str(), "namespace": namespace,
            "labels": { "kubernetes.io/service-name": slice.service.name.as_str() },
        },
        "addressType": "IPv4",
        "ports": ports.collect::<Vec<_>>(),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

/// A pod that serves nothing.
pub(crate) fn client(name: &str, namespace: &str, node: &str, address: Ipv4Addr) -> String {
    stream(&[client_object(name, namespace, node, address)])
}

pub(crate) fn client_object(name: &str, namespace: &str, node: &str, address: Ipv4Addr) -> Value {
    pod(namespace, name, "client", node, &address.to_string(), "client")
}

fn pod_of(namespace: &str, endpoint: &EndpointFact) -> Option<Value> {
    let identity = endpoint.identity.as_ref()?;
    let account = identity.workload_name()?.service_account;
    let name = endpoint.pod.as_ref()?.as_str();
    let node = endpoint.node.as_ref()?.as_str();
    let address = endpoint.address.to_string();
    Some(pod(namespace, name, account, node, &address, &endpoint.workload.canonical_name))
}

fn pod(namespace: &str, name: &str, account: &str, node: &str, address: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": { "app": app, "security.istio.io/tlsMode": "istio" },
        },
        "spec": {
            "serviceAccountName": account, "nodeName": node,
            "containers": [{ "name": "app", "image": "app" }],
        },
        "status": { "podIP": address },
    })
}

fn stream(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("---\n{document}\n")).collect()
}
