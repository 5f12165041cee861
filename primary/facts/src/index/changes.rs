//! What a change of an object changes.

use std::collections::BTreeMap;

use diolkos_topology::{Fact, FactKey};

use super::object_id::Subject;
use super::{ClusterIndex, ObjectId, Of};
use crate::finding::Findings;
use crate::pod::{PodEntry, PodKey};
use crate::rejection::Rejection;

/// Gathers over any number of changes; the last word on each thing counts. `None` is a removal.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub facts: BTreeMap<FactKey, Option<Fact>>,
    pub pods: BTreeMap<PodKey, Option<PodEntry>>,
    /// By object; an empty list means that nothing is wrong with it any more.
    pub rejected: BTreeMap<String, Vec<Rejection>>,
    /// Other names are wanted than before.
    pub names: bool,
    pub work: IndexWork,
}

/// Counted, so that a test can tell whether work followed the change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexWork {
    pub objects: u64,
    pub slices_joined: u64,
    pub gateways_rebuilt: u64,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.pods.is_empty() && self.rejected.is_empty() && !self.names
    }

    pub(super) fn say(&mut self, fact: Fact) {
        self.facts.insert(fact.key(), Some(fact));
    }

    pub(super) fn unsay(&mut self, keys: impl IntoIterator<Item = FactKey>) {
        self.facts.extend(keys.into_iter().map(|key| (key, None)));
    }
}

impl ClusterIndex {
    /// Everything that is wrong, by object.
    pub fn rejections(&self) -> BTreeMap<String, Vec<Rejection>> {
        let gateways = self.told_gateways.iter();
        let mut all: BTreeMap<String, Vec<Rejection>> =
            gateways.map(|(subject, list)| (subject.to_string(), list.clone())).collect();
        for (id, findings) in &self.told {
            let own = findings.iter().flat_map(|some| self.rejected(id, some));
            all.entry(id.to_string()).or_default().extend(own);
        }
        for list in all.values_mut() {
            list.sort();
            list.dedup();
        }
        all
    }

    pub(super) fn tell(&mut self, id: &ObjectId, of: Of, findings: Findings, out: &mut Changes) {
        let place = match of {
            Of::Itself => 0,
            Of::Others => 1,
        };
        let known = self.told.get(id);
        if known.map_or(findings.0.is_empty(), |known| known[place] == findings) {
            return;
        }
        let known = self.told.entry(id.clone()).or_default();
        known[place] = findings;
        if known.iter().all(|findings| findings.0.is_empty()) {
            self.told.remove(id);
        }
        self.tell_all_of(&Subject::Object(id.clone()), out);
    }

    /// All that is wrong with one thing, whoever found it.
    pub(super) fn tell_all_of(&self, subject: &Subject, out: &mut Changes) {
        let mut list = self.told_gateways.get(subject).cloned().unwrap_or_default();
        if let Subject::Object(id) = subject
            && let Some(findings) = self.told.get(id)
        {
            list.extend(findings.iter().flat_map(|some| self.rejected(id, some)));
        }
        list.sort();
        list.dedup();
        out.rejected.insert(subject.to_string(), list);
    }

    fn rejected(&self, id: &ObjectId, findings: &Findings) -> Vec<Rejection> {
        rejections(self.settings.cluster.as_str(), &id.to_string(), findings)
    }
}

/// Findings as a person is told of them: `file` is whose object it is.
pub(super) fn rejections(file: &str, object: &str, findings: &Findings) -> Vec<Rejection> {
    let rejection = |finding: &crate::Finding| Rejection {
        file: file.into(),
        line: 0,
        object: Some(object.into()),
        cause: finding.cause.clone(),
        way_out: finding.way_out.clone(),
        severity: finding.severity,
    };
    findings.0.iter().map(rejection).collect()
}
