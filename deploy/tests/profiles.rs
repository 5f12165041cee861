//! What is printed for each profile, as reviewed text, and what holds for all of it.
//!
//! `DIOLKOS_REWRITE=1 cargo test -p diolkos-deploy --test profiles` writes the goldens anew.
#![allow(clippy::disallowed_methods, reason = "goldens are files")]
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::collections::BTreeSet;
use std::path::Path;

use diolkos_deploy::{Settings, Values, manifest, reader, to_yaml};
use diolkos_topology::Namespace;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace as NamespaceObject, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const IMAGE: &str = "diolkos:0.1.0";

/// The name of the golden, the profile, and the values.
const CASES: &[(&str, &str, &str)] = &[
    ("primary", "primary", "cluster: east\nnetwork: north\nmeshId: mesh1\nexport: all\n"),
    (
        "primary-of-several-meshes",
        "primary",
        "cluster: east\nmeshId: red\ntrustDomain: red.example\nnamespace: diolkos-red\nrevision: red\n\
         image: registry.example/diolkos:1\nimagePullPolicy: Always\nimagePullSecrets: [registry]\n\
         mesh: {staleAfter: 90s, clusterLocal: [{host: '*.tools.svc.cluster.local'}]}\n\
         primary: {replicas: 1, args: [--api-stale=30], resources: {requests: {memory: 64Mi}}}\n",
    ),
    (
        "remote",
        "remote",
        "cluster: west\nnetwork: south\nremote: {primaryCluster: east, primaryAddresses: \
         ['198.18.0.129', 'fd00::1', '198.18.0.130']}\n",
    ),
    (
        "remote-by-name",
        "remote",
        "cluster: west\nremote: {primaryCluster: east, primaryAddresses: [gateway.east.example]}\n",
    ),
    ("gateway", "gateway", "cluster: west\nnetwork: south\n"),
    (
        "gateway-of-a-primary",
        "gateway",
        "cluster: east\nnetwork: north\ntrustDomain: mesh.example\n\
         gateway: {replicas: 3, exposePrimary: true, drainSeconds: 60, serviceAnnotations: {a.cloud/b: c}}\n",
    ),
    (
        "gateway-with-a-way-out",
        "gateway",
        "cluster: west\nnetwork: south\ngateway: {egress: true}\n",
    ),
    ("crds", "crds", ""),
];

fn settings(profile: &str, values: &str) -> Settings {
    Settings::of(profile, IMAGE, Values::parse(values).unwrap()).unwrap()
}

fn all() -> Vec<(&'static str, Vec<Value>)> {
    CASES
        .iter()
        .map(|(name, profile, values)| (*name, manifest(&settings(profile, values))))
        .collect()
}

#[track_caller]
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(format!("{name}.yaml"));
    if std::env::var_os("DIOLKOS_REWRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{name} is not as in testdata/{name}.yaml; see the difference by writing it anew with \
         DIOLKOS_REWRITE=1\n{text}"
    );
}

#[test]
fn every_profile_prints_what_was_reviewed() {
    for (name, objects) in all() {
        golden(name, &to_yaml(&objects));
    }
}

/// As whoever reviews rights wants them: roles and whom they are given to, and nothing else.
#[test]
fn the_roles_of_every_profile_are_what_was_reviewed() {
    let is_of_roles = |object: &&Value| object["kind"].as_str().unwrap().contains("Role");
    for (name, objects) in all() {
        let roles: Vec<Value> = objects.iter().filter(is_of_roles).cloned().collect();
        if matches!(name, "primary" | "remote" | "gateway") {
            golden(&format!("roles/{name}"), &to_yaml(&roles));
        }
    }
    let namespace = Namespace::new("diolkos-system").unwrap();
    golden("roles/reader", &to_yaml(&reader(&namespace, "diolkos-reader")));
}

#[test]
fn what_is_printed_is_yaml_that_says_the_same() {
    for (name, objects) in all() {
        let text = to_yaml(&objects);
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(read, objects, "{name}");
        assert!(text.is_ascii(), "{name}");
    }
}

