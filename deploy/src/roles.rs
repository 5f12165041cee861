//! What each profile may do at API servers: no more than the code asks for, which a test compares.

use serde_json::{Value, json};

use crate::names;
use crate::parts::{labels, metadata};
use crate::settings::Settings;

/// Of the primary in its own cluster.
pub(crate) fn primary(settings: &Settings) -> Vec<Value> {
    let namespace = settings.namespace();
    let mut rules = reading();
    rules.extend(writing(&settings.of_cluster(names::INJECTOR)));
    let name = settings.of_cluster(names::PRIMARY);
    let mut objects = vec![
        cluster_role(&name, names::PRIMARY, &rules),
        cluster_binding(&name, names::PRIMARY, namespace, names::PRIMARY),
    ];
    objects.extend([
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata(settings, names::PRIMARY),
            "rules": own_namespace(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata(settings, names::PRIMARY),
            "roleRef": role_ref("Role", names::PRIMARY),
            "subjects": [subject(namespace, names::PRIMARY)],
        }),
    ]);
    objects
}

/// Of whoever reads a cluster by a remote secret.
pub(crate) fn reader(namespace: &str, account: &str) -> Vec<Value> {
    let name = names::of_cluster(names::READER, namespace);
    let mut binding = cluster_binding(&name, names::READER, namespace, account);
    if account != names::READER {
        // Beside that of the usual account, whose subject it would replace.
        binding["metadata"]["name"] = json!(format!("{name}-{account}"));
    }
    vec![cluster_role(&name, names::READER, &reading()), binding]
}

/// Beside reading, of the primary that serves a cluster without one.
pub(crate) fn controlled(settings: &Settings) -> Vec<Value> {
    let name = settings.of_cluster(names::CONTROLLED);
    let rules = writing(&settings.of_cluster(names::INJECTOR));
    vec![
        cluster_role(&name, names::CONTROLLED, &rules),
        cluster_binding(&name, names::CONTROLLED, settings.namespace(), names::READER),
    ]
}

/// Facts, and whose a token is. No secret, no ConfigMap, nothing of a container.
fn reading() -> Vec<Value> {
    let watched = |group: &str, resources: &[&str]| rule(group, resources, &["list", "watch"]);
    vec![
        watched("", &["namespaces", "nodes", "pods", "services"]),
        watched("discovery.k8s.io", &["endpointslices"]),
        watched("gateway.networking.k8s.io", &["gateways"]),
        watched("multicluster.x-k8s.io", &["serviceexports"]),
        watched("security.istio.io", &["peerauthentications"]),
        rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
    ]
}

/// The roots, by name, and the injector's webhook. RBAC cannot name what is yet to be created.
fn writing(injector: &str) -> Vec<Value> {
    let webhooks = "mutatingwebhookconfigurations";
    let kept = ["list", "patch", "watch"];
    vec![
        rule("", &["configmaps"], &["create"]),
        of_name(rule("", &["configmaps"], &kept), names::ROOTS),
        of_name(rule("admissionregistration.k8s.io", &[webhooks], &kept), injector),
    ]
}

/// Remote secrets, and the lease of the replica that writes.
fn own_namespace() -> Vec<Value> {
    let leases = |verbs: &[&str]| rule("coordination.k8s.io", &["leases"], verbs);
    vec![
        rule("", &["secrets"], &["list", "watch"]),
        leases(&["create"]),
        of_name(leases(&["get", "update"]), names::LEASE),
    ]
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

fn of_name(mut rule: Value, name: &str) -> Value {
    rule["resourceNames"] = json!([name]);
    rule
}

fn cluster_role(name: &str, of: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": labels(of)},
        "rules": rules,
    })
}

fn cluster_binding(name: &str, of: &str, namespace: &str, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": labels(of)},
        "roleRef": role_ref("ClusterRole", name),
        "subjects": [subject(namespace, account)],
    })
}

fn role_ref(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

fn subject(namespace: &str, account: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": account, "namespace": namespace})
}
