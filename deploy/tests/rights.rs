//! The roles allow exactly what the code asks for: a kind that is read anew needs a rule, and a rule
//! that nothing needs goes.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::collections::BTreeSet;

use diolkos_deploy::{Settings, Values, manifest, names, reader};
use diolkos_primary::source::kube::rights::{self, Right};
use diolkos_topology::Namespace;
use serde_json::Value;

const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// What the roles of this kind and name allow, right by right.
fn allowed(objects: &[Value], kind: &str, name: &str) -> BTreeSet<Right> {
    let role = objects.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    let rules = role.unwrap_or_else(|| panic!("no {kind} {name}"))["rules"].as_array().unwrap();
    let mut rights = BTreeSet::new();
    for rule in rules {
        let list = |key: &str| -> Vec<String> {
            let list = rule[key].as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
        };
        let mut names: Vec<Option<String>> = list("resourceNames").into_iter().map(Some).collect();
        if names.is_empty() {
            names.push(None);
        }
        for group in list("apiGroups") {
            for resource in list("resources") {
                assert!(!resource.contains(['*', '/']), "{resource}");
                for verb in list("verbs") {
                    let verb = VERBS.into_iter().find(|one| *one == verb).expect("an exact verb");
                    for name in &names {
                        let (group, resource) = (group.clone(), resource.clone());
                        rights.insert(Right { group, resource, verb, name: name.clone() });
                    }
                }
            }
        }
    }
    rights
}

fn objects(profile: &str) -> Vec<Value> {
    let values = "cluster: a\nnetwork: n\n\
                  remote: {primaryCluster: b, primaryAddresses: ['10.0.0.1']}\n";
    let values = Values::parse(values).unwrap();
    manifest(&Settings::of(profile, "diolkos:1", values).unwrap())
}

fn union(sets: &[BTreeSet<Right>]) -> BTreeSet<Right> {
    sets.iter().flatten().cloned().collect()
}

#[test]
fn a2_a_primary_may_what_it_asks_of_its_own_cluster_and_nothing_else() {
    let of_cluster = allowed(&objects("primary"), "ClusterRole", names::PRIMARY);
    let asked = [rights::reading(), rights::reviewing(), rights::writing(names::INJECTOR)];
    assert_eq!(of_cluster, union(&asked));
    let of_namespace = allowed(&objects("primary"), "Role", names::PRIMARY);
    assert_eq!(of_namespace, union(&[rights::registering(), rights::leading(names::LEASE)]));
}

#[test]
fn a2_a_remote_secret_reads_facts_and_reviews_tokens_and_nothing_else() {
    let asked = union(&[rights::reading(), rights::reviewing()]);
    assert_eq!(allowed(&objects("remote"), "ClusterRole", names::READER), asked);
    let namespace = Namespace::new("diolkos-system").unwrap();
    let made = reader(&namespace, names::READER);
    assert_eq!(allowed(&made, "ClusterRole", names::READER), asked);
    for right in asked {
        assert!(!["secrets", "configmaps"].contains(&&*right.resource), "{right:?}");
        assert!(right.verb != "create" || right.resource == "tokenreviews", "{right:?}");
    }
}

#[test]
fn a2_what_may_be_written_into_a_remote_cluster_is_named() {
    let may = allowed(&objects("remote"), "ClusterRole", names::CONTROLLED);
    let may = union(&[may, rights::reading()]);
    let asked = union(&[rights::writing(names::INJECTOR), rights::reading()]);
    assert_eq!(may, asked);
    let open: Vec<Right> = allowed(&objects("remote"), "ClusterRole", names::CONTROLLED)
        .into_iter()
        .filter(|right| right.name.is_none())
        .collect();
    assert_eq!(open.len(), 1, "only what has no name yet: {open:?}");
}

#[test]
fn a_gateway_asks_no_api_server_anything() {
    let objects = objects("gateway");
    assert!(!objects.iter().any(|one| one["kind"].as_str().unwrap().contains("Role")));
    let account = objects.iter().find(|one| one["kind"] == "ServiceAccount").unwrap();
    assert_eq!(account["automountServiceAccountToken"], false);
}
