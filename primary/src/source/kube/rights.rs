//! What a primary asks of API servers, as RBAC names it. Made of the very plans that are followed,
//! so that roles can be held to them.

use std::collections::BTreeSet;

use diolkos_facts::ObjectKind;

use super::plan::Plan;
use super::{kinds, lease, review, secrets, writer};

/// One rule needs no more than this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Empty for the core.
    pub group: String,
    /// Plural, as in paths.
    pub resource: String,
    pub verb: &'static str,
    /// Of objects of this name alone; an API server takes a field selector of one name for it.
    pub name: Option<String>,
}

/// In every cluster that is read, the own one included.
pub fn reading() -> BTreeSet<Right> {
    ObjectKind::ALL.into_iter().flat_map(|kind| watched(&kinds::plan(kind))).collect()
}

/// In the own system namespace: secrets that register clusters.
pub fn registering() -> BTreeSet<Right> {
    watched(&secrets::plan("any"))
}

/// In every cluster whose workloads the primary signs for.
pub fn reviewing() -> BTreeSet<Right> {
    [of_path(review::PATH, "create")].into()
}

/// In every cluster that is written to; `injector` is its webhook configuration's name.
pub fn writing(injector: &str) -> BTreeSet<Right> {
    let mut rights: BTreeSet<Right> = writer::Kind::ALL
        .into_iter()
        .flat_map(|kind| watched(&writer::plan(kind, injector)))
        .collect();
    let patched: Vec<Right> = rights.iter().filter(|right| right.name.is_some()).cloned().collect();
    rights.extend(patched.into_iter().map(|right| Right { verb: "patch", ..right }));
    // What is not there yet has no name that RBAC could know.
    rights.insert(of_path("/api/v1/configmaps", "create"));
    rights
}

/// In the own system namespace, where of several replicas one writes.
pub fn leading(lease: &str) -> BTreeSet<Right> {
    let of = |verb| of_path(&format!("{}/leases", lease::GROUP), verb);
    let named = |verb| Right { name: Some(lease.to_owned()), ..of(verb) };
    [of("create"), named("get"), named("update")].into()
}

fn watched<T>(plan: &Plan<T>) -> BTreeSet<Right> {
    let name = plan.fields.as_deref().and_then(|fields| fields.strip_prefix("metadata.name="));
    let name = name.map(str::to_owned);
    let places = plan.places.iter().flat_map(|place| {
        let path = format!("{}/{}", place.group, place.plural);
        ["list", "watch"].map(|verb| of_path(&path, verb))
    });
    places.map(|right| Right { name: name.clone(), ..right }).collect()
}

/// `/api/v1/pods`, `/apis/discovery.k8s.io/v1/endpointslices`
fn of_path(path: &str, verb: &'static str) -> Right {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, resource) = match parts[..] {
        ["api", _, resource] => ("", resource),
        ["apis", group, _, resource] => (group, resource),
        _ => ("", path),
    };
    Right { group: group.to_owned(), resource: resource.to_owned(), verb, name: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rights: &BTreeSet<Right>) -> Vec<String> {
        let line = |right: &Right| {
            let Right { group, resource, verb, name } = right;
            let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            format!("{verb} {resource}.{group}{name}")
        };
        rights.iter().map(line).collect()
    }

    #[test]
    fn rights_are_those_of_the_paths_that_are_asked_for() {
        let reading = lines(&reading());
        for line in ["list pods.", "watch endpointslices.discovery.k8s.io"] {
            assert!(reading.iter().any(|found| found == line), "{line} in {reading:?}");
        }
        assert!(!reading.iter().any(|line| line.contains("secrets")), "{reading:?}");
        assert_eq!(lines(&registering()), ["list secrets.", "watch secrets."]);
        assert_eq!(lines(&reviewing()), ["create tokenreviews.authentication.k8s.io"]);
        assert_eq!(
            lines(&writing("injector")),
            [
                "create configmaps.",
                "list configmaps. istio-ca-root-cert",
                "patch configmaps. istio-ca-root-cert",
                "watch configmaps. istio-ca-root-cert",
                "list namespaces.",
                "watch namespaces.",
                "list mutatingwebhookconfigurations.admissionregistration.k8s.io injector",
                "patch mutatingwebhookconfigurations.admissionregistration.k8s.io injector",
                "watch mutatingwebhookconfigurations.admissionregistration.k8s.io injector",
            ]
        );
        assert_eq!(
            lines(&leading("lease")),
            [
                "create leases.coordination.k8s.io",
                "get leases.coordination.k8s.io lease",
                "update leases.coordination.k8s.io lease",
            ]
        );
    }
}
