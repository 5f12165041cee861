//! Which services never leave their cluster, whatever they export.

use crate::event::MeshSettings;
use crate::name::ServiceKey;

/// Istio's defaults, without the cluster domain.
const DEFAULTS: [&str; 2] = ["*.kube-system.svc.", "kubernetes.default.svc."];

/// The most specific host decides: an exact one, else the longest wildcard. A rule of the mesh
/// goes before a default of the same host.
pub(crate) fn is_cluster_local(mesh: &MeshSettings, service: &ServiceKey) -> bool {
    let host = service.host(&mesh.cluster_domain);
    let default_rules = DEFAULTS.map(|prefix| (format!("{prefix}{}", mesh.cluster_domain), true));
    let mut best: Option<(usize, bool)> = None;
    let said = mesh.cluster_local.iter().map(|rule| (rule.host.as_str(), rule.local));
    let defaults = default_rules.iter().map(|(host, local)| (host.as_str(), *local));
    for (pattern, local) in defaults.chain(said) {
        let Some(weight) = specificity(pattern, &host) else { continue };
        if best.is_none_or(|(known, _)| weight >= known) {
            best = Some((weight, local));
        }
    }
    best.is_some_and(|(_, local)| local)
}

/// `None` where the pattern does not match.
fn specificity(pattern: &str, host: &str) -> Option<usize> {
    match pattern.strip_prefix('*') {
        Some(suffix) => {
            (host.len() > suffix.len() && host.ends_with(suffix)).then_some(suffix.len())
        }
        None => (pattern == host).then_some(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ClusterLocalRule;

    #[test]
    fn the_most_specific_host_decides() {
        let rules: &[(&str, bool)] = &[
            ("*.secret.svc.cluster.local", true),
            ("open.secret.svc.cluster.local", false),
            ("dns.kube-system.svc.cluster.local", false),
            ("*.default.svc.cluster.local", false),
        ];
        let mesh = MeshSettings {
            cluster_local: rules
                .iter()
                .map(|(host, local)| ClusterLocalRule { host: (*host).into(), local: *local })
                .collect(),
            ..MeshSettings::default()
        };
        let cases = [
            ("shop", "web", false),
            ("secret", "vault", true),
            ("secret", "open", false),
            ("kube-system", "metrics", true),
            ("kube-system", "dns", false),
            ("default", "kubernetes", true),
            ("default", "web", false),
        ];
        for (namespace, name, local) in cases {
            let service = ServiceKey::new(namespace, name).unwrap();
            assert_eq!(is_cluster_local(&mesh, &service), local, "{service}");
        }
    }

    #[test]
    fn an_explicit_no_removes_a_default() {
        let host = "*.kube-system.svc.cluster.local".to_owned();
        let mesh = MeshSettings {
            cluster_local: vec![ClusterLocalRule { host, local: false }],
            ..MeshSettings::default()
        };
        let service = ServiceKey::new("kube-system", "dns").unwrap();
        assert!(!is_cluster_local(&mesh, &service));
        assert!(is_cluster_local(&MeshSettings::default(), &service));
    }
}
