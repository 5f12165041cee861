//! The pods of every cluster: who runs where, to tell whether a client is who it says.

use std::collections::{BTreeMap, BTreeSet};

use diolkos_facts::{PodEntry, PodKey};
use diolkos_topology::ClusterId;

use crate::source::PodsChange;

#[derive(Debug, Default)]
pub(super) struct Pods(BTreeMap<ClusterId, BTreeMap<PodKey, PodEntry>>);

impl Pods {
    /// Work follows the change, not the cluster's size. Answers which pods are others now.
    pub(super) fn change(&mut self, cluster: &ClusterId, change: PodsChange) -> Vec<PodKey> {
        let known = self.0.entry(cluster.clone()).or_default();
        let mut changed = Vec::new();
        if change.all {
            let said: BTreeSet<&PodKey> = change.pods.iter().map(|(key, _)| key).collect();
            let gone = known.keys().filter(|key| !said.contains(key));
            changed.extend(gone.cloned());
            known.retain(|key, _| said.contains(key));
        }
        for (key, entry) in change.pods {
            if known.get(&key) == entry.as_ref() {
                continue;
            }
            match entry {
                Some(entry) => drop(known.insert(key.clone(), entry)),
                None => drop(known.remove(&key)),
            }
            changed.push(key);
        }
        if known.is_empty() {
            self.0.remove(cluster);
        }
        changed
    }

    pub(super) fn get(&self, cluster: &ClusterId, key: &PodKey) -> Option<&PodEntry> {
        self.0.get(cluster)?.get(key)
    }

    pub(super) fn count(&self, cluster: &ClusterId) -> usize {
        self.0.get(cluster).map_or(0, BTreeMap::len)
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(&ClusterId) -> bool) {
        self.0.retain(|cluster, _| stays(cluster));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diolkos_topology::{Mtls, Namespace, PodName};

    fn key(name: &str) -> PodKey {
        (Namespace::new("shop").unwrap(), PodName::new(name).unwrap())
    }

    fn entry(account: &str) -> PodEntry {
        PodEntry {
            service_account: account.into(),
            network: None,
            node: None,
            mtls: Mtls::Istio,
            labels: BTreeMap::new(),
            ips: Vec::new(),
            workload: std::sync::Arc::default(),
        }
    }

    #[test]
    fn only_what_changed_is_said_to_have_changed() {
        let cluster = ClusterId::new("east").unwrap();
        let mut pods = Pods::default();
        let mut say = |all, said: &[(&str, Option<&str>)]| {
            let said = said.iter().map(|(name, account)| (key(name), account.map(entry)));
            let changed = pods.change(&cluster, PodsChange { all, pods: said.collect() });
            changed.iter().map(|key| key.1.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(say(false, &[("a", Some("x")), ("b", Some("x"))]), ["a", "b"]);
        assert_eq!(say(false, &[("a", Some("x")), ("c", None)]), [""; 0]);
        assert_eq!(say(false, &[("a", Some("y"))]), ["a"]);
        assert_eq!(say(true, &[("a", Some("y")), ("d", Some("z"))]), ["b", "d"]);
        assert_eq!(say(true, &[]), ["a", "d"]);
        assert_eq!(pods.count(&cluster), 0);
    }
}
