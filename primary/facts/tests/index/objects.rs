//! Objects as an API server says them, few enough that random ones meet each other.

use diolkos_facts::{
    Change, ClusterIndex, Findings, Object, ObjectId, ObjectKind, Said, export_fact, gateway_parts,
    namespace_fact, node_parts, peer_policy, pod_parts, service_parts, slice_parts,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) const NAMESPACES: [&str; 3] = ["shop", "istio-system", "diolkos-system"];

/// An object, by its kind and small numbers that choose what it says.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) kind: ObjectKind,
    pub(crate) name: u8,
    pub(crate) choice: [u8; 3],
}

impl Draft {
    pub(crate) fn id(&self) -> ObjectId {
        let Self { kind, name, choice } = self;
        let namespace = match kind {
            ObjectKind::Namespace | ObjectKind::Node => "",
            ObjectKind::Gateway => "istio-system",
            ObjectKind::Peer if choice[2] == 2 => "diolkos-system",
            _ if choice[2] == 3 => "istio-system",
            _ => "shop",
        };
        let name = match kind {
            ObjectKind::Namespace => NAMESPACES[usize::from(*name) % 3].to_owned(),
            ObjectKind::Node => format!("node-{}", name % 2),
            ObjectKind::Pod => format!("pod-{}", name % 4),
            ObjectKind::Gateway => format!("api-{}", name % 2),
            _ => format!("web-{}", name % 3),
        };
        ObjectId::new(*kind, namespace, &name)
    }

    pub(crate) fn json(&self) -> Value {
        let id = self.id();
        let [a, b, _] = self.choice;
        let mut meta = json!({"name": id.name});
        if !id.namespace.is_empty() {
            meta["namespace"] = json!(id.namespace);
        }
        match self.kind {
            ObjectKind::Export => json!({
                "apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceExport",
                "metadata": labelled(meta, "annotations", &[("diolkos.dev/consumers",
                    ["", "west", "not a name"].get(usize::from(a)).copied())]),
            }),
            ObjectKind::Gateway => self.gateway(meta),
            ObjectKind::Namespace => json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": labelled(meta, "labels", &[network(a)]),
            }),
            ObjectKind::Node => json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": labelled(meta, "labels", &[
                    ("topology.kubernetes.io/zone", Some(["a", "b", "c", "d"][usize::from(a % 4)])),
                    ("edge", (b > 1).then_some("yes")),
                ]),
                "status": {"addresses": [{"type": "InternalIP", "address": format!("192.0.2.{b}")}]},
            }),
            ObjectKind::Peer => self.policy(meta),
            ObjectKind::Pod => json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": labelled(meta, "labels", &[
                    network(a), ("security.istio.io/tlsMode", (b > 0).then_some("istio")),
                    ("app", ["web", "db"].get(usize::from(a)).copied()),
                ]),
                "spec": {"containers": [], "nodeName": format!("node-{}", b % 2),
                    "serviceAccountName": if a == 3 && b == 3 { "Not_An_Account" } else { "web" }},
            }),
            ObjectKind::Service => self.service(meta),
            ObjectKind::Slice => self.slice(meta),
        }
    }

    fn gateway(&self, meta: Value) -> Value {
        let [a, b, c] = self.choice;
        let mut listeners = vec![json!({"name": "tls", "port": 15443, "protocol": "TLS",
            "tls": {"mode": "Passthrough"}})];
        if c > 1 {
            listeners.push(json!({"name": "hbone", "port": 15008, "protocol": "HBONE"}));
        }
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": labelled(meta, "labels", &[network(a)]),
            "spec": {"gatewayClassName": "istio", "listeners": listeners, "addresses": [
                {"type": "IPAddress", "value": format!("198.51.100.{b}")},
                {"type": "Hostname", "value": format!("gw-{c}.example.com")},
            ]},
        })
    }

    fn policy(&self, mut meta: Value) -> Value {
        let [a, b, c] = self.choice;
        let modes = ["UNSET", "DISABLE", "PERMISSIVE", "STRICT"];
        let mode = |choice: u8| json!({"mode": modes[usize::from(choice % 4)]});
        if b > 1 {
            meta["creationTimestamp"] = json!(format!("202{a}-01-01T00:00:00Z"));
        }
        let mut spec = json!({"mtls": mode(a)});
        if b % 2 == 1 {
            spec["selector"] = json!({"matchLabels": {"app": if a > 1 { "web" } else { "db" }}});
        }
        // Without a selector, which is refused, or with one.
        if c == 1 {
            spec["portLevelMtls"] = json!({"8080": mode(a + 1), "9090": mode(b)});
        }
        json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": meta, "spec": spec})
    }

    fn service(&self, meta: Value) -> Value {
        let [a, b, c] = self.choice;
        let kind = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"][usize::from(b % 4)];
        let mut ports = vec![json!({"name": "http", "port": 80 + i32::from(c)})];
        if c > 0 {
            ports.push(json!({"name": "tls", "port": 15443, "nodePort": 31443}));
        }
        if c > 2 {
            ports.push(json!({"name": "tls", "port": 15008}));
        }
        if a % 2 == 1 {
            ports.push(json!({"name": "admin", "port": 15444}));
        }
        let mut status = json!({});
        if b == 2 {
            status = json!({"loadBalancer": {"ingress": [
                {"ip": format!("198.51.100.{c}")}, {"hostname": format!("gw-{c}.example.com")},
            ]}});
        }
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": labelled(meta, "labels", &[network(a)]),
            "spec": {"type": kind, "clusterIP": "10.96.0.1", "ports": ports},
            "status": status,
        })
    }

    fn slice(&self, meta: Value) -> Value {
        let [a, b, c] = self.choice;
        let endpoint = |at: u8, pod: u8| {
            json!({"addresses": [format!("10.{b}.0.{at}")], "conditions": {"ready": c != 1},
                "targetRef": {"kind": "Pod", "name": format!("pod-{}", pod % 4)}})
        };
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": labelled(meta, "labels", &[
                ("kubernetes.io/service-name", (a != 3).then_some("web-1")),
            ]),
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 9090}],
            "endpoints": [endpoint(1, a), endpoint(2, b), endpoint(if c == 2 { 1 } else { 3 }, c)],
        })
    }
}

