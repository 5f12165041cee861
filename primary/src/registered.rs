//! Which clusters the mesh has, for whoever signs certificates beside the primary.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use diolkos_facts::MeshFile;
use diolkos_topology::ClusterSettings;
use diolkos_trust::SpiffeId;

/// Clones share one value, empty until the primary has read its mesh.
#[derive(Clone, Debug, Default)]
pub struct Registered(Arc<ArcSwap<BTreeMap<String, ClusterSettings>>>);

impl Registered {
    pub(crate) fn set(&self, mesh: &MeshFile) {
        let entries = mesh.clusters.iter();
        let all = entries.map(|entry| (entry.settings.cluster.to_string(), entry.settings.clone()));
        self.0.store(Arc::new(all.collect()));
    }

    /// # Errors
    /// Why a workload of the cluster may not have this identity.
    pub fn may_hold(&self, cluster: &str, id: &SpiffeId) -> Result<(), String> {
        let all = self.0.load();
        let Some(settings) = all.get(cluster) else {
            return Err("the mesh has no such cluster; register it".into());
        };
        match settings.refuse_identity(id) {
            None => Ok(()),
            Some(refusal) => Err(refusal.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use diolkos_topology::{NamePattern, Names};

    use super::*;

    #[test]
    fn a1_a_cluster_holds_what_it_was_granted_and_an_unknown_one_nothing() {
        let mesh = "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  \
                    trustDomain: m\n  clusters:\n  - name: west\n  - name: east\n";
        let mut mesh = diolkos_facts::parse_mesh(mesh).0.unwrap();
        mesh.clusters[1].settings.grants.identities =
            Names::Listed([NamePattern::parse("shop/*").unwrap()].into());
        let registered = Registered::default();
        let held = |cluster, account: &str| {
            registered.may_hold(cluster, &SpiffeId::parse(account).unwrap())
        };
        assert!(held("west", "spiffe://m/ns/bank/sa/a").is_err(), "nothing was read yet");
        registered.set(&mesh);
        for (cluster, id, why) in [
            ("west", "spiffe://m/ns/bank/sa/a", ""),
            ("east", "spiffe://m/ns/shop/sa/a", ""),
            ("east", "spiffe://m/ns/bank/sa/a", "not granted"),
            ("west", "spiffe://other/ns/bank/sa/a", "another trust domain"),
            ("north", "spiffe://m/ns/shop/sa/a", "no such cluster"),
        ] {
            match held(cluster, id) {
                Ok(()) => assert_eq!(why, "", "{cluster} {id}"),
                Err(said) => {
                    assert!(!why.is_empty() && said.contains(why), "{cluster} {id}: {said}");
                }
            }
        }
    }
}
