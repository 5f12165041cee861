//! Policies and the pods they hold for: what is kept of a pod has what all policies say of it.
//!
//! Policies of one word (a change, a list) are taken together before pods are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use diolkos_topology::Namespace;

use super::{Changes, ClusterIndex};
use crate::node::SYSTEM_NAMESPACES;
use crate::peer::PeerPolicy;
use crate::pod::{Labels, PodEntry, PodKey, PodParts};

/// Pods of one template have the same labels, which are then kept once.
#[derive(Debug, Default)]
pub(super) struct PodLabels {
    of: BTreeMap<PodKey, Arc<Labels>>,
    known: BTreeSet<Arc<Labels>>,
}

impl PodLabels {
    fn insert(&mut self, key: PodKey, labels: Labels) {
        let labels = Arc::new(labels);
        let labels = match self.known.get(&labels) {
            Some(known) => known.clone(),
            None => {
                self.known.insert(labels.clone());
                labels
            }
        };
        let before = self.of.insert(key, labels);
        self.forget(before);
    }

    pub(super) fn remove(&mut self, key: &PodKey) {
        let before = self.of.remove(key);
        self.forget(before);
    }

    /// Nobody else has them: they are here, and among the known.
    fn forget(&mut self, labels: Option<Arc<Labels>>) {
        if let Some(labels) = labels.filter(|labels| Arc::strong_count(labels) == 2) {
            self.known.remove(&labels);
        }
    }
}

/// What is to be worked out anew: for whose pods policies may say something else, and gateways.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    all: bool,
    namespaces: BTreeSet<Namespace>,
    /// Whether anything changed that a gateway may hang on.
    pub(super) gateways: bool,
}

impl Unsettled {
    fn note(&mut self, namespace: &Namespace) {
        if SYSTEM_NAMESPACES.contains(&namespace.as_str()) {
            self.all = true;
        }
        self.namespaces.insert(namespace.clone());
    }

    fn concerns(&self, namespace: &Namespace) -> bool {
        self.all || self.namespaces.contains(namespace)
    }
}

impl ClusterIndex {
    pub(super) fn take_policy(&mut self, policy: PeerPolicy) {
        if self.policies.get(&policy.namespace, &policy.name) != Some(&policy) {
            self.unsettled.note(&policy.namespace);
            self.policies.insert(policy);
        }
    }

    pub(super) fn forget_policy(&mut self, namespace: &str, name: &str) {
        let Ok(namespace) = Namespace::new(namespace) else { return };
        if self.policies.remove(&namespace, name).is_some() {
            self.unsettled.note(&namespace);
        }
    }

    pub(super) fn take_pod(&mut self, pod: PodParts, out: &mut Changes) {
        let key = pod.key();
        let modes = self.policies.modes(&pod.namespace, &pod.labels);
        self.labels.insert(key.clone(), pod.labels);
        let entry = PodEntry { modes, ..pod.entry };
        if self.pods.get(&key) != Some(&entry) {
            self.change_pods(vec![(key, Some(entry))], out);
        }
    }

    /// Brings the pods up to what the policies say now.
    pub(super) fn settle_policies(&mut self, unsettled: &Unsettled, out: &mut Changes) {
        if !unsettled.all && unsettled.namespaces.is_empty() {
            return;
        }
        let changed = self.pods.iter().filter_map(|(key, entry)| {
            let labels = self.labels.of.get(key)?;
            if !unsettled.concerns(&key.0) {
                return None;
            }
            let modes = self.policies.modes(&key.0, labels);
            (modes != entry.modes).then(|| (key.clone(), Some(PodEntry { modes, ..entry.clone() })))
        });
        let changed: Vec<_> = changed.collect();
        self.change_pods(changed, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diolkos_topology::PodName;

    #[test]
    fn labels_are_kept_once_and_as_long_as_a_pod_has_them() {
        let key = |name| (Namespace::new("shop").unwrap(), PodName::new(name).unwrap());
        let labels = |app: &str| Labels::from([("app".to_owned(), app.to_owned())]);
        let mut kept = PodLabels::default();
        kept.insert(key("a"), labels("web"));
        kept.insert(key("b"), labels("web"));
        kept.insert(key("c"), labels("db"));
        assert_eq!(kept.known.len(), 2);
        kept.insert(key("c"), labels("web"));
        assert_eq!(kept.known.len(), 1);
        kept.insert(key("c"), labels("web"));
        for name in ["a", "b", "c"] {
            assert_eq!(kept.known.len(), 1);
            kept.remove(&key(name));
        }
        assert!(kept.known.is_empty() && kept.of.is_empty());
    }
}