fn network(choice: u8) -> (&'static str, Option<&'static str>) {
    let name = [None, Some("west"), Some("hill"), Some("not a network")];
    ("topology.istio.io/network", name[usize::from(choice % 4)])
}

fn labelled(mut meta: Value, field: &str, labels: &[(&str, Option<&str>)]) -> Value {
    for (name, value) in labels {
        if let Some(value) = value {
            meta[field][name] = json!(value);
        }
    }
    meta
}

/// As a source does it.
pub(crate) fn read(kind: ObjectKind, json: &Value) -> (Said, Findings) {
    let mut findings = Findings::default();
    let told = &mut findings;
    let object = match kind {
        ObjectKind::Export => export_fact(&typed(json), told).map(Object::Export),
        ObjectKind::Gateway => gateway_parts(&typed(json), told).map(Object::Gateway),
        ObjectKind::Namespace => namespace_fact(&typed(json), told).map(Object::Namespace),
        ObjectKind::Node => node_parts(&typed(json), told).map(Object::Node),
        ObjectKind::Peer => peer_policy(&typed(json), told).map(Object::Peer),
        ObjectKind::Pod => pod_parts(&typed(json), told).map(Object::Pod),
        ObjectKind::Service => {
            service_parts(&typed(json), told).map(|parts| Object::Service(Box::new(parts)))
        }
        ObjectKind::Slice => slice_parts(&typed(json), told).map(Object::Slice),
    };
    let said = match object {
        Some(object) => Said::Taken(Box::new(object)),
        None if findings.refused() => Said::Refused,
        None => Said::Skipped,
    };
    (said, findings)
}

fn typed<T: DeserializeOwned>(json: &Value) -> T {
    serde_json::from_value(json.clone()).expect("an object as its type has it")
}

/// What came of facts that were said one after another.
pub(crate) type Facts =
    std::collections::BTreeMap<diolkos_topology::FactKey, diolkos_topology::Fact>;

pub(crate) fn follow(facts: &mut Facts, changes: &diolkos_facts::Changes) {
    for (key, fact) in &changes.facts {
        match fact {
            Some(fact) => drop(facts.insert(key.clone(), fact.clone())),
            None => drop(facts.remove(key)),
        }
    }
}

pub(crate) fn put(index: &mut ClusterIndex, draft: &Draft, out: &mut diolkos_facts::Changes) {
    let (said, findings) = read(draft.kind, &draft.json());
    index.put(&draft.id(), said, findings, out);
}

pub(crate) fn differences(old: &Facts, new: &Facts) -> Vec<Change> {
    diolkos_facts::diff(old, new)
}
