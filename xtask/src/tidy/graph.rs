//! Who may depend on whom: docs/adr/0001-crate-graph.md.
//!
//! Over normal dependencies only; what tests and build scripts use is their own affair.

use std::collections::BTreeSet;

use crate::metadata::Metadata;
use crate::tidy::Finding;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Decides; reaches nothing that moves bytes, tells time or rolls dice.
    Pure,
    /// Usable by every role.
    Foundation,
    /// A shell; knows no other role.
    Role,
    /// Joins the roles.
    Binary,
    /// For those who build diolkos, never part of it.
    Workshop,
}

/// Every member of the workspace has a place; a new one is given its own here.
const HOUSE: &[(&str, Place)] = &[
    ("diolkos-trust", Place::Pure),
    ("diolkos-trust-wire", Place::Pure),
    ("diolkos-inject", Place::Pure),
    ("diolkos-topology", Place::Pure),
    ("diolkos-facts", Place::Pure),
    ("diolkos-watch", Place::Pure),
    ("diolkos-xds", Place::Pure),
    ("diolkos-link", Place::Pure),
    ("diolkos-route", Place::Pure),
    ("diolkos-deploy", Place::Pure),
    ("diolkos-kind-plan", Place::Pure),
    ("diolkos-tls", Place::Foundation),
    ("diolkos-trust-client", Place::Foundation),
    ("diolkos-ops", Place::Foundation),
    ("diolkos-hbone", Place::Foundation),
    ("diolkos-xds-client", Place::Foundation),
    ("diolkos-primary", Place::Role),
    ("diolkos-remote-agent", Place::Role),
    ("diolkos-eastwest-gw", Place::Role),
    ("diolkos-trust-service", Place::Role),
    ("diolkos-sidecar", Place::Role),
    ("diolkos-kind-tests", Place::Role),
    ("diolkos", Place::Binary),
    ("diolkos-sim", Place::Workshop),
    ("diolkos-bench", Place::Workshop),
    ("xtask", Place::Workshop),
];

/// Also whatever begins with one of these and a hyphen: hyper-util, kube-client.
const BANNED_UPSTAIRS: &[&str] = &["tokio", "kube", "tonic", "hyper", "rand"];

/// envoy-types brings tonic along; its messages are needed, its transport is not. In diolkos-xds a
/// banned crate is no finding when it is reached through this one alone; [`super::pure`] reads the
/// crate's manifest and source instead.
const EXCEPTED_BRIDGE: (&str, &str) = ("diolkos-xds", "envoy-types");

const SIMULATOR: &str = "diolkos-sim";

pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in metadata.members() {
        let name = package.name.as_str();
        let Some(place) = place_of(name) else {
            let says = "has no place in the house; give it one in xtask/src/tidy/graph.rs";
            findings.push(Finding::new(name, says));
            continue;
        };
        let bridge = (name == EXCEPTED_BRIDGE.0).then_some(EXCEPTED_BRIDGE.1);
        for path in reached(metadata, &package.id, bridge) {
            if let Some(why) = refusal(name, place, path.last().copied().unwrap_or_default()) {
                findings.push(Finding::new(name, format!("{why} ({})", path.join(" -> "))));
            }
        }
    }
    findings
}

fn place_of(name: &str) -> Option<Place> {
    HOUSE.iter().find(|(member, _)| *member == name).map(|(_, place)| *place)
}

fn refusal(from: &str, place: Place, to: &str) -> Option<String> {
    let other = place_of(to).filter(|_| to != from);
    match place {
        Place::Pure if is_banned_upstairs(to) => Some(format!("is pure and reaches {to}")),
        Place::Role if other == Some(Place::Role) => {
            Some(format!("is a role and depends on the role {to}"))
        }
        Place::Foundation if matches!(other, Some(Place::Role | Place::Binary)) => {
            Some(format!("is a foundation and depends on {to}, which stands on it"))
        }
        Place::Pure | Place::Foundation | Place::Role | Place::Binary if to == SIMULATOR => {
            Some(format!("depends on {SIMULATOR}, which is for tests only"))
        }
        _ => None,
    }
}

