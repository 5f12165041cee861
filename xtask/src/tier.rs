//! Which test belongs to which tier: by the name of its target, so that no list needs upkeep.

use std::collections::BTreeSet;

use clap::ValueEnum;

use crate::metadata::Metadata;

/// From the fastest and nearest to the slowest and widest; run in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Tier {
    /// Tests beside the code, in documentation, and in test targets of no other tier
    Unit,
    /// Reviewed text, told to the core: targets `scenarios*`
    Scenarios,
    /// Random input against the oracle: targets `properties*`
    Properties,
    /// A whole mesh under a seeded network and clock: the targets of diolkos-sim
    Simulation,
    /// The fuzz targets, for seconds
    Fuzz,
    /// Real processes on loopback: targets `e2e*`
    E2e,
    /// Real Envoy as sidecar and gateway: targets `envoy*`
    Envoy,
    /// gRPC's own xDS client: targets `grpc*`
    Grpc,
    /// A real Prometheus reads metrics: targets `scrape*`
    Scrape,
    /// The node program of clusters without Docker: Go's tests in `kind-tests/node`
    Node,
    /// Real clusters in network namespaces: targets `clusters*`
    Clusters,
}

const SIMULATION: &str = "diolkos-sim";

impl Tier {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Scenarios => "scenarios",
            Self::Properties => "properties",
            Self::Simulation => "simulation",
            Self::Fuzz => "fuzz",
            Self::E2e => "e2e",
            Self::Envoy => "envoy",
            Self::Grpc => "grpc",
            Self::Scrape => "scrape",
            Self::Node => "node",
            Self::Clusters => "clusters",
        }
    }

    /// The tier of a test target; `package` decides only where the name does not.
    fn of(package: &str, target: &str) -> Self {
        let named = [
            ("scenarios", Self::Scenarios),
            ("properties", Self::Properties),
            ("e2e", Self::E2e),
            ("envoy", Self::Envoy),
            ("grpc", Self::Grpc),
            ("scrape", Self::Scrape),
            ("clusters", Self::Clusters),
        ];
        let by_name = named.iter().find(|(prefix, _)| target.starts_with(prefix));
        match by_name {
            Some((_, tier)) => *tier,
            None if package == SIMULATION => Self::Simulation,
            None => Self::Unit,
        }
    }

    /// The names of this tier's test targets.
    pub(crate) fn targets(self, metadata: &Metadata) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for package in metadata.members() {
            for target in package.targets.iter().filter(|target| target.is_test()) {
                if Self::of(&package.name, &target.name) == self {
                    names.insert(target.name.clone());
                }
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_belongs_to_the_tier_its_name_says() {
        for (package, target, tier) in [
            ("diolkos-topology", "scenarios", Tier::Scenarios),
            ("diolkos-topology", "properties_merge", Tier::Properties),
            ("diolkos-sim", "seeds", Tier::Simulation),
            ("diolkos-sim", "properties", Tier::Properties),
            ("diolkos", "e2e_demo", Tier::E2e),
            ("diolkos", "envoy_sidecar", Tier::Envoy),
            ("diolkos", "grpc", Tier::Grpc),
            ("diolkos", "scrape_prometheus", Tier::Scrape),
            ("diolkos", "clusters_network", Tier::Clusters),
            ("diolkos-ops", "admin", Tier::Unit),
        ] {
            assert_eq!(Tier::of(package, target), tier, "{package} {target}");
        }
    }
}
