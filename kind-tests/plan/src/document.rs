//! Kubernetes objects that a topology itself brings: what every cluster has, and the workloads.

use serde_json::{Map, Value, json};

use crate::address::Ranges;
use crate::cluster_file::IMAGE;
use crate::model::{Cluster, Export, Port, Protocol, Sidecar, Topology, Workload};

/// DNS as pods expect it: the program runs on the node, its Service points there.
pub(crate) fn dns(cluster: &Cluster, ranges: &Ranges) -> Vec<Value> {
    let node = ranges.node(0);
    let labels = json!({"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"});
    let ports = json!([
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]);
    let slice = |family: &str, address: String| {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("kube-dns-{}", family.to_lowercase()),
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": family,
            "ports": ports,
            "endpoints": [{
                "addresses": [address],
                "conditions": {"ready": true},
                "nodeName": cluster.nodes[0].name.as_str(),
            }],
        })
    };
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "diolkos:dns"},
            "rules": [
                {"apiGroups": [""], "verbs": ["list", "watch"],
                 "resources": ["services", "namespaces", "pods"]},
                {"apiGroups": ["discovery.k8s.io"], "verbs": ["list", "watch"],
                 "resources": ["endpointslices"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "diolkos:dns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": "diolkos:dns"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User",
                          "name": "diolkos:dns"}],
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
            "spec": {
                "clusterIP": ranges.dns.v4,
                "clusterIPs": ranges.dns.both(),
                "ipFamilyPolicy": "RequireDualStack",
                "ipFamilies": ["IPv4", "IPv6"],
                "ports": ports,
            },
        }),
        slice("IPv4", node.v4.to_string()),
        slice("IPv6", node.v6.to_string()),
    ]
}

/// The namespaces of a cluster: its meshes' own, and those of workloads.
pub(crate) fn namespaces(topology: &Topology, cluster: &Cluster) -> Vec<Value> {
    let mut documents = Vec::new();
    for mesh in &cluster.meshes {
        let Some(mesh) = topology.mesh(mesh.as_str()) else { continue };
        let mut annotations = Map::new();
        let primary = topology.primary_of(cluster);
        if primary.name != cluster.name {
            let primary = json!(primary.name.as_str());
            annotations.insert("topology.istio.io/controlPlaneClusters".into(), primary);
        }
        let network = json!({"topology.istio.io/network": cluster.network.as_str()});
        documents.push(namespace(mesh.system_namespace.as_str(), &network, annotations));
    }
    if !cluster.holds_workloads() {
        return documents;
    }
    let several = cluster.meshes.len() > 1;
    let mut named = Vec::new();
    for workload in here(topology, cluster) {
        if named.contains(&&workload.namespace) {
            continue;
        }
        named.push(&workload.namespace);
        let mut labels = json!({"istio-injection": "enabled"});
        if several {
            labels["istio.io/rev"] = json!(workload.mesh.as_str());
        }
        documents.push(namespace(workload.namespace.as_str(), &labels, Map::new()));
    }
    documents
}

fn namespace(name: &str, labels: &Value, annotations: Map<String, Value>) -> Value {
    let mut metadata = json!({"name": name, "labels": labels});
    if !annotations.is_empty() {
        metadata["annotations"] = Value::Object(annotations);
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

/// Those whose Service is in `cluster`: of its meshes, with pods there or not.
fn here<'t>(
    topology: &'t Topology,
    cluster: &'t Cluster,
) -> impl Iterator<Item = &'t Workload> + 't {
    topology.workloads.iter().filter(|workload| cluster.meshes.contains(&workload.mesh))
}

pub(crate) fn workloads(topology: &Topology, cluster: &Cluster) -> Vec<Value> {
    let mut documents = Vec::new();
    if !cluster.holds_workloads() {
        return documents;
    }
    for workload in here(topology, cluster) {
        documents.push(service(workload));
        let replicas = workload.replicas_in(cluster.name.as_str());
        if replicas == 0 {
            continue;
        }
        documents.push(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": workload.service_account.as_str(),
                         "namespace": workload.namespace.as_str()},
        }));
        documents.push(deployment(workload, cluster, replicas));
        let listed = topology.mesh(workload.mesh.as_str()).map(|mesh| mesh.export);
        if workload.exported && listed == Some(Export::Listed) {
            documents.push(json!({
                "apiVersion": "multicluster.x-k8s.io/v1alpha1",
                "kind": "ServiceExport",
                "metadata": metadata(workload),
            }));
        }
    }
    documents
}

/// Apart from the workloads: they need the mesh's custom resources.
pub(crate) fn policies(topology: &Topology, cluster: &Cluster) -> Vec<Value> {
    let strict = here(topology, cluster).filter(|workload| {
        workload.sidecar == Sidecar::Strict && workload.replicas_in(cluster.name.as_str()) > 0
    });
    strict
        .map(|workload| {
            json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "PeerAuthentication",
                "metadata": metadata(workload),
                "spec": {
                    "selector": {"matchLabels": {"app": workload.name.as_str()}},
                    "mtls": {"mode": "STRICT"},
                },
            })
        })
        .collect()
}

fn metadata(workload: &Workload) -> Value {
    json!({
        "name": workload.name.as_str(),
        "namespace": workload.namespace.as_str(),
        "labels": {"app": workload.name.as_str()},
    })
}

fn service(workload: &Workload) -> Value {
    let port = |port: &Port| json!({"name": port.name.as_str(), "port": port.number, "targetPort": port.number});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(workload),
        "spec": {
            "selector": {"app": workload.name.as_str()},
            "ipFamilyPolicy": "PreferDualStack",
            "ports": workload.ports.iter().map(port).collect::<Value>(),
        },
    })
}

fn deployment(workload: &Workload, cluster: &Cluster, replicas: u32) -> Value {
    let app = json!({"app": workload.name.as_str()});
    let mut labels = app.clone();
    if workload.sidecar == Sidecar::None {
        labels["sidecar.istio.io/inject"] = json!("false");
    }
    let container_port =
        |port: &Port| json!({"name": port.name.as_str(), "containerPort": port.number});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(workload),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": app},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": workload.service_account.as_str(),
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "app",
                        "image": IMAGE,
                        "imagePullPolicy": "IfNotPresent",
                        "args": arguments(workload, cluster),
                        "env": [{"name": "POD_NAME", "valueFrom":
                                 {"fieldRef": {"fieldPath": "metadata.name"}}}],
                        "ports": workload.ports.iter().map(container_port).collect::<Value>(),
                        "readinessProbe": probe(&workload.ports),
                    }],
                },
            },
        },
    })
}

fn arguments(workload: &Workload, cluster: &Cluster) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["echo", "--plain", "--pod", "$(POD_NAME)", "--cluster"].map(str::to_owned).to_vec();
    arguments.push(cluster.name.to_string());
    for port in &workload.ports {
        let flag = match port.protocol {
            Protocol::Http => "--listen",
            Protocol::Tcp => "--listen-tcp",
        };
        arguments.extend([flag.to_owned(), format!("[::]:{}", port.number)]);
    }
    arguments
}

fn probe(ports: &[Port]) -> Value {
    let http = ports.iter().find(|port| port.protocol == Protocol::Http);
    let mut probe = json!({"periodSeconds": 1, "failureThreshold": 3});
    match http {
        Some(port) => probe["httpGet"] = json!({"path": "/", "port": port.number}),
        None => probe["tcpSocket"] = json!({"port": ports[0].number}),
    }
    probe
}