fn is_banned_upstairs(name: &str) -> bool {
    BANNED_UPSTAIRS.iter().any(|banned| {
        name.strip_prefix(banned).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

/// Every crate that `from` reaches over normal dependencies, each with one way there; the way does
/// not pass through `bridge`.
fn reached<'m>(metadata: &'m Metadata, from: &str, bridge: Option<&str>) -> Vec<Vec<&'m str>> {
    let mut seen = BTreeSet::from([from]);
    let mut ways = Vec::new();
    let mut open = vec![(from, vec![metadata.name_of(from)])];
    while let Some((id, way)) = open.pop() {
        let Some(node) = metadata.resolve.nodes.iter().find(|node| node.id == id) else { continue };
        for dependency in node.deps.iter().filter(|dependency| dependency.is_normal()) {
            let name = metadata.name_of(&dependency.pkg);
            if Some(name) == bridge || !seen.insert(&dependency.pkg) {
                continue;
            }
            let mut further = way.clone();
            further.push(name);
            ways.push(further.clone());
            open.push((&dependency.pkg, further));
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `edges`: from, to, kind (`""` is a normal one). Every name is a member of the workspace.
    fn house(edges: &[(&str, &str, &str)]) -> Metadata {
        let names: BTreeSet<&str> = edges.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        let deps = |name: &str| -> Vec<serde_json::Value> {
            let own = edges.iter().filter(|(from, _, _)| *from == name);
            own.map(|(_, to, kind)| {
                let kind = (!kind.is_empty()).then_some(kind);
                json!({ "pkg": to, "dep_kinds": [{ "kind": kind }] })
            })
            .collect()
        };
        let nodes: Vec<_> =
            names.iter().map(|name| json!({ "id": name, "deps": deps(name) })).collect();
        let packages: Vec<_> =
            names.iter().map(|name| json!({ "id": name, "name": name })).collect();
        let members: Vec<_> = names.iter().filter(|name| place_of(name).is_some()).collect();
        let metadata = json!({
            "packages": packages, "workspace_members": members, "resolve": { "nodes": nodes }
        });
        serde_json::from_value(metadata).unwrap()
    }

    fn says(edges: &[(&str, &str, &str)]) -> Vec<String> {
        check(&house(edges)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_pure_crate_reaches_no_runtime_not_even_far_away() {
        for banned in ["tokio", "kube", "kube-client", "tonic", "hyper", "hyper-util", "rand"] {
            let found = says(&[("diolkos-topology", "far", ""), ("far", banned, "")]);
            let expected = format!(
                "diolkos-topology: is pure and reaches {banned} (diolkos-topology -> far -> {banned})"
            );
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn names_that_only_look_like_it_are_no_finding() {
        assert!(
            says(&[("diolkos-topology", "randomise", ""), ("diolkos-trust", "kubert", "")])
                .is_empty()
        );
    }

    #[test]
    fn tests_and_build_scripts_of_a_pure_crate_may_reach_a_runtime() {
        assert!(
            says(&[
                ("diolkos-topology", "tokio", "dev"),
                ("diolkos-facts", "tokio", "build"),
                ("diolkos-xds", "diolkos-sim", "dev"),
            ])
            .is_empty()
        );
    }

    #[test]
    fn only_diolkos_xds_and_only_through_envoy_types_may_reach_tonic() {
        let bridge = ("envoy-types", "tonic", "");
        assert!(says(&[("diolkos-xds", "envoy-types", ""), bridge]).is_empty());
        let beside = says(&[
            ("diolkos-xds", "envoy-types", ""),
            bridge,
            ("diolkos-xds", "other", ""),
            ("other", "tonic", ""),
        ]);
        assert_eq!(
            beside,
            ["diolkos-xds: is pure and reaches tonic (diolkos-xds -> other -> tonic)"]
        );
        let elsewhere = says(&[("diolkos-route", "envoy-types", ""), bridge]);
        assert_eq!(elsewhere.len(), 1, "{elsewhere:?}");
    }

    #[test]
    fn a_role_knows_no_other_role_and_a_foundation_none() {
        let found = says(&[
            ("diolkos-primary", "diolkos-ops", ""),
            ("diolkos-primary", "diolkos-trust-service", ""),
            ("diolkos-tls", "diolkos-eastwest-gw", ""),
            ("diolkos", "diolkos-primary", ""),
            ("diolkos", "diolkos-eastwest-gw", ""),
        ]);
        assert_eq!(
            found,
            [
                "diolkos-primary: is a role and depends on the role diolkos-trust-service \
             (diolkos-primary -> diolkos-trust-service)",
                "diolkos-tls: is a foundation and depends on diolkos-eastwest-gw, which stands on it \
             (diolkos-tls -> diolkos-eastwest-gw)",
            ]
        );
    }

    #[test]
    fn the_simulator_is_for_tests() {
        let found = says(&[("diolkos", "diolkos-sim", ""), ("diolkos-bench", "diolkos-sim", "")]);
        assert_eq!(
            found,
            ["diolkos: depends on diolkos-sim, which is for tests only (diolkos -> diolkos-sim)"]
        );
    }

    #[test]
    fn a_new_crate_must_be_given_a_place() {
        let mut metadata = house(&[("diolkos-cellar", "bytes", "")]);
        metadata.workspace_members.push("diolkos-cellar".to_owned());
        let found = check(&metadata);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().contains("diolkos-cellar: has no place in the house"));
    }
}