/// A field that Kubernetes does not have would be lost on the way through its types.
#[test]
fn every_field_is_one_that_kubernetes_knows() {
    fn same<T: Serialize + DeserializeOwned>(object: &Value) {
        let typed: T = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(&serde_json::to_value(typed).unwrap(), object);
    }
    for (_, objects) in all() {
        for object in &objects {
            match object["kind"].as_str().unwrap() {
                "ClusterRole" => same::<ClusterRole>(object),
                "ClusterRoleBinding" => same::<ClusterRoleBinding>(object),
                "ConfigMap" => same::<ConfigMap>(object),
                "CustomResourceDefinition" => same::<CustomResourceDefinition>(object),
                "Deployment" => same::<Deployment>(object),
                "EndpointSlice" => same::<EndpointSlice>(object),
                "MutatingWebhookConfiguration" => same::<MutatingWebhookConfiguration>(object),
                "Namespace" => same::<NamespaceObject>(object),
                "NetworkPolicy" => same::<NetworkPolicy>(object),
                "PodDisruptionBudget" => same::<PodDisruptionBudget>(object),
                "Role" => same::<Role>(object),
                "RoleBinding" => same::<RoleBinding>(object),
                "Service" => same::<Service>(object),
                "ServiceAccount" => same::<ServiceAccount>(object),
                other => panic!("{other} is not checked"),
            }
        }
    }
}

#[test]
fn a14_no_secret_is_ever_printed() {
    for (name, objects) in all() {
        assert!(objects.iter().all(|object| object["kind"] != "Secret"), "{name}");
        let text = to_yaml(&objects);
        for word in ["PRIVATE KEY", "BEGIN CERTIFICATE", "stringData", "caBundle"] {
            assert!(!text.contains(word), "{name} prints {word}");
        }
    }
}

/// The standard's own list, of what our pods use: no volume of another kind, no power, no root.
#[test]
fn every_pod_is_within_the_restricted_standard() {
    let mut pods = 0;
    for (name, objects) in all() {
        for object in objects.iter().filter(|object| object["kind"] == "Deployment") {
            pods += 1;
            let spec = &object["spec"]["template"]["spec"];
            let pod = &spec["securityContext"];
            assert_eq!(pod["runAsNonRoot"], true, "{name}");
            assert!(pod["runAsUser"].as_u64().unwrap() > 0, "{name}");
            assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            for host in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
                assert!(spec[host].is_null(), "{name}: {host}");
            }
            for volume in spec["volumes"].as_array().unwrap() {
                let kinds: BTreeSet<&str> =
                    volume.as_object().unwrap().keys().map(|key| &**key).collect();
                let allowed = ["name", "configMap", "emptyDir", "projected", "secret"];
                assert!(kinds.iter().all(|kind| allowed.contains(kind)), "{name}: {kinds:?}");
            }
            for container in spec["containers"].as_array().unwrap() {
                let said = &container["securityContext"];
                assert_eq!(
                    said,
                    &json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": true}),
                    "{name}"
                );
                assert!(container["resources"]["requests"].is_object(), "{name}");
                assert!(container["ports"].as_array().unwrap().iter().all(|port| {
                    port["hostPort"].is_null() && port["containerPort"].as_u64().unwrap() > 1024
                }));
            }
        }
    }
    assert_eq!(pods, 5);
}

#[test]
fn a_pod_has_the_time_that_its_drain_takes() {
    let objects =
        manifest(&settings("gateway", "cluster: a\nnetwork: n\ngateway: {drainSeconds: 3600}\n"));
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let spec = &deployment["spec"]["template"]["spec"];
    let lame = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    // The gateway's own promise is its drain and five seconds.
    assert!(spec["terminationGracePeriodSeconds"].as_u64().unwrap() >= lame + 3600 + 5);
}

/// The names of several meshes in one cluster are apart.
#[test]
fn two_meshes_in_one_cluster_share_no_object() {
    let of = |mesh: &str| {
        let values =
            format!("cluster: a\nnetwork: n\nnamespace: diolkos-{mesh}\nrevision: {mesh}\n");
        let objects = ["primary", "gateway"].map(|profile| manifest(&settings(profile, &values)));
        let id = |object: &Value| {
            let meta = &object["metadata"];
            format!("{} {} {}", object["kind"], meta["namespace"], meta["name"])
        };
        objects.concat().iter().map(id).collect::<BTreeSet<String>>()
    };
    let (red, blue) = (of("red"), of("blue"));
    assert_eq!(red.intersection(&blue).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!((red.len(), blue.len()), (15, 15), "{red:?}");
}
